package keyring_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
)

// hanging is a store that does not answer, when told.
type hanging struct {
	keyring.Store
	on   atomic.Bool
	gets atomic.Int64
}

func (s *hanging) Get(ctx context.Context, key string) (keyring.Entry, error) {
	if s.on.Load() {
		s.gets.Add(1)
		<-ctx.Done()
		return keyring.Entry{}, ctx.Err()
	}
	return s.Store.Get(ctx, key)
}

// TestHangingStore: whoever sends frames of epochs that nobody knows, while the store
// does not answer, holds up those of others only for a moment.
func TestHangingStore(t *testing.T) {
	for _, stuck := range []bool{false, true} { // a load of the follower's own hangs as well
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			m, _, ch := stage(t, keyring.ChannelOptions{})
			store := &hanging{Store: m.Again()}
			ring := must(keyring.Open(ctx, store, testOptions))(t)
			defer ring.Close()
			r, s := receiver(t, must(ring.Channel(ctx, "stage"))(t), keyring.ReceiverOptions{}), sender(t, ch)
			opens(t, r, seal(t, s, "first"), "first")
			synctest.Wait()
			store.on.Store(true)
			if stuck {
				must(ch.Rotate(ctx, ""))(t)
				synctest.Wait()
				if store.gets.Load() == 0 {
					t.Fatal("the follower reads nothing")
				}
			}
			forged := cipher.AppendHeader(nil, cipher.Header{KID: keyring.Origin{Epoch: 77, Instance: 5}.KID()})
			forged = append(forged, make([]byte, 40)...)
			var held time.Duration
			begun := time.Now()
			for time.Since(begun) < 10*time.Second {
				before := time.Now()
				refuses(t, r, forged, cipher.ErrUnknownKey)
				held += time.Since(before)
				time.Sleep(10 * time.Millisecond)
			}
			if most := 250*time.Millisecond + 10*time.Second/40 + 10*time.Millisecond; held > most {
				t.Errorf("stuck %v: frames were held up for %v in 10 s, want at most %v", stuck, held, most)
			}
			// The store answers again: what it has is known soon.
			if !stuck {
				must(ch.Rotate(ctx, ""))(t)
			}
			synctest.Wait()
			sealed := seal(t, s, "second")
			store.on.Store(false)
			r.Open(nil, forged, nil)
			time.Sleep(11 * time.Second) // a load that hangs is given up
			synctest.Wait()
			opens(t, r, sealed, "second")
		})
	}
}
