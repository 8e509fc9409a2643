package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// The client's side of SOCKS5 (RFC 1928, RFC 1929).

const (
	socksConnect   = 1
	socksAssociate = 3
)

var socksReplies = [...]string{"done", "general failure", "not allowed", "network unreachable", "host unreachable", "connection refused",
	"timed out", "command not supported", "address type not supported"}

// socks connects to a SOCKS5 server and makes a request. It returns the connection and
// the address that the server bound.
func (d *Dialer) socks(ctx context.Context, server, user, password string, command byte, address string) (net.Conn, netip.AddrPort, error) {
	var none netip.AddrPort
	if len(user) > 255 || len(password) > 255 {
		return nil, none, errors.New("proxy/client: SOCKS5 has no room for a user or password of more than 255 bytes; use proxy type 1 or 2, where discovery gives a short one")
	}
	c, err := d.cfg.Dial(ctx, "tcp", server)
	if err != nil {
		return nil, none, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	bound, err := request(c, user, password, command, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, none, fmt.Errorf("proxy/client: SOCKS5 at %s: %w", server, err)
	}
	return c, bound, nil
}

func request(c net.Conn, user, password string, command byte, address string) (bound netip.AddrPort, err error) {
	b := []byte{5, 1, 0}
	if user != "" {
		b = []byte{5, 1, 2}
	}
	if _, err := c.Write(b); err != nil {
		return bound, err
	}
	var in [22]byte
	if _, err := io.ReadFull(c, in[:2]); err != nil || in[0] != 5 {
		return bound, fmt.Errorf("no SOCKS5 server: %w", errors.Join(err, errShort))
	}
	if in[1] != b[2] {
		return bound, errors.New("the server wants another way to authenticate")
	}
	if user != "" {
		b = append([]byte{1, byte(len(user))}, user...)
		b = append(append(b, byte(len(password))), password...)
		_, err := c.Write(b)
		clear(b)
		if err != nil {
			return bound, err
		}
		if _, err := io.ReadFull(c, in[:2]); err != nil || in[1] != 0 {
			return bound, errors.New("user and password are refused")
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return bound, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return bound, err
	}
	b = []byte{5, command, 0}
	if a, err := netip.ParseAddr(host); err == nil && a.Unmap().Is4() {
		b = append(append(b, 1), a.Unmap().AsSlice()...)
	} else if err == nil {
		b = append(append(b, 4), a.AsSlice()...)
	} else if len(host) > 255 {
		return bound, errors.New("the name is too long")
	} else {
		b = append(append(b, 3, byte(len(host))), host...)
	}
	if _, err := c.Write(binary.BigEndian.AppendUint16(b, uint16(n))); err != nil {
		return bound, err
	}
	if _, err := io.ReadFull(c, in[:4]); err != nil {
		return bound, err
	}
	if in[1] != 0 {
		if int(in[1]) < len(socksReplies) {
			return bound, errors.New(socksReplies[in[1]])
		}
		return bound, fmt.Errorf("reply %d", in[1])
	}
	size := map[byte]int{1: 4, 4: 16}[in[3]]
	if size == 0 {
		return bound, errors.New("the server bound a name")
	}
	if _, err := io.ReadFull(c, in[:size+2]); err != nil {
		return bound, err
	}
	a, _ := netip.AddrFromSlice(in[:size])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(in[size:])), nil
}

var errShort = errors.New("it does not answer as one")

// association is a PacketConn by UDP ASSOCIATE.
type association struct {
	net.Conn
	control net.Conn
}

// associate opens one; it lasts as long as its connection.
func (d *Dialer) associate(ctx context.Context, server, user, password string) (net.PacketConn, error) {
	c, bound, err := d.socks(ctx, server, user, password, socksAssociate, "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	if bound.Addr().IsUnspecified() { // as the control connection
		remote, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		bound = netip.AddrPortFrom(remote.Addr(), bound.Port())
	}
	u, err := d.cfg.Dial(ctx, "udp", bound.String())
	if err != nil {
		c.Close()
		return nil, err
	}
	a := &association{u, c}
	go func() {
		io.Copy(io.Discard, c)
		a.Close()
		d.event(Event{Kind: Lost, Transport: SOCKS5})
	}()
	return a, nil
}

func (a *association) Close() error {
	a.control.Close()
	return a.Conn.Close()
}

func (a *association) WriteTo(p []byte, to net.Addr) (int, error) {
	ap, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, err
	}
	b := []byte{0, 0, 0, 1}
	if ip := ap.Addr().Unmap(); ip.Is4() {
		b = append(b, ip.AsSlice()...)
	} else {
		b[3] = 4
		b = append(b, ip.AsSlice()...)
	}
	b = append(binary.BigEndian.AppendUint16(b, ap.Port()), p...)
	if _, err := a.Conn.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (a *association) ReadFrom(p []byte) (int, net.Addr, error) {
	b := make([]byte, len(p)+22)
	for {
		n, err := a.Conn.Read(b)
		if err != nil {
			return 0, nil, err
		}
		size := 0
		if n > 4 && b[2] == 0 {
			size = map[byte]int{1: 4, 4: 16}[b[3]]
		}
		if size == 0 || n < 6+size {
			continue
		}
		ip, _ := netip.AddrFromSlice(b[4 : 4+size])
		from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[4+size:])))
		return copy(p, b[6+size:n]), from, nil
	}
}
