package keyserver_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
)

// TestLeavesShareARotation: within the delay leaves are one rotation, after it.
func TestLeavesShareARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var tokens []string
		for uid := range uint32(5) {
			tokens = append(tokens, r.enter(r.card(uid+1, 0, 0), api.EnterRequest{UID: fmt.Sprint(uid + 1)}).Token.Reveal())
		}
		stays := r.watch(tokens[4], "")
		held := decode[api.Keys](t, []byte(stays.next(t, "keys").data))
		for _, token := range tokens[:4] {
			r.call("DELETE", "/v1/channels/stage/members/me", token, nil)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if now := must(r.ch.Show(t.Context()))(t).Epoch; now != held.Epochs[0].Epoch {
			t.Fatal("rotated before the delay was over")
		}
		time.Sleep(time.Second)
		k := stays.keysUntil(t, held.Epochs[0].Epoch+1)
		if k.Epochs[0].Epoch != held.Epochs[0].Epoch+2 { // the staged one was destroyed
			t.Fatalf("epoch %d after %d", k.Epochs[0].Epoch, held.Epochs[0].Epoch)
		}
		time.Sleep(time.Minute)
		if now := must(r.ch.Show(t.Context()))(t).Epoch; now != k.Epochs[0].Epoch {
			t.Fatal("rotated twice")
		}
	})
}

// TestPutOutByPolicy: with the policy's delay the next epoch is handed to those who stay
// at once, with the moment it begins; who was put out had none of it.
func TestPutOutByPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		must(r.ch.SetPolicy(t.Context(), keyring.Policy{}))(t)
		out := r.enter(r.card(1, 0, time.Minute), api.EnterRequest{UID: "1"})
		in := r.enter(r.card(2, 0, 0), api.EnterRequest{UID: "2"})
		w, v := r.watch(out.Token.Reveal(), ""), r.watch(in.Token.Reveal(), "")
		held := decode[api.Keys](t, []byte(w.next(t, "keys").data))
		v.next(t, "keys")
		w.next(t, "will-expire")
		w.next(t, "put-out")
		var next api.Epoch
		for next.Epoch <= held.Epochs[1].Epoch {
			k := decode[api.Keys](t, []byte(v.next(t, "keys").data))
			next = k.Epochs[1]
		}
		end := time.Unix(out.ServiceEnd, 0)
		if late := time.Since(end); late > 50*time.Millisecond || next.State != api.StateStaged || next.ActivateAt != end.Add(5*time.Second).UnixMilli() {
			t.Fatalf("%v after the end of service: %+v", late, next)
		}
		time.Sleep(4900 * time.Millisecond)
		active := func() api.Keys {
			_, body := r.call("GET", "/v1/channels/stage/keys", in.Token.Reveal(), nil)
			return decode[api.Keys](t, body)
		}
		if k := active(); k.Epochs[0].Epoch != held.Epochs[0].Epoch {
			t.Fatal("active before its moment")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		k := active()
		if k.Epochs[0].Epoch != next.Epoch || !bytes.Equal(k.Epochs[0].Secret, next.Secret) {
			t.Fatalf("not active at its moment: %+v", k)
		}
		for _, had := range held.Epochs {
			if bytes.Equal(had.Secret, next.Secret) {
				t.Fatal("who was put out had the next epoch")
			}
		}
	})
}

// TestJoinsThatRenew: where the policy says so, who joins is given no epoch in which
// something was sealed before.
func TestJoinsThatRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		must(r.ch.SetPolicy(t.Context(), keyring.Policy{OnJoin: keyring.Renewal}))(t)
		a := r.enter(r.card(1, 0, 0), api.EnterRequest{UID: "1"})
		time.Sleep(20 * time.Second)
		r.call("GET", "/v1/channels/stage/keys", a.Token.Reveal(), nil)
		now, _ := must(r.ch.Show(t.Context()))(t).Epoch, 0
		b := r.enter(r.card(2, 0, 0), api.EnterRequest{UID: "2"})
		for _, e := range b.Keys.Epochs {
			if e.Secret != nil && e.Epoch <= now {
				t.Fatalf("given epoch %d, %d was active", e.Epoch, now)
			}
		}
		w := r.watch(b.Token.Reveal(), "")
		defer w.cancel()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		_, body := r.call("GET", "/v1/channels/stage/keys", b.Token.Reveal(), nil)
		if k := decode[api.Keys](t, body); k.Epochs[0].State != api.StateActive || k.Epochs[0].Epoch <= now || len(k.Epochs[0].Secret) != 32 {
			t.Fatalf("not given the next epoch: %+v", k)
		}
	})
}

// TestRevoke: whoever is revoked is out, and the channel rotates once for a crowd.
func TestRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var crowd []*watching
		for uid := range uint32(20) {
			m := r.enter(r.card(uid+1, 0, 0), api.EnterRequest{UID: fmt.Sprint(uid + 1)})
			crowd = append(crowd, r.watch(m.Token.Reveal(), ""))
		}
		for _, w := range crowd {
			w.next(t, "keys")
		}
		before := must(r.ch.Show(t.Context()))(t).Epoch
		if err := r.gate.Revoke(channelkey.Revocation{Channel: "stage", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		for _, w := range crowd {
			for e := range w.events {
				if e.name == "put-out" && decode[api.Problem](t, []byte(e.data)).Reason != "revoked" {
					t.Fatalf("put out with %s", e.data)
				}
			}
		}
		synctest.Wait()
		if n := r.srv.Members(); n != 0 {
			t.Fatalf("%d are inside", n)
		}
		// Each rotation takes two numbers: the staged epoch is destroyed.
		if now := must(r.ch.Show(t.Context()))(t).Epoch; now <= before || now > before+6 {
			t.Fatalf("epoch %d, then %d", before, now)
		}
	})
}
