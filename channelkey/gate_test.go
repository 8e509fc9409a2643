package channelkey

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// desk mints dk4 cards at the current time.
type desk struct {
	t      testing.TB
	issuer *Issuer
	random uint32
}

func newDesk(t testing.TB) *desk { return &desk{t: t, issuer: newIssuer(t, testApp(), Legacy{})} }

// card is for a channel and user; service ends after stay, or never if it is 0.
func (d *desk) card(channel string, user User, stay time.Duration) string {
	d.t.Helper()
	d.random++
	now := time.Now().Unix()
	c := Card{Format: DK4, Channel: channel, User: user, Issued: uint32(now), Random: d.random}
	if stay > 0 {
		c.Expires = uint32(now + int64(stay/time.Second))
	}
	token, err := d.issuer.Mint(c)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

func in(channel string, user User) Claims { return Claims{Channel: channel, User: user} }

func newGate(t testing.TB, change func(*GateConfig)) *Gate {
	t.Helper()
	cfg := GateConfig{Verifier: newVerifier(t, testApp(), Policy{})}
	if change != nil {
		change(&cfg)
	}
	g, err := NewGate(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func enter(t testing.TB, g *Gate, card string, c Claims) Pass {
	t.Helper()
	p, err := g.Enter(card, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantReason(t testing.TB, err error, want Reason) {
	t.Helper()
	if ReasonOf(err) != want {
		t.Errorf("%v, want %s", err, want.String())
	}
}

// bubble runs a test with a fake clock and a gate, and collects its events.
func bubble(t *testing.T, change func(*GateConfig), f func(t *testing.T, g *Gate, d *desk, events func() string)) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, change)
		stream := g.Events()
		f(t, g, newDesk(t), func() string {
			synctest.Wait()
			var all []string
			for len(stream) > 0 {
				e := <-stream
				s := fmt.Sprintf("%s %s/%s", e.Kind, e.Pass.Channel, e.Pass.User)
				if e.Reason != 0 {
					s += " " + e.Reason.String()
				}
				all = append(all, s)
				synctest.Wait()
			}
			return strings.Join(all, ", ")
		})
		g.Close()
	})
}

// TestGateDoor is the source document's story: entering within five minutes, again
// with the same card, and not afterwards.
func TestGateDoor(t *testing.T) {
	bubble(t, nil, func(t *testing.T, g *Gate, d *desk, events func() string) {
		card := d.card("ABC", UID(123), 0)
		_, err := g.Enter(card, in("ABC", UID(124)))
		wantReason(t, err, NotAuthentic) // this user's own card?
		_, err = g.Enter(card, in("ABD", UID(123)))
		wantReason(t, err, NotAuthentic) // for this channel?
		_, err = g.Enter(card, in("ABC", Anybody))
		wantReason(t, err, BadUser)
		p := enter(t, g, card, in("ABC", UID(123)))
		time.Sleep(299 * time.Second)
		if !g.Leave(p) || g.Leave(p) {
			t.Error("leaving once is once")
		}
		p = enter(t, g, card, in("ABC", UID(123)))
		time.Sleep(time.Second)
		if !g.IsInside("ABC", UID(123), Media) {
			t.Error("the end of the window puts out")
		}
		g.Leave(p)
		_, err = g.Enter(card, in("ABC", UID(123)))
		wantReason(t, err, EntryOver)
		// Without an end of service nobody inside needs a new card.
		p = enter(t, g, d.card("ABC", UID(123), 0), in("ABC", UID(123)))
		time.Sleep(1000 * time.Hour)
		if len(g.Inside()) != 1 || g.Inside()[0].ID != p.ID {
			t.Error("put out without an end of service")
		}
		want := "refused ABC/124 not-authentic, refused ABD/123 not-authentic, refused ABC/ bad-user, " +
			"entered ABC/123, left ABC/123, entered ABC/123, left ABC/123, refused ABC/123 entry-over, entered ABC/123"
		if got := events(); got != want {
			t.Errorf("events:\n%s\nwant\n%s", got, want)
		}
	})
}

// TestGateServiceEnd: whoever is inside at the end of service is out at that very
// second, warned 30 seconds before; the card itself is not invalid by that.
func TestGateServiceEnd(t *testing.T) {
	bubble(t, nil, func(t *testing.T, g *Gate, d *desk, events func() string) {
		card := d.card("ABC", UID(1), 100*time.Second)
		enter(t, g, card, in("ABC", UID(1)))
		enter(t, g, d.card("ABC", UID(2), 200*time.Second), in("ABC", UID(2)))
		soon := enter(t, g, d.card("ABC", UID(3), 20*time.Second), in("ABC", UID(3)))
		for _, step := range []struct {
			sleep time.Duration
			want  string
		}{
			{0, "entered ABC/1, entered ABC/2, entered ABC/3, will-expire ABC/3"},
			{20*time.Second - 1, ""},
			{1, "put-out ABC/3 service-ended"},
			{50*time.Second - 1, ""},
			{1, "will-expire ABC/1"},
			{30*time.Second - 1, ""},
			{1, "put-out ABC/1 service-ended"},
		} {
			time.Sleep(step.sleep)
			if got := events(); got != step.want {
				t.Errorf("%v later: %q, want %q", step.sleep, got, step.want)
			}
		}
		if g.IsInside("ABC", UID(1), Media) || !g.IsInside("ABC", UID(2), Media) || g.Len() != 1 || g.Leave(soon) {
			t.Error("the wrong ones are inside")
		}
		_, err := g.Enter(card, in("ABC", UID(1)))
		wantReason(t, err, ServiceEnded)
		time.Sleep(200 * time.Second)
		_, err = g.Enter(card, in("ABC", UID(1)))
		wantReason(t, err, EntryOver)
	})
}

func TestGateRenew(t *testing.T) {
	bubble(t, nil, func(t *testing.T, g *Gate, d *desk, events func() string) {
		first := d.card("ABC", UID(1), time.Minute)
		p := enter(t, g, first, in("ABC", UID(1)))
		time.Sleep(40 * time.Second)
		second := d.card("ABC", UID(1), 2*time.Minute)
		for _, wrong := range []struct {
			card string
			want Reason
		}{{d.card("ABC", UID(2), 0), NotAuthentic}, {first, Replayed}, {"x", UnknownFormat}} {
			_, err := g.Renew(p, wrong.card)
			wantReason(t, err, wrong.want)
		}
		renewed, err := g.Renew(p, second)
		if err != nil || renewed.ID != p.ID || renewed.End != p.End+100 {
			t.Errorf("%+v, %v", renewed, err)
		}
		events()
		time.Sleep(30 * time.Second)
		if !g.IsInside("ABC", UID(1), Media) {
			t.Error("the old end of service still holds")
		}
		time.Sleep(time.Minute)
		if got := events(); got != "will-expire ABC/1" {
			t.Errorf("%q", got)
		}
		g.Leave(renewed)
		// The replaced card is worth no more, the new one is.
		_, err = g.Enter(first, in("ABC", UID(1)))
		wantReason(t, err, ServiceEnded)
		p = enter(t, g, second, in("ABC", UID(1)))
		endless := d.card("ABC", UID(1), 0)
		if p, err = g.Renew(p, endless); err != nil {
			t.Fatal(err)
		}
		g.Leave(p)
		_, err = g.Enter(second, in("ABC", UID(1)))
		wantReason(t, err, Replayed)
		if _, err = g.Renew(p, d.card("ABC", UID(1), 0)); ReasonOf(err) != NotInside {
			t.Errorf("renewed without being inside: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if n := g.remembered(); n != 0 {
			t.Errorf("%d records are kept for ever", n)
		}
	})
}

// TestGateReplay: a card admits one session at a time, whoever shows it.
func TestGateReplay(t *testing.T) {
	issue := func(d *desk, f Format) string {
		c := Card{Format: f, Channel: "ABC", Issued: uint32(time.Now().Unix()), Random: 5}
		k, err := d.issuer.Mint(c)
		if err != nil {
			d.t.Fatal(err)
		}
		return k
	}
	bubble(t, nil, func(t *testing.T, g *Gate, d *desk, events func() string) {
		anybody := issue(d, DK4)
		p := enter(t, g, anybody, in("ABC", UID(1)))
		_, err := g.Enter(anybody, in("ABC", UID(2)))
		wantReason(t, err, Replayed)
		_, err = g.Enter(anybody, in("ABC", UID(1)))
		wantReason(t, err, Replayed)
		_, err = g.Enter(d.card("ABC", UID(1), 0), in("ABC", UID(1)))
		wantReason(t, err, AlreadyInside)
		g.Leave(p)
		enter(t, g, anybody, in("ABC", UID(1)))

		// A dk2 written as a dk3 is the same card.
		dk2 := issue(d, DK2)
		enter(t, g, dk2, in("ABC", UID(7)))
		_, err = g.Enter("003"+dk2, in("ABC", UID(8)))
		wantReason(t, err, Replayed)
		// Another channel or service is another door.
		enter(t, g, d.card("hall", UID(1), 0), in("hall", UID(1)))
	})
	bubble(t, func(c *GateConfig) { c.ShareWildcards = true }, func(t *testing.T, g *Gate, d *desk, events func() string) {
		anybody := issue(d, DK4)
		enter(t, g, anybody, in("ABC", UID(1)))
		enter(t, g, anybody, in("ABC", UID(2)))
		own := d.card("ABC", UID(3), 0)
		enter(t, g, own, in("ABC", UID(3)))
		_, err := g.Enter(own, in("ABC", UID(3)))
		wantReason(t, err, Replayed)
	})
}

func TestGateReplace(t *testing.T) {
	bubble(t, func(c *GateConfig) { c.Replace = true }, func(t *testing.T, g *Gate, d *desk, events func() string) {
		first, second := d.card("ABC", UID(1), 0), d.card("ABC", UID(1), 0)
		old := enter(t, g, first, in("ABC", UID(1)))
		_, err := g.Enter(first, in("ABC", UID(1)))
		wantReason(t, err, Replayed)
		p := enter(t, g, second, in("ABC", UID(1)))
		if g.Leave(old) {
			t.Error("the superseded session ends the new one")
		}
		_, err = g.Enter(first, in("ABC", UID(1)))
		wantReason(t, err, Replayed)
		if g.Len() != 1 || !g.Leave(p) {
			t.Error("the new session is not inside")
		}
		want := "entered ABC/1, refused ABC/1 replayed, put-out ABC/1 superseded, entered ABC/1, refused ABC/1 replayed, left ABC/1"
		if got := events(); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

func TestGateRevoke(t *testing.T) {
	second := testApp()
	second.Secondary = NewCertificate([]byte(otherCert))
	byCard := func(d *desk, cards [4]string) CardID {
		c, err := Parse(cards[0], Legacy{})
		if err != nil {
			d.t.Fatal(err)
		}
		return c.ID()
	}
	for name, test := range map[string]struct {
		revocation func(d *desk, cards [4]string) Revocation
		out        [4]bool
	}{
		"card":    {func(d *desk, c [4]string) Revocation { return Revocation{Card: byCard(d, c)} }, [4]bool{true, false, false, false}},
		"user":    {func(*desk, [4]string) Revocation { return Revocation{User: UID(1)} }, [4]bool{true, false, true, false}},
		"channel": {func(*desk, [4]string) Revocation { return Revocation{Channel: "ABC"} }, [4]bool{true, true, false, false}},
		"person":  {func(*desk, [4]string) Revocation { return Revocation{Channel: "ABC", User: UID(1)} }, [4]bool{true, false, false, false}},
		"certificate": {func(*desk, [4]string) Revocation {
			return Revocation{Certificate: second.CertificateID(second.Secondary)}
		}, [4]bool{false, false, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			store := &memoryStore{}
			bubble(t, func(c *GateConfig) {
				c.Verifier, c.Store = newVerifier(t, second, Policy{}), store
			}, func(t *testing.T, g *Gate, d *desk, events func() string) {
				other := &desk{t: t, issuer: newIssuer(t, App{ID: testID, Primary: second.Secondary}, Legacy{}), random: 1000}
				claims := [4]Claims{in("ABC", UID(1)), in("ABC", UID(2)), in("hall", UID(1)), in("hall", UID(2))}
				var cards [4]string
				var passes [4]Pass
				for i, c := range claims {
					from := d
					if i == 3 {
						from = other
					}
					cards[i] = from.card(c.Channel, c.User, 0)
					passes[i] = enter(t, g, cards[i], c)
				}
				events()
				r := test.revocation(d, cards)
				r.Until = time.Now().Add(time.Minute)
				if err := g.Revoke(r); err != nil {
					t.Fatal(err)
				}
				if got, want := strings.Count(events(), "revoked"), strings.Count(fmt.Sprint(test.out), "true"); got != want {
					t.Errorf("%d put out, want %d", got, want)
				}
				if rs := g.Revocations(); len(rs) != 1 || rs[0].User != r.User || rs[0].Channel != r.Channel || rs[0].Card != r.Card || rs[0].Certificate != r.Certificate || !rs[0].Until.Equal(r.Until.Truncate(time.Second)) {
					t.Errorf("revocations %+v, want %+v", rs, r)
				}

				// It survives a restart.
				g.Close()
				g = newGate(t, func(c *GateConfig) { c.Verifier, c.Store = newVerifier(t, second, Policy{}), store })
				defer func() { g.Close() }()
				for i, c := range claims {
					_, err := g.Enter(cards[i], c)
					if got := errors.Is(err, Revoked); got != test.out[i] || !got && err != nil {
						t.Errorf("card %d: %v, revoked should be %v", i, err, test.out[i])
					}
				}
				// It can be lifted, and ends by itself.
				lift := r
				lift.Until = time.Now()
				if err := g.Revoke(lift); err != nil {
					t.Fatal(err)
				}
				for i, c := range claims {
					if test.out[i] {
						g.Leave(enter(t, g, cards[i], c))
					}
				}
				if err := g.Revoke(r); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Minute)
				for i, c := range claims {
					if test.out[i] {
						enter(t, g, cards[i], c)
					}
				}
				if g.remembered() != 0 {
					t.Error("it is remembered for ever")
				}
			})
		})
	}
}

func TestRevocationForm(t *testing.T) {
	g := newGate(t, nil)
	defer g.Close()
	for _, r := range []Revocation{
		{}, {Card: CardID{1}, User: "a"}, {Card: CardID{1}, Certificate: CertificateID{1}},
		{Certificate: CertificateID{1}, Channel: "a"}, {User: User(strings.Repeat("a", maxRevoked+1))},
	} {
		r.Until = time.Now().Add(time.Hour)
		if g.Revoke(r) == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

// TestGateRestart: what Renew replaced stays worthless over a restart.
func TestGateRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{}
		with := func(c *GateConfig) { c.Store = store }
		d := newDesk(t)
		g := newGate(t, with)
		first, second := d.card("ABC", UID(1), 0), d.card("ABC", UID(1), 0)
		if _, err := g.Renew(enter(t, g, first, in("ABC", UID(1))), second); err != nil {
			t.Fatal(err)
		}
		g.Close()
		if _, err := g.Enter(second, in("ABC", UID(1))); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed gate lets in: %v", err)
		}
		g = newGate(t, with)
		_, err := g.Enter(first, in("ABC", UID(1)))
		wantReason(t, err, Replayed)
		enter(t, g, second, in("ABC", UID(1)))
		g.Close()
		if _, err := NewGate(GateConfig{Verifier: g.cfg.Verifier, Store: &memoryStore{until: map[string]time.Time{"?": time.Now().Add(time.Hour)}}}); err == nil {
			t.Error("a store with unknown records is taken")
		}
	})
}

// TestGateStoreFails: without the record the old card stays, and the session with it;
// a revocation holds all the same.
func TestGateStoreFails(t *testing.T) {
	store := &memoryStore{}
	bubble(t, func(c *GateConfig) { c.Store, c.Replace = store, true }, func(t *testing.T, g *Gate, d *desk, events func() string) {
		first, second := d.card("ABC", UID(1), 0), d.card("ABC", UID(1), 0)
		p := enter(t, g, first, in("ABC", UID(1)))
		store.fail = errors.New("disk full")
		if _, err := g.Renew(p, second); !errors.Is(err, store.fail) {
			t.Errorf("renewed: %v", err)
		}
		if _, err := g.Enter(second, in("ABC", UID(1))); !errors.Is(err, store.fail) {
			t.Errorf("superseded: %v", err)
		}
		if len(g.Inside()) != 1 || g.Inside()[0].Card != p.Card {
			t.Error("the session did not stay as it was")
		}
		if err := g.Revoke(Revocation{User: UID(1), Until: time.Now().Add(time.Hour)}); !errors.Is(err, store.fail) {
			t.Errorf("revoked: %v", err)
		}
		if g.Len() != 0 {
			t.Error("the revoked one is inside")
		}
	})
}

func TestGateStatic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strict := newGate(t, nil)
		_, err := strict.Enter(testID, in("ABC", UID(1)))
		wantReason(t, err, StaticAppID)
		strict.Close()

		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, nil))
		lax := newGate(t, func(c *GateConfig) { c.AllowStaticAppID, c.Logger = true, logger })
		if p := enter(t, lax, testID, in("ABC", UID(1))); !p.Static || p.End != 0 {
			t.Errorf("%+v", p)
		}
		enter(t, lax, testID, in("ABC", UID(2)))
		enter(t, lax, newDesk(t).card("ABC", UID(3), 0), in("ABC", UID(3)))
		if !strings.Contains(log.String(), "level=WARN") {
			t.Error("it does not warn")
		}
		lax.Close()

		bare, err := NewGate(GateConfig{AllowStaticAppID: true, AppID: testID, Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		_, err = bare.Enter(newDesk(t).card("ABC", UID(1), 0), in("ABC", UID(1)))
		wantReason(t, err, KeyForStaticApp)
		_, err = bare.Enter(strings.Repeat("a", 32), in("ABC", UID(1)))
		wantReason(t, err, OtherApp)
		enter(t, bare, testID, in("ABC", UID(1)))
		bare.Close()
		for _, cfg := range []GateConfig{{}, {AllowStaticAppID: true, AppID: "x"}, {Verifier: newVerifier(t, testApp(), Policy{IgnoreTime: true})}} {
			if _, err := NewGate(cfg); err == nil {
				t.Error("a gate that cannot work opens")
			}
		}
	})
}

func TestGateLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		g := newGate(t, func(c *GateConfig) { c.MaxInside, c.MaxRecords, c.EventBacklog = 2, 1, 3 })
		stream := g.Events()
		a := enter(t, g, d.card("ABC", UID(1), 30*time.Second), in("ABC", UID(1)))
		enter(t, g, d.card("ABC", UID(2), 30*time.Second), in("ABC", UID(2)))
		_, err := g.Enter(d.card("ABC", UID(3), 0), in("ABC", UID(3)))
		wantReason(t, err, Full)
		if a, err = g.Renew(a, d.card("ABC", UID(1), 31*time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = g.Renew(a, d.card("ABC", UID(1), 0))
		wantReason(t, err, Full)
		wantReason(t, g.Revoke(Revocation{User: UID(9), Until: time.Now().Add(time.Hour)}), Full)

		// Nobody reads: refusals are thrown away, but who must go is told.
		for range 1000 {
			g.Enter(strings.Repeat("x", 1000), in(strings.Repeat("y", 1000), UID(3)))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		g.mu.Lock()
		waiting := g.events.waiting
		g.mu.Unlock()
		if waiting > 3+2*2 {
			t.Errorf("%d events wait", waiting)
		}
		out, missed := 0, 0
		for range 600 {
			select {
			case e := <-stream:
				if e.Kind == PutOut {
					out++
				}
				if len(e.Pass.Channel) > maxAccount {
					t.Error("an event holds a long name")
				}
				missed += e.Missed
			default:
			}
			synctest.Wait()
		}
		if out != 2 || missed < 600 {
			t.Errorf("%d put out, %d missed", out, missed)
		}
		g.Close()
		for range stream {
		}
	})
}

// TestGateRace: of many who show one card at once exactly one is inside, and the
// counts are right after a storm of everything.
func TestGateRace(t *testing.T) {
	g := newGate(t, func(c *GateConfig) { c.Replace = true })
	defer g.Close()
	d := newDesk(t)
	card := func() string { // anybody's
		d.random++
		k, err := d.issuer.Mint(Card{Format: DK4, Channel: "ABC", Issued: uint32(time.Now().Unix()), Random: d.random})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for range 50 {
		one := card()
		var won sync.Map
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if p, err := g.Enter(one, in("ABC", UID(uint32(i+1)))); err == nil {
					won.Store(i, p)
				} else if !errors.Is(err, Replayed) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		won.Range(func(_, p any) bool { n++; g.Leave(p.(Pass)); return true })
		if n != 1 {
			t.Fatalf("%d entered with one card", n)
		}
	}

	var wg sync.WaitGroup
	for i := range 4 {
		mine := make([]string, 60)
		for n := range mine {
			mine[n] = d.card("ABC", UID(uint32(n%5+1)), time.Hour)
		}
		wg.Go(func() {
			for n, k := range mine {
				p, err := g.Enter(k, in("ABC", UID(uint32(n%5+1))))
				switch {
				case err != nil:
				case n%3 == 0:
					g.Renew(p, mine[(n+5)%len(mine)])
				case n%7 == 0:
					g.Revoke(Revocation{User: UID(uint32(i + 1)), Until: time.Now().Add(-time.Hour)})
				case n%2 == 0:
					g.Leave(p)
				}
				g.Inside()
			}
		})
	}
	wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	inside := 0
	for _, r := range g.rooms {
		inside += r.inside
	}
	if inside != len(g.people) || len(g.cards) != len(g.people) {
		t.Errorf("%d in rooms, %d people, %d cards", inside, len(g.people), len(g.cards))
	}
}

// remembered returns how many records the gate holds.
func (g *Gate) remembered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.records.len()
}

// memoryStore is a Store that can fail.
type memoryStore struct {
	mu    sync.Mutex
	until map[string]time.Time
	fail  error
}

func (s *memoryStore) Put(key []byte, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if s.until == nil {
		s.until = map[string]time.Time{}
	}
	s.until[string(key)] = until
	if !until.After(time.Now()) {
		delete(s.until, string(key))
	}
	return nil
}

func (s *memoryStore) Load(yield func(key []byte, until time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, u := range s.until {
		if u.After(time.Now()) {
			if err := yield([]byte(k), u); err != nil {
				return err
			}
		}
	}
	return nil
}

// A card that is shared is no replay, and can be revoked; a revocation meets those it
// names and nobody else, whatever they are inside of.
func TestGateRevokeMeets(t *testing.T) {
	bubble(t, func(c *GateConfig) { c.ShareWildcards = true }, func(t *testing.T, g *Gate, d *desk, events func() string) {
		shared := d.card("ABC", Anybody, 0)
		card, err := Parse(shared, Legacy{})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			enter(t, g, shared, in("ABC", UID(uint32(n+1))))
		}
		alone := enter(t, g, d.card("ABC", UID(9), 0), in("ABC", UID(9)))
		login, err := d.issuer.Mint(Messaging(UID(1), time.Now(), time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		enter(t, g, login, Claims{User: UID(1), Service: RTM})
		events()

		until := time.Now().Add(time.Hour)
		for _, step := range []struct {
			r    Revocation
			left int
		}{
			{Revocation{Card: CardID{1}}, 5},
			{Revocation{Certificate: CertificateID{1}}, 5},
			{Revocation{User: UID(77)}, 5},
			{Revocation{Channel: "hall"}, 5},
			{Revocation{Channel: "hall", User: UID(1)}, 5},
			{Revocation{Card: card.ID()}, 2},
			{Revocation{User: UID(1)}, 1},
			{Revocation{Card: alone.Card}, 0},
		} {
			step.r.Until = until
			if err := g.Revoke(step.r); err != nil {
				t.Fatal(err)
			}
			if g.Len() != step.left {
				t.Fatalf("%+v: %d inside, want %d", step.r, g.Len(), step.left)
			}
		}
		_, err = g.Enter(shared, in("ABC", UID(4)))
		wantReason(t, err, Revoked)
		_, err = g.Enter(login, Claims{User: UID(1), Service: RTM})
		wantReason(t, err, Revoked)
	})
}
