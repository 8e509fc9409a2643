package client

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/proxy"
)

// TestParseServers: the source's own strings, and those that say nothing.
func TestParseServers(t *testing.T) {
	for _, c := range []struct {
		t    Type
		s    string
		want string
	}{
		{List, "47.74.211.17,52.80.192.229,52.52.84.170,47.96.234.219:0", "47.74.211.17:4000 52.80.192.229:4000 52.52.84.170:4000 47.96.234.219:4000"},
		{List, "47.74.211.17,52.80.192.229:4001", "47.74.211.17:4001 52.80.192.229:4001"},
		{List, "47.74.211.17,0", "47.74.211.17:4000"},
		{List, "47.74.211.17,52.80.192.229,4002", "47.74.211.17:4002 52.80.192.229:4002"},
		{List, "[2001:db8::1],[2001:db8::2]:0", "[2001:db8::1]:4000 [2001:db8::2]:4000"},
		{Domain, "proxy.example.com:0", "proxy.example.com:4000"},
		{Domain, "proxy.example.com", "proxy.example.com:4000"},
		{OwnSOCKS5, "192.0.2.1:0", "192.0.2.1:1080"},
		{OwnSOCKS5, "192.0.2.1:1081", "192.0.2.1:1081"},
	} {
		got, err := ParseServers(c.t, c.s)
		if err != nil || strings.Join(got.Addresses(), " ") != c.want {
			t.Errorf("type %d, %q: %v, %v", c.t, c.s, got.Addresses(), err)
		}
	}
	for _, c := range []struct {
		t Type
		s string
	}{{List, ""}, {List, "proxy.example.com:0"}, {List, "1.2.3.4:x"}, {List, "1.2.3.4:65536"}, {Domain, "a,b:0"}, {Domain, ":4000"}, {3, "1.2.3.4:0"},
		{Domain, "https://x:0"}, {OwnSOCKS5, "user@host:1"}} {
		if got, err := ParseServers(c.t, c.s); err == nil {
			t.Errorf("type %d, %q is %v", c.t, c.s, got)
		}
	}
}

// TestRewriteArgs: the source's flags as they stand in its documentation.
func TestRewriteArgs(t *testing.T) {
	for in, want := range map[string]string{
		"record --enableCloudProxy 1 --proxyType 2 --proxyServer 1.2.3.4,0 out": "record --cloud-proxy=1 --proxy-type=2 --proxy-server=1.2.3.4,0 out",
		"--enableCloudProxy=0":             "--cloud-proxy=0",
		"--enableCloudProxy --proxyType=1": "--cloud-proxy --proxy-type=1",
		"--cloud-proxy=udp x":              "--cloud-proxy=udp x",
		"--cloud-proxy udp x":              "--cloud-proxy=udp x",
		"--cloud-proxy x":                  "--cloud-proxy x",
		"--cloud-proxy":                    "--cloud-proxy",
		"-- --proxyType 1":                 "-- --proxyType 1",
	} {
		if got := strings.Join(RewriteArgs(strings.Fields(in)), " "); got != want {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}

// lab is relays on loopback.
type lab struct {
	*testing.T
	app    channelkey.App
	secret []byte
	mu     sync.Mutex
	events []Event
}

var anyPort = []proxy.Ports{{}}

func (l *lab) start(change func(*proxy.Config)) *proxy.Server {
	l.Helper()
	a := netip.MustParseAddr("127.0.0.1")
	cfg := proxy.Config{Apps: []channelkey.App{l.app}, Secret: l.secret, Addresses: []netip.Addr{a}, RelayAddress4: a, Media: []string{"127.0.0.1/32"},
		Listen: proxy.ListenPorts{Control: anyPort, Edge: anyPort, SOCKS: anyPort, TLS: anyPort}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if change != nil {
		change(&cfg)
	}
	s, err := proxy.Start(l.Context(), cfg)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { s.Close() })
	return s
}

func newLab(t *testing.T) *lab {
	return &lab{T: t, app: channelkey.NewApp(), secret: []byte("a secret that relays share, 32 B")}
}

func at(s *proxy.Server, service string) string {
	for _, l := range s.Listening() {
		if l.Service == service && l.Protocol == "tcp" {
			return l.Address.String()
		}
	}
	return ""
}

func (l *lab) config(mode Mode, typ Type, server string) Config {
	l.Helper()
	issuer, err := channelkey.NewIssuer(l.app, channelkey.Legacy{})
	if err != nil {
		l.Fatal(err)
	}
	card, err := issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "room", User: "5", Issued: uint32(time.Now().Unix()), Random: channelkey.NewRandom()})
	if err != nil {
		l.Fatal(err)
	}
	return Config{Mode: mode, Type: typ, Server: server, Card: card, Channel: "room", UID: "5", TLS: &tls.Config{InsecureSkipVerify: true}, askEvery: 200 * time.Millisecond, Step: 5 * time.Second,
		OnEvent: func(e Event) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, e)
		}}
}

func (l *lab) kinds() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		list = append(list, string(e.Kind)+" "+string(e.Transport))
	}
	return list
}

func (l *lab) echo() net.Addr {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr()
}

// works wants an echo within some tries.
func works(c net.PacketConn, echo net.Addr, tries int) error {
	b := make([]byte, 2000)
	for {
		if _, err := c.WriteTo([]byte("frame"), echo); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, from, err := c.ReadFrom(b)
		if err == nil && string(b[:n]) == "frame" && from.String() == echo.String() {
			return nil
		}
		if tries--; tries == 0 {
			return err
		}
	}
}

func (l *lab) open(cfg Config) (net.PacketConn, error) {
	d, err := New(cfg)
	if err != nil {
		return nil, err
	}
	c, err := d.ListenPacket(l.Context())
	if err == nil {
		l.Cleanup(func() { c.Close() })
	}
	return c, err
}

// TestModes: every mode and type carries packets, over what it says.
func TestModes(t *testing.T) {
	l := newLab(t)
	echo := l.echo()
	all := l.start(nil)
	tlsOnly := l.start(func(c *proxy.Config) { c.Listen.Edge = nil })
	for name, c := range map[string]struct {
		cfg  Config
		want Transport
	}{
		"auto":            {l.config(Automatic, Domain, at(all, "control")), UDP},
		"udp":             {l.config(ForceUDP, Domain, at(all, "control")), UDP},
		"tcp":             {l.config(ForceTCP, Domain, at(all, "control")), TCP},
		"list":            {l.config(Automatic, List, at(all, "control")), UDP},
		"tls only":        {l.config(Automatic, Domain, at(tlsOnly, "control")), TLS},
		"over TLS's port": {l.config(Automatic, Domain, at(tlsOnly, "tls")), TLS},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := l.open(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.(*Conn).Transport(); got != c.want {
				t.Errorf("over %s, want %s", got, c.want)
			}
			if err := works(conn, echo, 4); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("own SOCKS5", func(t *testing.T) {
		conn, err := l.open(l.config(Automatic, OwnSOCKS5, at(all, "socks")))
		if err != nil {
			t.Fatal(err)
		}
		if err := works(conn, echo, 4); err != nil {
			t.Error(err)
		}
	})
	t.Run("off", func(t *testing.T) {
		conn, err := l.open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := works(conn, echo, 4); err != nil {
			t.Error(err)
		}
	})
	t.Run("direct first", func(t *testing.T) {
		cfg := l.config(Automatic, Domain, at(all, "control"))
		cfg.Direct = l.media().String()
		conn, err := l.open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.(*Conn).Transport(); got != Direct {
			t.Errorf("over %s, though the direct way works", got)
		}
		if err := works(conn, echo, 4); err != nil {
			t.Error(err)
		}
	})
	if _, err := l.open(l.config(ForceUDP, Domain, at(tlsOnly, "control"))); err == nil {
		t.Error("force UDP went over something else")
	}
	cfg := l.config(Automatic, Domain, at(all, "control"))
	cfg.UID = "6"
	if _, err := l.open(cfg); err == nil || !strings.Contains(err.Error(), "not-authentic") {
		t.Errorf("another's card: %v", err)
	}
}

// TestNoDNS: a name that does not resolve leads to the list.
func TestNoDNS(t *testing.T) {
	l := newLab(t)
	s := l.start(nil)
	cfg := l.config(Automatic, Domain, "no-such-name.invalid:0")
	if _, err := l.open(cfg); err == nil {
		t.Fatal("a name that does not exist was reached")
	}
	cfg.Fallback = at(s, "control")
	conn, err := l.open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := works(conn, l.echo(), 4); err != nil {
		t.Error(err)
	}
}

// TestFailover: a relay that is killed is replaced, and the PacketConn lives on.
func TestFailover(t *testing.T) {
	l := newLab(t)
	echo := l.echo()
	// The second is for another region, so that the first is taken before it.
	second := l.start(func(c *proxy.Config) { c.Region = "far" })
	first := l.start(func(c *proxy.Config) {
		c.Region = "near"
		c.Relays = []proxy.RelayRef{{Address: at(second, "control")}}
	})
	cfg := l.config(Automatic, Domain, at(first, "control"))
	cfg.Region = "near"
	cfg.Fallback = at(second, "control")
	conn, err := l.open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := works(conn, echo, 4); err != nil {
		t.Fatal(err)
	}
	if first.Sessions() != 1 || second.Sessions() != 0 {
		t.Fatalf("sessions: %d near, %d far", first.Sessions(), second.Sessions())
	}
	before := conn.LocalAddr().String()
	first.Close()
	if err := works(conn, echo, 30); err != nil {
		t.Fatal(err)
	}
	if second.Sessions() != 1 || conn.LocalAddr().String() == before {
		t.Error("it did not move to the other relay")
	}
	if kinds := l.kinds(); !slices.Contains(kinds, "lost udp") || kinds[len(kinds)-1] != "connected udp" {
		t.Errorf("events: %v", kinds)
	}
}

// TestDial: a stream through SOCKS5.
func TestDial(t *testing.T) {
	l := newLab(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "inside") }))
	defer web.Close()
	s := l.start(nil)
	for _, cfg := range []Config{l.config(ForceTCP, Domain, at(s, "control")), l.config(ForceTCP, OwnSOCKS5, at(s, "socks"))} {
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		client := http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}}
		resp, err := client.Get(web.URL)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "inside" {
			t.Errorf("%q", b)
		}
	}
}
