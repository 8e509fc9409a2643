package proxy

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/turn/v5"
)

// TestDay: a session whose card does not end lives for the 24 hours of its ticket, to the
// second, and its ticket no longer.
func TestDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, err := newTickets(randomSecret())
		if err != nil {
			t.Fatal(err)
		}
		reg := newRegistry(10, map[uint32]Quota{})
		end := time.Now().Add(defaultTicketLife)
		username, _ := k.issue(holder{customer: 1, end: end.Unix()})
		h, _, err := k.read(username, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan time.Time, 1)
		s, err := reg.begin(h, overUDP, func() { stopped <- time.Now() })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24*time.Hour - time.Second) // of the bubble's time
		synctest.Wait()
		if s.reason.Load() != nil {
			t.Fatal("it ended early")
		}
		if _, _, err := k.read(username, time.Now()); err != nil {
			t.Error("the ticket ended early")
		}
		at := <-stopped
		if at.Unix() != end.Unix() || *s.reason.Load() != endedExpired {
			t.Errorf("it ended %v after its time: %s", at.Sub(end), *s.reason.Load())
		}
		if _, _, err := k.read(username, time.Now()); err == nil {
			t.Error("the ticket is good after its end")
		}
		if _, err := reg.begin(h, overUDP, func() {}); err == nil {
			t.Error("another session begins after the end")
		}
	})
}

// TestDrain: a relay that drains takes nobody new, keeps whom it has, and is done with
// the last.
func TestDrain(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	user, password := l.credentials(1, 0)
	c, err := l.turnClient(overUDP, user, password).Allocate()
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	go func() { drained <- l.Drain(t.Context()) }()
	l.eventually("it drains", l.Draining)
	if a, err := l.turnClient(overUDP, user, password).Allocate(); err == nil {
		a.Close()
		t.Error("a new session")
	}
	if _, status, refused := l.discover(l.card(2, 0), channelkeyUID(2)); status != 503 {
		t.Errorf("discovery: %d %+v, want 503", status, refused)
	}
	if err := exchange(c, l.echo, "still here"); err != nil {
		t.Error(err)
	}
	select {
	case <-drained:
		t.Error("done while there is a session")
	default:
	}
	c.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestIPv6: clients and media network over IPv6.
func TestIPv6(t *testing.T) {
	t.Parallel()
	echo, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip(err)
	}
	defer echo.Close()
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			echo.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	six := netip.IPv6Loopback()
	l := newLab(t, func(c *Config) {
		c.Addresses, c.RelayAddress4, c.RelayAddress6, c.Media = []netip.Addr{six}, netip.Addr{}, six, []string{"::1/128"}
	})
	user, password := l.credentials(1, 0)
	base, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	to := l.at("edge", "udp").String()
	client, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: to, TURNServerAddr: to, Conn: base, Username: user, Password: password,
		Realm: defaultRealm, LoggerFactory: silent{}, RequestedAddressFamily: turn.RequestedAddressFamilyIPv6})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	c, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a, _ := netip.ParseAddrPort(c.LocalAddr().String()); a.Addr() != six {
		t.Errorf("relayed at %v", a)
	}
	for range 4 { // by Data indications, then by a channel
		if err := exchange(c, echo.LocalAddr().(*net.UDPAddr).AddrPort(), "over IPv6"); err != nil {
			t.Fatal(err)
		}
	}
}
