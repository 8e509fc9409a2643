package channelkey

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// jumping runs a test with a gate whose wall clock can be set.
func jumping(t *testing.T, f func(t *testing.T, g *Gate, d *desk, set func(time.Duration), out func() string)) {
	synctest.Test(t, func(t *testing.T) {
		var by atomic.Int64
		g := newGate(t, func(c *GateConfig) {
			c.Now = func() time.Time { return time.Now().Round(0).Add(time.Duration(by.Load())) }
		})
		defer g.Close()
		stream := g.Events()
		out := func() (all string) {
			synctest.Wait()
			for len(stream) > 0 {
				if e := <-stream; e.Kind == PutOut {
					all += fmt.Sprintf("%s %s ", e.Pass.User, e.Reason.String())
				}
			}
			return all
		}
		f(t, g, newDesk(t), func(d time.Duration) { by.Store(int64(d)) }, out)
	})
}

// TestGateClockForward: whose service ends in a jump of the clock is out within a second,
// nobody else is; a card whose time passed in it does not open the door.
func TestGateClockForward(t *testing.T) {
	for _, jump := range []time.Duration{10 * time.Minute, 2 * time.Hour, 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			jumping(t, func(t *testing.T, g *Gate, d *desk, set func(time.Duration), out func() string) {
				enter(t, g, d.card("ABC", "1", jump-time.Second), in("ABC", "1"))
				enter(t, g, d.card("ABC", "2", jump+time.Minute), in("ABC", "2"))
				enter(t, g, d.card("ABC", "3", 0), in("ABC", "3"))
				unused := d.card("ABC", "4", 0)
				time.Sleep(3 * time.Second)
				if got := out(); got != "" {
					t.Fatalf("before: %s", got)
				}
				set(jump)
				if g.IsInside("ABC", "1", Media) {
					t.Error("inside after the end")
				}
				time.Sleep(time.Second)
				if got := out(); got != "1 service-ended " || g.Len() != 2 {
					t.Errorf("put out: %q, %d inside", got, g.Len())
				}
				_, err := g.Enter(unused, in("ABC", "4"))
				wantReason(t, err, EntryOver)
				time.Sleep(time.Minute)
				if got := out(); got != "2 service-ended " {
					t.Errorf("a minute later: %q", got)
				}
			})
		})
	}
}

// TestGateClockBack: when the clock is set back, what is over stays over, and what is to
// end ends when it would have.
func TestGateClockBack(t *testing.T) {
	for _, jump := range []time.Duration{10 * time.Minute, 2 * time.Hour, 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			jumping(t, func(t *testing.T, g *Gate, d *desk, set func(time.Duration), out func() string) {
				used, unused := d.card("ABC", "1", 0), d.card("ABC", "2", 0)
				over := d.card("ABC", "3", time.Minute)
				g.Leave(enter(t, g, used, in("ABC", "1")))
				time.Sleep(6 * time.Minute)
				enter(t, g, d.card("ABC", "5", 2*time.Minute), in("ABC", "5"))
				if err := g.Revoke(Revocation{User: "6", Until: time.Now().Add(2 * time.Minute)}); err != nil {
					t.Fatal(err)
				}
				revoked := d.card("ABC", "6", time.Hour)
				fresh := d.card("ABC", "7", time.Hour)
				set(-6 * time.Minute) // when the cards were made
				for i, card := range []string{used, unused, over} {
					user := UID(uint32(i + 1))
					_, err := g.Enter(card, in("ABC", user))
					wantReason(t, err, ClockSetBack)
				}
				set(-jump)
				time.Sleep(119 * time.Second)
				if got := out(); got != "" {
					t.Errorf("put out early: %q", got)
				}
				_, err := g.Enter(revoked, in("ABC", "6"))
				wantReason(t, err, Revoked)
				time.Sleep(time.Second)
				if got := out(); got != "5 service-ended " {
					t.Errorf("put out: %q", got)
				}
				enter(t, g, revoked, in("ABC", "6"))
				enter(t, g, fresh, in("ABC", "7")) // of an issuer whose clock is right

				// A revocation is reckoned by the clock that is there.
				if err := g.Revoke(Revocation{User: "7", Until: time.Now().Add(5*time.Minute - jump)}); err != nil {
					t.Fatal(err)
				}
				if got := out(); got != "7 revoked " {
					t.Errorf("put out: %q", got)
				}
				again := d.card("ABC", "7", time.Hour)
				time.Sleep(4*time.Minute + 59*time.Second)
				_, err = g.Enter(again, in("ABC", "7"))
				wantReason(t, err, Revoked)

				set(0) // right again
				_, err = g.Enter(used, in("ABC", "1"))
				wantReason(t, err, EntryOver)
				_, err = g.Enter(over, in("ABC", "3"))
				wantReason(t, err, EntryOver)
			})
		})
	}
}

// TestGateClockWrong: a clock that was wrongly ahead and is set right leaves the door
// shut, with a reason of its own; a new gate believes the clock.
func TestGateClockWrong(t *testing.T) {
	jumping(t, func(t *testing.T, g *Gate, d *desk, set func(time.Duration), out func() string) {
		set(24 * time.Hour)
		time.Sleep(time.Second)
		card := d.card("ABC", "1", 0)
		_, err := g.Enter(card, in("ABC", "1"))
		wantReason(t, err, EntryOver)
		set(0)
		_, err = g.Enter(card, in("ABC", "1"))
		wantReason(t, err, ClockSetBack)
		_, err = g.Enter("004"+card[4:]+"0", in("ABC", "1"))
		if ReasonOf(err) == ClockSetBack {
			t.Error("a card that is none is refused by the clock")
		}
		anew := newGate(t, nil)
		defer anew.Close()
		enter(t, anew, card, in("ABC", "1"))
	})
}
