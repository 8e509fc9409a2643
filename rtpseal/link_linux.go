package rtpseal

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What one system call moves at most.
const (
	readAtMost  = 32 // datagrams, or rows of them that the kernel joined (UDP_GRO)
	writeAtMost = 64
	// A row of datagrams for UDP_SEGMENT: the kernel takes no more.
	rowPackets = 64
	rowBytes   = 65000
)

// sysLink moves packets by recvmmsg and sendmmsg, and rows of packets of one size by
// UDP_GRO and UDP_SEGMENT where the kernel has them (4.18, 5.0).
type sysLink struct {
	raw    syscall.RawConn
	v6     bool
	noRow  atomic.Bool // the kernel or the device refused UDP_SEGMENT
	drains atomic.Bool // a read that finds nothing fails
	zone   zone        // of the last address that was written to

	// What the callbacks use: a read and a write run at a time.
	onRead, onWrite func(fd uintptr) bool
	got             *batch
	readErr         syscall.Errno

	writing chan struct{} // holds one token: writers of both directions take turns
	w       *sysWrite
}

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

type sysBatch struct {
	hdrs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6
	ctrl  []byte
	buf   []byte
}

const ctrlRoom = 64

func (b *sysBatch) init() {
	b.hdrs, b.iovs = make([]mmsghdr, readAtMost), make([]unix.Iovec, readAtMost)
	b.names, b.ctrl = make([]unix.RawSockaddrInet6, readAtMost), make([]byte, readAtMost*ctrlRoom)
	b.buf = make([]byte, readAtMost*maxDatagram)
	for i := range b.hdrs {
		b.iovs[i].Base = &b.buf[i*maxDatagram]
		b.iovs[i].SetLen(maxDatagram)
		h := &b.hdrs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Control = &b.ctrl[i*ctrlRoom]
	}
}

func (l *sysLink) init(u *net.UDPConn) error {
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var family int
	if err := raw.Control(func(fd uintptr) {
		family, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) // where the kernel has it
	}); err != nil {
		return err
	}
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return unix.EAFNOSUPPORT
	}
	l.raw, l.v6 = raw, family == unix.AF_INET6
	l.onRead, l.onWrite = l.tryRead, l.tryWrite
	l.writing = make(chan struct{}, 1)
	return nil
}

// drain has reads wait for nothing from now on.
func (l *sysLink) drain() { l.drains.Store(true) }

func (b *sysBatch) source(i int) netip.AddrPort { return from(&b.names[i]) }

func (l *sysLink) read(f func(*batch)) error {
	if err := l.raw.Read(l.onRead); err != nil {
		return err
	}
	b := l.got
	l.got = nil
	if b == nil {
		if l.readErr == 0 || l.readErr == unix.ECONNREFUSED || l.readErr == unix.EINTR {
			return nil
		}
		return l.readErr
	}
	f(b)
	batches <- b
	return nil
}

// The system calls are raw ones: they never wait (MSG_DONTWAIT), and telling the
// scheduler of each costs time, and the processor if the call is a long one: what
// others then do on it is delay for the packets that come next.

// tryRead reads what is there; it takes a batch only for as long as that.
func (l *sysLink) tryRead(fd uintptr) bool {
	b := <-batches
	s := &b.sys
	if s.hdrs == nil {
		s.init()
	}
	for i := range s.hdrs {
		s.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		s.hdrs[i].hdr.SetControllen(ctrlRoom)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&s.hdrs[0])), readAtMost, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 || n == 0 {
		batches <- b
		l.got, l.readErr = nil, errno
		return errno != unix.EAGAIN || l.drains.Load()
	}
	b.msgs = b.msgs[:0]
	for i := range int(n) {
		h := &s.hdrs[i]
		b.msgs = append(b.msgs, message{data: s.buf[i*maxDatagram:][:h.n], seg: segment(&h.hdr, s.ctrl[i*ctrlRoom:])})
	}
	l.got = b
	return true
}

// segment is the size of the datagrams that the kernel joined, 0 if there is one.
func segment(h *unix.Msghdr, ctrl []byte) int {
	for rest := ctrl[:min(int(h.Controllen), ctrlRoom)]; len(rest) >= unix.SizeofCmsghdr; {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		n := int(c.Len)
		if n < unix.SizeofCmsghdr || n > len(rest) {
			return 0
		}
		if c.Level == unix.IPPROTO_UDP && c.Type == unix.UDP_GRO && n >= unix.CmsgLen(4) {
			return int(binary.NativeEndian.Uint32(rest[unix.CmsgLen(0):]))
		}
		rest = rest[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(rest)):]
	}
	return 0
}

// from reads an address. A zone is the number of its interface: to look its name up would
// cost more than the packet.
func from(sa *unix.RawSockaddrInet6) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), swap(v4.Port))
	case unix.AF_INET6:
		ip := netip.AddrFrom16(sa.Addr)
		if sa.Scope_id != 0 && !ip.Is4In6() {
			ip = ip.WithZone(strconv.Itoa(int(sa.Scope_id)))
		}
		return netip.AddrPortFrom(ip, swap(sa.Port))
	}
	return netip.AddrPort{}
}

// swap turns a port between the machine's and the network's order.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// sysWrite is a write in the making.
type sysWrite struct {
	hdrs  [writeAtMost]mmsghdr
	iovs  [writeAtMost]unix.Iovec
	count [writeAtMost]int // packets of a row
	ctrl  [writeAtMost][24]byte
	name  unix.RawSockaddrInet6
	size  uint32

	rows, done int
	errno      syscall.Errno
}

var writes = make(chan *sysWrite, 64) // spare ones

func (l *sysLink) write(p *Packets, to netip.AddrPort) (int, error) {
	var w *sysWrite
	select {
	case w = <-writes:
	default:
		w = new(sysWrite)
	}
	sent := 0
	var err error
	l.writing <- struct{}{}
	w.size = w.put(to, l.v6, &l.zone)
	for i := 0; i < p.Len() && err == nil; {
		i = w.fill(p, i, !l.noRow.Load())
		l.w, w.done, w.errno = w, 0, 0
		err = l.raw.Write(l.onWrite)
		for r := range w.done {
			sent += w.count[r]
		}
		if err != nil || w.done == w.rows {
			continue
		}
		// The first row that is left was refused: it goes packet by packet, or not at all.
		for r := w.done; r < w.rows; r++ {
			i -= w.count[r]
		}
		switch w.errno {
		case unix.EINVAL, unix.EIO, unix.EMSGSIZE, unix.EOPNOTSUPP: // of rows, or of the packet
			if w.count[w.done] > 1 {
				l.noRow.Store(true)
				continue
			}
			i += w.count[w.done]
		case unix.ECONNREFUSED, unix.EPERM, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENOBUFS: // of the network
			i += w.count[w.done]
		default:
			err = w.errno
		}
	}
	l.w = nil
	<-l.writing
	select {
	case writes <- w:
	default:
	}
	return sent, err
}

// fill prepares packets from i on and returns where the next write goes on.
func (w *sysWrite) fill(p *Packets, i int, rows bool) int {
	w.rows = 0
	for i < p.Len() && w.rows < writeAtMost {
		first := p.At(i)
		n, bytes := 1, len(first)
		for rows && i+n < p.Len() && n < rowPackets {
			next := len(p.At(i + n))
			if next > len(first) || bytes+next > rowBytes {
				break
			}
			n++
			bytes += next
			if next < len(first) { // the last of a row may be shorter
				break
			}
		}
		r := w.rows
		w.iovs[r].Base = unsafe.SliceData(first)
		w.iovs[r].SetLen(bytes)
		h := &w.hdrs[r].hdr
		*h = unix.Msghdr{Iov: &w.iovs[r], Name: (*byte)(unsafe.Pointer(&w.name)), Namelen: w.size}
		h.SetIovlen(1)
		if n > 1 {
			c := (*unix.Cmsghdr)(unsafe.Pointer(&w.ctrl[r][0]))
			c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
			c.SetLen(unix.CmsgLen(2))
			binary.NativeEndian.PutUint16(w.ctrl[r][unix.CmsgLen(0):], uint16(len(first)))
			h.Control = &w.ctrl[r][0]
			h.SetControllen(unix.CmsgSpace(2))
		}
		w.count[r] = n
		w.rows++
		i += n
	}
	return i
}

func (l *sysLink) tryWrite(fd uintptr) bool {
	w := l.w
	for w.done < w.rows {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.hdrs[w.done])), uintptr(w.rows-w.done), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EINTR:
		case errno != 0:
			w.errno = errno
			return true
		default:
			w.done += int(n)
		}
	}
	return true
}

// put writes the address and returns its length.
func (w *sysWrite) put(to netip.AddrPort, v6 bool, z *zone) uint32 {
	if !v6 {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&w.name))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(to.Port()), Addr: to.Addr().Unmap().As4()}
		return unix.SizeofSockaddrInet4
	}
	w.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swap(to.Port()), Addr: to.Addr().As16()}
	if name := to.Addr().Zone(); name != "" {
		w.name.Scope_id = z.index(name)
	}
	return unix.SizeofSockaddrInet6
}

// zone remembers the number of an interface for a while: to look it up costs more than
// a packet.
type zone struct {
	name  string
	is    uint32
	until time.Time
}

func (z *zone) index(name string) uint32 {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n)
	}
	if now := time.Now(); name != z.name || now.After(z.until) {
		*z = zone{name: name, until: now.Add(time.Second)}
		if ifi, err := net.InterfaceByName(name); err == nil {
			z.is = uint32(ifi.Index)
		}
	}
	return z.is
}
