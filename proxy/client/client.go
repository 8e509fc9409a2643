// Package client reaches the media network through the cloud proxy: a net.PacketConn and
// a dialer for gateways, recorders and programs with pion.
//
//	d, err := client.New(client.Config{Mode: client.Automatic, Type: client.Domain,
//		Server: "proxy.example.com:0", Card: key, Channel: "room-42", UID: "123"})
//	conn, err := d.ListenPacket(ctx)   // every packet goes through a relay
//
// Automatic tries the direct way first, if it is told of somebody to ask there. Meanwhile
// the discovery service is asked for relays, and UDP, TCP and TLS are tried, each 300 ms
// after the one before; the first that answers is taken, and what worked is tried first
// for an hour. A way that dies is replaced by another while the PacketConn lives on.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/chanseal/chanseal/proxy"
)

// Mode says when the proxy is used, and over what.
type Mode int

// The modes.
const (
	Off       Mode = iota // directly, always
	Automatic             // directly; if that is blocked, UDP, TCP, TLS, whichever works
	ForceUDP              // UDP only
	ForceTCP              // TCP or TLS only
)

var modeNames = [...]string{"off", "auto", "udp", "tcp"}

// String returns the mode's name.
func (m Mode) String() string {
	if m < 0 || int(m) >= len(modeNames) {
		return fmt.Sprintf("mode %d", int(m))
	}
	return modeNames[m]
}

// ParseMode reads a mode's name; 1 and true are Automatic, 0 and false Off.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "1", "true", "on", "automatic":
		return Automatic, nil
	case "0", "false":
		return Off, nil
	}
	for i, n := range modeNames {
		if s == n {
			return Mode(i), nil
		}
	}
	return Off, fmt.Errorf("proxy/client: no mode %q, there are off, auto, udp and tcp", s)
}

// Transport is how a relay is reached.
type Transport string

// The transports. Direct is no relay at all.
const (
	Direct Transport = "direct"
	UDP    Transport = "udp"
	TCP    Transport = "tcp"
	TLS    Transport = "tls"
	SOCKS5 Transport = "socks5"
)

// EventKind says what an Event tells.
type EventKind string

// The kinds of event.
const (
	Connected   EventKind = "connected"    // a relay, or the direct way, is in use
	FallingBack EventKind = "falling back" // a transport did not work yet, this one is tried
	Lost        EventKind = "lost"         // the way is gone; another is looked for, and again after each search that found none
)

// Event tells how a connection fares.
type Event struct {
	Kind      EventKind
	Transport Transport
	Elapsed   time.Duration // since the search began; Lost: since the way was lost
	Address   net.Addr      // Connected: where peers send to, nil for SOCKS5
	Err       error         // Lost, FallingBack
}

// Config says how to reach the proxy. The zero value is Off.
type Config struct {
	Mode   Mode
	Type   Type   // Domain is 1
	Server string // as ParseServers reads it
	// Fallback is a list in the form of type 2, for when the name of Server does not
	// resolve.
	Fallback string
	// Card is the channel key, Channel and UID what it is for.
	Card, Channel, UID string
	// Renew returns the channel key for each new question, in place of Card: one that
	// ends can be replaced in time. nil: Card is all there is.
	Renew  func() (string, error)
	Region string
	// User and Password are for a SOCKS5 server of one's own; empty: Channel/UID and
	// Card.
	User, Password string
	// TLS is for discovery and TURN over TLS; nil for the system's roots.
	TLS *tls.Config
	// Direct is an address of the media network, HOST:PORT, that answers STUN Binding
	// requests over UDP, as "gateway open" and most media servers do. Automatic asks it
	// first and needs no relay if it answers; empty: there is no direct way.
	Direct string
	// Dial and Listen make the sockets, as net.Dialer's DialContext and net.ListenPacket
	// do, which stand for nil: for an interface or a network stack of one's own.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Listen func(network, address string) (net.PacketConn, error)
	// OnEvent is told what happens, in order; it must not block.
	OnEvent func(Event)
	// Step is between the transports that are tried; 0 for 300 ms.
	Step time.Duration
	// Timeout bounds a search; 0 for 15 seconds.
	Timeout time.Duration

	askEvery time.Duration // 0 for askEvery
}

// Dialer makes connections through the proxy. It may be used by many goroutines.
type Dialer struct {
	cfg      Config
	servers  Servers
	fallback Servers

	mu     sync.Mutex
	found  *proxy.Discovery // the last answer
	worked Transport
	until  time.Time
	bad    map[string]time.Time // relays that failed a moment ago
}

// remember is how long the transport that worked is tried first.
const remember = time.Hour

// New checks a configuration.
func New(cfg Config) (*Dialer, error) {
	if cfg.Step <= 0 {
		cfg.Step = 300 * time.Millisecond
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.askEvery <= 0 {
		cfg.askEvery = askEvery
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Listen == nil {
		cfg.Listen = net.ListenPacket
	}
	d := &Dialer{cfg: cfg, bad: map[string]time.Time{}}
	if cfg.Mode == Off {
		return d, nil
	}
	var err error
	if cfg.Server == "" && cfg.Fallback == "" {
		return nil, errors.New("proxy/client: no proxy server, give one (--proxy-server)")
	}
	if cfg.Server != "" {
		if d.servers, err = ParseServers(cfg.Type, cfg.Server); err != nil {
			return nil, err
		}
	}
	if cfg.Fallback != "" {
		if d.fallback, err = ParseServers(List, cfg.Fallback); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *Dialer) event(e Event) {
	if d.cfg.OnEvent != nil {
		d.cfg.OnEvent(e)
	}
}

func (d *Dialer) tls(alpn ...string) *tls.Config {
	c := &tls.Config{}
	if d.cfg.TLS != nil {
		c = d.cfg.TLS.Clone()
	}
	if c.ServerName == "" && d.cfg.Type == Domain && len(d.servers.Hosts) == 1 {
		c.ServerName = d.servers.Hosts[0] // relays are known by address, their certificates by name
	}
	c.NextProtos = alpn
	return c
}

// Options say what a PacketConn is for.
type Options struct {
	// Direct stands for Config.Direct.
	Direct string
	// Peers may send before anything was sent to them, and are known to be reached: it
	// is an error if the proxy does not let them through.
	Peers []netip.Addr
	// Receive is for who only waits for packets: always through a relay, whose address
	// peers are told, and which lets Peers send, or, where there are none, whoever comes
	// by a relay of the same proxy.
	Receive bool
	// OnAddress is told of the address that peers send to, and of each new one. It must
	// not block.
	OnAddress func(net.Addr)
}

// ListenPacket is Listen with nothing but Config.Direct.
func (d *Dialer) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	return d.Listen(ctx, Options{Direct: d.cfg.Direct})
}

// Listen returns a PacketConn of the mode, a *Conn but for Off and SOCKS5. Its packets
// come from the address that LocalAddr tells, a relay's or one of this machine.
func (d *Dialer) Listen(ctx context.Context, o Options) (net.PacketConn, error) {
	began := time.Now()
	if d.cfg.Mode == Off {
		return d.cfg.Listen("udp", ":0")
	}
	if d.cfg.Type == OwnSOCKS5 {
		if o.Receive {
			return nil, errors.New("proxy/client: a SOCKS5 server has no address that others can send to; use proxy type 1 or 2")
		}
		c, err := d.associate(ctx, d.servers.Addresses()[0], d.socksUser(), d.socksPassword())
		if err == nil {
			d.event(Event{Kind: Connected, Transport: SOCKS5, Elapsed: time.Since(began)})
		}
		return c, err
	}
	if o.Receive {
		o.Direct = ""
	}
	p, err := d.race(ctx, o.Direct)
	if err != nil {
		return nil, err
	}
	if o.Receive && len(o.Peers) == 0 {
		o.Peers = d.RelayAddresses()
	}
	c := newConn(d, o)
	if err := permit(p, c.peers); err != nil {
		p.close()
		return nil, err
	}
	c.use(p)
	return c, nil
}

// DialContext connects to an address, for programs that want a stream: directly in Off
// and where Automatic finds that it works, else by SOCKS5.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	began := time.Now()
	if d.cfg.Mode == Off || d.cfg.Mode == Automatic {
		direct := ctx
		if d.cfg.Mode == Automatic {
			var cancel context.CancelFunc
			direct, cancel = context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
		}
		c, err := d.cfg.Dial(direct, network, address)
		if err == nil || d.cfg.Mode == Off {
			return c, err
		}
		d.event(Event{Kind: FallingBack, Transport: Direct, Elapsed: time.Since(began), Err: err})
	}
	connect := func(server, user, password string) (net.Conn, error) {
		c, _, err := d.socks(ctx, server, user, password, socksConnect, address)
		if err == nil {
			d.event(Event{Kind: Connected, Transport: SOCKS5, Elapsed: time.Since(began)})
		}
		return c, err
	}
	if d.cfg.Type == OwnSOCKS5 {
		return connect(d.servers.Addresses()[0], d.socksUser(), d.socksPassword())
	}
	found, err := d.Discover(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, r := range found.Relays {
		for _, a := range r.Addresses {
			if len(r.SOCKS5) == 0 {
				continue
			}
			c, err := connect(net.JoinHostPort(a.String(), fmt.Sprint(r.SOCKS5[0].First)), found.Username, found.Credential)
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, fmt.Errorf("proxy/client: no relay connects to %s: %w", address, errors.Join(errs...))
}

func (d *Dialer) socksUser() string {
	if d.cfg.User != "" || d.cfg.Card == "" {
		return d.cfg.User
	}
	return d.cfg.Channel + "/" + d.cfg.UID
}

func (d *Dialer) socksPassword() string {
	if d.cfg.User != "" || d.cfg.Card == "" {
		return d.cfg.Password
	}
	return d.cfg.Card
}
