package program

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGatewayMany: thousands of streams pass through one process in each direction, and
// fit into little memory. 10,000 in the long form, in at most 300 MB of resident memory
// for each process.
func TestGatewayMany(t *testing.T) {
	streams, channels := 200, 2
	if os.Getenv("CHANSEAL_LONG") != "" {
		streams, channels = 10000, 10
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < uint64(streams)+100 {
			t.Skipf("%d files may be open, and %d sockets are needed", limit.Max, streams)
		}
	}
	home := newTestRing(t)
	for i := range channels {
		runHere(t, home, "channel", "create", fmt.Sprintf("room-%d", i))
	}
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	sink.SetReadBuffer(4 << 20)
	at := func(side, i int) string { return fmt.Sprintf("127.%d.%d.%d:5004", 70+side, i/250, 1+i%250) }
	type stream struct {
		Channel string `json:"channel"`
		Sender  int    `json:"sender"`
		Listen  string `json:"listen"`
		To      string `json:"to"`
		Mux     bool   `json:"rtcp_mux"`
	}
	pids := map[string]int{}
	for _, direction := range []string{"open", "seal"} {
		var all []stream
		for i := range streams {
			s := stream{Channel: fmt.Sprintf("room-%d", i%channels), Sender: i / channels % 10, Listen: at(1, i), To: sink.LocalAddr().String(), Mux: true}
			if direction == "seal" {
				s.Listen, s.To = at(0, i), at(1, i)
			}
			all = append(all, s)
		}
		file := filepath.Join(t.TempDir(), direction+".json")
		data, err := json.Marshal(map[string]any{"streams": all})
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(file, data, 0o600)
		pids[direction] = process(t, home, "gateway", direction, "--config", file)
	}
	src, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	pkt, buf := append(rtpPacket(0, ""), make([]byte, 900)...), make([]byte, 2048)
	for round := range uint16(3) {
		binary.BigEndian.PutUint16(pkt[2:], round)
		for i := range streams {
			binary.BigEndian.PutUint32(pkt[8:], uint32(i))
			to, _ := net.ResolveUDPAddr("udp4", at(0, i))
			if _, err := src.WriteToUDP(pkt, to); err != nil {
				t.Fatal(err)
			}
			sink.SetReadDeadline(time.Now().Add(20 * time.Second))
			n, err := sink.Read(buf)
			if err != nil || !bytes.Equal(buf[:n], pkt) {
				t.Fatalf("round %d, stream %d: %v, %d bytes", round, i, err, n)
			}
		}
	}
	for direction, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); f[0] == "VmHWM:" {
				kb, _ := strconv.Atoi(f[1])
				t.Logf("%s: %d streams in %d MB at most", direction, streams, kb/1000)
				if kb > 300_000 {
					t.Errorf("%s: %d streams take %d MB, more than 300", direction, streams, kb/1000)
				}
			}
		}
	}
}

// process runs the program in a process of its own until the test ends, and waits until
// it says that it runs.
func process(t *testing.T, home string, args ...string) (pid int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "chanseal")
	if err := os.Symlink(self, path); err != nil { // testscript makes the test binary the program
		t.Fatal(err)
	}
	c := exec.CommandContext(context.Background(), path, args...)
	c.Env = append(os.Environ(), "CHANSEAL_RING="+home)
	errs, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var log bytes.Buffer
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(errs); s.Scan(); {
			fmt.Fprintln(&log, s.Text())
			if strings.Contains(s.Text(), "running") {
				close(ready)
			}
		}
		c.Wait()
	}()
	t.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("%v: %s", args, log.String())
	}
	return c.Process.Pid
}
