package keyserver_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
)

// lossy is a store that does what it is asked, and whose answers to writes of seats are
// lost while it is told so.
type lossy struct {
	keyring.Store
	lose atomic.Bool
}

func (s *lossy) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	next, err := s.Store.CAS(ctx, key, value, rev)
	if err == nil && s.lose.Load() && strings.HasPrefix(key, "x/keyserver/s/") {
		return 0, errors.New("the answer is lost")
	}
	return next, err
}

// TestAnswersAreLost: after a write of a member's seat whose answer was lost the membership
// goes on, and ends with one rotation.
func TestAnswersAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lossy{Store: keyringtest.NewMemory()}
		ring := must(keyring.Create(t.Context(), store, keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(t)
		ch := must(ring.Create(t.Context(), "stage", keyring.ChannelOptions{Policy: keyring.Policy{Delay: keyring.AtOnce}}))(t)
		r := newRig(t, func(c *keyserver.Config, gc *channelkey.GateConfig) {
			c.Ring, c.Shared = ring, true
			gc.Store = must(keyserver.GateStore(ring))(t)
		})
		m := r.enter(r.card(1, 0, time.Hour), api.EnterRequest{UID: "1"})
		r.watch(m.Token.Reveal(), "")
		renew := func() string {
			resp, body := r.call("POST", "/v1/channels/stage/renew", m.Token.Reveal(), api.RenewRequest{Card: api.Token(r.card(1, 0, time.Hour))})
			if resp.StatusCode == 200 {
				return ""
			}
			return decode[api.Problem](t, body).Reason
		}
		store.lose.Store(true)
		if got := renew(); got != "unavailable" {
			t.Errorf("while answers are lost: %q", got)
		}
		store.lose.Store(false)
		if got := renew(); got != "" {
			t.Errorf("afterwards: %s", got)
		}
		store.lose.Store(true)
		renew()
		if _, reason := r.refused("GET", "/v1/channels/none/keys", m.Token.Reveal(), nil); reason != "unknown-token" {
			t.Error(reason)
		}
		r.call("DELETE", "/v1/channels/stage/members/me", m.Token.Reveal(), nil)
		synctest.Wait()
		store.lose.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		once := must(ch.Show(t.Context()))(t).Epoch
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if again := must(ch.Show(t.Context()))(t).Epoch; again != once {
			t.Errorf("rotated again, from epoch %d to %d", once, again)
		}
		shelf := must(ring.Shelf("keyserver"))(t)
		if seats, _, err := shelf.List(t.Context(), "s/"); err != nil || len(seats) > 0 {
			t.Errorf("%d seats are left, %v", len(seats), err)
		}
	})
}
