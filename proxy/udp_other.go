//go:build !(linux && (amd64 || arm64))

package proxy

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// One packet a system call, by package net: the twin of udp_linux.go for all other
// systems.

const slotLen = 4096

// sockaddr is an address.
type sockaddr struct{ addr netip.AddrPort }

// inbox is nothing here.
type inbox struct{}

func (in *inbox) open(*net.UDPConn) error { return nil }

// start reads what clients send.
func (f *front) start(*poller) error {
	go func() {
		buf := make([]byte, slotLen)
		for {
			n, from, err := f.conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && n < len(buf) {
				f.receive(buf[:n], unmap(from), time.Now().UnixNano())
			}
			clear(buf[:n])
		}
	}()
	return nil
}

// relaySocket faces the media network.
type relaySocket struct {
	conn *net.UDPConn
	v6   bool
}

// boundSocket is a socket that has an address and no relay yet.
type boundSocket struct {
	conn *net.UDPConn
	v6   bool
}

func (b boundSocket) close() { b.conn.Close() }

func bindSocket(a netip.AddrPort) (boundSocket, error) {
	network := "udp4"
	if a.Addr().Is6() {
		network = "udp6"
	}
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(a))
	if err != nil {
		return boundSocket{}, err
	}
	c.SetReadBuffer(relayBuffer)
	c.SetWriteBuffer(relayBuffer)
	return boundSocket{c, a.Addr().Is6()}, nil
}

func (r *relay) useSocket(b boundSocket, _ *poller) error {
	r.sock = relaySocket(b)
	return nil
}

func (s *relaySocket) name(a netip.AddrPort) sockaddr {
	if a.Addr().Is4() == s.v6 {
		return sockaddr{} // of the other family: nothing is sent
	}
	return sockaddr{a}
}

func (s *relaySocket) send(payload []byte, to *sockaddr) bool {
	if !to.addr.IsValid() {
		return false
	}
	_, err := s.conn.WriteToUDPAddrPort(payload, to.addr)
	return err == nil
}

func (s *relaySocket) close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// serve hands packets from peers on until the relay is closed.
func (r *relay) serve() {
	buf := make([]byte, slotLen)
	for {
		n, from, err := r.sock.conn.ReadFromUDPAddrPort(buf[headroom : slotLen-4])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == slotLen-4-headroom {
			continue
		}
		c, begin, end := r.wrap(buf, n, unmap(from), time.Now().UnixNano())
		switch {
		case c == nil:
		case c.stream != nil:
			c.stream.push(buf[begin:end])
		default:
			c.front.conn.WriteToUDPAddrPort(buf[begin:end], c.addr)
		}
		clear(buf[:max(end, headroom+n)])
	}
}

type poller struct{}

func newPollers() ([]*poller, error) { return []*poller{{}}, nil }
func (*poller) close()               {}

func (f *front) name(a netip.AddrPort) sockaddr { return sockaddr{a} }

func listenUDP(network, address string, _ bool) (*net.UDPConn, error) {
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	c, err := net.ListenUDP(network, a)
	if err == nil {
		c.SetReadBuffer(frontBuffer)
		c.SetWriteBuffer(frontBuffer)
	}
	return c, err
}

const canShare = false
