package proxy

import (
	"net"
	"sync"
	"time"
)

// Payload on its way to somebody who reads slowly waits in two places: in a queue of ours,
// and in the kernel's buffer of a TCP connection. Neither may keep it for long: media that
// is seconds late is worth nothing, and the proxy is no store. A connection that takes
// nothing for so long is reset, and what waited for it is gone.
const (
	// maxOwnQueueTime and maxKernelTime are at most 10 seconds together.
	maxOwnQueueTime = 4 * time.Second
	maxKernelTime   = 6 * time.Second

	// maxEndedTime is how long what waits may outlive its allocation, when its client
	// keeps the connection. It is a little less than the second that is allowed.
	maxEndedTime = 900 * time.Millisecond

	backlogTick = time.Second
)

// backlogs watches what waits in the kernel for the peers of connections. It may be used
// by many goroutines.
type backlogs struct {
	mu   sync.Mutex
	list map[*backlog]struct{}
}

// backlog is what waits in the kernel for the peer of a connection.
type backlog struct {
	tcp  *net.TCPConn
	over func() // called once when something has waited for too long

	ends [int(maxKernelTime/backlogTick) - 1]uint64 // where what was written ended, at each tick
	n    int
}

// watch watches a connection until stop is called. over is called when its peer takes
// too little.
func (b *backlogs) watch(c net.Conn, over func()) (stop func()) {
	tcp := tcpOf(c)
	if tcp == nil {
		return func() {}
	}
	w := &backlog{tcp: tcp, over: over}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.list == nil {
		b.list = map[*backlog]struct{}{}
	}
	b.list[w] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.list, w)
	}
}

// tick looks at all connections. It is called each second.
func (b *backlogs) tick() {
	var late []*backlog
	b.mu.Lock()
	for w := range b.list {
		if acked, waiting, ok := tcpProgress(w.tcp); ok && w.isLate(acked, waiting) {
			late = append(late, w)
			delete(b.list, w)
		}
	}
	b.mu.Unlock()
	for _, w := range late {
		w.over()
	}
}

// isLate reports whether something has waited for so many ticks. acked is what the peer
// has acknowledged in all, waiting what it has not.
func (w *backlog) isLate(acked, waiting uint64) bool {
	if waiting == 0 {
		w.n = 0
		return false
	}
	if w.n == len(w.ends) {
		if acked < w.ends[0] {
			return true
		}
		copy(w.ends[:], w.ends[1:])
		w.n--
	}
	w.ends[w.n] = acked + waiting
	w.n++
	return false
}

// watchBacklogs runs until the server is closed.
func (s *Server) watchBacklogs() {
	t := time.NewTicker(backlogTick)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
			s.backlogs.tick()
		}
	}
}

// discard closes a connection. What waits in the kernel for its peer goes at once: a mere
// Close would have the kernel go on sending it.
func discard(c net.Conn) error {
	if tcp := tcpOf(c); tcp != nil {
		if _, waiting, ok := tcpProgress(tcp); ok && waiting > 0 {
			tcp.SetLinger(0)
			tcp.Close() // before TLS wants to say good-bye, for which it may wait
		}
	}
	return c.Close()
}

// tcpOf finds the TCP connection under TLS and wrappers.
func tcpOf(c net.Conn) *net.TCPConn {
	for {
		switch x := c.(type) {
		case *net.TCPConn:
			return x
		case interface{ NetConn() net.Conn }:
			c = x.NetConn()
		default:
			return nil
		}
	}
}
