package keyring

import (
	"encoding/binary"
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

// Policy says when a channel's epoch ends by itself, and how.
type Policy struct {
	// Frames is the number of frames after which a Sender rotates the channel,
	// counted for each Sender; 0 stands for 2^31, half a key's life.
	Frames uint64
	// Age is the time after which any Sender rotates the channel; 0 is never.
	Age time.Duration
	// Grace is how long live Receivers accept an epoch after the next one
	// became active; 0 stands for 10 seconds. Less than 2 seconds is refused, as
	// other processes take up to 1 second to notice a rotation.
	Grace time.Duration
}

const (
	defaultFrames = 1 << 31
	defaultGrace  = 10 * time.Second
	minGrace      = 2 * time.Second
	maxGrace      = 24 * time.Hour
	minAge        = 2 * time.Second
)

func (p Policy) withDefaults() (Policy, error) {
	if p.Frames == 0 {
		p.Frames = defaultFrames
	}
	if p.Grace == 0 {
		p.Grace = defaultGrace
	}
	if p.Grace < minGrace || p.Grace > maxGrace {
		return p, fmt.Errorf("keyring: a grace of %v: it must be from %v to %v", p.Grace, minGrace, maxGrace)
	}
	if p.Age != 0 && p.Age < minAge {
		return p, fmt.Errorf("keyring: an age of %v: it must be 0 for none, or at least %v", p.Age, minAge)
	}
	return p, nil
}

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

// epochKind says where an epoch's secret comes from.
type epochKind uint8

const epochRandom epochKind = 1

// epoch as stored. Its state is Staged, Active, Retiring (until the moment
// until; Archived from then on) or Forgotten.
type epoch struct {
	number    uint64
	kind      epochKind
	state     State
	suite     cipher.SuiteID
	created   time.Time
	activated time.Time // zero if it never was active
	retired   time.Time
	until     time.Time // end of the grace
	reason    string    // why it was made
	secret    secret    // empty once forgotten
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
	revision uint64         // of the record; 0 if it was never stored
}

// A channel's record, the payload of a sealed record of kind "channel":
//
//	str(name) ‖ BE16(suite of the next epoch) ‖ BE64(policy: frames) ‖ BE64(age in ns) ‖ BE64(grace in ns) ‖
//	BE64(floor) ‖ BE16(number of epochs) ‖ for each, from number floor+1 on:
//	  kind (1 byte, 1 = random) ‖ state (1 byte) ‖ BE16(suite) ‖ created ‖ activated ‖ retired ‖ until ‖ str(reason) ‖
//	  secret (32 bytes; absent if the state is forgotten)
//
// Moments are BE64 nanoseconds since 1970 UTC, 0 for none.
func (s *state) encode() []byte {
	b := make([]byte, 0, 64+len(s.name)+len(s.epochs)*(80+MaxReason)) // large enough never to grow
	b = str(b, s.name)
	b = binary.BigEndian.AppendUint16(b, uint16(s.suite))
	b = binary.BigEndian.AppendUint64(b, s.policy.Frames)
	b = binary.BigEndian.AppendUint64(b, uint64(s.policy.Age))
	b = binary.BigEndian.AppendUint64(b, uint64(s.policy.Grace))
	b = binary.BigEndian.AppendUint64(b, s.floor)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.epochs)))
	for i := range s.epochs {
		e := &s.epochs[i]
		b = append(b, byte(e.kind), byte(e.state))
		b = binary.BigEndian.AppendUint16(b, uint16(e.suite))
		for _, t := range [...]time.Time{e.created, e.activated, e.retired, e.until} {
			b = appendTime(b, t)
		}
		b = str(b, e.reason)
		if e.state != Forgotten {
			b = append(b, e.secret.key[:]...)
		}
	}
	return b
}

// decodeState parses what encode made. It copies everything out of b.
func decodeState(b []byte) (*state, error) {
	d := decoder{b: b}
	s := &state{name: d.str(), suite: cipher.SuiteID(d.u16())}
	s.policy = Policy{Frames: d.u64(), Age: time.Duration(d.u64()), Grace: time.Duration(d.u64())}
	s.floor = d.u64()
	n := int(d.u16())
	if n > MaxEpochs || n > len(d.b)/(1+1+2+4*8+2) {
		d.bad = true
		n = 0
	}
	s.epochs = make([]epoch, 0, n)
	active := 0
	for i := range n {
		e := epoch{number: s.floor + 1 + uint64(i), kind: epochKind(d.u8()), state: State(d.u8()), suite: cipher.SuiteID(d.u16())}
		e.created, e.activated, e.retired, e.until = d.time(), d.time(), d.time(), d.time()
		e.reason = d.str()
		switch e.state {
		case Active:
			active++
			fallthrough
		case Staged, Retiring:
			if k := d.next(secretSize); k != nil {
				e.secret = secretFrom(k)
			}
		case Forgotten:
		default:
			d.bad = true
		}
		if e.kind != epochRandom {
			d.bad = true
		}
		s.epochs = append(s.epochs, e)
	}
	if !d.done() || active > 1 || checkName(s.name) != nil || s.floor > 1<<62 {
		s.wipe()
		return nil, fmt.Errorf("keyring: a channel's record is not well formed: %w", ErrDamaged)
	}
	return s, nil
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

// stage appends an epoch with a fresh secret. At most one epoch with the same
// low 8 bits may be live: an older one's grace is cut short.
func (s *state) stage(now time.Time, reason string) (*epoch, error) {
	if len(reason) > MaxReason {
		return nil, fmt.Errorf("keyring: the reason has %d bytes, more than %d", len(reason), MaxReason)
	}
	if s.staged() != nil {
		return nil, ErrStaged
	}
	if len(s.epochs) >= MaxEpochs {
		return nil, ErrFull
	}
	e := epoch{
		number: s.floor + uint64(len(s.epochs)) + 1, kind: epochRandom, state: Staged,
		suite: s.suite, created: now, reason: reason, secret: newSecret(),
	}
	for i := range s.epochs {
		old := &s.epochs[i]
		if old.low() == e.low() && old.state == Retiring && old.until.After(now) {
			old.until = now
		}
	}
	s.epochs = append(s.epochs, e)
	return &s.epochs[len(s.epochs)-1], nil
}

// activate makes the staged epoch the active one.
func (s *state) activate(now time.Time) error {
	next := s.staged()
	if next == nil {
		return ErrNotStaged
	}
	if old := s.active(); old != nil {
		old.state, old.retired, old.until = Retiring, now, now.Add(s.policy.Grace)
	}
	next.state, next.activated = Active, now
	return nil
}

// rotate activates the staged epoch, or a fresh one if none is staged. A staged
// epoch is overtaken (destroyed) if fresh is set: its secret may be in hands
// that must not have the next one.
func (s *state) rotate(now time.Time, reason string, fresh bool) error {
	if e := s.staged(); e != nil && fresh {
		e.forget()
	}
	if s.staged() == nil {
		if _, err := s.stage(now, reason); err != nil {
			return err
		}
	}
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
