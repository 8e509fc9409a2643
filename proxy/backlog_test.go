package proxy

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestBacklogIsLate: what was there at a tick must be acknowledged when as many have passed
// as may, whatever came behind it.
func TestBacklogIsLate(t *testing.T) {
	type look struct{ acked, waiting uint64 }
	ticks := len(backlog{}.ends)
	if d := time.Duration(ticks+1)*backlogTick + maxOwnQueueTime; d > 10*time.Second {
		t.Errorf("payload waits for up to %s", d)
	}
	for name, c := range map[string]struct {
		looks func(i int) look
		late  int // at which tick, -1 for never
	}{
		"nothing waits":                 {func(int) look { return look{} }, -1},
		"nothing is taken":              {func(int) look { return look{100, 1} }, ticks},
		"nothing is taken, more comes":  {func(i int) look { return look{100, uint64(i) + 1} }, ticks},
		"all is taken, as much waits":   {func(i int) look { return look{uint64(i) * 100, 100} }, -1},
		"a little is taken":             {func(i int) look { return look{uint64(i), 1000 - uint64(i)} }, ticks},
		"it is taken just in time":      {func(i int) look { return look{uint64(i / ticks * 1000), 1000} }, -1},
		"all is taken at once, then no": {func(i int) look { return look{7, uint64(i % ticks)} }, -1},
	} {
		w, late := &backlog{}, -1
		for i := range 10 * ticks {
			if l := c.looks(i); w.isLate(l.acked, l.waiting) {
				late = i
				break
			}
		}
		if late != c.late {
			t.Errorf("%s: late at tick %d, want %d", name, late, c.late)
		}
	}
}

// tcpPair is a connection of the proxy, and its peer's end.
func tcpPair(t *testing.T) (ours, peers *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan net.Conn, 1)
	go func() {
		c, _ := net.Dial("tcp4", l.Addr().String())
		dialled <- c
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := <-dialled
	if p == nil {
		t.Fatal("not connected")
	}
	t.Cleanup(func() { c.Close(); p.Close() })
	return c.(*net.TCPConn), p.(*net.TCPConn)
}

// fill writes until nothing more is taken.
func fill(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.Write(make([]byte, 64<<20)); err == nil {
		t.Fatal("all was taken")
	}
}

// wasReset reports whether a connection ends by a reset, and not in good order.
func wasReset(c *net.TCPConn) bool {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := io.Copy(io.Discard, c)
	return errors.Is(err, syscall.ECONNRESET)
}

// TestBacklog: a connection whose peer takes nothing is over after some ticks, and what
// waits for it is thrown away by the kernel, too.
func TestBacklog(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("what the kernel keeps is known on Linux")
	}
	ours, peers := tcpPair(t)
	idle, _ := tcpPair(t)
	var b backlogs
	over := 0
	b.watch(ours, func() { over++; discard(ours) })
	stop := b.watch(idle, func() { t.Error("nothing waits, and a connection is over") })
	fill(t, ours)
	for i := range len(backlog{}.ends) + 3 {
		if was := over; i < len(backlog{}.ends) && was != 0 {
			t.Errorf("over at tick %d", i)
		}
		b.tick()
	}
	if over != 1 {
		t.Errorf("over was called %d times", over)
	}
	stop()
	if len(b.list) != 0 {
		t.Errorf("%d connections are still watched", len(b.list))
	}
	if !wasReset(peers) {
		t.Error("the kernel went on sending")
	}
}

// TestEndedStream: a client that keeps its connection when its allocation is over, and
// takes nothing, loses the connection with what waits for it; one that reads keeps it.
func TestEndedStream(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("what the kernel keeps is known on Linux")
	}
	l := newLab(t, nil)
	connect := func() (s *stream, client *net.TCPConn) {
		ours, client := tcpPair(t)
		s = newStream(l.Server, ours, false)
		s.onClose = func() {}
		for range 100 {
			s.push(make([]byte, 1000))
		}
		return s, client
	}
	dead := func(s *stream) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.dead
	}
	reads, readsClient := connect()
	silent, silentClient := connect()
	fill(t, silent.Conn.(*net.TCPConn))
	if _, err := io.CopyN(io.Discard, readsClient, 100*1000); err != nil {
		t.Fatal(err)
	}
	reads.ended()
	silent.ended()
	l.eventually("the silent client is off", func() bool { return dead(silent) })
	if !wasReset(silentClient) {
		t.Error("the kernel went on sending")
	}
	if dead(reads) {
		t.Error("a client that took all is off")
	}
	reads.Close()
}
