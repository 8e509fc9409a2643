package keyserver_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
)

// secretOf returns the secret that the ring has for an epoch.
func (r *rig) secretOf(epoch uint64) []byte {
	r.t.Helper()
	feed := must(r.ch.Feed(r.t.Context()))(r.t)
	defer feed.Close()
	h := must(feed.Current())(r.t)
	for i := range h.Keys {
		if h.Keys[i].Number == epoch {
			return h.Keys[i].Secret()
		}
	}
	r.t.Fatalf("the ring has no epoch %d to hand out", epoch)
	return nil
}

// TestMember goes through a membership: enter, keys, watch, rotation, renewal, leave.
func TestMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		resp, _ := r.call("POST", "/v1/channels/stage/members", r.card(1, 0, time.Hour), api.EnterRequest{UID: "1"})
		if resp.StatusCode != http.StatusCreated || resp.Header.Get("Location") != "/v1/channels/stage/members/me" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("enter: %s %v", resp.Status, resp.Header)
		}
		m := r.enter(r.card(2, 0, time.Hour), api.EnterRequest{UID: "2"})
		if len(m.Keys.Epochs) != 3 || m.Keys.Epochs[0].State != api.StateActive || m.Keys.Epochs[1].State != api.StateStaged || m.Keys.Epochs[2].State != api.StateRetiring {
			t.Fatalf("epochs: %+v", m.Keys)
		}
		now := m.Keys.Epochs[0].Epoch
		if !bytes.Equal(m.Keys.Epochs[0].Secret, r.secretOf(now)) || !bytes.Equal(m.Keys.Epochs[1].Secret, r.secretOf(now+1)) || m.Keys.Epochs[2].Secret != nil {
			t.Fatal("not the ring's secrets, or one of an older epoch")
		}
		if m.Sender != 1 || m.ServiceEnd != time.Now().Add(time.Hour).Unix() {
			t.Fatalf("sender %d, end %d", m.Sender, m.ServiceEnd)
		}
		resp, body := r.call("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil)
		if k := decode[api.Keys](t, body); k.Revision != m.Keys.Revision || !bytes.Equal(k.Epochs[0].Secret, m.Keys.Epochs[0].Secret) {
			t.Fatalf("keys: %s %+v", resp.Status, k)
		}

		w := r.watch(m.Token.Reveal(), "")
		first := decode[api.Keys](t, []byte(w.next(t, "keys").data))
		if first.Revision != m.Keys.Revision {
			t.Fatalf("the stream begins with revision %d", first.Revision)
		}
		must(r.ch.Rotate(t.Context(), "operator"))(t)
		k := w.keysUntil(t, now+1)
		if !bytes.Equal(k.Epochs[0].Secret, m.Keys.Epochs[1].Secret) {
			t.Fatal("a rotation by plan is not to the staged epoch")
		}

		// Who has the state is not told it again; who has an older one is.
		w.cancel()
		synctest.Wait()
		must(r.ch.Stage(t.Context(), "next"))(t)
		w = r.watch(m.Token.Reveal(), fmt.Sprint(k.Revision))
		if k2 := decode[api.Keys](t, []byte(w.next(t, "keys").data)); k2.Revision <= k.Revision {
			t.Fatalf("revision %d after %d", k2.Revision, k.Revision)
		}

		time.Sleep(10 * time.Second)
		resp, body = r.call("POST", "/v1/channels/stage/renew", m.Token.Reveal(), api.RenewRequest{Card: api.Token(r.card(2, 0, 2*time.Hour))})
		if e := decode[api.Expiry](t, body); e.ServiceEnd != time.Now().Add(2*time.Hour).Unix() {
			t.Fatalf("renew: %s %+v", resp.Status, e)
		}
		if status, reason := r.refused("POST", "/v1/channels/stage/renew", m.Token.Reveal(), api.RenewRequest{Card: api.Token(r.card(3, 0, 2*time.Hour))}); reason != "not-authentic" {
			t.Fatalf("renewed with another's card: %d %s", status, reason)
		}
		resp, _ = r.call("DELETE", "/v1/channels/stage/members/me", m.Token.Reveal(), nil)
		if resp.StatusCode != http.StatusNoContent || r.gate.IsInside("stage", "2", channelkey.Media) {
			t.Fatalf("leave: %s", resp.Status)
		}
		if p := decode[api.Problem](t, []byte(w.next(t, "put-out").data)); p.Reason != "left" {
			t.Fatalf("the stream ends with %+v", p)
		}
		if _, reason := r.refused("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil); reason != "left" {
			t.Fatalf("after leaving: %s", reason)
		}
		time.Sleep(2 * time.Minute)
		if _, reason := r.refused("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil); reason != "unknown-token" {
			t.Fatalf("long after leaving: %s", reason)
		}
		synctest.Wait()
		got := r.entries()
		for _, want := range []string{"rotate", "enter", "hand-out", "renew", "renew refused not-authentic", "leave  left", "leave  dropped"} {
			if !slices.Contains(got, want) {
				t.Errorf("no entry %q in the audit record: %q", want, got)
			}
		}
	})
}

// TestDoor: whoever must not come in gets nothing, and the right reason.
func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		other := must(channelkey.NewIssuer(channelkey.App{ID: appID, Primary: channelkey.NewCertificate([]byte("00000000000000000000000000000000"))}, channelkey.Legacy{}))(t)
		foreign := must(channelkey.NewIssuer(channelkey.App{ID: strings.Repeat("ab", 16), Primary: r.app.Primary}, channelkey.Legacy{}))(t)
		now := uint32(time.Now().Unix())
		mint := func(i *channelkey.Issuer, c channelkey.Card) string { return must(i.Mint(c))(t) }
		dk4 := channelkey.Card{Format: channelkey.DK4, Channel: "stage", User: "7", Issued: now, Random: 1}
		elsewhere := dk4
		elsewhere.Channel = "foyer"
		v007 := func(channel, user string) string {
			return mint(r.issuer, channelkey.Card{Format: channelkey.V007, Issued: now, Expires: 600, Random: 1, Services: []channelkey.Grant007{{Service: channelkey.Media,
				Channel: channel, User: channelkey.User(user), Privileges: []channelkey.PrivilegeLife{{Privilege: channelkey.JoinChannel, Seconds: 600}}}}})
		}
		good := r.card(7, 0, 0)
		forged := []byte(good)
		forged[len(forged)-1] ^= 1
		if err := r.gate.Revoke(channelkey.Revocation{User: "66", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		r.enter(r.card(8, 0, 0), api.EnterRequest{UID: "8"})
		for _, c := range []struct {
			name, card, uid string
			status          int
			reason          string
		}{
			{"expired", r.card(7, -5*time.Minute, 0), "7", 401, "entry-over"},
			{"service over", r.card(7, -time.Minute, -time.Second), "7", 401, "service-ended"},
			{"early", r.card(7, 2*time.Second, 0), "7", 401, "not-yet-valid"},
			{"forged", string(forged), "7", 401, "not-authentic"},
			{"another certificate", mint(other, dk4), "7", 401, "not-authentic"},
			{"foreign project", mint(foreign, dk4), "7", 401, "other-app"},
			{"another channel", mint(r.issuer, elsewhere), "7", 401, "not-authentic"},
			{"another channel, 007", v007("foyer", "7"), "7", 403, "other-channel"},
			{"another uid", good, "9", 401, "not-authentic"},
			{"another uid, 007", v007("stage", "7"), "9", 403, "other-user"},
			{"revoked", r.card(66, 0, 0), "66", 403, "revoked"},
			{"nobody", good, "", 400, "bad-user"},
			{"garbage", "0123456789", "7", 401, "unknown-format"},
			{"cut", good[:60], "7", 401, "malformed"},
			{"the bare App ID", appID, "7", 401, "static-app-id"},
			{"twice inside", r.card(8, 0, 0), "8", 409, "already-inside"},
			{"no bearer", "", "7", 401, "no-token"},
			{"unknown resume token", "csr_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "7", 401, "unknown-token"},
		} {
			status, reason := r.refused("POST", "/v1/channels/stage/members", c.card, api.EnterRequest{UID: c.uid})
			if status != c.status || reason != c.reason {
				t.Errorf("%s: %d %s, want %d %s", c.name, status, reason, c.status, c.reason)
			}
		}
		if n := r.srv.Members(); n != 1 || r.gate.Len() != 1 {
			t.Fatalf("%d are inside, the gate says %d", n, r.gate.Len())
		}
		// A channel that the ring does not have is told of only to who may enter it.
		if status, reason := r.refused("POST", "/v1/channels/foyer/members", good, api.EnterRequest{UID: "7"}); reason != "not-authentic" {
			t.Errorf("no channel, a wrong card: %d %s", status, reason)
		}
		if status, reason := r.refused("POST", "/v1/channels/foyer/members", mint(r.issuer, elsewhere), api.EnterRequest{UID: "7"}); status != 404 || reason != "no-channel" || r.gate.Len() != 1 {
			t.Errorf("no channel: %d %s, %d inside", status, reason, r.gate.Len())
		}
		synctest.Wait()
		got := strings.Join(r.entries(), "\n")
		for _, want := range []string{"enter refused entry-over", "enter refused other-user", "enter refused revoked", "enter refused no-channel"} {
			if !strings.Contains(got, want) {
				t.Errorf("no entry %q in the audit record", want)
			}
		}
		if s := r.secretOf(2); strings.Contains(got, string(s)) {
			t.Error("a secret stands in the audit record")
		}
	})
}

// TestFiveMinutes: in at 4:59, not at 5:01.
func TestFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		card := r.card(7, 0, 0)
		late := r.card(9, 0, 0)
		time.Sleep(4*time.Minute + 59*time.Second)
		m := r.enter(card, api.EnterRequest{UID: "7"})
		time.Sleep(2 * time.Second)
		if _, reason := r.refused("POST", "/v1/channels/stage/members", late, api.EnterRequest{UID: "9"}); reason != "entry-over" {
			t.Fatalf("at 5:01: %s", reason)
		}
		// Whoever is inside stays, but does not come back in with that card.
		r.call("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil)
		r.call("DELETE", "/v1/channels/stage/members/me", m.Token.Reveal(), nil)
		if _, reason := r.refused("POST", "/v1/channels/stage/members", card, api.EnterRequest{UID: "7"}); reason != "entry-over" {
			t.Fatalf("back in at 5:01: %s", reason)
		}
	})
}

// TestServiceEnd: at the end of service a member is out at once, and the epoch after it
// stays closed to them: neither is it handed to them, nor did they have it before.
func TestServiceEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		out := r.enter(r.card(1, 0, time.Minute), api.EnterRequest{UID: "1"})
		in := r.enter(r.card(2, 0, 0), api.EnterRequest{UID: "2"})
		w, v := r.watch(out.Token.Reveal(), ""), r.watch(in.Token.Reveal(), "")
		held := decode[api.Keys](t, []byte(w.next(t, "keys").data))
		e := w.next(t, "will-expire")
		if x := decode[api.Expiry](t, []byte(e.data)); x.ServiceEnd != out.ServiceEnd || time.Now().Unix() != out.ServiceEnd-30 {
			t.Fatalf("told of the end %d seconds before", x.ServiceEnd-time.Now().Unix())
		}
		e = w.next(t, "put-out")
		if late := time.Since(time.Unix(out.ServiceEnd, 0)); late > 50*time.Millisecond {
			t.Fatalf("put out %v after the end of service", late)
		}
		if p := decode[api.Problem](t, []byte(e.data)); p.Reason != "service-ended" || p.Code != 109 {
			t.Fatalf("put out with %+v", p)
		}
		if _, open := <-w.events; open {
			t.Fatal("the stream goes on")
		}
		next := v.keysUntil(t, held.Epochs[0].Epoch+1)
		if late := time.Since(time.Unix(out.ServiceEnd, 0)); late > 50*time.Millisecond {
			t.Fatalf("rotated %v after the end of service", late)
		}
		for _, had := range held.Epochs {
			for _, has := range next.Epochs {
				if has.Secret != nil && bytes.Equal(had.Secret, has.Secret) {
					t.Fatalf("the one who was put out has epoch %d", has.Epoch)
				}
			}
		}
		for _, path := range []string{"keys", "watch"} {
			if status, reason := r.refused("GET", "/v1/channels/stage/"+path, out.Token.Reveal(), nil); status != 401 || reason != "service-ended" {
				t.Fatalf("%s after being put out: %d %s", path, status, reason)
			}
		}
		if _, reason := r.refused("POST", "/v1/channels/stage/members", out.Resume.Reveal(), api.EnterRequest{}); reason != "unknown-token" {
			t.Fatalf("resumed after being put out: %s", reason)
		}
	})
}

// TestDropAndResume: a stream that ends is no leave for 30 seconds; a resume token is
// good once.
func TestDropAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		card := r.card(1, 0, 0)
		m := r.enter(card, api.EnterRequest{UID: "1"})
		w := r.watch(m.Token.Reveal(), "")
		w.next(t, "keys")
		time.Sleep(10 * time.Minute) // a stream is life enough
		if r.srv.Members() != 1 {
			t.Fatal("left in spite of a stream")
		}
		w.cancel()
		synctest.Wait()
		time.Sleep(29 * time.Second)
		back := r.enter(m.Resume.Reveal(), api.EnterRequest{})
		if back.Member != m.Member || back.Sender != m.Sender || back.Token == m.Token || back.Resume == m.Resume {
			t.Fatalf("came back as %+v", back)
		}
		if _, reason := r.refused("POST", "/v1/channels/stage/members", m.Resume.Reveal(), api.EnterRequest{}); reason != "unknown-token" {
			t.Fatalf("resumed twice: %s", reason)
		}
		if _, reason := r.refused("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil); reason != "unknown-token" {
			t.Fatalf("the old token: %s", reason)
		}
		if _, reason := r.refused("POST", "/v1/channels/stage/members", back.Resume.Reveal(), api.EnterRequest{UID: "2"}); reason != "unknown-token" {
			t.Fatalf("resumed as another user: %s", reason)
		}
		time.Sleep(20 * time.Second)
		r.call("GET", "/v1/channels/stage/keys", back.Token.Reveal(), nil) // a request is a sign of life
		time.Sleep(29 * time.Second)
		if r.srv.Members() != 1 {
			t.Fatal("left 29 s after a request")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r.srv.Members() != 0 || r.gate.Len() != 0 {
			t.Fatal("still inside 31 s after the last request")
		}
		if _, reason := r.refused("POST", "/v1/channels/stage/members", back.Resume.Reveal(), api.EnterRequest{}); reason != "unknown-token" {
			t.Fatalf("resumed after having left: %s", reason)
		}
		// Now the door's rule holds: the card is over.
		if _, reason := r.refused("POST", "/v1/channels/stage/members", card, api.EnterRequest{UID: "1"}); reason != "entry-over" {
			t.Fatalf("back with the card: %s", reason)
		}
	})
}

// TestOneStream: of two streams of one membership the newer lives.
func TestOneStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		m := r.enter(r.card(1, 0, 0), api.EnterRequest{UID: "1"})
		first := r.watch(m.Token.Reveal(), "")
		first.next(t, "keys")
		second := r.watch(m.Token.Reveal(), "")
		second.next(t, "keys")
		if _, open := <-first.events; open {
			t.Fatal("the older stream goes on")
		}
		time.Sleep(time.Minute)
		if r.srv.Members() != 1 {
			t.Fatal("the older stream's end was taken for a leave")
		}
	})
}

// TestWrapped: with a public key no secret is in the reply, and the member's key opens
// what is there instead.
func TestWrapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i, c := range []struct {
			name string
			kem  hpke.KEM
		}{{"x25519", hpke.DHKEM(ecdh.X25519())}, {"p256", hpke.DHKEM(ecdh.P256())}, {"mlkem768-x25519", hpke.MLKEM768X25519()}} {
			key := must(c.kem.GenerateKey())(t)
			uid := uint32(i + 1)
			m := r.enter(r.card(uid, 0, 0), api.EnterRequest{UID: fmt.Sprint(uid), Kem: api.EnterRequestKem(c.name), PublicKey: key.PublicKey().Bytes()})
			for _, e := range m.Keys.Epochs {
				if e.Secret != nil {
					t.Fatalf("%s: a secret in clear", c.name)
				}
			}
			w := r.watch(m.Token.Reveal(), "")
			streamed := decode[api.Keys](t, []byte(w.next(t, "keys").data))
			_, body := r.call("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil)
			for _, k := range []api.Keys{m.Keys, streamed, decode[api.Keys](t, body)} {
				info := []byte("chanseal 1 keys\x00\x05stage")
				info = append(append(info, 0, byte(len(m.Member))), m.Member...)
				var aad, want []byte
				for _, e := range k.Epochs[:2] {
					aad = binary.BigEndian.AppendUint64(aad, e.Epoch)
					aad = binary.BigEndian.AppendUint16(aad, e.SuiteID)
					want = append(want, r.secretOf(e.Epoch)...)
				}
				rec := must(hpke.NewRecipient(k.Wrapped.Enc, key, hpke.HKDFSHA256(), hpke.AES128GCM(), info))(t)
				if got, err := rec.Open(aad, k.Wrapped.Ciphertext); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s: %v", c.name, err)
				}
				// Bound to its epochs: with others' numbers it does not open.
				aad[7]++
				rec = must(hpke.NewRecipient(k.Wrapped.Enc, key, hpke.HKDFSHA256(), hpke.AES128GCM(), info))(t)
				if _, err := rec.Open(aad, k.Wrapped.Ciphertext); err == nil {
					t.Fatalf("%s: opens as of another epoch", c.name)
				}
			}
		}
		for _, req := range []api.EnterRequest{{UID: "9", Kem: "x25519"}, {UID: "9", PublicKey: make([]byte, 32)}, {UID: "9", Kem: "rot13", PublicKey: make([]byte, 32)}, {UID: "9", Kem: "p256", PublicKey: make([]byte, 65)}} {
			if status, reason := r.refused("POST", "/v1/channels/stage/members", r.card(9, 0, 0), req); status != 400 || reason != "bad-key" {
				t.Errorf("%+v: %d %s", req, status, reason)
			}
		}
	})
}

// TestRequests: what cannot be read is refused, and nothing of it is repeated.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		card := r.card(1, 0, 0)
		for _, c := range []struct {
			body   string
			status int
			reason string
		}{
			{`{`, 400, "bad-request"}, {``, 400, "bad-request"}, {`[]`, 400, "bad-request"}, {`{"uid":1}`, 400, "bad-request"},
			{`{"uid":"1","role":"admin"}`, 400, "bad-request"}, {`{"uid":"1"}{}`, 400, "bad-request"}, {`{"uid":"` + strings.Repeat("x", 17<<10) + `"}`, 413, "too-large"},
		} {
			if status, reason := r.refused("POST", "/v1/channels/stage/members", card, c.body); status != c.status || reason != c.reason {
				t.Errorf("%.40s: %d %s, want %d %s", c.body, status, reason, c.status, c.reason)
			}
		}
		for _, c := range []struct {
			method, path string
			status       int
		}{{"GET", "/", 404}, {"GET", "/v1/channels/stage", 404}, {"PUT", "/v1/channels/stage/keys", 405}, {"GET", "/v1/channels/a/b/keys", 404}} {
			if status, _ := r.refused(c.method, c.path, "", nil); status != c.status {
				t.Errorf("%s %s: %d", c.method, c.path, status)
			}
		}
		for _, path := range []string{"/healthz", "/readyz", "/v1/openapi.yaml"} {
			if resp, _ := r.call("GET", path, "", nil); resp.StatusCode != 200 {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
		m := r.enter(card, api.EnterRequest{UID: "1"})
		w := r.watch(m.Token.Reveal(), "")
		w.next(t, "keys")
		r.srv.Drain()
		if _, open := <-w.events; open {
			t.Error("a stream goes on while the server drains")
		}
		if status, reason := r.refused("GET", "/readyz", "", nil); status != 503 || reason != "draining" {
			t.Errorf("readyz: %d %s", status, reason)
		}
		if _, reason := r.refused("POST", "/v1/channels/stage/members", r.card(2, 0, 0), api.EnterRequest{UID: "2"}); reason != "draining" {
			t.Errorf("entered while draining: %s", reason)
		}
	})
}

// TestNothingTold: no secret, token, card or name stands in the log, the audit record,
// or what a print shows.
func TestNothingTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		card := r.card(4294901760, 0, time.Minute)
		m := r.enter(card, api.EnterRequest{UID: "4294901760"})
		r.refused("POST", "/v1/channels/stage/members", card[:70], api.EnterRequest{UID: "4294901761"})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		record := string(must(os.ReadFile(r.record))(t))
		said := record + r.log.String() + fmt.Sprintf("%v %+v %#v", m, m, m)
		for _, secret := range []string{card, m.Token.Reveal(), m.Resume.Reveal(), "4294901760", "4294901761", "stage", string(m.Keys.Epochs[0].Secret), fmt.Sprint([]byte(m.Keys.Epochs[0].Secret))} {
			if strings.Contains(strings.ReplaceAll(said, `Channel:"stage"`, ""), secret) && secret != "stage" || strings.Contains(record+r.log.String(), secret) {
				t.Errorf("%q is told", secret)
			}
		}
	})
}

// TestAuditFails: what cannot be recorded does not happen.
func TestAuditFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cfg *keyserver.Config
		r := newRig(t, func(c *keyserver.Config, _ *channelkey.GateConfig) { cfg = c })
		log := cfg.Audit
		m := r.enter(r.card(1, 0, 0), api.EnterRequest{UID: "1"})
		w := r.watch(m.Token.Reveal(), "")
		w.next(t, "keys")
		log.Close()
		if status, reason := r.refused("POST", "/v1/channels/stage/members", r.card(2, 0, 0), api.EnterRequest{UID: "2"}); status != 503 || reason != "unavailable" {
			t.Fatalf("entered without a record: %d %s", status, reason)
		}
		must(r.ch.Revoke(t.Context(), "operator"))(t)
		if e, open := <-w.events; open {
			t.Fatalf("an epoch was handed out without a record: %+v", e)
		}
		if status, _ := r.refused("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil); status != 503 {
			t.Fatalf("keys without a record: %d", status)
		}
		if status, _ := r.refused("GET", "/readyz", "", nil); status != 503 {
			t.Fatalf("ready without a record: %d", status)
		}
		if r.gate.Len() != 1 {
			t.Fatalf("%d are inside", r.gate.Len())
		}
	})
}

// TestEndIsNear: whoever enters with less than half a minute of service left is told of
// its end, too, however soon the Gate says so.
func TestEndIsNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for uid := range uint32(50) {
			m := r.enter(r.card(uid+1, 0, 20*time.Second), api.EnterRequest{UID: fmt.Sprint(uid + 1)})
			w := r.watch(m.Token.Reveal(), "")
			e := <-w.events
			for e.name == "keys" {
				e = <-w.events
			}
			if e.name != "will-expire" {
				t.Fatalf("uid %d: %s, want will-expire", uid+1, e.name)
			}
			if x := decode[api.Expiry](t, []byte(e.data)); x.ServiceEnd != m.ServiceEnd {
				t.Fatalf("told of %d, want %d", x.ServiceEnd, m.ServiceEnd)
			}
		}
	})
}
