package client

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// directConn is a socket of this machine for the direct way. Answers to its own questions
// do not come out of it.
type directConn struct {
	net.PacketConn
	p  *path
	to netip.AddrPort // who is asked

	mu      sync.Mutex
	request []byte
	answer  chan struct{}
}

// goDirectly asks the media network whether it can be reached without a relay.
func (d *Dialer) goDirectly(ctx context.Context, target string) (*path, error) {
	to, err := resolve(ctx, target)
	if err != nil {
		return nil, err
	}
	network := "udp6"
	if to.Addr().Is4() {
		network = "udp4"
	}
	u, err := d.cfg.Listen(network, ":0")
	if err != nil {
		return nil, err
	}
	p := newPath(Direct)
	c := &directConn{PacketConn: u, p: p, to: to}
	p.conn, p.ask, p.stop = c, c.ask, func() { u.Close() }
	// Until it answers nobody else reads.
	stop := context.AfterFunc(ctx, func() { u.SetReadDeadline(time.Unix(1, 0)) })
	request := bindingRequest(askLen)
	buf := make([]byte, 1500)
	err = func() error {
		for {
			if _, err := u.WriteTo(request, net.UDPAddrFromAddrPort(to)); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			u.SetReadDeadline(time.Now().Add(askAgain))
			for {
				n, from, err := u.ReadFrom(buf)
				if isTimeout(err) {
					break
				} else if err != nil {
					return err
				}
				if is(from, to) && isAnswer(buf[:n], request) {
					return nil
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		u.Close()
		return nil, err
	}
	u.SetReadDeadline(time.Time{})
	go p.watch(d.cfg.askEvery)
	return p, nil
}

const (
	askLen   = 64                     // as long as the answer at least: who asks gets no more than he sent
	askAgain = 250 * time.Millisecond // in case a question or its answer is lost
)

// is reports whether a packet's source is an address.
func is(a net.Addr, b netip.AddrPort) bool {
	ap, err := netip.ParseAddrPort(a.String())
	if u, ok := a.(*net.UDPAddr); ok {
		ap, err = u.AddrPort(), nil
	}
	return err == nil && ap.Port() == b.Port() && ap.Addr().Unmap() == b.Addr().Unmap()
}

// resolve finds the address of HOST:PORT.
func resolve(ctx context.Context, target string) (a netip.AddrPort, err error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return a, err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return a, err
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return a, err
	}
	return netip.AddrPortFrom(list[0].Unmap(), uint16(n)), nil
}

// ask asks once more, while somebody reads.
func (c *directConn) ask(ctx context.Context, _ bool) error {
	request, answer := bindingRequest(askLen), make(chan struct{})
	c.mu.Lock()
	c.request, c.answer = request, answer
	c.mu.Unlock()
	for {
		c.WriteTo(request, net.UDPAddrFromAddrPort(c.to))
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			return context.DeadlineExceeded
		case <-time.After(askAgain):
		}
	}
}

func (c *directConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !is(from, c.to) {
			return n, from, err
		}
		c.p.heard.Store(time.Now().UnixNano())
		c.mu.Lock()
		mine := c.request != nil && isAnswer(b[:n], c.request)
		if mine {
			c.request = nil
			close(c.answer)
		}
		c.mu.Unlock()
		if !mine {
			return n, from, nil
		}
	}
}
