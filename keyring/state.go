package keyring

import (
	"fmt"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Bounds of a channel.
const (
	MaxName   = 255  // bytes of a channel's name
	MaxReason = 64   // bytes of the reason of a rotation
	MaxEpochs = 8192 // epochs a channel keeps that were not forgotten from its first on
)

// State is where an epoch stands in its life.
type State uint8

// The states, in the order of an epoch's life.
const (
	Staged    State = 1 // Receivers open it, nothing is sealed under it yet
	Active    State = 2 // Senders seal under it
	Retiring  State = 3 // replaced; live Receivers accept it for the grace
	Archived  State = 4 // live Receivers refuse it; archive Receivers open it
	Forgotten State = 5 // its secret is destroyed
)

// String returns the state in lower case, as in "active".
func (s State) String() string {
	switch s {
	case Staged:
		return "staged"
	case Active:
		return "active"
	case Retiring:
		return "retiring"
	case Archived:
		return "archived"
	case Forgotten:
		return "forgotten"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Kind says where an epoch's secret comes from.
type Kind uint8

// The kinds of epochs.
const (
	Random   Kind = 1 // drawn from the system's random source
	Ratchet  Kind = 2 // one step of the ratchet from the epoch that was active before
	Vendor   Kind = 3 // imported: derived from a vendor's key string and salt
	Exported Kind = 4 // given by an external group key agreement
)

// String returns the kind in lower case, as in "ratchet".
func (k Kind) String() string {
	switch k {
	case Random:
		return "random"
	case Ratchet:
		return "ratchet"
	case Vendor:
		return "vendor"
	case Exported:
		return "exported"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText returns the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k Kind) known() bool { return k >= Random && k <= Exported }

// epoch as stored. Its state is Staged, Active, Retiring (until the moment
// until; Archived from then on) or Forgotten.
type epoch struct {
	number     uint64
	kind       Kind
	state      State
	suite      cipher.SuiteID
	created    time.Time
	activateAt time.Time // of a staged epoch: when it becomes active by itself; zero for never
	activated  time.Time // zero if it never was active
	retired    time.Time
	until      time.Time // end of the grace
	reason     string    // why it was made
	secret     secret    // empty once forgotten
	barred     []uint16  // sender numbers that live Receivers refuse
	more       fields    // what other parts of the package keep with it
}

// Format prints no secret, not even by the verbs that follow pointers.
func (e epoch) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "epoch %d, %v, %s", e.number, e.state, redacted)
}

// at is the epoch's state at the moment now.
func (e *epoch) at(now time.Time) State {
	if e.state == Retiring && !now.Before(e.until) {
		return Archived
	}
	return e.state
}

// live reports whether a live Receiver opens the epoch at the moment now.
func (e *epoch) live(now time.Time) bool {
	s := e.at(now)
	return s == Staged || s == Active || s == Retiring
}

// low is the part of the epoch's number that stands in a KID.
func (e *epoch) low() uint8 { return uint8(e.number) }

func (e *epoch) forget() {
	e.secret.wipe()
	*e = epoch{number: e.number, kind: e.kind, state: Forgotten, suite: e.suite, created: e.created, reason: e.reason}
}

// state is a channel's record.
type state struct {
	name     string
	policy   Policy
	suite    cipher.SuiteID // of the next epoch
	floor    uint64         // epochs 1 to floor are forgotten and no longer listed
	epochs   []epoch        // in the order of their numbers, without a gap, from floor+1
	pending  pending        // a turn of epochs that waits for its moment
	owed     time.Time      // since when a fresh epoch is due that did not become active yet
	more     fields         // what other parts of the package keep with the channel
	revision uint64         // of the record; 0 if it was never stored
	stored   uint64         // the epoch that is active in the record itself, before advance; 0 for none
}

func (s *state) wipe() {
	for i := range s.epochs {
		s.epochs[i].secret.wipe()
	}
}

// Format prints no secret.
func (s state) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "channel %q, %d epochs, %s", s.name, len(s.epochs), redacted)
}

// active returns the active epoch, or nil: a forgotten channel has none.
func (s *state) active() *epoch {
	for i := len(s.epochs) - 1; i >= 0; i-- {
		if s.epochs[i].state == Active {
			return &s.epochs[i]
		}
	}
	return nil
}

// activeNumber is the number of the active epoch, 0 if there is none.
func (s *state) activeNumber() uint64 {
	if e := s.active(); e != nil {
		return e.number
	}
	return 0
}

// staged returns the staged epoch, or nil.
func (s *state) staged() *epoch {
	for i := len(s.epochs) - 1; i >= 0; i-- {
		if s.epochs[i].state == Staged {
			return &s.epochs[i]
		}
	}
	return nil
}

// epoch returns the epoch of that number; nil if it is below the floor, or never was.
func (s *state) epoch(number uint64) *epoch {
	if number <= s.floor || number > s.floor+uint64(len(s.epochs)) {
		return nil
	}
	return &s.epochs[number-s.floor-1]
}

// stage appends an epoch with a fresh secret.
func (s *state) stage(now time.Time, reason string) (*epoch, error) {
	return s.append(now, reason, Random, newSecret())
}

// append adds a staged epoch, whose secret it takes over. At most one epoch with
// the same low 8 bits may be live: an older one's grace is cut short, and a number
// that would collide with the active epoch's is left out.
func (s *state) append(now time.Time, reason string, kind Kind, sec secret) (*epoch, error) {
	err := s.room(reason)
	if err != nil {
		sec.wipe()
		return nil, err
	}
	next := s.top() + 1
	if old := s.active(); old != nil && old.low() == uint8(next) {
		if len(s.epochs)+2 > MaxEpochs {
			sec.wipe()
			return nil, ErrFull
		}
		s.epochs = append(s.epochs, epoch{number: next, kind: Random, state: Forgotten, suite: s.suite, created: now})
		next++
	}
	e := epoch{number: next, kind: kind, state: Staged, suite: s.suite, created: now, reason: reason, secret: sec}
	for i := range s.epochs {
		old := &s.epochs[i]
		if !old.live(now) {
			old.barred = nil
		}
		if old.low() == e.low() && old.state == Retiring && old.until.After(now) {
			old.until = now
		}
	}
	s.epochs = append(s.epochs, e)
	return &s.epochs[len(s.epochs)-1], nil
}

// room says why no epoch can be staged.
func (s *state) room(reason string) error {
	switch {
	case len(reason) > MaxReason:
		return fmt.Errorf("keyring: the reason has %d bytes, more than %d", len(reason), MaxReason)
	case s.staged() != nil:
		return ErrStaged
	case len(s.epochs) >= MaxEpochs:
		return ErrFull
	}
	return nil
}

// top is the number of the newest epoch there ever was.
func (s *state) top() uint64 { return s.floor + uint64(len(s.epochs)) }

// activate makes the staged epoch the active one.
func (s *state) activate(now time.Time) error {
	next := s.staged()
	if next == nil {
		return ErrNotStaged
	}
	if old := s.active(); old != nil {
		old.state, old.retired, old.until = Retiring, now, now.Add(s.policy.Grace)
	}
	next.state, next.activated, next.activateAt = Active, now, time.Time{}
	s.owed = time.Time{}
	return nil
}

// advance does what has come to pass by now without anybody writing it down: a
// staged epoch whose moment came is active. Whoever reads a record sees it so, by
// its own clock; the next change of the record writes it.
func (s *state) advance(now time.Time) {
	if e := s.staged(); e != nil && !e.activateAt.IsZero() && !now.Before(e.activateAt) && s.active() != nil {
		s.activate(e.activateAt)
	}
}

// rotate activates the staged epoch, or a fresh one if none is staged. A staged
// epoch is overtaken (destroyed) if fresh is set, or if somebody left who may have
// its secret: then the next one is to be in nobody's hands.
func (s *state) rotate(now time.Time, reason string, fresh bool) error {
	if e := s.staged(); e != nil && (fresh || s.pending.how == Fresh && !s.pending.allows(e)) {
		e.forget()
	}
	if s.staged() == nil {
		if _, err := s.stage(now, reason); err != nil {
			return err
		}
	}
	s.pending = pending{}
	return s.activate(now)
}

// forget destroys an epoch's secret.
func (s *state) forget(number uint64) error {
	if number > 0 && number <= s.floor {
		return nil
	}
	e := s.epoch(number)
	switch {
	case e == nil:
		return ErrNoEpoch
	case e.state == Active:
		return ErrEpochActive
	}
	e.forget()
	s.raise()
	return nil
}

// forgetAll destroys every secret of the channel.
func (s *state) forgetAll() {
	s.pending = pending{}
	for i := range s.epochs {
		s.epochs[i].forget()
	}
	s.raise()
}

// raise moves the floor over forgotten epochs, but keeps the newest one listed.
func (s *state) raise() {
	n := 0
	for n < len(s.epochs)-1 && s.epochs[n].state == Forgotten {
		n++
	}
	s.floor += uint64(n)
	s.epochs = append([]epoch(nil), s.epochs[n:]...)
}
