package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"github.com/chanseal/chanseal/proxy"
)

// path is a way in use: an allocation on a relay, or a socket of this machine.
type path struct {
	over  Transport
	relay string         // host:port; empty: directly
	conn  net.PacketConn // what peers see
	stop  func()         // closes all of it

	// ask asks whether the far end is still there; thoroughly: and knows this client.
	ask func(ctx context.Context, thoroughly bool) error
	// permit lets peers send; nil where nobody is asked.
	permit func(...net.Addr) error

	heard   atomic.Int64  // when something came last, unix nanoseconds
	refused chan struct{} // the far end's machine says that nobody is there
	dead    chan struct{}
	once    sync.Once
	why     error
}

func newPath(over Transport) *path {
	return &path{over: over, refused: make(chan struct{}, 1), dead: make(chan struct{})}
}

func (p *path) fail(err error) {
	p.once.Do(func() {
		p.why = err
		close(p.dead)
	})
}

func (p *path) close() {
	p.fail(net.ErrClosed)
	p.stop()
}

// watched tells a path of what its connection to the relay goes through.
type watched struct {
	net.PacketConn
	p *path
}

func (w *watched) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, a, err := w.PacketConn.ReadFrom(b)
		switch {
		case err == nil:
			w.p.heard.Store(time.Now().UnixNano())
			return n, a, nil
		case errors.Is(err, syscall.ECONNREFUSED) && w.p.over == UDP: // it may be back in a moment
			w.p.nobody()
		default:
			w.p.fail(err)
			return n, a, err
		}
	}
}

func (w *watched) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := w.PacketConn.WriteTo(b, to)
	if w.p.over == UDP && errors.Is(err, syscall.ECONNREFUSED) { // about a packet before this one
		w.p.nobody()
		return w.PacketConn.WriteTo(b, to)
	}
	return n, err
}

func (p *path) nobody() {
	select {
	case p.refused <- struct{}{}:
	default:
	}
}

// connected is a UDP socket for one peer, so that the system tells if nobody is there.
type connected struct{ net.Conn }

func (c connected) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// goBy gets a relay address over one transport. All kinds of the relay's ports for it are
// asked at the same time, since a firewall may let one out and not another, and the first
// that answers is taken.
func (d *Dialer) goBy(ctx context.Context, c candidate, found *proxy.Discovery) (*path, error) {
	ctx, cancel := context.WithCancel(ctx)
	type greeting struct {
		l   *line
		err error
	}
	var ports []int
	for _, r := range c.ports {
		for range min(r.Len(), 2) {
			ports = append(ports, int(r.First)+rand.IntN(r.Len()))
		}
	}
	greetings := make(chan greeting, len(ports))
	for _, port := range ports {
		go func() {
			l, err := d.greet(ctx, c.over, net.JoinHostPort(c.host, fmt.Sprint(port)), found)
			greetings <- greeting{l, err}
		}()
	}
	var errs []error
	for range ports {
		g := <-greetings
		if g.err == nil {
			var p *path
			if p, g.err = g.l.allocate(ctx); g.err == nil {
				left := len(ports) - len(errs) - 1
				cancel()
				go func() { // the others
					for range left {
						if g := <-greetings; g.l != nil {
							g.l.close()
						}
					}
				}()
				go p.watch(d.cfg.askEvery)
				return p, nil
			}
			g.l.close()
		}
		errs = append(errs, g.err)
	}
	cancel()
	return nil, summary(errs)
}

// summary is one error for many ports, of which most fail in the same way.
func summary(errs []error) error {
	for _, err := range errs {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// line is a relay that answers, without an allocation.
type line struct {
	p      *path
	base   net.PacketConn
	client *turn.Client
	key    stun.MessageIntegrity
	user   string
	realm  string

	mu    sync.Mutex
	nonce stun.Nonce // of our own questions
}

func (l *line) close() {
	l.client.Close()
	l.base.Close()
}

// greet connects to a port of a relay and asks whether somebody is there. Every try has a
// socket of its own: a five-tuple that a crash left behind would be refused (437).
func (d *Dialer) greet(ctx context.Context, over Transport, relay string, found *proxy.Discovery) (*line, error) {
	l := &line{p: newPath(over), user: found.Username, realm: found.Realm, key: stun.NewLongTermIntegrity(found.Username, found.Realm, found.Credential)}
	l.p.relay = relay
	switch over {
	case UDP:
		c, err := d.cfg.Dial(ctx, "udp", relay)
		if err != nil {
			return nil, err
		}
		l.base = connected{c}
	case TCP, TLS:
		c, err := d.cfg.Dial(ctx, "tcp", relay)
		if err == nil && over == TLS {
			c, err = d.secure(ctx, c, relay)
		}
		if err != nil {
			return nil, err
		}
		l.base = proxy.Framed(c)
	}
	family := turn.RequestedAddressFamilyIPv4 // that of the way there: the relay has no other for sure
	if host, _, _ := net.SplitHostPort(relay); !isIPv4(host) {
		family = turn.RequestedAddressFamilyIPv6
	}
	var err error
	l.client, err = turn.NewClient(&turn.ClientConfig{STUNServerAddr: relay, TURNServerAddr: relay, Conn: &watched{l.base, l.p},
		Username: found.Username, Password: found.Credential, Realm: found.Realm, LoggerFactory: quiet{}, RequestedAddressFamily: family})
	if err != nil {
		l.base.Close()
		return nil, err
	}
	if err = l.client.Listen(); err == nil {
		err = l.ask(ctx, false)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// secure makes a TLS connection of one to a relay, or closes it.
func (d *Dialer) secure(ctx context.Context, c net.Conn, relay string) (net.Conn, error) {
	conf := d.tls("stun.turn")
	if conf.ServerName == "" {
		conf.ServerName, _, _ = net.SplitHostPort(relay)
	}
	t := tls.Client(c, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

func isIPv4(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().Is4()
}

// allocate makes a path of a line.
func (l *line) allocate(ctx context.Context) (*path, error) {
	conn, err := l.client.AllocateWithContext(ctx)
	if err != nil {
		return nil, err
	}
	p := l.p
	p.conn, p.ask = conn, l.ask
	p.stop = func() {
		conn.Close()
		l.close()
	}
	if c, ok := conn.(interface{ CreatePermissions(...net.Addr) error }); ok {
		p.permit = c.CreatePermissions
	}
	return p, nil
}

// ask sends a Binding request, or, thoroughly, a Refresh of the allocation: a relay that
// was started anew answers the one, but not the other.
func (l *line) ask(ctx context.Context, thoroughly bool) error {
	if !thoroughly {
		m, err := stun.Build(stun.TransactionID, stun.BindingRequest)
		if err == nil {
			_, err = l.client.PerformTransactionWithContext(m, l.client.TURNServerAddr(), false, ctx)
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for try := 0; ; try++ {
		setters := []stun.Setter{stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest)}
		if len(l.nonce) > 0 {
			setters = append(setters, stun.NewUsername(l.user), stun.NewRealm(l.realm), l.nonce, l.key, stun.Fingerprint)
		}
		m, err := stun.Build(setters...)
		if err != nil {
			return err
		}
		res, err := l.client.PerformTransactionWithContext(m, l.client.TURNServerAddr(), false, ctx)
		if err != nil {
			return err
		}
		if res.Msg.Type.Class == stun.ClassSuccessResponse {
			return nil
		}
		var code stun.ErrorCodeAttribute
		if code.GetFrom(res.Msg) != nil || try == 2 || code.Code != stun.CodeUnauthorized && code.Code != stun.CodeStaleNonce || l.nonce.GetFrom(res.Msg) != nil {
			return fmt.Errorf("proxy/client: the relay does not know this client any more (%d)", code.Code)
		}
	}
}

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
