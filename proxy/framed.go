package proxy

import (
	"bufio"
	"net"
	"time"
)

// Framed makes a PacketConn of a TURN client's connection over TCP or TLS: one message a
// ReadFrom (RFC 8656, Section 12.5), the shortest included. ReadFrom is for one goroutine;
// a message that is longer than its buffer is cut, as of a datagram.
func Framed(c net.Conn) net.PacketConn {
	return &framed{c: c, r: bufio.NewReaderSize(c, stunHeaderLen+1<<16)}
}

type framed struct {
	c net.Conn
	r *bufio.Reader
}

func (f *framed) ReadFrom(p []byte) (int, net.Addr, error) {
	head, err := f.r.Peek(channelHeaderLen)
	if err != nil {
		return 0, nil, err
	}
	n, err := frameLen(head)
	if err != nil {
		return 0, nil, err
	}
	b, err := f.r.Peek(n)
	if err != nil {
		return 0, nil, err
	}
	copied := copy(p, b)
	f.r.Discard(n)
	return copied, f.c.RemoteAddr(), nil
}

func (f *framed) WriteTo(p []byte, _ net.Addr) (int, error) { return f.c.Write(p) }
func (f *framed) Close() error                              { return f.c.Close() }
func (f *framed) LocalAddr() net.Addr                       { return f.c.LocalAddr() }
func (f *framed) SetDeadline(t time.Time) error             { return f.c.SetDeadline(t) }
func (f *framed) SetReadDeadline(t time.Time) error         { return f.c.SetReadDeadline(t) }
func (f *framed) SetWriteDeadline(t time.Time) error        { return f.c.SetWriteDeadline(t) }
