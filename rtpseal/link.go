package rtpseal

import (
	"net"
	"net/netip"
	"runtime"
)

// maxDatagram is the longest that a socket gives, in bytes.
const maxDatagram = 1 << 16

// flushAt is how many packets are collected before they are sent, though more wait.
const flushAt = 64

// link is a socket that reads and writes many packets at a time where the system can.
type link struct {
	pc  net.PacketConn
	sys sysLink // of the operating system; unused if fast is false
	ok  bool    // sys is in use
	own *batch  // of the portable path, which holds it while it waits
}

func newLink(pc net.PacketConn) *link {
	l := &link{pc: pc}
	if u, isUDP := pc.(*net.UDPConn); isUDP {
		l.ok = l.sys.init(u) == nil
	}
	return l
}

// batch is what one read gave.
type batch struct {
	msgs []message
	at   int // the message that each is at
	sys  sysBatch
	one  []byte         // of the portable path, as from
	from netip.AddrPort // where that came from
	out  Packets
}

// message is a datagram, or several of seg bytes each, but for the last, from one source.
type message struct {
	data []byte
	seg  int // 0: one datagram
}

// source is where a message came from.
func (b *batch) source(i int) netip.AddrPort {
	if b.one != nil {
		return b.from
	}
	return b.sys.source(i)
}

// each calls f for every datagram that was not taken out.
func (b *batch) each(f func(pkt []byte)) {
	for i, m := range b.msgs {
		b.at = i
		data := m.data
		if data == nil {
			continue
		}
		for m.seg > 0 && len(data) > m.seg {
			f(data[:m.seg:m.seg])
			data = data[m.seg:]
		}
		f(data[:len(data):len(data)])
	}
}

// batches are shared by all links: one is in use only between a read and what follows
// from it, so that idle streams have none. There are only a few: with more at work than
// CPUs nothing would be gained, and thousands of streams would fill the memory.
var batches = func() chan *batch {
	c := make(chan *batch, max(4, 2*runtime.NumCPU()))
	for range cap(c) {
		c <- new(batch)
	}
	return c
}()

// read waits for packets and hands them to f. The batch is f's until it returns.
func (l *link) read(f func(*batch)) error {
	if l.ok {
		return l.sys.read(f)
	}
	if l.own == nil {
		l.own = &batch{one: make([]byte, maxDatagram)}
	}
	b := l.own
	n, from, err := l.pc.ReadFrom(b.one)
	if err != nil {
		return err
	}
	b.msgs, b.from = append(b.msgs[:0], message{data: b.one[:n]}), addrPort(from)
	f(b)
	return nil
}

// write sends packets and returns how many left.
func (l *link) write(p *Packets, to netip.AddrPort) (sent int, err error) {
	if p.Len() == 0 || !to.IsValid() {
		return 0, nil
	}
	if l.ok {
		return l.sys.write(p, to)
	}
	addr := net.UDPAddrFromAddrPort(to)
	for i := range p.Len() {
		if _, e := l.pc.WriteTo(p.At(i), addr); e != nil {
			err = e
		} else {
			sent++
		}
	}
	return sent, err
}

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort()
	}
	if a == nil {
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}
