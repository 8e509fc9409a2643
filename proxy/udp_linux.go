//go:build linux && (amd64 || arm64)

package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Many packets a system call. Sockets are owned here and not by package net where
// there is one a client, so that an allocation costs a descriptor and little else.

const (
	frontBatch  = 64   // packets that are read from clients at once
	relayBatch  = 8    // packets that are read from one peer socket at once
	pollerBatch = 128  // packets that wait for their clients
	slotLen     = 4096 // room for a packet with headers; what is longer is dropped
)

// sockaddr is an address as the kernel takes it.
type sockaddr struct {
	raw [unix.SizeofSockaddrInet6]byte
	len uint32
}

// makeSockaddr writes an address for a socket of IPv6 or IPv4.
func makeSockaddr(a netip.AddrPort, v6 bool) (s sockaddr) {
	if v6 {
		binary.NativeEndian.PutUint16(s.raw[:], unix.AF_INET6)
		ip := a.Addr().As16()
		copy(s.raw[8:], ip[:])
		s.len = unix.SizeofSockaddrInet6
	} else {
		binary.NativeEndian.PutUint16(s.raw[:], unix.AF_INET)
		ip := a.Addr().Unmap().As4()
		copy(s.raw[4:], ip[:])
		s.len = unix.SizeofSockaddrInet4
	}
	binary.BigEndian.PutUint16(s.raw[2:], a.Port())
	return s
}

// addrPort reads an address that the kernel wrote.
func (s *sockaddr) addrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(s.raw[2:])
	if binary.NativeEndian.Uint16(s.raw[:]) == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(s.raw[8:24])).Unmap(), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s.raw[4:8])), port)
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// batch is packets with their addresses. Its pointers point into itself and to what
// lives as long.
type batch struct {
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names []sockaddr
	data  []byte // slots
}

func newBatch(n int) *batch {
	b := &batch{msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n), names: make([]sockaddr, n), data: make([]byte, n*slotLen)}
	for i := range b.msgs {
		b.msgs[i].hdr.Iov = &b.iovs[i]
		b.msgs[i].hdr.SetIovlen(1)
	}
	return b
}

func (b *batch) slot(i int) []byte { return b.data[i*slotLen : (i+1)*slotLen] }

// arm makes slots ready to receive at headroom.
func (b *batch) arm(first, n int) {
	for i := first; i < first+n; i++ {
		slot := b.slot(i)
		b.iovs[i].Base = &slot[headroom]
		b.iovs[i].SetLen(slotLen - headroom - 4)
		b.msgs[i].hdr.Name = &b.names[i].raw[0]
		b.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		b.msgs[i].hdr.Flags = 0
	}
}

// recv reads up to n packets into the slots from first on, without waiting. It returns
// 0 if there is none.
func (b *batch) recv(fd uintptr, first, n int) (int, syscall.Errno) {
	for {
		got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[first])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(got), 0
		case unix.EINTR, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH: // the last three: answers to what was sent
			continue
		}
		return 0, errno
	}
}

// sendmmsg sends packets without waiting; what does not fit into the socket's buffer
// is lost, as UDP is.
func sendmmsg(fd uintptr, msgs []mmsghdr) {
	for len(msgs) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			n = 1 // that one failed: go on behind it
		}
		msgs = msgs[n:]
	}
}

// inbox is a front's socket as pollers use it.
type inbox struct {
	fd int
	v6 bool
}

// open takes the descriptor. It stays open as long as the pollers run: Close ends them
// before it closes fronts.
func (in *inbox) open(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		in.fd = int(fd)
		domain, _ := unix.GetsockoptInt(in.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		in.v6 = domain == unix.AF_INET6
	})
}

// start lets a poller read what clients send.
func (f *front) start(p *poller) error { return p.add(f.in.fd, source{front: f}) }

// relaySocket faces the media network.
type relaySocket struct {
	mu sync.RWMutex // held for reading while fd is in use
	fd int          // -1: closed
	v6 bool
	p  *poller
}

// boundSocket is a socket that has an address and no relay yet.
type boundSocket struct {
	fd int
	v6 bool
}

func (b boundSocket) close() { unix.Close(b.fd) }

// bindSocket opens a socket at an address.
func bindSocket(a netip.AddrPort) (boundSocket, error) {
	b := boundSocket{v6: a.Addr().Is6()}
	family := unix.AF_INET
	if b.v6 {
		family = unix.AF_INET6
	}
	var err error
	if b.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return b, os.NewSyscallError("socket", err)
	}
	if b.v6 {
		unix.SetsockoptInt(b.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, relayBuffer)
	unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, relayBuffer)
	name := makeSockaddr(a, b.v6)
	if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(b.fd), uintptr(unsafe.Pointer(&name.raw)), uintptr(name.len)); errno != 0 {
		b.close()
		return b, os.NewSyscallError("bind", errno)
	}
	return b, nil
}

// useSocket gives a relay its socket, or closes it. What came before the relay was there
// is nobody's.
func (r *relay) useSocket(b boundSocket, p *poller) error {
	s := &r.sock
	s.v6, s.p, s.fd = b.v6, p, b.fd
	if err := p.add(b.fd, source{relay: r}); err != nil {
		b.close()
		s.fd = -1
		return err
	}
	return nil
}

func (s *relaySocket) name(a netip.AddrPort) sockaddr {
	if a.Addr().Is4() == s.v6 {
		return sockaddr{} // of the other family: nothing is sent
	}
	return makeSockaddr(a, s.v6)
}

// send sends a packet. It does not wait and does not allocate.
func (s *relaySocket) send(payload []byte, to *sockaddr) bool {
	if to.len == 0 {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return false
	}
	var base unsafe.Pointer
	if len(payload) > 0 {
		base = unsafe.Pointer(&payload[0])
	}
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(base), uintptr(len(payload)), unix.MSG_DONTWAIT,
			uintptr(unsafe.Pointer(&to.raw)), uintptr(to.len))
		if errno != unix.EINTR && errno != unix.ECONNREFUSED { // the latter: an answer to an earlier one
			return errno == 0
		}
	}
}

func (s *relaySocket) close() {
	if s.p == nil || s.fd < 0 {
		return
	}
	select {
	case <-s.p.ended: // its descriptor is gone
	default:
		s.p.remove(s.fd)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	unix.Close(s.fd)
	s.fd = -1
}

// serve waits until the relay is closed: its poller does the work.
func (r *relay) serve() { <-r.gone }

// poller reads from the sockets of both sides and sends to the others: one wait, one
// batch for both directions.
type poller struct {
	fd, wake int
	raw      syscall.RawConn // fd in Go's own poller
	file     *os.File
	events   []unix.EpollEvent
	ended    chan struct{}

	mu      sync.RWMutex
	sources []source // by descriptor

	in   *batch // from clients
	b    *batch // from peers, on their way to clients
	n    int
	to   []*client
	used []int // bytes of each slot to wipe
	run  []mmsghdr
	full bool // a batch was: more is waiting
}

// source is whose descriptor is ready.
type source struct {
	relay *relay
	front *front
}

func newPollers() ([]*poller, error) {
	var list []*poller
	for range max(1, min(runtime.NumCPU()/2, 8)) {
		p, err := newPoller()
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poller{fd: fd, wake: wake, ended: make(chan struct{}), in: newBatch(frontBatch), b: newBatch(pollerBatch),
		to: make([]*client, pollerBatch), used: make([]int, pollerBatch), run: make([]mmsghdr, 0, pollerBatch)}
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, wake, &e); err != nil {
		unix.Close(fd)
		unix.Close(wake)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	p.file = os.NewFile(uintptr(fd), "epoll")
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, err
	}
	p.events = make([]unix.EpollEvent, pollerBatch)
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
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
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

// How a poller waits. While packets come it waits in the kernel without telling Go's
// scheduler: to wake a goroutine would cost more than to relay a packet. It holds a
// processor of the scheduler then, so each wait is short, and a signal ends it when the
// collector wants to stop the world. After a while without packets it waits as any
// goroutine does, and costs nothing.
const (
	waitMilliseconds = 1
	waitsUntilIdle   = 3
)

// pause is how long packets are let to gather after some have been handled: a wake and
// four system calls are then for several. It adds at most that to their delay; the first
// after a while does not wait.
const pause = 400 * time.Microsecond

// enough is how many sockets are ready when there is no need to wait for more.
const enough = 32

func (p *poller) gather() {
	t := unix.NsecToTimespec(int64(pause))
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) // a signal may cut it short
}

// wait returns how many events there are.
func (p *poller) wait() (int, error) {
	for range waitsUntilIdle {
		if n := p.poll(waitMilliseconds); n > 0 {
			return n, nil
		}
	}
	n := 0
	err := p.raw.Read(func(uintptr) bool {
		n = p.poll(0)
		return n > 0
	})
	return n, err
}

func (p *poller) poll(milliseconds int) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), uintptr(milliseconds), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
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
		p.mu.RLock()
		for i := range n {
			fd := p.events[i].Fd
			if int(fd) == p.wake {
				p.mu.RUnlock()
				p.file.Close()
				unix.Close(p.wake)
				return
			}
			switch x := p.sources[fd]; {
			case x.relay != nil:
				p.read(uintptr(fd), x.relay, now)
			case x.front != nil:
				p.readFront(uintptr(fd), x.front, now)
			}
		}
		p.mu.RUnlock()
		p.flush()
		if n < enough && !p.full {
			p.gather()
		}
		p.full = false
	}
}

// readFront takes what clients sent and sends it on.
func (p *poller) readFront(fd uintptr, f *front, now int64) {
	p.in.arm(0, frontBatch)
	n, _ := p.in.recv(fd, 0, frontBatch)
	p.full = p.full || n == frontBatch
	for i := range n {
		m := &p.in.msgs[i]
		b := p.in.slot(i)[headroom : headroom+m.len]
		if m.hdr.Flags&unix.MSG_TRUNC == 0 {
			f.receive(b, p.in.names[i].addrPort(), now)
		}
		clear(b)
	}
}

// read takes what is there from one socket. The lock is held for reading, so that the
// socket stays open.
func (p *poller) read(fd uintptr, r *relay, now int64) {
	if p.n+relayBatch > pollerBatch {
		p.flush()
	}
	p.b.arm(p.n, relayBatch)
	got, _ := p.b.recv(fd, p.n, relayBatch)
	at := p.n
	for i := at; i < at+got; i++ {
		m := &p.b.msgs[i]
		n := int(m.len)
		slot := p.b.slot(i)
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			r.sess.traffic.dropped.Add(1)
			clear(slot[headroom : headroom+n])
			continue
		}
		c, begin, end := r.wrap(slot, n, p.b.names[i].addrPort(), now)
		if c == nil {
			clear(slot[headroom : headroom+n])
			continue
		}
		if c.stream != nil {
			c.stream.push(slot[begin:end])
			clear(slot[begin:end])
			continue
		}
		// Dense from p.n on: a packet that went nowhere leaves its slot to be used
		// again, so the message is moved in the lists, never in memory.
		p.place(i, c, slot, begin, end)
	}
}

// place puts the packet of slot i into the queue.
func (p *poller) place(i int, c *client, slot []byte, begin, end int) {
	if i != p.n { // swap the slots' roles: copy the few bytes instead of the lists
		dst := p.b.slot(p.n)
		copy(dst[begin:end], slot[begin:end])
		clear(slot[begin:end])
		slot = dst
	}
	p.b.iovs[p.n].Base = &slot[begin]
	p.b.iovs[p.n].SetLen(end - begin)
	p.to[p.n], p.used[p.n] = c, end
	p.n++
}

// flush sends what is queued, one call for each front, and wipes it.
func (p *poller) flush() {
	for done := 0; done < p.n; {
		var f *front
		p.run = p.run[:0]
		for i := range p.n {
			c := p.to[i]
			if c == nil || f != nil && c.front != f {
				continue
			}
			f = c.front
			m := mmsghdr{hdr: p.b.msgs[i].hdr}
			m.hdr.Name, m.hdr.Namelen, m.hdr.Flags = &c.name.raw[0], c.name.len, 0
			p.run = append(p.run, m)
			p.to[i] = nil
			done++
		}
		sendmmsg(uintptr(f.in.fd), p.run)
	}
	for i := range p.n {
		clear(p.b.slot(i)[:p.used[i]])
	}
	clear(p.run[:cap(p.run)][:min(cap(p.run), pollerBatch)])
	p.n = 0
}

// name is the address of a client as the front's socket wants it.
func (f *front) name(a netip.AddrPort) sockaddr { return makeSockaddr(a, f.in.v6) }

// listenUDP opens a front's socket; with shared, several may be opened for a port.
func listenUDP(network, address string, shared bool) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		c.Control(func(fd uintptr) {
			if shared {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
			for _, o := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
				if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o+frontForce, frontBuffer) != nil {
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o, frontBuffer)
				}
			}
		})
		return err
	}}
	c, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.New("proxy: not a UDP socket")
	}
	return u, nil
}

// frontForce added to SO_SNDBUF (7) and SO_RCVBUF (8) gives SO_SNDBUFFORCE (32) and
// SO_RCVBUFFORCE (33), which privileged processes may use.
const frontForce = unix.SO_SNDBUFFORCE - unix.SO_SNDBUF

// canShare: several sockets on one port spread clients over cores.
const canShare = true
