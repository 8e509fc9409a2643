package pionseal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor"

	"github.com/chanseal/chanseal/rtpseal"
	"github.com/chanseal/chanseal/rtpseal/pionseal"
)

// remoteTrack is a track whose packets come from a channel.
type remoteTrack struct {
	packets  chan []byte
	deadline time.Time
}

func (r *remoteTrack) SetReadDeadline(t time.Time) error { r.deadline = t; return nil }

func (r *remoteTrack) Read(b []byte) (int, interceptor.Attributes, error) {
	var late <-chan time.Time
	if !r.deadline.IsZero() {
		late = time.After(time.Until(r.deadline))
	}
	select {
	case pkt, ok := <-r.packets:
		if !ok {
			return 0, nil, io.EOF
		}
		return copy(b, pkt), nil, nil
	case <-late:
		return 0, nil, fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
	}
}

// cut seals frames and cuts them into packets.
func cut(t *testing.T, seal rtpseal.StreamSealer, frames ...[]byte) (packets [][][]byte) {
	t.Helper()
	p, err := rtpseal.NewPacketizer(rtpseal.PacketizerOptions{SSRC: 5, PayloadType: 96, Sequence: 65534})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		sealed, err := seal.SealStream(5, nil, f)
		if err != nil {
			t.Fatal(err)
		}
		var of [][]byte
		p.Packetize(sealed, uint32(i), true, 0, func(pkt []byte) error { of = append(of, bytes.Clone(pkt)); return nil })
		packets = append(packets, of)
	}
	return packets
}

// TestReader: frames come in the order of their numbers if that is asked for, at once or
// when those before them were waited for long enough, and then a keyframe is asked for.
func TestReader(t *testing.T) {
	frames := [][]byte{[]byte("zero"), bytes.Repeat([]byte("one"), 1000), []byte("two"), []byte("three"), []byte("four")}
	for _, c := range []struct {
		name    string
		inOrder time.Duration
		arrive  []int // frames; -1 for half of frame 1
		want    []int
		waited  time.Duration
		ask     bool
	}{
		{"in order", time.Second, []int{0, 1, 2, 3, 4}, []int{0, 1, 2, 3, 4}, 0, false},
		{"out of order, brought into it", time.Second, []int{0, 3, 2, 1, 4}, []int{0, 1, 2, 3, 4}, 0, false},
		{"out of order, as they are complete", 0, []int{0, 3, 2, 1, 4}, []int{0, 3, 2, 1, 4}, 0, false},
		{"one is lost", time.Second, []int{0, 2, 3, 4}, []int{0, 2, 3, 4}, time.Second, true},
		{"half of one is lost", 0, []int{0, -1, 2, 3, 4}, []int{0, 2, 3, 4}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seal, open := keysOf(t)
				packets := cut(t, seal, frames...)
				src := &remoteTrack{packets: make(chan []byte, 100)}
				asked := 0
				r, err := pionseal.NewReader(src, pionseal.ReaderOptions{Opener: open, InOrder: c.inOrder, Keyframe: func() { asked++ }})
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range c.arrive {
					if i < 0 {
						src.packets <- packets[1][0]
						continue
					}
					for _, pkt := range packets[i] {
						src.packets <- pkt
					}
				}
				begun := time.Now()
				for _, i := range c.want {
					f, err := r.ReadFrame()
					if err != nil || !bytes.Equal(f.Data, frames[i]) || f.Timestamp != uint32(i) || !f.Marker {
						t.Fatalf("frame %d: %v, %d bytes at %d", i, err, len(f.Data), f.Timestamp)
					}
				}
				if waited := time.Since(begun); waited < c.waited || waited > c.waited+100*time.Millisecond {
					t.Errorf("waited %v", waited)
				}
				time.AfterFunc(5*time.Second, func() { close(src.packets) })
				if _, err := r.ReadFrame(); err != io.EOF {
					t.Errorf("at the end: %v", err)
				}
				if (asked > 0) != c.ask {
					t.Errorf("asked for %d keyframes", asked)
				}
				r.Close()
				if _, err := r.ReadFrame(); !errors.Is(err, os.ErrClosed) {
					t.Errorf("closed: %v", err)
				}
			})
		})
	}
}

// TestReaderRefuses: what is in clear, forged or played again is told of, and gives no
// frame.
func TestReaderRefuses(t *testing.T) {
	seal, open := keysOf(t)
	good := cut(t, seal, []byte("a frame"))[0][0]
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	src := &remoteTrack{packets: make(chan []byte, 10)}
	for _, pkt := range [][]byte{append(bytes.Clone(good[:12]), "clear"...), forged, good, good} {
		src.packets <- pkt
	}
	close(src.packets)
	refused := 0
	r, err := pionseal.NewReader(src, pionseal.ReaderOptions{Opener: open, Refused: func(*rtpseal.Unit, error) { refused++ }})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := r.ReadFrame(); err != nil || string(f.Data) != "a frame" {
		t.Fatalf("%q, %v", f.Data, err)
	}
	if _, err := r.ReadFrame(); err != io.EOF || refused != 3 {
		t.Errorf("%v, refused %d", err, refused)
	}
	if _, err := pionseal.NewReader(nil, pionseal.ReaderOptions{Opener: open}); err == nil {
		t.Error("a Reader of nothing")
	}
	if _, err := pionseal.NewReader(src, pionseal.ReaderOptions{}); err == nil {
		t.Error("a Reader without a key")
	}
}
