package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/recording"
	"github.com/chanseal/chanseal/rtpseal"
)

// framesOf reads the frames of a recording; IVF's without their timestamps.
func framesOf(t *testing.T, path string) (all [][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := media.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var item media.Item
		if err := r.Next(&item); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if item.Kind == media.KindFrame {
			b := bytes.Clone(item.Data)
			if r.Info().Format == media.FormatIVF {
				b = b[8:]
			}
			all = append(all, b)
		}
	}
}

// recordedPackets counts what a recording holds so far.
func recordedPackets(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := recording.NewReader(f)
	for err == nil {
		if _, err = r.Next(); err == nil {
			n++
		}
	}
	if err != io.EOF && !errors.Is(err, recording.ErrTorn) {
		t.Fatal(err)
	}
	return n
}

// A recorder without any key keeps what the gateway sealed; open makes the frames of it
// again, bit for bit, of packets sealed one by one and of whole frames, over a rotation.
// Garbage that came along changes nothing but the exit status.
func TestRecord(t *testing.T) {
	frames := framesOf(t, filepath.Join("..", "..", "testdata", "media", "vp8.ivf"))
	codec, err := rtpseal.LookupCodec("vp8")
	if err != nil {
		t.Fatal(err)
	}
	for _, perFrame := range []bool{false, true} {
		t.Run(fmt.Sprintf("per-frame=%v", perFrame), func(t *testing.T) {
			home, keyless := newTestRing(t), filepath.Join(t.TempDir(), "nothing")
			ports := freePorts(t, 2)
			plain, sealed := fmt.Sprint("127.0.0.1:", ports[0]), fmt.Sprint("127.0.0.1:", ports[1])
			file := filepath.Join(t.TempDir(), "talk.sealed.rtpdump")
			background(t, keyless, "gateway", "record", "--listen", sealed, "-o", file)
			args := []string{"gateway", "seal", "--channel", "stage", "--listen", plain, "--to", sealed}
			if perFrame {
				args = append(args, "--per-frame", "vp8")
			}
			background(t, home, args...)
			conn, err := net.Dial("udp", plain)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			cutter, err := rtpseal.NewCutter(codec, 1200)
			if err != nil {
				t.Fatal(err)
			}
			var out rtpseal.Packets
			least := 0
			for i, f := range frames {
				out.Reset()
				if err := cutter.Cut(&rtpseal.Unit{Header: rtpseal.Header{SSRC: 7, PayloadType: 96, Timestamp: 0xffff0000 + uint32(i)*3000, Marker: true}}, f, &out); err != nil {
					t.Fatal(err)
				}
				for n := range out.Len() {
					if _, err := conn.Write(out.At(n)); err != nil {
						t.Fatal(err)
					}
				}
				if least++; i == len(frames)/2 {
					runHere(t, home, "channel", "rotate", "stage")
				}
				if i%16 == 15 || i == len(frames)-1 { // so that no socket overflows
					waitFor(t, func() bool { return recordedPackets(t, file) >= least })
				}
			}
			// Nobody has this key; and this is nothing at all.
			stray, err := net.Dial("udp", sealed)
			if err != nil {
				t.Fatal(err)
			}
			defer stray.Close()
			had := recordedPackets(t, file)
			stray.Write([]byte("\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x09\xe0\x00\x00forged forged forged forged"))
			stray.Write([]byte("neither RTP nor sealed"))
			waitFor(t, func() bool { return recordedPackets(t, file) > had })

			opened := filepath.Join(t.TempDir(), "talk.ivf")
			var errs bytes.Buffer
			p := &program{stdin: strings.NewReader(""), stdout: &errs, stderr: &errs, home: home}
			if code := p.run(context.Background(), []string{"open", "--channel", "stage", "--codec", "vp8", "-o", opened, file}); code != exitAuth {
				t.Fatalf("open: exit status %d, want %d for the forged packet\n%s", code, exitAuth, errs.String())
			}
			got := framesOf(t, opened)
			if len(got) != len(frames) {
				t.Fatalf("%d frames of %d\n%s", len(got), len(frames), errs.String())
			}
			for i := range got {
				if !bytes.Equal(got[i], frames[i]) {
					t.Fatalf("frame %d differs", i)
				}
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				if len(f) > 32 && bytes.Contains(raw, f[16:32]) {
					t.Fatal("the recording holds a frame in clear")
				}
			}
		})
	}
}

// waitFor waits until something is so that another goroutine brings about.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}
