package keyring

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testState(t testing.TB, p Policy, now time.Time) *state {
	t.Helper()
	p, err := p.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	st := &state{name: "c", suite: 4, policy: p}
	if err := st.rotate(now, "", false); err != nil {
		t.Fatal(err)
	}
	return st
}

// knows reports whether a member who was given the epochs up to top, and steps the
// ratchet where he can, has an epoch's secret.
func knows(st *state, top, number uint64) bool {
	for n := number; n > top; n-- {
		e := st.epoch(n)
		if e == nil || e.kind != Ratchet {
			return false
		}
	}
	return true
}

// TestTurns lets members come and go at random, with every policy, and time pass. It
// checks who can open what, that every turn is made in time, and that whoever asks the
// record what is to be done is not asked to do nothing.
func TestTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1700000000, 0)
		p, err := Policy{
			Delay:    rapid.SampledFrom([]time.Duration{0, AtOnce, 3 * time.Second}).Draw(t, "delay"),
			Debounce: rapid.SampledFrom([]time.Duration{0, AtOnce, time.Second}).Draw(t, "debounce"),
			OnJoin:   rapid.SampledFrom([]Turn{0, Step, Renewal}).Draw(t, "join"),
			Age:      rapid.SampledFrom([]time.Duration{0, 4 * time.Second, time.Minute}).Draw(t, "age"),
			Ahead:    rapid.Bool().Draw(t, "ahead"),
		}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		st := &state{name: "c", suite: 4, policy: p}
		if err := st.rotate(now, "", false); err != nil {
			t.Fatal(err)
		}
		type leaver struct {
			top uint64
			at  time.Time
		}
		var gone []leaver
		sealed := map[uint64]time.Time{} // when an epoch was first sealed under
		act := func() {
			for range 10 {
				st.advance(now)
				if n := st.activeNumber(); sealed[n].IsZero() {
					sealed[n] = now
				}
				due := st.duty(now, true)
				if due.IsZero() || due.After(now) {
					return
				}
				if changed, err := st.turn(now, true); err != nil || !changed {
					t.Fatalf("due at %v, and then nothing is to do: %v", due, err)
				}
			}
			t.Fatal("there is no end of what is due")
		}
		// pass lets time pass, stopping wherever something happens.
		pass := func(d time.Duration) {
			for end := now.Add(d); now.Before(end); {
				next := end
				for _, m := range []time.Time{st.duty(now, true), nextActivation(st)} {
					if m.After(now) && m.Before(next) {
						next = m
					}
				}
				now = next
				act()
			}
		}
		act()
		step := rapid.SampledFrom([]string{"join", "leave", "put out", "frames", "stage", "rotate", "wait", "wait", "wait"})
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch step.Draw(t, "step") {
			case "join":
				before := st.activeNumber()
				from, err := st.joined(now)
				if err != nil && err != errSame {
					t.Fatal(err)
				}
				if p.OnJoin == Keep {
					if from != before {
						t.Fatalf("who joins waits for epoch %d", from)
					}
					break
				}
				if from <= before || !sealed[from].IsZero() {
					t.Fatalf("who joins is given epoch %d, and %d is active", from, before)
				}
				if st.pending.how == 0 && (st.epoch(from) == nil || st.epoch(from).activateAt.IsZero()) {
					t.Fatalf("who joins waits for epoch %d for ever", from)
				}
			case "leave":
				if err := st.left(now, false, "leave", nil); err != nil {
					t.Fatal(err)
				}
				gone = append(gone, leaver{st.top(), now})
			case "put out":
				if err := st.left(now, true, "put out", []uint16{3}); err != nil {
					t.Fatal(err)
				}
				gone = append(gone, leaver{st.top(), now})
				if !containsNumber(st.active().barred, 3) {
					t.Fatal("not barred")
				}
			case "frames":
				if err := st.renew(now, st.activeNumber(), "frames", rapid.Bool().Draw(t, "urgent")); err != nil && err != errSame {
					t.Fatal(err)
				}
			case "stage":
				st.stage(now, "by hand")
			case "rotate":
				if err := st.rotate(now, "by hand", false); err != nil {
					t.Fatal(err)
				}
			case "wait":
				pass(time.Duration(rapid.IntRange(0, 9000).Draw(t, "ms")) * time.Millisecond)
			}
			act()
			// However others come and go: who left has nothing of the epoch that is active by then.
			limit := p.debounce() + 3*p.delay() + 2*notice
			for _, g := range gone {
				if now.Sub(g.at) > limit && knows(st, g.top, st.activeNumber()) {
					t.Fatalf("who left %v ago still opens epoch %d", now.Sub(g.at), st.activeNumber())
				}
			}
			next, err := decodeState(channelFormat, st.encode())
			if err != nil {
				t.Fatal(err)
			}
			st = next
		}
		pass(p.debounce() + 3*p.delay() + 2*notice)
		for _, g := range gone {
			if knows(st, g.top, st.activeNumber()) {
				t.Fatalf("in the end, who left opens epoch %d", st.activeNumber())
			}
		}
	})
}

func containsNumber(numbers []uint16, n uint16) bool {
	for _, m := range numbers {
		if m == n {
			return true
		}
	}
	return false
}

func nextActivation(st *state) time.Time {
	if e := st.staged(); e != nil {
		return e.activateAt
	}
	return time.Time{}
}

// TestTurnsControl: the machine with the rule taken away that a staged epoch is not
// used for a leave. Then who left opens the next epoch, and TestTurns would see it.
func TestTurnsControl(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, sound := range []bool{true, false} {
		st := testState(t, Policy{Ahead: true}, now)
		if _, err := st.turn(now, true); err != nil || st.staged() == nil {
			t.Fatal("nothing was staged ahead", err)
		}
		top := st.top()
		if err := st.left(now, true, "put out", nil); err != nil {
			t.Fatal(err)
		}
		if !sound {
			st.pending.after = 0
		}
		if _, err := st.turn(now, true); err != nil {
			t.Fatal(err)
		}
		st.advance(now.Add(st.policy.delay()))
		if knows(st, top, st.activeNumber()) == sound {
			t.Errorf("with the rule (%v), who was put out opens epoch %d of %d he was given", sound, st.activeNumber(), top)
		}
	}
}

// TestTurnMoments writes down what happens when.
func TestTurnMoments(t *testing.T) {
	t0 := time.Unix(1700000000, 0)
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	run := func(st *state, until float64) { // to that moment, in steps of a tenth
		for now := t0; !now.After(at(until)); now = now.Add(100 * time.Millisecond) {
			if _, err := st.turn(now, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	show := func(st *state) string {
		e := st.active()
		return fmt.Sprintf("%d %v after %v", e.number, e.kind, e.activated.Sub(t0))
	}
	for _, c := range []struct {
		what   string
		policy Policy
		do     func(*state) error
		until  float64
		want   string
	}{
		{"a leave waits for others, then for members to be told", Policy{}, func(s *state) error {
			return errors.Join(s.left(t0, false, "leave", nil), s.left(at(3), false, "leave", nil))
		}, 60, "2 random after 10s"},
		{"who is put out waits for nobody", Policy{}, func(s *state) error { return s.left(t0, true, "put out", nil) }, 60, "2 random after 5s"},
		{"put out in the wake of a leave", Policy{}, func(s *state) error {
			return errors.Join(s.left(t0, false, "leave", nil), s.left(at(1), true, "put out", nil))
		}, 60, "2 random after 6s"},
		{"a leave that nobody minds", Policy{OnLeave: Keep}, func(s *state) error {
			if s.left(t0, false, "leave", nil) != errSame {
				t.Error("it changes the record")
			}
			return nil
		}, 60, "1 random after 0s"},
		{"a join steps", Policy{OnJoin: Step}, func(s *state) error {
			_, err := s.joined(t0)
			return err
		}, 60, "2 ratchet after 10s"},
		{"a join and a leave make one fresh epoch", Policy{OnJoin: Step}, func(s *state) error {
			_, err := s.joined(t0)
			return errors.Join(err, s.left(at(1), false, "leave", nil))
		}, 60, "2 random after 10s"},
		{"an old epoch ends on its hour", Policy{Age: 20 * time.Second}, func(*state) error { return nil }, 45, "3 random after 40s"},
		{"also when the next is staged ahead", Policy{Age: 20 * time.Second, Ahead: true}, func(*state) error { return nil }, 45, "3 random after 40s"},
		{"an age below two delays", Policy{Age: 4 * time.Second}, func(*state) error { return nil }, 9, "3 random after 8s"},
		{"frames", Policy{}, func(s *state) error { return s.renew(t0, 1, "frames", false) }, 60, "2 random after 5s"},
		{"frames, staged long before", Policy{Delay: 3 * time.Second}, func(s *state) error {
			_, err := s.stage(at(-10), "")
			return errors.Join(err, s.renew(at(1), 1, "frames", false))
		}, 60, "2 random after 1s"},
		{"no frame is left", Policy{}, func(s *state) error { return s.renew(t0, 1, "frames", true) }, 60, "2 random after 0s"},
	} {
		st := testState(t, c.policy, t0)
		if err := c.do(st); err != nil {
			t.Fatal(c.what, err)
		}
		if run(st, c.until); show(st) != c.want {
			t.Errorf("%s: epoch %s, want %s", c.what, show(st), c.want)
		}
	}

	// Put out so late that some members may have switched already: the epoch that is on its way
	// comes, and the one after it excludes.
	late := testState(t, Policy{}, t0)
	for now := t0; !now.After(at(15)); now = now.Add(100 * time.Millisecond) {
		switch {
		case now.Equal(t0):
			late.left(now, true, "put out", nil)
		case now.Equal(at(3.5)):
			late.left(now, true, "put out", nil)
		}
		if _, err := late.turn(now, true); err != nil {
			t.Fatal(err)
		}
		if e := late.epoch(2); now.Equal(at(4)) && e.state != Staged || now.Equal(at(6)) && e.state != Active {
			t.Errorf("after %v, epoch 2 is %v", now.Sub(t0), e.state)
		}
	}
	if show(late) != "3 random after 10s" {
		t.Errorf("put out late: epoch %s", show(late))
	}

	// Put out again and again, a second apart: none of them holds the rotation off.
	st := testState(t, Policy{}, t0)
	rotated := 0
	for now := t0; now.Before(at(120)); now = now.Add(time.Second) {
		if err := st.left(now, true, "put out", nil); err != nil {
			t.Fatal(err)
		}
		before := st.activeNumber()
		if _, err := st.turn(now, true); err != nil {
			t.Fatal(err)
		}
		if st.activeNumber() != before {
			rotated++
		}
	}
	if rotated < 8 {
		t.Errorf("%d rotations in two minutes", rotated)
	}
}
