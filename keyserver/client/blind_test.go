package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/api/admin"
	"github.com/chanseal/chanseal/keyserver/client"
)

// keeping is somebody who keeps the blind channel "vault" with a ring of their own.
type keeping struct {
	ring   *keyring.Ring
	ch     *keyring.Channel
	issuer string
	stop   func() error
}

func (w *world) keep(server string) *keeping {
	w.t.Helper()
	ctx := w.t.Context()
	k := &keeping{ring: must(keyring.Create(ctx, keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(w.t)}
	k.ch = must(k.ring.Create(ctx, "vault", keyring.ChannelOptions{}))(w.t)
	k.issuer = must(k.ring.Fingerprint(ctx))(w.t)
	people := must(keyserver.NewPersons(w.ring))(w.t)
	if err := people.Appoint(ctx, "oscar", admin.Operator, ""); err != nil {
		w.t.Fatal(err)
	}
	token, _, err := people.Grant(ctx, "oscar", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	run, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- client.Keep(run, client.KeeperOptions{Server: server, Token: token, Client: &http.Client{Transport: w.tr}, Ring: k.ring, Channel: "vault"})
	}()
	k.stop = func() error { cancel(); return <-ended }
	synctest.Wait() // the server has the channel
	return k
}

func (w *world) vaultCard(uid channelkey.User) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return w.cardFor("vault", uid, 0) }
}

// TestBlind: members of a blind channel talk to each other and to its keeper, through
// joins and leaves; who was put out opens nothing of the epoch after; and nothing that
// the server has opens a frame.
func TestBlind(t *testing.T) {
	for _, mode := range []struct {
		name string
		set  func(*keyserver.Config)
	}{{"alone", func(*keyserver.Config) {}}, {"shared", shared}} {
		t.Run(mode.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.start("one", mode.set)
				k := w.keep("https://one")
				defer k.ring.Close()
				o := func(uid string) client.Options {
					return client.Options{Channel: "vault", UID: uid, Card: w.vaultCard(channelkey.User(uid)), Issuer: k.issuer}
				}
				a, chA := w.memberRing(o("1"))
				b, chB := w.memberRing(o("2"))
				ctx := t.Context()
				sender := must(chA.Sender(ctx, a.Sender(), keyring.SenderOptions{}))(t)
				atB := must(chB.Receiver(ctx, keyring.ReceiverOptions{}))(t)
				home := must(k.ch.Receiver(ctx, keyring.ReceiverOptions{}))(t)
				defer func() { sender.Close(); atB.Close(); home.Close() }()
				if lost := call(t, 2*time.Second, sender, atB, home); lost[0]+lost[1] != 0 {
					t.Fatalf("lost %v", lost)
				}
				c, _ := w.memberRing(o("3"))
				c.Close()
				if lost := call(t, 30*time.Second, sender, atB, home); lost[0]+lost[1] != 0 {
					t.Fatalf("lost %v in a join and a leave", lost)
				}
				if err := h.gate.Revoke(channelkey.Revocation{User: "2", Until: time.Now().Add(time.Hour)}); err != nil {
					t.Fatal(err)
				}
				<-b.Done()
				call(t, 8*time.Second, sender, home)
				if lost := call(t, 20*time.Second, sender, home, atB); lost[0] != 0 || lost[1] != 1000 {
					t.Fatalf("of 1000 frames %d are lost, and who was put out opens %d", lost[0], 1000-lost[1])
				}

				// The server's ring has no such channel, and its store none of the secrets.
				if _, err := w.ring.Channel(ctx, "vault"); !errors.Is(err, keyring.ErrNoChannel) {
					t.Fatalf("the server's ring: %v", err)
				}
				shelf := must(w.ring.Shelf("keyserver"))(t)
				all, _, err := shelf.List(ctx, "")
				if err != nil || len(all) == 0 {
					t.Fatal(err)
				}
				feed := must(k.ch.Feed(ctx))(t)
				defer feed.Close()
				now := must(feed.Current())(t)
				for _, e := range all {
					for i := range now.Keys {
						if bytes.Contains(e.Value, now.Keys[i].Secret()) {
							t.Fatal("a secret lies on the server's shelf")
						}
					}
				}
				a.Close()
				if err := k.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestBlindRefused: members of a blind channel believe nobody but its keeper, and the
// server takes bundles of nobody else.
func TestBlindRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one")
		k := w.keep("https://one")
		defer k.ring.Close()
		join := func(o client.Options) error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			ring := must(keyring.Create(t.Context(), keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(t)
			defer ring.Close()
			o.Servers, o.UID, o.Transport, o.Ring = []string{"https://one"}, "1", w.tr, ring
			m, err := client.Join(ctx, o)
			if err == nil {
				m.Close()
			}
			return err
		}
		if err := join(client.Options{Channel: "vault", Card: w.vaultCard("1"), Issuer: strings.Repeat("0000-", 7) + "0000"}); !errors.Is(err, keyring.ErrBundleIssuer) {
			t.Errorf("another issuer: %v", err)
		}
		if err := join(client.Options{Channel: "vault", Card: w.vaultCard("1")}); client.Reason(err) != "no-recipient" {
			t.Errorf("without a recipient: %v", err)
		}
		if err := join(client.Options{Channel: "stage", Card: func(context.Context) (string, error) { return w.card("1", 0) }, Issuer: k.issuer}); err == nil {
			t.Error("a channel that is not blind passes for one")
		}
		if err := k.stop(); err != nil {
			t.Fatal(err)
		}
		// Another keeper of the same name is refused.
		other := must(keyring.Create(t.Context(), keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(t)
		defer other.Close()
		ch := must(other.Create(t.Context(), "vault", keyring.ChannelOptions{}))(t)
		people := must(keyserver.NewPersons(w.ring))(t)
		token, _, err := people.Grant(t.Context(), "oscar", 0)
		if err != nil {
			t.Fatal(err)
		}
		put := func(body []byte) int {
			req := must(http.NewRequest("PUT", "https://one/v1/admin/blind/vault", bytes.NewReader(body)))(t)
			req.Header.Set("Authorization", "Bearer "+token)
			resp := must((&http.Client{Transport: w.tr}).Do(req))(t)
			resp.Body.Close()
			return resp.StatusCode
		}
		foreign := must(ch.Export(t.Context(), keyring.ExportOptions{To: []keyring.Grant{{To: must(keyring.NewIdentity("x25519"))(t).Recipient()}}}))(t)
		for status, body := range map[int][]byte{409: foreign, 400: []byte("no bundle"), 413: make([]byte, 5<<20)} {
			if got := put(body); got != status {
				t.Errorf("a bundle of %d bytes: %d, want %d", len(body), got, status)
			}
		}
	})
}

// TestBlindCrowd: a blind channel has thousands of members (10,000 with CHANSEAL_LONG=1).
// Each is given a bundle of their own and no other; when one is put out all others get the
// next epoch, and who comes later costs one bundle.
func TestBlindCrowd(t *testing.T) {
	n := 60
	if os.Getenv("CHANSEAL_LONG") != "" {
		n = 10_000
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.start("one", shared, func(c *keyserver.Config) {
			c.ResumeFor = time.Hour
			c.Limits = keyserver.Limits{AddressRate: 1e6}
		})
		k := w.keep("https://one")
		defer k.ring.Close()
		type guest struct {
			id   *keyring.Identity
			seat api.Membership
		}
		crowd := make([]guest, n)
		hc := &http.Client{Transport: w.tr}
		ask := func(method, path, bearer string, in any, out any) {
			var body bytes.Buffer
			if in != nil {
				if err := json.NewEncoder(&body).Encode(in); err != nil {
					t.Error(err)
				}
			}
			req := must(http.NewRequest(method, "https://one/v1/channels/vault"+path, &body))(t)
			req.Header.Set("Authorization", "Bearer "+bearer)
			req.Header.Set("Content-Type", "application/json")
			resp := must(hc.Do(req))(t)
			defer resp.Body.Close()
			if resp.StatusCode >= 300 {
				t.Errorf("%s: %s", path, resp.Status)
				return
			}
			if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
				t.Error(err)
			}
		}
		each := func(do func(i int)) {
			var wg sync.WaitGroup
			for from := range 8 {
				wg.Go(func() {
					for i := from; i < n; i += 8 {
						do(i)
					}
				})
			}
			wg.Wait()
		}
		each(func(i int) {
			uid := channelkey.UID(uint32(i + 1))
			crowd[i].id = must(keyring.NewIdentity(""))(t)
			ask("POST", "/members", must(w.cardFor("vault", uid, 0))(t), &api.EnterRequest{UID: string(uid), Recipient: crowd[i].id.Recipient().String()}, &crowd[i].seat)
		})
		settle := func() {
			for range 100 { // the keeper waits for others who come
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
		}
		settle()
		// imported is what a member's ring makes of their bundle.
		imported := func(i int) keyring.Info {
			var keys api.Keys
			ask("GET", "/keys", crowd[i].seat.Token.Reveal(), nil, &keys)
			u, err := keyring.ParseBundle(keys.Bundle)
			if err != nil || len(keys.Bundle) > 4<<10 || !keys.Blind {
				t.Errorf("member %d has a bundle of %d bytes: %v", i, len(keys.Bundle), err)
				return keyring.Info{}
			}
			if hints := u.Hints(); len(hints) != 1 || hints[0] != crowd[i].id.Recipient().Hint() {
				t.Errorf("member %d has a bundle for %d others", i, len(hints))
			}
			if i%(n/20) != 0 {
				return keyring.Info{}
			}
			ring := must(keyring.Create(t.Context(), keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(t)
			defer ring.Close()
			info, err := ring.Import(t.Context(), keys.Bundle, keyring.ImportOptions{Identities: []*keyring.Identity{crowd[i].id}, From: k.issuer})
			if err != nil {
				t.Errorf("member %d: %v", i, err)
			}
			return info
		}
		top := func() uint64 {
			info := must(k.ch.Show(t.Context()))(t)
			return info.Epochs[len(info.Epochs)-1].Number
		}
		check := func(from int) {
			want := top()
			each(func(i int) {
				if i < from {
					return
				}
				if info := imported(i); info.Epoch != 0 && info.Epochs[len(info.Epochs)-1].Number != want {
					t.Errorf("member %d has epoch %d, the keeper %d", i, info.Epochs[len(info.Epochs)-1].Number, want)
				}
			})
		}
		check(0)
		before := top()
		if err := h.gate.Revoke(channelkey.Revocation{User: channelkey.UID(1), Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		settle()
		if top() == before {
			t.Fatal("no epoch was made")
		}
		check(1)

		// Who comes now is given what there is, and nobody else is told anything.
		var keys, again api.Keys
		ask("GET", "/keys", crowd[1].seat.Token.Reveal(), nil, &keys)
		late := must(keyring.NewIdentity(""))(t)
		var seat api.Membership
		ask("POST", "/members", must(w.cardFor("vault", "90000", 0))(t), &api.EnterRequest{UID: "90000", Recipient: late.Recipient().String()}, &seat)
		settle()
		crowd[0] = guest{late, seat}
		if info := imported(0); info.Epoch == 0 || info.Epochs[len(info.Epochs)-1].Number != top() {
			t.Errorf("who comes late has %+v", info)
		}
		if ask("GET", "/keys", crowd[1].seat.Token.Reveal(), nil, &again); again.Revision != keys.Revision {
			t.Errorf("revision %d after %d", again.Revision, keys.Revision)
		}
		if err := k.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
