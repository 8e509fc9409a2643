package client_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/client"
)

func shared(c *keyserver.Config) { c.Shared = true }

// oneCard is a Card function that has one card to give.
func (w *world) oneCard(uid channelkey.User) func(context.Context) (string, error) {
	var given atomic.Bool
	return func(context.Context) (string, error) {
		if given.Swap(true) {
			return "", errors.New("there is no other card")
		}
		return w.card(uid, 0)
	}
}

var both = []string{"https://one", "https://two"}
var bothReversed = []string{"https://two", "https://one"}

// TestTwoServers: any server serves any member of a channel; one person is inside once;
// what one revokes all know within a second.
func TestTwoServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, two := w.start("one", shared), w.start("two", shared)
		var a, b kept
		m := w.join(&a, client.Options{Servers: both})
		n := w.join(&b, client.Options{Servers: bothReversed, UID: "2"})
		synctest.Wait()
		if one.srv.Members() != 1 || two.srv.Members() != 1 || m.Sender() == n.Sender() {
			t.Fatalf("%d and %d members, senders %d and %d", one.srv.Members(), two.srv.Members(), m.Sender(), n.Sender())
		}
		_, err := client.Join(t.Context(), client.Options{Servers: []string{"https://two"}, Channel: "stage", UID: "1", Keep: a.keep, Transport: w.tr,
			Card: func(context.Context) (string, error) { return w.card("1", 0) }})
		if client.Reason(err) != "already-inside" {
			t.Fatalf("inside twice: %v", err)
		}
		must(w.ch.Revoke(t.Context(), "operator"))(t)
		w.current(&a)
		w.current(&b)

		held := a.last()
		began := time.Now()
		if err := two.gate.Revoke(channelkey.Revocation{User: "1", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		<-m.Done()
		if d := time.Since(began); d > time.Second || client.Reason(m.Err()) != "revoked" {
			t.Fatalf("put out after %v: %v", d, m.Err())
		}
		synctest.Wait()
		w.current(&b)
		for _, had := range held.Epochs {
			if e := b.last().Epochs[0]; e.Epoch == had.Epoch || bytes.Equal(e.Secret, had.Secret) {
				t.Fatal("who was revoked at another server has the next epoch")
			}
		}
		// A server that starts now knows it, too.
		three := w.start("three", shared)
		if _, err := three.gate.Enter(must(w.card("1", 0))(t), channelkey.Claims{Channel: "stage", User: "1"}); !errors.Is(err, channelkey.Revoked) {
			t.Fatalf("at a new server: %v", err)
		}
		// Leaving one server's seat frees it for another at once.
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var c kept
		n = w.join(&c, client.Options{Servers: both, UID: "2"})
		synctest.Wait()
		if one.srv.Members() != 1 || two.srv.Members() != 0 {
			t.Fatalf("%d and %d members", one.srv.Members(), two.srv.Members())
		}
		n.Close()
	})
}

// TestServerKilled: the members of a server that dies go to another one, without a card,
// and keep their numbers; who does not come back is excluded.
func TestServerKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one", shared)
		two := w.start("two", shared)
		var a, b, c kept
		m := w.join(&a, client.Options{Servers: both, Card: w.oneCard("1")})
		lost := w.join(&b, client.Options{Servers: []string{"https://one"}, UID: "2", Card: w.oneCard("2")})
		stays := w.join(&c, client.Options{Servers: bothReversed, UID: "3"})
		time.Sleep(3 * time.Second)
		id, sender := m.ID(), m.Sender()
		before, _ := w.active()
		w.kill("one")
		killed := time.Now()
		for m.Lost().IsZero() {
			time.Sleep(10 * time.Millisecond)
		}
		for !m.Lost().IsZero() {
			time.Sleep(10 * time.Millisecond)
			if time.Since(killed) > 5*time.Second {
				t.Fatalf("still without a server: %v", m.Err())
			}
		}
		if m.ID() != id || m.Sender() != sender || two.srv.Members() != 2 {
			t.Fatalf("came back as %s with number %d, was %s with %d; %d members", m.ID(), m.Sender(), id, sender, two.srv.Members())
		}
		w.current(&a)
		time.Sleep(20 * time.Second)
		if now, _ := w.active(); now != before {
			t.Fatal("rotated while the other member could still come back")
		}
		time.Sleep(30 * time.Second)
		now, secret := w.active()
		if now <= before {
			t.Fatal("not rotated for the member who did not come back")
		}
		for _, e := range b.last().Epochs {
			if bytes.Equal(e.Secret, secret) {
				t.Fatal("who did not come back has the epoch")
			}
		}
		w.current(&a)
		w.current(&c)
		// Rotated once: the seat is gone.
		time.Sleep(2 * time.Minute)
		if again, _ := w.active(); again != now {
			t.Fatalf("epoch %d, then %d", now, again)
		}
		lost.Close()
		m.Close()
		stays.Close()
	})
}

// TestKilledBeforeRotation: a member leaves, and the server dies before the rotation: it
// is not lost.
func TestKilledBeforeRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one", shared)
		w.start("two", shared)
		var a, b kept
		m := w.join(&a, client.Options{Servers: both})
		stays := w.join(&b, client.Options{Servers: bothReversed, UID: "2"})
		defer stays.Close()
		time.Sleep(3 * time.Second)
		m.Close()
		synctest.Wait()
		held := a.last()
		w.kill("one") // 5 seconds before the rotation
		began := time.Now()
		for {
			time.Sleep(100 * time.Millisecond)
			if now, _ := w.active(); now > held.Epochs[0].Epoch {
				break
			}
			if time.Since(began) > 15*time.Second {
				t.Fatal("the rotation is lost")
			}
		}
		_, secret := w.active()
		for _, e := range held.Epochs {
			if bytes.Equal(e.Secret, secret) {
				t.Fatal("who left has the epoch")
			}
		}
	})
}

// TestStartedAnew: a server's members find it again, without a card.
func TestStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one", shared)
		var a kept
		m := w.join(&a, client.Options{Card: w.oneCard("1")})
		defer m.Close()
		time.Sleep(time.Minute)
		for range 3 {
			w.kill("one")
			time.Sleep(5 * time.Second)
			h := w.start("one", shared)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if h.srv.Members() != 1 || m.Err() != nil {
				t.Fatalf("%d members, %v", h.srv.Members(), m.Err())
			}
			w.current(&a)
		}
	})
}

// TestResumeOnceOfTwo: a resume token that is shown at two servers at once works at one.
func TestResumeOnceOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one", shared)
		w.start("two", shared)
		w.start("three", shared)
		post := func(host, bearer, body string, out *api.Membership) int {
			req := must(http.NewRequest("POST", "https://"+host+"/v1/channels/stage/members", strings.NewReader(body)))(t)
			req.Header.Set("Authorization", "Bearer "+bearer)
			req.Header.Set("Content-Type", "application/json")
			resp := must((&http.Client{Transport: w.tr}).Do(req))(t)
			defer resp.Body.Close()
			if resp.StatusCode == http.StatusCreated {
				var buf bytes.Buffer
				buf.ReadFrom(resp.Body)
				decode(t, buf.Bytes(), out)
			}
			return resp.StatusCode
		}
		var seat api.Membership
		if post("one", must(w.card("1", 0))(t), `{"uid":"1"}`, &seat) != http.StatusCreated {
			t.Fatal("not let in")
		}
		for range 5 {
			var wg sync.WaitGroup
			var won atomic.Int64
			var next api.Membership
			for _, host := range []string{"two", "three"} {
				wg.Go(func() {
					var s api.Membership
					if post(host, seat.Resume.Reveal(), `{}`, &s) == http.StatusCreated {
						won.Add(1)
						next = s
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Fatalf("%d servers took the token", won.Load())
			}
			seat = next
			synctest.Wait()
		}
	})
}

// TestReplacedElsewhere: where the door lets a user in again, their session at another
// server ends, and they hold one seat.
func TestReplacedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		again := func(c *keyserver.Config) { c.Shared, c.Replace = true, true }
		one, two := w.start("one", again), w.start("two", again)
		var a, b kept
		m := w.join(&a, client.Options{Servers: []string{"https://one"}, Card: w.oneCard("1")})
		n := w.join(&b, client.Options{Servers: []string{"https://two"}, Card: w.oneCard("1")})
		<-m.Done()
		if client.Reason(m.Err()) != "superseded" {
			t.Fatalf("the first session ends with %v", m.Err())
		}
		synctest.Wait()
		if one.srv.Members() != 0 || two.srv.Members() != 1 {
			t.Fatalf("%d and %d members", one.srv.Members(), two.srv.Members())
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if two.srv.Members() != 1 || n.Err() != nil {
			t.Fatalf("the second session did not last: %v", n.Err())
		}
		w.current(&b)
		m.Close()
		n.Close()
	})
}

// TestRevokedAtADeadServer: somebody whose server is dead is excluded when they are revoked,
// by another server: at once if the dead one is known to be silent, after half a second if
// it died just now. The channel is rotated once.
func TestRevokedAtADeadServer(t *testing.T) {
	for _, dead := range []time.Duration{0, 20 * time.Second} {
		t.Run(dead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start("one", shared)
				two := w.start("two", shared)
				w.start("three", shared)
				var a, b kept
				m := w.join(&a, client.Options{Servers: []string{"https://one"}})
				stays := w.join(&b, client.Options{Servers: bothReversed, UID: "2"})
				time.Sleep(3 * time.Second)
				before, _ := w.active()
				held := a.last()
				w.kill("one")
				time.Sleep(dead)
				if now, _ := w.active(); now != before {
					t.Fatal("rotated while the member could come back")
				}
				if err := two.gate.Revoke(channelkey.Revocation{User: "1", Until: time.Now().Add(time.Hour)}); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				now, secret := before, []byte(nil)
				for now == before {
					if time.Since(began) > 5*time.Second {
						t.Fatal("who is revoked has the epoch that is active")
					}
					time.Sleep(10 * time.Millisecond)
					now, secret = w.active()
				}
				late := time.Since(began)
				t.Logf("excluded after %v", late)
				if bound := 600 * time.Millisecond; late > bound || dead > 8*time.Second && late > 50*time.Millisecond {
					t.Errorf("excluded after %v", late)
				}
				for _, e := range held.Epochs {
					if bytes.Equal(e.Secret, secret) {
						t.Error("who is revoked has the epoch")
					}
				}
				w.current(&b)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if again, _ := w.active(); again != now {
					t.Errorf("epoch %d, then %d", now, again)
				}
				m.Close()
				stays.Close()
			})
		})
	}
}

// TestRevokedAtAServerThatLives: the server at which a member is puts them out itself, and
// nobody else rotates the channel besides.
func TestRevokedAtAServerThatLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one", shared)
		two := w.start("two", shared)
		var a, b kept
		m := w.join(&a, client.Options{Servers: []string{"https://one"}})
		stays := w.join(&b, client.Options{Servers: bothReversed, UID: "2"})
		time.Sleep(3 * time.Second)
		held := a.last()
		if err := two.gate.Revoke(channelkey.Revocation{User: "1", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		<-m.Done()
		time.Sleep(time.Minute)
		synctest.Wait()
		// The one that was staged is destroyed, the next is fresh.
		if now, _ := w.active(); now != held.Epochs[1].Epoch+1 {
			info := must(w.ch.Show(t.Context()))(t)
			t.Errorf("epoch %d, after %d and %d that was staged: %+v", now, held.Epochs[0].Epoch, held.Epochs[1].Epoch, info.Epochs)
		}
		w.current(&b)
		m.Close()
		stays.Close()
	})
}

// TestServersClocksJump: servers whose clocks are set, apart from each other's, do not take
// each other for dead, and lose no member.
func TestServersClocksJump(t *testing.T) {
	for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var by atomic.Int64
				set := func(c *keyserver.Config) {
					c.Shared, c.Now = true, func() time.Time { return time.Now().Round(0).Add(time.Duration(by.Load())) }
				}
				var told lines
				one, two := w.start("one", set), w.start("two", shared, func(c *keyserver.Config) { c.Logger = slog.New(slog.NewTextHandler(&told, nil)) })
				var a, b kept
				m := w.join(&a, client.Options{Servers: both, Card: w.oneCard("1")})
				n := w.join(&b, client.Options{Servers: bothReversed, UID: "2", Card: w.oneCard("2")})
				time.Sleep(time.Minute)
				if told.String() != "" {
					t.Errorf("before: %s", &told)
				}
				before, _ := w.active()
				by.Store(int64(jump))
				for range 60 {
					time.Sleep(time.Second)
					if !m.Lost().IsZero() || !n.Lost().IsZero() {
						t.Fatal("a stream is lost")
					}
				}
				synctest.Wait()
				want := 1
				if jump < 0 { // which the server takes no notice of
					want = 0
				}
				if n := strings.Count(told.String(), "another server's clock differs"); n != want {
					t.Errorf("the operator is told %d times, want %d", n, want)
				}
				if now, _ := w.active(); now != before || one.srv.Members() != 1 || two.srv.Members() != 1 {
					t.Fatalf("epoch %d after %d, %d and %d members", now, before, one.srv.Members(), two.srv.Members())
				}
				m.Close()
				n.Close()
			})
		})
	}
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
