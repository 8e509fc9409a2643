package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"github.com/chanseal/chanseal/proxy"
)

// path is an allocation on a relay.
type path struct {
	over   Transport
	relay  string // host:port
	base   net.PacketConn
	client *turn.Client
	conn   net.PacketConn
	dead   chan struct{}
	once   sync.Once
	why    error
}

func (p *path) fail(err error) {
	p.once.Do(func() {
		p.why = err
		close(p.dead)
	})
}

func (p *path) close() {
	p.fail(net.ErrClosed)
	p.conn.Close()
	p.client.Close()
	p.base.Close()
}

// watched reports a base connection that breaks.
type watched struct {
	net.PacketConn
	broke func(error)
}

func (w *watched) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := w.PacketConn.ReadFrom(b)
	if err != nil {
		w.broke(err)
	}
	return n, a, err
}

// candidate is a way to try.
type candidate struct {
	over  Transport
	host  string
	ports []proxy.Ports
}

// candidates are the ways in the order to try them: over every transport that the mode
// allows, at the best relay first.
func (d *Dialer) candidates(found *proxy.Discovery) []candidate {
	order := []Transport{UDP, TCP, TLS}
	switch d.cfg.Mode {
	case ForceUDP:
		order = order[:1]
	case ForceTCP:
		order = order[1:]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if now.Before(d.until) {
		for i, t := range order {
			if t == d.worked {
				order = append([]Transport{t}, append(append([]Transport(nil), order[:i]...), order[i+1:]...)...)
				break
			}
		}
	}
	var good, bad []candidate
	for _, r := range found.Relays {
		for _, a := range r.Addresses {
			for _, t := range order {
				c := candidate{over: t, host: a.String(), ports: map[Transport][]proxy.Ports{UDP: r.UDP, TCP: r.TCP, TLS: r.TLS}[t]}
				switch {
				case len(c.ports) == 0:
				case now.Before(d.bad[c.host]):
					bad = append(bad, c)
				default:
					good = append(good, c)
				}
			}
		}
	}
	return append(good, bad...)
}

// race tries the candidates, one every Step, and returns the first that works.
func (d *Dialer) race(ctx context.Context) (*path, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	found, err := d.Discover(ctx)
	if err != nil {
		return nil, err
	}
	list := d.candidates(found)
	if len(list) == 0 {
		return nil, fmt.Errorf("proxy/client: no relay offers what mode %s wants", d.cfg.Mode)
	}
	type result struct {
		p   *path
		err error
		c   candidate
	}
	results := make(chan result)
	try := func(c candidate) {
		p, err := d.allocate(ctx, c, found)
		select {
		case results <- result{p, err, c}:
		case <-ctx.Done():
			if p != nil {
				p.close()
			}
		}
	}
	next, running := 0, 0
	start := func() {
		go try(list[next])
		next++
		running++
	}
	start()
	tick := time.NewTicker(d.cfg.Step)
	defer tick.Stop()
	var errs []error
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("proxy/client: no relay could be reached: %w", errors.Join(append(errs, ctx.Err())...))
		case <-tick.C:
			if next < len(list) {
				d.event(Event{Kind: FallingBack, Transport: list[next].over, Elapsed: time.Since(began)})
				start()
			}
		case r := <-results:
			running--
			if r.err == nil {
				d.mu.Lock()
				d.worked, d.until = r.c.over, time.Now().Add(remember)
				delete(d.bad, r.c.host)
				d.mu.Unlock()
				d.event(Event{Kind: Connected, Transport: r.c.over, Elapsed: time.Since(began)})
				return r.p, nil
			}
			errs = append(errs, fmt.Errorf("%s over %s: %w", r.c.host, r.c.over, r.err))
			if next < len(list) {
				d.event(Event{Kind: FallingBack, Transport: list[next].over, Elapsed: time.Since(began), Err: r.err})
				start()
			} else if running == 0 {
				return nil, fmt.Errorf("proxy/client: no relay could be used: %w", errors.Join(errs...))
			}
		}
	}
}

// allocate gets a relay address over one transport. Every try has a socket of its own:
// a five-tuple that a crash left behind would be refused (437).
func (d *Dialer) allocate(ctx context.Context, c candidate, found *proxy.Discovery) (*path, error) {
	r := c.ports[rand.IntN(len(c.ports))]
	p := &path{over: c.over, relay: net.JoinHostPort(c.host, fmt.Sprint(int(r.First)+rand.IntN(r.Len()))), dead: make(chan struct{})}
	var base net.PacketConn
	var err error
	switch c.over {
	case UDP:
		// Of the relay's family: the relay address is asked for in the socket's.
		network := "udp4"
		if strings.Contains(c.host, ":") {
			network = "udp6"
		}
		base, err = d.cfg.Listen(network, ":0")
	case TCP:
		var s net.Conn
		if s, err = d.cfg.Dial(ctx, "tcp", p.relay); err == nil {
			base = proxy.Framed(s)
		}
	case TLS:
		conf := d.tls("stun.turn")
		if conf.ServerName == "" && d.cfg.Type == Domain && len(d.servers.Hosts) == 1 {
			conf.ServerName = d.servers.Hosts[0] // relays are known by address, their certificates by name
		}
		if conf.ServerName == "" {
			conf.ServerName = c.host
		}
		var raw net.Conn
		if raw, err = d.cfg.Dial(ctx, "tcp", p.relay); err != nil {
			break
		}
		s := tls.Client(raw, conf)
		if err = s.HandshakeContext(ctx); err != nil {
			raw.Close()
			break
		}
		base = proxy.Framed(s)
	}
	if err != nil {
		return nil, err
	}
	p.base = base
	p.client, err = turn.NewClient(&turn.ClientConfig{STUNServerAddr: p.relay, TURNServerAddr: p.relay, Conn: &watched{base, p.fail},
		Username: found.Username, Password: found.Credential, Realm: found.Realm, LoggerFactory: quiet{}})
	if err != nil {
		base.Close()
		return nil, err
	}
	if err = p.client.Listen(); err == nil {
		p.conn, err = p.client.AllocateWithContext(ctx)
	}
	if err != nil {
		p.client.Close()
		base.Close()
		return nil, err
	}
	go p.watch()
	return p, nil
}

// How a relay that is gone is noticed: it is asked every second, and two questions
// without an answer are the end.
const (
	askEvery   = time.Second
	answerIn   = time.Second
	askedTwice = 2
)

// watch asks the relay whether it is still there.
func (p *path) watch() {
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for missed := 0; ; {
		select {
		case <-p.dead:
			return
		case <-t.C:
		}
		m, err := stun.Build(stun.TransactionID, stun.BindingRequest)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), answerIn)
		_, err = p.client.PerformTransactionWithContext(m, p.client.TURNServerAddr(), false, ctx)
		cancel()
		if err == nil {
			missed = 0
		} else if missed++; missed >= askedTwice {
			p.fail(errors.New("proxy/client: the relay does not answer"))
			return
		}
	}
}

// packet is one that came from a peer.
type packet struct {
	b    []byte
	from net.Addr
}

// Conn is a PacketConn through relays. It stays the same when the relay changes: peers
// see another address then, as with any change of network, and LocalAddr tells it.
type Conn struct {
	d    *Dialer
	in   chan packet
	done chan struct{}
	once sync.Once

	mu   sync.RWMutex
	p    *path
	read time.Time // deadline
}

var _ net.PacketConn = (*Conn)(nil)

// use begins to use a path.
func (c *Conn) use(p *path) {
	c.mu.Lock()
	c.p = p
	c.mu.Unlock()
	go c.pump(p)
	go func() {
		select {
		case <-c.done:
		case <-p.dead:
			c.replace(p)
		}
	}()
}

// pump reads from a path until it ends.
func (c *Conn) pump(p *path) {
	buf := make([]byte, 65536)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			var t net.Error
			if errors.As(err, &t) && t.Timeout() {
				continue
			}
			p.fail(err)
			return
		}
		select {
		case c.in <- packet{append([]byte(nil), buf[:n]...), from}:
		case <-c.done:
			return
		default: // the reader is behind: lost, as UDP is
		}
	}
}

// replace looks for another relay until one is found or the Conn is closed.
func (c *Conn) replace(old *path) {
	c.d.event(Event{Kind: Lost, Transport: old.over, Err: old.why})
	host, _, _ := net.SplitHostPort(old.relay)
	c.d.mu.Lock()
	c.d.bad[host] = time.Now().Add(30 * time.Second)
	c.d.mu.Unlock()
	go old.close()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			select {
			case <-c.done:
				cancel()
			case <-ctx.Done():
			}
		}()
		p, err := c.d.race(ctx)
		cancel()
		if err == nil {
			select {
			case <-c.done:
				p.close()
			default:
				c.use(p)
			}
			return
		}
		var refused *proxy.APIError
		if errors.As(err, &refused) && refused.Status == 403 { // the card is good no more
			c.d.event(Event{Kind: Lost, Transport: old.over, Err: err})
			c.Close()
			return
		}
		select {
		case <-c.done:
			return
		case <-time.After(wait):
		}
	}
}

func (c *Conn) path() *path {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.p
}

// ReadFrom returns the next packet of a peer.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.mu.RLock()
	deadline := c.read
	c.mu.RUnlock()
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case p := <-c.in:
		return copy(b, p.b), p.from, nil
	case <-c.done:
		return 0, nil, net.ErrClosed
	case <-timeout:
		return 0, nil, errTimeout{}
	}
}

type errTimeout struct{}

func (errTimeout) Error() string   { return "proxy/client: i/o timeout" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }

// WriteTo sends a packet to a peer. While the relay is being replaced packets are lost
// without an error, as on any network.
func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, net.ErrClosed
	default:
	}
	p := c.path()
	select {
	case <-p.dead:
		return len(b), nil
	default:
	}
	n, err := p.conn.WriteTo(b, to)
	if err != nil {
		select {
		case <-p.dead:
			return len(b), nil
		default:
		}
	}
	return n, err
}

// Close ends the allocation.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.path().close()
	})
	return nil
}

// LocalAddr is the relay's address now.
func (c *Conn) LocalAddr() net.Addr { return c.path().conn.LocalAddr() }

// Transport is how the relay is reached now.
func (c *Conn) Transport() Transport { return c.path().over }

// Relay is the relay's host and port now.
func (c *Conn) Relay() string { return c.path().relay }

// SetDeadline sets the deadline of reads that begin later.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline sets the deadline of reads that begin later.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.read = t
	c.mu.Unlock()
	return nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// quiet throws pion's log away.
type quiet struct{}

func (quiet) NewLogger(string) logging.LeveledLogger { return quiet{} }
func (quiet) Trace(string)                           {}
func (quiet) Tracef(string, ...any)                  {}
func (quiet) Debug(string)                           {}
func (quiet) Debugf(string, ...any)                  {}
func (quiet) Info(string)                            {}
func (quiet) Infof(string, ...any)                   {}
func (quiet) Warn(string)                            {}
func (quiet) Warnf(string, ...any)                   {}
func (quiet) Error(string)                           {}
func (quiet) Errorf(string, ...any)                  {}
