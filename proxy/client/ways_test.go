package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/chanseal/chanseal/proxy"
)

// media is a server of the media network: it answers Binding requests until it is closed,
// and sends all else back.
type media struct{ *net.UDPConn }

func (m media) String() string { return m.LocalAddr().String() }

func (l *lab) media() media {
	l.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			answer := b[:n]
			if req := (&stun.Message{Raw: answer}); stun.IsMessage(answer) && req.Decode() == nil && req.Type == stun.BindingRequest {
				answer = stun.MustBuild(stun.NewTransactionIDSetter(req.TransactionID), stun.BindingSuccess,
					&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}).Raw
			}
			c.WriteToUDPAddrPort(answer, from)
		}
	}()
	return media{c}
}

// TestDirect: the direct way is taken where it works; where it does not, and where it ends,
// a relay is, and that is remembered.
func TestDirect(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.start(nil)
	m := l.media()
	cfg := l.config(Automatic, List, at(s, "control"))
	cfg.Direct, cfg.Step = m.String(), 300*time.Millisecond
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.ListenPacket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := conn.(*Conn)
	if err := works(c, m.LocalAddr(), 4); err != nil || c.Transport() != Direct || s.Sessions() != 0 {
		t.Fatalf("over %s, %d sessions: %v", c.Transport(), s.Sessions(), err)
	}
	m.Close() // as a firewall that learned of it
	if err := works(c, l.echo(), 30); err != nil {
		t.Fatal(err)
	}
	l.eventually(func() bool { return c.Transport() != Direct })
	worked := c.Transport() // UDP, where the machine has time
	if kinds := l.kinds(); !slices.Contains(kinds, "lost direct") || kinds[len(kinds)-1] != "connected "+string(worked) {
		t.Errorf("events: %v", kinds)
	}
	l.mu.Lock()
	l.events = nil
	l.mu.Unlock()
	if order := d.order(); order[0] != worked {
		t.Errorf("after %s worked, the order is %v", worked, order)
	}
	again, err := d.ListenPacket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.(*Conn).Transport() == Direct {
		t.Errorf("the second time: %v", l.kinds())
	}
}

func (l *lab) eventually(f func() bool) {
	l.Helper()
	for range 3000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond) // between looks
	}
	l.Fatalf("never came about; events: %v", l.kinds())
}

// TestPermit: a peer that was sent nothing gets through if it was permitted, and not
// before; by the relay that comes after, too.
func TestPermit(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	second := l.start(nil)
	first := l.start(nil)
	cfg := l.config(ForceUDP, List, at(first, "control"))
	cfg.Fallback = at(second, "control")
	conn, err := l.open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*Conn)
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	peer.WriteTo([]byte("too early"), c.LocalAddr())
	if err := c.Permit(netip.MustParseAddr("10.0.0.1")); err == nil {
		t.Error("an address that the proxy does not reach was permitted")
	}
	peer.WriteTo([]byte("too early"), c.LocalAddr())
	if err := c.Permit(netip.MustParseAddr("127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	arrives := func(text string) bool {
		t.Helper()
		for range 40 {
			peer.WriteTo([]byte(text), c.LocalAddr())
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			n, from, err := c.ReadFrom(buf)
			if err == nil && string(buf[:n]) != text {
				t.Errorf("%q came", buf[:n])
			}
			if err == nil && from.String() == peer.LocalAddr().String() {
				return true
			}
		}
		return false
	}
	if !arrives("now") {
		t.Fatal("nothing comes")
	}
	before := c.LocalAddr().String()
	first.Close()
	l.eventually(func() bool { return c.LocalAddr().String() != before })
	for { // what the first still had
		c.SetReadDeadline(time.Unix(1, 0))
		if _, _, err := c.ReadFrom(buf); err != nil {
			break
		}
	}
	if !arrives("by the other") {
		t.Error("nothing comes by the second relay")
	}
	if list := c.d.RelayAddresses(); !slices.Equal(list, []netip.Addr{netip.MustParseAddr("127.0.0.1")}) {
		t.Errorf("the relays' addresses: %v", list)
	}
}

// TestDeadline: a deadline wakes a read that waits, passes by when it is moved, and is
// over when it is taken away.
func TestDeadline(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	conn, err := l.open(l.config(ForceUDP, List, at(l.start(nil), "control")))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	read := func() {
		_, _, err := conn.ReadFrom(make([]byte, 10))
		got <- err
	}
	for range 3 {
		conn.SetReadDeadline(time.Time{})
		go read()
		conn.SetReadDeadline(time.Now().Add(time.Hour))
		conn.SetReadDeadline(time.Now().Add(-time.Second))
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		go read()
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	conn.SetReadDeadline(time.Time{})
	if err := works(conn, l.echo(), 4); err != nil {
		t.Error(err)
	}
}

// TestRestart: a relay that was started anew answers, but does not know its clients; they
// notice.
func TestRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.start(nil)
	ports := func(service string) []proxy.Ports {
		a := netip.MustParseAddrPort(at(s, service))
		return []proxy.Ports{proxy.Port(a.Port())}
	}
	same := proxy.ListenPorts{Control: ports("control"), TLS: ports("tls")}
	for _, x := range s.Listening() {
		if x.Service == "edge" && x.Protocol == "udp" {
			same.Media = []proxy.Ports{proxy.Port(x.Address.Port())}
		}
	}
	for _, mode := range []Mode{ForceUDP, ForceTCP} {
		cfg := l.config(mode, List, at(s, "control"))
		conn, err := l.open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		echo := l.echo()
		if err := works(conn, echo, 4); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = l.start(func(c *proxy.Config) { c.Listen = same })
		if err := works(conn, echo, 40); err != nil {
			t.Errorf("%s: %v, events %v", mode, err, l.kinds())
		}
	}
}

// TestSilentDiscovery: a discovery service that says nothing does not keep the others from
// being asked.
func TestSilentDiscovery(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	silent, err := net.Listen("tcp4", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := l.config(Automatic, List, silent.Addr().String())
	cfg.Fallback, cfg.Step = at(l.start(nil), "control"), 300*time.Millisecond
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), askTime-time.Second)
	defer cancel()
	if _, err := d.Discover(ctx); err != nil {
		t.Error(err)
	}
}
