package onecall

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/chanseal/chanseal/proxy"
)

// Wall is a company's firewall, as far as programs inside notice it: a packet filter round
// their sockets, made of the rows of an allow-list. What is in no row does not leave: TCP
// is refused, datagrams vanish. It keeps what passes.
type Wall struct {
	rows []proxy.Row

	mu      sync.Mutex
	seen    [][]byte // datagrams that passed, both ways
	blocked atomic.Int64
	changed chan struct{} // has a value after one was blocked
}

// NewWall makes a wall of what "proxy allowlist --format json" prints.
func NewWall(allowlist []byte) (*Wall, error) {
	var list struct {
		Rows []proxy.Row `json:"rows"`
	}
	if err := json.Unmarshal(allowlist, &list); err != nil {
		return nil, fmt.Errorf("the allow-list: %w", err)
	}
	if len(list.Rows) == 0 {
		return nil, fmt.Errorf("the allow-list has no row")
	}
	return &Wall{rows: list.Rows, changed: make(chan struct{}, 1)}, nil
}

// Allows reports whether a row lets packets out to a destination.
func (w *Wall) Allows(protocol string, to netip.AddrPort) bool {
	for _, r := range w.rows {
		if r.Protocol != protocol || r.Destination.Unmap() != to.Addr().Unmap() {
			continue
		}
		for _, p := range r.Ports {
			if p.Contains(to.Port()) {
				return true
			}
		}
	}
	return false
}

// Open opens the wall for datagrams to an address, which stands in no allow-list.
func (w *Wall) Open(to netip.AddrPort) {
	w.rows = append(w.rows, proxy.Row{Protocol: "UDP", Destination: to.Addr(), Ports: []proxy.Ports{proxy.Port(to.Port())}})
}

// Blocked is how many datagrams and connections it did not let out.
func (w *Wall) Blocked() int { return int(w.blocked.Load()) }

func (w *Wall) block() {
	w.blocked.Add(1)
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *Wall) keep(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, append([]byte(nil), b...))
}

// Dial connects from inside.
func (w *Wall) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("firewall: %s: only addresses are known here", address)
	}
	protocol := "TCP"
	if network[0] == 'u' {
		protocol = "UDP"
	}
	if !w.Allows(protocol, to) {
		w.block()
		return nil, fmt.Errorf("firewall: %s to %s is not in the allow-list", protocol, to)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil && protocol == "UDP" {
		return &walledConn{c, w}, nil
	}
	return c, err
}

// walledConn is a datagram socket for one destination, which was let through.
type walledConn struct {
	net.Conn
	w *Wall
}

func (c *walledConn) Write(b []byte) (int, error) {
	c.w.keep(b)
	return c.Conn.Write(b)
}

func (c *walledConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.w.keep(b[:n])
	}
	return n, err
}

// Listen opens a datagram socket inside.
func (w *Wall) Listen(network, address string) (net.PacketConn, error) {
	c, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UDPConn); ok {
		_, _ = u.SetReadBuffer(socketBuffer), u.SetWriteBuffer(socketBuffer)
	}
	return &walled{c, w}, nil
}

type walled struct {
	net.PacketConn
	w *Wall
}

func (c *walled) WriteTo(b []byte, to net.Addr) (int, error) {
	a, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, err
	}
	if !c.w.Allows("UDP", a) {
		c.w.block()
		return len(b), nil
	}
	c.w.keep(b)
	return c.PacketConn.WriteTo(b, to)
}

// ReadFrom returns what comes back from where packets may go.
func (c *walled) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		if a, err := netip.ParseAddrPort(from.String()); err == nil && c.w.Allows("UDP", a) {
			c.w.keep(b[:n])
			return n, from, nil
		}
	}
}
