package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/proxy"
)

// memory reads what a process has written to its memory.
func memory(t *testing.T, pid int) []byte {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Skip(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Skip(err)
	}
	defer mem.Close()
	var all []byte
	for s := bufio.NewScanner(bytes.NewReader(maps)); s.Scan(); {
		var from, to int64
		var mode string
		fmt.Sscanf(s.Text(), "%x-%x %s", &from, &to, &mode)
		if !strings.HasPrefix(mode, "rw") || to-from > 256<<20 {
			continue
		}
		b := make([]byte, to-from)
		n, _ := io.ReadFull(io.NewSectionReader(mem, from, to-from), b)
		all = append(all, b[:n]...)
	}
	return all
}

// startProxy runs the program's proxy in a process of its own and returns its ports.
func startProxy(t *testing.T) (edge, secure string, pid int) {
	t.Helper()
	bin, env := asProgram(t)
	users := filepath.Join(t.TempDir(), "users")
	os.WriteFile(users, []byte("name-that-is-there:password\n"), 0o600)
	free := func() string {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	edge, secure = free(), free()
	srv := exec.Command(bin, "proxy", "-q", "--static-user-file", users, "--relay-address", "127.0.0.1", "--listen-address", "127.0.0.1", "--media", "127.0.0.1",
		"--control-ports", "none", "--media-ports", "none", "--socks-ports", "none", "--edge-ports", edge, "--tls-ports", secure, "--drain-time", "1ms")
	srv.Env = env
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Process.Signal(os.Interrupt); srv.Wait() })
	for { // until it listens
		c, err := net.Dial("tcp", "127.0.0.1:"+edge)
		if err == nil {
			c.Close()
			return edge, secure, srv.Process.Pid
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestAllocationMemory: an allocation costs the proxy at most 20 KiB.
func TestAllocationMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	if raceflag.Enabled {
		t.Skip("the race detector has memory of its own")
	}
	edge, _, pid := startProxy(t)
	rss := func() (kib int) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Skip(err)
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				fmt.Sscan(rest, &kib)
			}
		}
		return kib
	}
	allocate := func() {
		base, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { base.Close() })
		client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: "127.0.0.1:" + edge, Conn: base, Username: "name-that-is-there", Password: "password", Realm: "chanseal"})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Listen(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Allocate(); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 { // what is needed once
		allocate()
	}
	const n = 1000
	before, began := rss(), time.Now()
	for range n {
		allocate()
	}
	each := float64(rss()-before) / n
	t.Logf("%.1f KiB an allocation; %d one after the other in %s", each, n, time.Since(began).Round(time.Millisecond))
	if each > 20 {
		t.Errorf("%.1f KiB an allocation", each)
	}
}

// TestHeap: no payload is left in the proxy's memory one second after the end of its
// allocation, but for single records in buffers of crypto/tls that nobody else gets at. It
// decrypts where it has read, so the last record stays. And it seals in a buffer out of a
// sync.Pool, to which it appends the plaintext first: where a new buffer has no room for
// the tag, cipher.AEAD.Seal allocates another and leaves the plaintext behind, once for
// each new buffer. That the search finds what is there is shown by the user's name.
func TestHeap(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	if raceflag.Enabled {
		t.Skip("under the race detector a sync.Pool drops one of four buffers, so that crypto/tls makes new ones all the time, and leaves a plaintext for each")
	}
	edge, secure, pid := startProxy(t)
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := peer.ReadFrom(b)
			if err != nil {
				return
			}
			peer.WriteTo(b[:n], from)
		}
	}()
	marker := func(over string) []byte {
		return []byte("a frame over " + over + strings.Repeat(" that is known", 20))
	}
	use := func(over string) error {
		var base net.PacketConn
		port := edge
		switch over {
		case "udp":
			c, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			base = c
		case "tcp":
			c, err := net.Dial("tcp", "127.0.0.1:"+edge)
			if err != nil {
				return err
			}
			base = proxy.Framed(c)
		case "tls":
			port = secure
			c, err := tls.Dial("tcp", "127.0.0.1:"+secure, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				return err
			}
			base = proxy.Framed(c)
		}
		defer base.Close()
		client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: "127.0.0.1:" + port, Conn: base, Username: "name-that-is-there", Password: "password", Realm: "chanseal"})
		if err != nil {
			return err
		}
		defer client.Close()
		if err := client.Listen(); err != nil {
			return err
		}
		c, err := client.Allocate()
		if err != nil {
			return err
		}
		defer c.Close()
		got := make([]byte, 2000)
		for i := range 50 {
			if _, err := c.WriteTo(marker(over), peer.LocalAddr()); err != nil {
				return err
			}
			c.SetReadDeadline(time.Now().Add(2 * time.Second))
			if n, _, err := c.ReadFrom(got); err != nil || !bytes.Equal(got[:n], marker(over)) {
				return fmt.Errorf("frame %d: %w", i, err)
			}
		}
		return nil
	}
	for _, over := range []string{"udp", "tcp", "tls"} {
		if err := use(over); err != nil {
			t.Fatalf("%s: %v", over, err)
		}
	}
	time.Sleep(time.Second) // the second that the requirement allows
	all := memory(t, pid)
	if !bytes.Contains(all, []byte("name-that-is-there")) {
		t.Fatal("the search does not find what is there")
	}
	for _, over := range []string{"udp", "tcp", "tls"} {
		left := 0
		if over == "tls" {
			left = 4 // the last record that was read, and those of new buffers
		}
		if n := bytes.Count(all, marker(over)[:40]); n > left {
			t.Errorf("%s: %d copies of the frame are left in memory", over, n)
		}
	}
}
