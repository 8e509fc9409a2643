//go:build linux && (amd64 || arm64)

package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
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

	// slotStride is the distance of slots: not a power of two, or the beginnings of all
	// packets would share a few lines of the processor's cache.
	slotStride = slotLen + 192
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
	b := &batch{msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n), names: make([]sockaddr, n), data: make([]byte, n*slotStride)}
	for i := range b.msgs {
		m := &b.msgs[i].hdr
		m.Iov, m.Name = &b.iovs[i], &b.names[i].raw[0]
		m.SetIovlen(1)
	}
	b.arm(0, n)
	return b
}

func (b *batch) slot(i int) []byte {
	return b.data[i*slotStride : i*slotStride+slotLen : i*slotStride+slotLen]
}

// arm makes slots ready to receive at headroom.
func (b *batch) arm(first, n int) {
	for i := first; i < first+n; i++ {
		b.iovs[i].Base = &b.data[i*slotStride+headroom]
		b.iovs[i].SetLen(slotLen - headroom - 4)
		b.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		b.msgs[i].hdr.Flags = 0
	}
}

// recv reads up to n packets into the armed slots from first on, without waiting, and
// says whether there may be more.
func (b *batch) recv(fd uintptr, first, n int) (got int, more bool) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[first])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno != unix.EAGAIN // else an answer to what was sent: it is gone with this call
	}
	return int(r), int(r) == n
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
