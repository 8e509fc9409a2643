package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

var transports = []string{overUDP, overTCP, overTLS, "tls-without-alpn"}

// TestTURN: payloads of all sizes come back unchanged over every transport, by Send
// indications at first and by a channel later.
func TestTURN(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, over := range transports {
		t.Run(over, func(t *testing.T) {
			user, password := l.credentials(123, 0)
			c, err := l.turnClient(over, user, password).Allocate()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, n := range []int{1, 2, 3, 4, 5, 172, 1000, 1400} {
				for range 3 {
					if err := exchange(c, l.echo, strings.Repeat("x", n)); err != nil {
						t.Fatalf("%d bytes: %v", n, err)
					}
				}
			}
		})
	}
	l.eventually("all allocations are over", func() bool { return l.Sessions() == 0 })
	if free := l.ports.left(); free != l.cfg.RelayPorts.Len() {
		t.Errorf("%d relay ports of %d are free", free, l.cfg.RelayPorts.Len())
	}
}

// TestCredentials: without a good ticket there is no allocation.
func TestCredentials(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	user, password := l.credentials(123, 0)
	other, err := newTickets(randomSecret())
	if err != nil {
		t.Fatal(err)
	}
	foreignUser, foreignPassword := other.issue(holder{customer: customerID(l.app.ID), end: time.Now().Unix() + 100})
	expired, expiredPassword := l.tickets.issue(holder{customer: customerID(l.app.ID), end: time.Now().Unix() - 1})
	stranger, strangerPassword := l.tickets.issue(holder{customer: 7, end: time.Now().Unix() + 100})
	last := "A"
	if strings.HasSuffix(user, last) {
		last = "Q"
	}
	for name, c := range map[string][2]string{
		"wrong password": {user, password + "x"}, "no ticket": {"user", "pass"}, "changed ticket": {user[:len(user)-1] + last, password},
		"later expiry": {"9" + user, password}, "another proxy's": {foreignUser, foreignPassword}, "expired": {expired, expiredPassword},
		"no customer": {stranger, strangerPassword}, "empty": {"", ""}, "password of another": {user, foreignPassword},
	} {
		if a, err := l.turnClient(overUDP, c[0], c[1]).Allocate(); err == nil {
			a.Close()
			t.Errorf("%s: allocated", name)
		}
	}
	if l.Sessions() != 0 {
		t.Error("sessions are left")
	}
	if a, err := l.turnClient(overUDP, user, password).Allocate(); err != nil { // the control
		t.Error(err)
	} else {
		a.Close()
	}
}

// TestCardEnds: an allocation ends at once with its card: at the end of service, or
// when card, user, channel or certificate are revoked.
func TestCardEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	t.Run("expired", func(t *testing.T) {
		end := time.Now().Unix() + 2
		user, password := l.credentials(123, end)
		for _, over := range transports[:3] {
			c, err := l.turnClient(over, user, password).Allocate()
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(c, l.echo, "before"); err != nil {
				t.Fatal(err)
			}
		}
		l.eventually("a session is over", func() bool { return l.Sessions() < 3 })
		if now := time.Now(); now.Unix() < end {
			t.Errorf("ended %v early", time.Unix(end, 0).Sub(now))
		}
		l.eventually("all sessions are over", func() bool { return l.Sessions() == 0 })
		for _, over := range transports[:3] {
			if a, err := l.turnClient(over, user, password).Allocate(); err == nil {
				a.Close()
				t.Errorf("%s: allocated after the end of service", over)
			}
		}
	})
	grant := func(card string, uid uint32) channelkey.Grant {
		v, err := channelkey.NewVerifier(l.app, channelkey.Policy{})
		if err != nil {
			t.Fatal(err)
		}
		g, err := v.Verify(card, channelkey.Claims{Channel: "room", User: channelkey.UID(uid)})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for i, name := range []string{"card", "user", "channel", "person", "certificate"} {
		t.Run("revoked "+name, func(t *testing.T) {
			uid := uint32(1000 + i)
			card := l.card(uid, 0)
			d, _, _ := l.discover(card, channelkeyUID(uid))
			g := grant(card, uid)
			r := channelkey.Revocation{}
			switch name {
			case "card":
				r.Card = g.CardID()
			case "user":
				r.User = channelkey.UID(uid)
			case "channel":
				r.Channel = "room"
			case "person":
				r.Channel, r.User = "room", channelkey.UID(uid)
			case "certificate":
				r.Certificate = g.Certificate
			}
			for _, over := range transports[:3] {
				c, err := l.turnClient(over, d.Username, d.Credential).Allocate()
				if err != nil {
					t.Fatal(err)
				}
				if err := exchange(c, l.echo, "before"); err != nil {
					t.Fatal(err)
				}
			}
			other := r // of something else: nothing happens
			if other.Channel != "" {
				other.Channel = "hall"
			} else if other.User != "" {
				other.User = "1"
			} else {
				other.Card[0] ^= 1
				other.Certificate[0] ^= 1
				if name == "card" {
					other.Certificate = channelkey.CertificateID{}
				} else {
					other.Card = channelkey.CardID{}
				}
			}
			other.Until = time.Now().Add(time.Hour)
			if n, err := l.Revoke(other); n != 0 || err != nil {
				t.Fatalf("revoking something else ended %d sessions: %v", n, err)
			}
			r.Until = time.Now().Add(time.Hour)
			if n, err := l.Revoke(r); n != 3 || err != nil {
				t.Fatalf("revoking ended %d sessions: %v", n, err)
			}
			l.eventually("the sessions are over", func() bool { return l.Sessions() == 0 })
			for _, over := range transports[:3] {
				if a, err := l.turnClient(over, d.Username, d.Credential).Allocate(); err == nil {
					a.Close()
					t.Errorf("%s: allocated with what is revoked", over)
				}
			}
			if _, status, refused := l.discover(card, channelkeyUID(uid)); status != 403 || refused.Code != "revoked" {
				t.Errorf("discovery: %d %+v", status, refused)
			}
			r.Until = time.Now().Add(-time.Second) // lift it
			if _, err := l.Revoke(r); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestQuota: over the limit a session is refused with 486, and those that are there go
// on.
func TestQuota(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *Config) { c.DefaultQuota = Quota{Sessions: 3, SessionsPerCard: 2} })
	user, password := l.credentials(1, 0)
	first, err := l.turnClient(overUDP, user, password).Allocate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.turnClient(overTCP, user, password).Allocate(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.turnClient(overUDP, user, password).Allocate(); err == nil || !strings.Contains(err.Error(), "486") {
		t.Errorf("third session of a card: %v", err)
	}
	user, password = l.credentials(2, 0)
	if _, err := l.turnClient(overUDP, user, password).Allocate(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.turnClient(overUDP, user, password).Allocate(); err == nil || !strings.Contains(err.Error(), "486") {
		t.Errorf("fourth session of the customer: %v", err)
	}
	if err := exchange(first, l.echo, "still here"); err != nil {
		t.Error(err)
	}
}
