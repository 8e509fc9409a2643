package keyserver_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// TestWallClock sets the clock of a server while members are inside, in all the ways that
// their membership can stand, and looks that each ends when it should and nothing else does.
func TestWallClock(t *testing.T) {
	for _, jump := range []time.Duration{10 * time.Minute, 2 * time.Hour, 24 * time.Hour, -10 * time.Minute, -2 * time.Hour, -24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testWallClock(t, jump) }) })
	}
}

func testWallClock(t *testing.T, jump time.Duration) {
	r := newRig(t, func(c *keyserver.Config, _ *channelkey.GateConfig) {
		c.Limits = keyserver.Limits{CardRate: 0.5, MemberRate: 100}
	})
	must(r.ch.SetPolicy(t.Context(), keyring.Policy{Debounce: keyring.AtOnce}))(t) // and a delay of 5 seconds
	enter := func(uid uint32, ends time.Duration) api.Membership {
		return r.enter(r.card(uid, 0, ends), api.EnterRequest{UID: fmt.Sprint(uid)})
	}
	forward := jump > 0
	over := r.card(9, min(jump-time.Minute, -5*time.Minute), 0) // set back the clock shows a time when it was good
	ends := enter(1, max(jump, 0)+time.Minute)
	stays, resumes, drops, asks := enter(2, 0), enter(3, 0), enter(4, 0), enter(8, 0)
	in := r.watch(stays.Token.Reveal(), "")
	in.next(t, "keys")
	w := r.watch(ends.Token.Reveal(), "")
	held := decode[api.Keys](t, []byte(w.next(t, "keys").data))
	// Somebody leaves: the next epoch is to be active in 5 seconds.
	left := enter(5, 0)
	r.call("DELETE", "/v1/channels/stage/members/me", left.Token.Reveal(), nil)
	limited := r.card(6, 0, 0)
	for range 5 {
		r.refused("POST", "/v1/channels/stage/members", limited, api.EnterRequest{UID: "7"})
	}
	synctest.Wait()

	time.Sleep(time.Second)
	keys := func(m api.Membership) string { // "200", or the reason
		resp, body := r.call("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil)
		if resp.StatusCode == 200 {
			return "200"
		}
		return decode[api.Problem](t, body).Reason
	}
	keys(asks)
	r.set(jump)
	began := time.Now()
	after := func(d time.Duration) { time.Sleep(d - time.Since(began)); synctest.Wait() }
	if _, reason := r.refused("POST", "/v1/channels/stage/members", limited, api.EnterRequest{UID: "7"}); reason != "rate" {
		t.Errorf("the rate of a card after the jump: %s", reason)
	}
	want := "clock-set-back"
	if forward {
		want = "entry-over"
	}
	if status, reason := r.refused("POST", "/v1/channels/stage/members", over, api.EnterRequest{UID: "9"}); reason != want {
		t.Errorf("a card that is over: %d %s, want %s", status, reason, want)
	}
	if !forward {
		if _, reason := r.refused("GET", "/readyz", "", nil); reason != "clock" {
			t.Errorf("not ready: %s", reason)
		}
	}

	// The rotation comes when it would have, or, forward, at once.
	after(5 * time.Second)
	k := in.keysUntil(t, held.Epochs[0].Epoch+1)
	for k.Epochs[0].State != api.StateActive || k.Epochs[0].Epoch <= left.Keys.Epochs[1].Epoch {
		k = decode[api.Keys](t, []byte(in.next(t, "keys").data))
	}
	if time.Since(began) > 5*time.Second {
		t.Errorf("rotated %v after the jump", time.Since(began))
	}

	// The resume token is good for 30 seconds, whatever the clock says.
	after(25 * time.Second)
	back := r.enter(resumes.Resume.Reveal(), api.EnterRequest{})
	if back.Member != resumes.Member {
		t.Error("another membership was brought back")
	}
	if n := r.srv.Members(); n != 5 {
		t.Errorf("%d members 25 seconds after the jump", n)
	}
	r.watch(back.Token.Reveal(), "")
	after(29*time.Second + time.Second/2) // half a minute after they came
	if d, a := keys(drops), keys(asks); d != "dropped" || a != "200" {
		t.Errorf("who was not heard of for half a minute: %s; who asked a second later: %s", d, a)
	}

	// Whose service ends a minute from the beginning is out a minute from then, by the
	// clock that was; forward it ends a minute after the jump.
	for e := range w.events {
		if e.name == "put-out" {
			if p := decode[api.Problem](t, []byte(e.data)); p.Reason != "service-ended" {
				t.Errorf("put out: %+v", p)
			}
			break
		}
	}
	if d := time.Since(began); d < 58*time.Second || d > time.Minute {
		t.Errorf("put out %v after the jump", d)
	}
	after(2 * time.Minute)
	if n := r.srv.Members(); n != 2 {
		t.Errorf("%d members in the end", n)
	}
	if got := keys(stays); got != "200" {
		t.Errorf("who stays: %s", got)
	}
	for len(in.events) > 0 {
		if e := <-in.events; e.name != "keys" {
			t.Errorf("who stays is told %+v", e)
		}
	}
	var last time.Time
	if _, err := audit.VerifyFile(r.record, func(e audit.Entry) error {
		if e.Time.Before(last) {
			t.Errorf("entry %d is of %v, after one of %v", e.Seq, e.Time, last)
		}
		last = e.Time
		return nil
	}); err != nil {
		t.Error(err)
	}
	told := strings.Join(r.entries(), "\n") + r.log.String()
	if back := !forward; strings.Contains(told, "set back by "+(-jump).String()) != back || strings.Contains(told, "the clock was set back") != back {
		t.Errorf("the operator is told:\n%s", told)
	}
}

// TestWallClockPutsOut: whose service ends in a jump of the clock is out within a second,
// and holds nothing of the next epoch.
func TestWallClockPutsOut(t *testing.T) {
	for _, jump := range []time.Duration{10 * time.Minute, 2 * time.Hour, 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				m := r.enter(r.card(1, 0, jump-time.Second), api.EnterRequest{UID: "1"})
				stays := r.enter(r.card(2, 0, jump+time.Hour), api.EnterRequest{UID: "2"})
				w, v := r.watch(m.Token.Reveal(), ""), r.watch(stays.Token.Reveal(), "")
				held := decode[api.Keys](t, []byte(w.next(t, "keys").data))
				v.next(t, "keys")
				time.Sleep(3 * time.Second)
				r.set(jump)
				began := time.Now()
				for e := w.next; ; {
					if p := e(t, "put-out"); strings.Contains(p.data, "service-ended") {
						break
					}
				}
				if d := time.Since(began); d > time.Second {
					t.Errorf("put out after %v", d)
				}
				k := v.keysUntil(t, held.Epochs[0].Epoch+1)
				for _, had := range held.Epochs {
					if bytes.Equal(had.Secret, k.Epochs[0].Secret) {
						t.Error("who was put out has the next epoch")
					}
				}
			})
		})
	}
}

// TestAdminWallClock: a token of the administration ends after its time, also when the
// clock was set back meanwhile; where a server is started with a clock that is days
// behind, it is not good either.
func TestAdminWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdminRig(t, false)
		try := func(token string) string {
			status, body := a.as("olga", token, "GET", "/v1/admin/persons", nil)
			if status == 200 {
				return ""
			}
			return decode[api.Problem](t, body).Reason
		}
		token := a.token("olga", 0) // 8 hours
		time.Sleep(4 * time.Hour)
		if got := try(token); got != "" {
			t.Fatal(got)
		}
		a.set(-2 * time.Hour)
		time.Sleep(4*time.Hour - time.Second)
		if got := try(token); got != "" {
			t.Fatal(got)
		}
		time.Sleep(time.Second)
		if got := try(token); got != "token-over" {
			t.Errorf("after 8 hours: %q", got)
		}
		a.set(-7 * time.Hour)
		if got := try(token); got != "token-over" {
			t.Errorf("set back: %q", got)
		}
		a.set(0)
		token = a.token("olga", 0)
		a.set(24 * time.Hour)
		if got := try(token); got != "token-over" {
			t.Errorf("a day on: %q", got)
		}
		old := newAdminRig(t, false)
		old.set(0)
		late := old.token("olga", 0)
		now := newRigAt(t, -3*24*time.Hour, func(c *keyserver.Config, _ *channelkey.GateConfig) { c.Ring = old.ring })
		old.handler = now.srv.Admin(keyserver.AdminConfig{Persons: old.people})
		status, body := old.as("olga", late, "GET", "/v1/admin/persons", nil)
		if status != 503 || decode[api.Problem](t, body).Reason != "clock" {
			t.Errorf("a server that is three days behind: %d %s", status, body)
		}
	})
}

// TestWrongClock: where the server's clock is off from the issuer's, the refusal says what
// the server's clock shows, and how old the card is by it.
func TestWrongClock(t *testing.T) {
	for _, c := range []struct {
		off          time.Duration
		reason, says string
	}{
		{10 * time.Minute, "entry-over", "made 10m0s ago: if it was fetched just now, a clock is wrong"},
		{-10 * time.Minute, "not-yet-valid", "made 10m0s from now"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRigAt(t, c.off)
			resp, body := r.call("POST", "/v1/channels/stage/members", r.card(2, 0, 0), api.EnterRequest{UID: "2"})
			p := decode[api.Problem](t, body)
			shows := r.wall().UTC().Format(time.RFC3339)
			if resp.StatusCode != 401 || p.Reason != c.reason || p.ServerTime != r.wall().Unix() || !strings.Contains(p.Detail, c.says) || !strings.Contains(p.Detail, shows) {
				t.Errorf("%s: %+v, want %q and %q", resp.Status, p, c.says, shows)
			}
		})
	}
}
