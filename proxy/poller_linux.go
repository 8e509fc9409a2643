//go:build linux && (amd64 || arm64)

package proxy

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller reads from the sockets of both sides and sends to the others: one wait, one
// batch for both directions.
type poller struct {
	fd   int // epoll of all sockets, edge-triggered: each is read until it is empty
	wake int // eventfd that ends the loop
	gate gate

	events []unix.EpollEvent
	again  []int32       // sockets that were not read until they were empty
	ended  chan struct{} // closed at the end of the loop

	mu      sync.RWMutex
	sources []source // by descriptor

	in  *batch // from clients
	out *batch // from peers, on their way to clients
	n   int    // packets in out
	to  []*client
	run []mmsghdr
}

// source is whose descriptor is ready.
type source struct {
	relay *relay
	front *front
	again bool // it is in the poller's list; the loop's
}

func newPollers() ([]*poller, error) {
	var list []*poller
	for range max(1, min(runtime.NumCPU()/2, 8)) {
		p, err := newPoller()
		if err != nil {
			for _, p := range list {
				p.close()
			}
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func newPoller() (*poller, error) {
	p := &poller{ended: make(chan struct{}), in: newBatch(frontBatch), out: newBatch(pollerBatch), to: make([]*client, pollerBatch),
		run: make([]mmsghdr, 0, pollerBatch), events: make([]unix.EpollEvent, pollerBatch)}
	var err error
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.wake)}
	if err = unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, p.wake, &e); err == nil {
		err = p.gate.open(p.fd)
	}
	if err != nil {
		unix.Close(p.fd)
		unix.Close(p.wake)
		return nil, err
	}
	go p.loop()
	return p, nil
}

// close ends the loop and waits for it.
func (p *poller) close() {
	unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-p.ended
}

func (p *poller) add(fd int, x source) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for fd >= len(p.sources) {
		p.sources = append(p.sources, make([]source, max(64, len(p.sources)))...)
	}
	p.sources[fd] = x
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		p.sources[fd] = source{}
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

func (p *poller) remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sources[fd] != (source{}) {
		p.sources[fd] = source{}
		unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
	}
}

// wait returns how many events there are. It waits for one, unless there is something to
// read in any case.
func (p *poller) wait() (int, error) {
	if len(p.again) > 0 {
		return epollWait(p.fd, p.events), nil
	}
	return p.gate.wait(p.events)
}

// loop waits for packets and hands them on.
func (p *poller) loop() {
	defer close(p.ended)
	for {
		n, err := p.wait()
		if err != nil {
			return
		}
		now := time.Now().UnixNano()
		again := p.again
		p.again = nil
		p.mu.RLock()
		for _, fd := range again {
			p.sources[fd].again = false
			p.read(fd, now)
		}
		for i := range n {
			if int(p.events[i].Fd) == p.wake {
				p.mu.RUnlock()
				p.gate.close()
				unix.Close(p.fd)
				unix.Close(p.wake)
				return
			}
			p.read(p.events[i].Fd, now)
		}
		p.mu.RUnlock()
		p.flush()
	}
}

// read takes what is there from one socket. The lock is held for reading, so that the
// socket stays open.
func (p *poller) read(fd int32, now int64) {
	x := &p.sources[fd]
	left := false
	switch {
	case x.relay != nil:
		left = p.readRelay(uintptr(fd), x.relay, now)
	case x.front != nil:
		left = p.readFront(uintptr(fd), x.front, now)
	}
	if left && !x.again { // once: an event may have it read twice in a round
		x.again = true
		p.again = append(p.again, fd)
	}
}

// readFront takes what clients sent and sends it on. It reports whether there is more.
func (p *poller) readFront(fd uintptr, f *front, now int64) (more bool) {
	n, more := p.in.recv(fd, 0, frontBatch)
	for i := range n {
		m := &p.in.msgs[i]
		b := p.in.slot(i)[headroom : headroom+m.len]
		if m.hdr.Flags&unix.MSG_TRUNC == 0 {
			f.receive(b, p.in.names[i].addrPort(), now)
		}
		clear(b)
	}
	p.in.arm(0, n)
	return more
}

// readRelay takes what peers sent to a relay and queues it for its client. It reports
// whether there is more.
func (p *poller) readRelay(fd uintptr, r *relay, now int64) (more bool) {
	if p.n+relayBatch > pollerBatch {
		p.flush()
	}
	first := p.n
	n, more := p.out.recv(fd, first, relayBatch)
	for i := first; i < first+n; i++ {
		m := &p.out.msgs[i]
		size := int(m.len)
		slot := p.out.slot(i)
		var c *client
		begin, end := headroom, headroom+size
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			r.sess.traffic.dropped.Add(1)
		} else {
			c, begin, end = r.wrap(slot, size, p.out.names[i].addrPort(), now)
		}
		switch {
		case c == nil:
			clear(slot[headroom : headroom+size])
		case c.stream != nil:
			c.stream.push(slot[begin:end])
			clear(slot[begin:end])
		default:
			p.place(i, c, begin, end)
		}
	}
	p.out.arm(p.n, first+n-p.n) // what is in the queue is armed when it has left
	return more
}

// place puts the packet of slot i into the queue. The queue is dense: behind a packet
// that went nowhere, the bytes move to the slot before.
func (p *poller) place(i int, c *client, begin, end int) {
	slot := p.out.slot(p.n)
	if i != p.n {
		from := p.out.slot(i)
		copy(slot[begin:end], from[begin:end])
		clear(from[begin:end])
	}
	p.out.iovs[p.n].Base = &slot[begin]
	p.out.iovs[p.n].SetLen(end - begin)
	p.to[p.n] = c
	p.n++
}

// flush sends what is queued, one call for each front, and wipes it.
func (p *poller) flush() {
	for done := 0; done < p.n; {
		var f *front
		p.run = p.run[:0]
		for i, c := range p.to[:p.n] {
			if c == nil || f != nil && c.front != f {
				continue
			}
			f = c.front
			m := mmsghdr{hdr: p.out.msgs[i].hdr}
			m.hdr.Name, m.hdr.Namelen, m.hdr.Flags = &c.name.raw[0], c.name.len, 0
			p.run = append(p.run, m)
			p.to[i] = nil
			done++
		}
		sendmmsg(uintptr(f.in.fd), p.run)
		clear(p.run)
	}
	for i := range p.n {
		v := p.out.iovs[i]
		clear(unsafe.Slice(v.Base, v.Len))
	}
	p.out.arm(0, p.n)
	p.n = 0
}

// epollWait returns how many events there are, without waiting.
func epollWait(fd int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// gate is how a loop waits without a thread of its own: in Go's poller, as every
// goroutine does that reads from the network. An epoll descriptor can stand in another,
// but if the loop's stood in Go's, each packet would wake one of Go's threads, while the
// loop runs as well. So between them is one that lets a single event through for each
// wait.
type gate struct {
	fd, inner int
	raw       syscall.RawConn // fd in Go's poller
	file      *os.File
	opened    bool // an event may come through
	events    []unix.EpollEvent
	n         int
	ask       func(uintptr) bool // ready, bound once
}

func (g *gate) open(inner int) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	e := unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(inner)}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, inner, &e); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	unix.SetNonblock(fd, true) // or os.NewFile would not hand it to Go's poller
	g.fd, g.inner, g.ask = fd, inner, g.ready
	g.file = os.NewFile(uintptr(fd), "epoll")
	g.raw, err = g.file.SyscallConn()
	return err
}

func (g *gate) close() { g.file.Close() }

// wait waits for events of the inner descriptor.
func (g *gate) wait(events []unix.EpollEvent) (int, error) {
	g.events = events
	err := g.raw.Read(g.ask)
	return g.n, err
}

// fewEvents at a time, and the next one will not be there already.
const fewEvents = 4

// ready looks for events and, if there are none, opens the gate.
func (g *gate) ready(uintptr) bool {
	look := g.n >= fewEvents
	if g.opened {
		var e [1]unix.EpollEvent
		g.opened, look = epollWait(g.fd, e[:]) == 0, true
	}
	g.n = 0
	if look {
		if g.n = epollWait(g.inner, g.events); g.n > 0 {
			return true
		}
	}
	if !g.opened { // an event that is there already comes through at once
		e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(g.inner)}
		g.opened = unix.EpollCtl(g.fd, unix.EPOLL_CTL_MOD, g.inner, &e) == nil
	}
	return false
}
