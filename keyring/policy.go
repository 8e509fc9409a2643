package keyring

import (
	"fmt"
	"time"
)

// Policy says when a channel's epoch ends by itself, and how. The zero value of each
// field stands for what its comment names.
type Policy struct {
	// Frames is the number of frames after which a Sender asks for the next epoch,
	// counted for each Sender; 0 stands for 2^31, half a key's life.
	Frames uint64
	// Age is the time after which the next epoch becomes active, as long as some
	// Sender or Feed follows the channel; 0 is never.
	Age time.Duration
	// Grace is how long live Receivers accept an epoch after the next one
	// became active; 0 stands for 10 seconds. Less than 2 seconds is refused, as
	// other processes take up to 1 second to notice a rotation.
	Grace time.Duration
	// Delay is how long before its first frame an epoch is staged when the policy
	// makes it, so that every member holds it by then, with clocks that differ by a
	// second and news that takes as long; 0 stands for 5 seconds, AtOnce for none. An
	// Age shorter than twice the delay shortens the delay to its half.
	Delay time.Duration
	// Debounce is how long a join or a leave waits for others to share its epoch
	// with; 0 stands for 5 seconds, AtOnce for not at all. Who is put out never waits.
	Debounce time.Duration
	// OnJoin is what a join does, Keep, Step or Renewal; 0 stands for Keep: who joins
	// is given the epoch that runs. With the others he waits for the next one.
	OnJoin Turn
	// OnLeave is what a leave does, Fresh or Keep; 0 stands for Fresh. Who is put
	// out always has a Fresh epoch made.
	OnLeave Turn
	// Ahead has the next epoch staged as soon as one becomes active, so that it can
	// be wrapped to the members while nothing else is to do, and a rotation by age
	// needs no news at all.
	Ahead bool
}

// AtOnce is a [Policy]'s Delay or Debounce of no time at all.
const AtOnce time.Duration = -1

const (
	defaultFrames   = 1 << 31
	defaultGrace    = 10 * time.Second
	minGrace        = 2 * time.Second
	maxGrace        = 24 * time.Hour
	minAge          = 2 * time.Second
	defaultDelay    = 5 * time.Second
	maxDelay        = time.Hour
	defaultDebounce = 5 * time.Second
)

// Turn is what a change of the members does to a channel's epochs.
type Turn uint8

// The turns, in the order in which one includes another.
const (
	Keep    Turn = 1 // nothing
	Step    Turn = 2 // an epoch by the ratchet: closes the past to who comes, costs nothing to hand out
	Renewal Turn = 3 // an epoch with a new secret, which may have been staged before
	Fresh   Turn = 4 // an epoch with a secret that was made after the change: closes the future to who left
)

// String returns the turn's name in the program's options.
func (t Turn) String() string {
	switch t {
	case Keep:
		return "keep"
	case Step:
		return "ratchet"
	case Renewal:
		return "renew"
	case Fresh:
		return "fresh"
	}
	return fmt.Sprintf("turn %d", uint8(t))
}

// MarshalText returns the turn's name.
func (t Turn) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// ParseTurn reads what String writes.
func ParseTurn(s string) (Turn, error) {
	for t := Keep; t <= Fresh; t++ {
		if s == t.String() {
			return t, nil
		}
	}
	return 0, fmt.Errorf("keyring: %q is no turn: give keep, ratchet, renew or fresh", s)
}

func (p Policy) withDefaults() (Policy, error) {
	if p.Frames == 0 {
		p.Frames = defaultFrames
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&p.Grace, defaultGrace}, {&p.Delay, defaultDelay}, {&p.Debounce, defaultDebounce}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if p.OnJoin == 0 {
		p.OnJoin = Keep
	}
	if p.OnLeave == 0 {
		p.OnLeave = Fresh
	}
	switch {
	case p.Grace < minGrace || p.Grace > maxGrace:
		return p, fmt.Errorf("keyring: a grace of %v: it must be from %v to %v", p.Grace, minGrace, maxGrace)
	case p.Age != 0 && p.Age < minAge:
		return p, fmt.Errorf("keyring: an age of %v: it must be 0 for none, or at least %v", p.Age, minAge)
	case p.Delay != AtOnce && (p.Delay < 0 || p.Delay > maxDelay):
		return p, fmt.Errorf("keyring: a delay of %v: it must be from 0 to %v", p.Delay, maxDelay)
	case p.Debounce != AtOnce && (p.Debounce < 0 || p.Debounce > maxDelay):
		return p, fmt.Errorf("keyring: a debounce of %v: it must be from 0 to %v", p.Debounce, maxDelay)
	case p.OnJoin > Renewal:
		return p, fmt.Errorf("keyring: a join that does %v: it can be answered by %v, %v or %v only", p.OnJoin, Keep, Step, Renewal)
	case p.OnLeave != Fresh && p.OnLeave != Keep:
		return p, fmt.Errorf("keyring: a leave that does %v: it can be answered by %v or %v only", p.OnLeave, Fresh, Keep)
	}
	return p, nil
}

// known reports whether a policy that was read asks for nothing but what this
// version does.
func (p Policy) known() bool {
	return p.OnJoin >= Keep && p.OnJoin <= Renewal && (p.OnLeave == Keep || p.OnLeave == Fresh)
}

// delay is how long before its first frame an epoch is staged.
func (p Policy) delay() time.Duration {
	d := max(p.Delay, 0)
	if p.Age > 0 {
		d = min(d, p.Age/2)
	}
	return d
}

func (p Policy) debounce() time.Duration { return max(p.Debounce, 0) }
