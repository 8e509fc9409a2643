package keyring_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestClockJumps: a rotation after somebody was put out comes when it would have, though
// the wall clock is set meanwhile, in the process that runs and in one that is started
// then; what was sealed before is refused after its grace, which a jump forward ends.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-24 * time.Hour, -2 * time.Hour, -10 * time.Minute, 10 * time.Minute, 2 * time.Hour, 24 * time.Hour} {
		for _, again := range []bool{false, true} {
			t.Run(jump.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx := t.Context()
					var by atomic.Int64
					o := keyring.Options{KEKs: []keyring.KEK{plainKEK{}}, Now: func() time.Time { return time.Now().Round(0).Add(time.Duration(by.Load())) }}
					m := keyringtest.NewMemory()
					ring := must(keyring.Create(ctx, m.Again(), o))(t)
					ch := must(ring.Create(ctx, "stage", keyring.ChannelOptions{}))(t)
					old := sender(t, ch)
					must(ch.PutOut(ctx))(t) // the next epoch is to be active in 5 seconds
					time.Sleep(time.Second)
					by.Store(int64(jump))
					if again {
						ring.Close()
						ring = must(keyring.Open(ctx, m.Again(), o))(t)
						ch = must(ring.Channel(ctx, "stage"))(t)
						old = sender(t, ch)
					}
					defer ring.Close()
					r := receiver(t, ch, keyring.ReceiverOptions{})
					late, first := seal(t, old, "late"), old.Origin().Epoch
					switch {
					case jump < 0 && first != 1:
						t.Fatalf("epoch %d is active before its time", first)
					case jump > 0 && again && first != 2:
						t.Fatalf("epoch %d is active: the next one's moment has come", first)
					}
					if first == 2 || jump < 0 {
						opens(t, r, late, "late")
					}
					later := seal(t, old, "later")
					time.Sleep(6 * time.Second)
					synctest.Wait()
					if e := old.Origin().Epoch; e != 2 {
						t.Fatalf("in epoch %d", e)
					}
					time.Sleep(10 * time.Second)
					synctest.Wait()
					if first == 1 {
						refuses(t, r, later)
					}
					opens(t, r, seal(t, old, "now"), "now")
				})
			})
		}
	}
}

// TestClockSetBackWhileRetiring: an epoch that retires does so no longer because the clock
// was set back before the process was started.
func TestClockSetBackWhileRetiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var by atomic.Int64
		o := keyring.Options{KEKs: []keyring.KEK{plainKEK{}}, Now: func() time.Time { return time.Now().Round(0).Add(time.Duration(by.Load())) }}
		m := keyringtest.NewMemory()
		ring := must(keyring.Create(ctx, m.Again(), o))(t)
		ch := must(ring.Create(ctx, "stage", keyring.ChannelOptions{}))(t)
		old := seal(t, sender(t, ch), "old")
		must(ch.Revoke(ctx, ""))(t)
		ring.Close()
		by.Store(int64(-2 * time.Hour))
		ring = must(keyring.Open(ctx, m.Again(), o))(t)
		defer ring.Close()
		ch = must(ring.Channel(ctx, "stage"))(t)
		defer sender(t, ch).Close() // somebody who uses the channel: turns are made
		r := receiver(t, ch, keyring.ReceiverOptions{})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		refuses(t, r, old)
	})
}
