package program

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// background runs a command of the program until the test ends, and waits for it to say
// that it runs.
func background(t *testing.T, home string, args ...string) (stderr func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	errs := &locked{said: make(chan struct{})}
	p := &program{stdin: strings.NewReader(""), stdout: errs, stderr: errs, home: home}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, args) }()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitDone {
			t.Errorf("%v: exit status %d\n%s", args, code, errs.String())
		}
	})
	select {
	case <-errs.said:
	case code := <-ended:
		ended <- code
		t.Fatalf("%v: exit status %d\n%s", args, code, errs.String())
	case <-time.After(20 * time.Second):
		t.Fatalf("%v: does not start\n%s", args, errs.String())
	}
	return errs.String
}

// locked is a buffer for two goroutines, which closes said when it gets "running".
type locked struct {
	mu   sync.Mutex
	b    bytes.Buffer
	said chan struct{}
	once sync.Once
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(p, []byte("running")) {
		l.once.Do(func() { close(l.said) })
	}
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// freePorts finds n even ports, free with those above them.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for try := 0; len(ports) < n; try++ {
		if try > 1000 {
			t.Fatal("no free ports")
		}
		a, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		port := a.LocalAddr().(*net.UDPAddr).Port
		if port%2 != 0 {
			continue
		}
		b, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port + 1})
		if err != nil {
			continue
		}
		defer b.Close()
		ports = append(ports, port)
	}
	return ports
}

func newTestRing(t *testing.T) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "ring")
	runHere(t, home, "channel", "create", "stage")
	return home
}

func runHere(t *testing.T, home string, args ...string) {
	t.Helper()
	var errs bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &errs, stderr: &errs, home: home}
	if code := p.run(t.Context(), args); code != exitDone {
		t.Fatalf("%v: %d: %s", args, code, errs.String())
	}
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// hashes are the hashes of a recording's frames, or, of H.264 and H.265, whose NAL units
// are wrapped differently in each container, of the pictures.
func hashes(t *testing.T, path string, stream string) (all []string) {
	t.Helper()
	args := []string{"-nostdin", "-v", "error", "-i", path, "-map", "0:" + stream}
	if !strings.Contains(path, "h26") {
		args = append(args, "-c", "copy")
	}
	for line := range strings.Lines(tool(t, "ffmpeg", append(args, "-f", "framehash", "-")...)) {
		if f := strings.Fields(line); !strings.HasPrefix(line, "#") && len(f) > 5 {
			all = append(all, strings.TrimSuffix(f[5], ","))
		}
	}
	return all
}

// TestGatewayFFmpeg: ffmpeg sends clips through both gateways to a second ffmpeg, and
// what that records equals what it was, frame for frame, packets over the MTU and whole
// frames included.
func TestGatewayFFmpeg(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not here")
	}
	media, _ := filepath.Abs("../../testdata/media")
	home := newTestRing(t)
	for i, c := range []struct{ name, clip, stream, packet, frames string }{
		{"vp8 in pieces", "vp8-opus.webm", "v", "1400", ""},
		{"h264", "h264-opus.mkv", "v", "1400", ""},
		{"opus by frames", "vp8-opus.webm", "a", "1200", "opus"},
		{"vp8", "vp8-opus.webm", "v", "1100", ""}, // from here on, and those above, in the long form
		{"vp8 by frames", "vp8-opus.webm", "v", "1400", "vp8"},
		{"h264 by frames", "h264-opus.mkv", "v", "1400", "h264"},
		{"h265", "h265-opus.mkv", "v", "1400", ""},
		{"h265 by frames", "h265-opus.mkv", "v", "1400", "h265"},
		{"opus", "vp8-opus.webm", "a", "1200", ""},
	} {
		if i > 2 && os.Getenv("CHANSEAL_LONG") == "" {
			break
		}
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			clip := filepath.Join(media, c.clip)
			want := hashes(t, clip, c.stream)
			ports := freePorts(t, 3)
			at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
			args := func(a ...string) []string {
				if c.frames != "" {
					a = append(a, "--per-frame", c.frames)
				}
				return a
			}
			background(t, home, args("gateway", "open", "--channel", "stage", "--listen", at(1), "--to", at(2))...)
			background(t, home, args("gateway", "seal", "--channel", "stage", "--sender", "7", "--listen", at(0), "--to", at(1))...)
			sdp, rec := filepath.Join(dir, "clip.sdp"), filepath.Join(dir, "rec.mkv")
			if strings.HasPrefix(c.name, "h26") { // Matroska wants times that RTP does not give
				rec = filepath.Join(dir, "rec."+c.name[:4])
			}
			tool(t, "ffmpeg", "-nostdin", "-v", "error", "-i", clip, "-map", "0:"+c.stream, "-c", "copy", "-t", "0", "-strict", "experimental", "-f", "rtp", "-sdp_file", sdp, "rtp://"+at(2))
			record := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-v", "info", "-protocol_whitelist", "file,udp,rtp", "-i", sdp, "-map", "0", "-c", "copy",
				"-frames:"+c.stream, fmt.Sprint(len(want)), rec)
			var log bytes.Buffer
			record.Stdout, record.Stderr = &log, &log
			if err := record.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- record.Wait() }()
			waitBound(t, ports[2])
			tool(t, "ffmpeg", "-nostdin", "-v", "error", "-readrate", "6", "-i", clip, "-map", "0:"+c.stream, "-c", "copy", "-strict", "experimental", "-f", "rtp", "rtp://"+at(0)+"?pkt_size="+c.packet)
			select {
			case err := <-ended:
				if err != nil {
					t.Fatalf("%v\n%s", err, log.String())
				}
			case <-time.After(20 * time.Second):
				record.Process.Kill()
				<-ended
				t.Fatalf("the recorder got less than %d frames\n%s", len(want), log.String())
			}
			got := hashes(t, rec, c.stream)
			if len(want) < 20 || strings.Join(got, "\n") != strings.Join(want, "\n") {
				i := 0
				for i < min(len(got), len(want)) && got[i] == want[i] {
					i++
				}
				t.Errorf("recorded %d frames that differ from the %d sent, from frame %d on", len(got), len(want), i)
			}
		})
	}
}

// waitBound waits until somebody listens at a port.
func waitBound(t *testing.T, port int) {
	t.Helper()
	for range 2000 {
		if bound(port) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nobody listens at port %d", port)
}

// bound reports whether somebody has a port of UDP. Where the kernel's table can be read
// the port is not taken to find out: whoever is about to listen would fail.
func bound(port int) bool {
	if table, err := os.ReadFile("/proc/net/udp"); err == nil {
		return bytes.Contains(table, fmt.Appendf(nil, ":%04X 00000000:0000 ", port))
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err == nil {
		c.Close()
	}
	return err != nil
}

// TestGatewayRotation: the channel is rotated again and again while packets pass, by
// another program on the same ring, and none is lost; garbage beside them changes
// nothing. Then a channel that both do not share: nothing passes.
func TestGatewayRotation(t *testing.T) {
	home := newTestRing(t)
	ports := freePorts(t, 2)
	dst, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	dst.SetReadBuffer(4 << 20)
	background(t, home, "gateway", "open", "--channel", "stage", "--listen", fmt.Sprintf("127.0.0.1:%d", ports[1]), "--to", dst.LocalAddr().String(), "--rtcp-mux")
	background(t, home, "gateway", "seal", "--channel", "stage", "--listen", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--to", fmt.Sprintf("127.0.0.1:%d", ports[1]), "--rtcp-mux", "--metrics", "127.0.0.1:0")
	src, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	junk, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", ports[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	var rotating sync.WaitGroup
	rotating.Go(func() {
		for range 5 {
			runHere(t, home, "channel", "rotate", "stage")
		}
	})
	done := make(chan struct{})
	go func() { rotating.Wait(); close(done) }()
	buf := make([]byte, 2048)
	n, after := 0, 0
	for ; after < 1000; n++ {
		select {
		case <-done:
			after++
		default:
		}
		pkt := make([]byte, 200)
		pkt[0], pkt[1] = 0x80, 96
		binary.BigEndian.PutUint16(pkt[2:], uint16(n))
		binary.BigEndian.PutUint64(pkt[12:], uint64(n))
		junk.Write(append([]byte{0x80, 96, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xE0, 0x17}, pkt[:100]...))
		if _, err := src.Write(pkt); err != nil {
			t.Fatal(err)
		}
		dst.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, err := dst.Read(buf)
		if err != nil || !bytes.Equal(buf[:got], pkt) {
			t.Fatalf("packet %d: %v, %d bytes", n, err, got)
		}
	}
	t.Logf("%d packets through 5 rotations", n)
}

// TestGatewayRecipe runs the README's recipe as it is printed.
func TestGatewayRecipe(t *testing.T) {
	for _, need := range []string{"ffmpeg", "bash"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%s is not here", need)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var recipe string
	for i, block := range strings.Split(string(readme), "```") {
		if i%2 == 1 && strings.Contains(block, "gateway seal") {
			recipe = block
		}
	}
	if recipe == "" {
		t.Fatal("README.md has no recipe with gateway seal")
	}
	for _, port := range []int{5004, 6004, 7004} {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Skipf("port %d is taken: the recipe needs it", port)
		}
		c.Close()
	}
	dir := t.TempDir()
	clip, err := os.ReadFile("demo/talk.webm")
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "talk.webm"), clip, 0o600)
	self, _ := os.Executable()
	os.Symlink(self, filepath.Join(dir, "chanseal")) // testscript makes the test binary the program
	home := newTestRing(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-c", "set -m; trap 'kill $(jobs -p)' EXIT\n"+recipe+"\nwait %3 2>/dev/null || true")
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CHANSEAL_RING="+home)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, want := hashes(t, filepath.Join(dir, "recorded.mkv"), "v"), hashes(t, filepath.Join(dir, "talk.webm"), "v")
	if len(want) == 0 || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded %d frames that differ from the %d sent", len(got), len(want))
	}
}
