package keyring

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// What a member's ring takes from whoever keeps a channel.
var (
	// ErrKept says that the channel's epochs are made by somebody else: this ring
	// cannot rotate it.
	ErrKept = errors.New("keyring: the channel is kept by somebody else, who alone rotates it")
	// ErrOtherKeeper says that epochs of a channel come from somebody who does not keep
	// it: this ring makes them itself, or accepted them from another one before.
	ErrOtherKeeper = errors.New("keyring: the channel is not kept by who gives these epochs")
	// ErrOlder says that what is given is older than what was accepted before.
	ErrOlder = errors.New("keyring: these epochs are older than what was accepted before")
	// ErrOtherSecret says that a known epoch is given with another secret.
	ErrOtherSecret = errors.New("keyring: another secret for an epoch that is known")
	// ErrNotGranted says that this ring was not given the sender number.
	ErrNotGranted = errors.New("keyring: this ring may not seal under that sender number")
)

// SenderRange is a range of sender numbers, both ends included.
type SenderRange struct{ First, Last uint16 }

// Given is an epoch that a member is given.
type Given struct {
	Number     uint64
	Kind       Kind // 0 stands for Random
	State      State
	Suite      cipher.SuiteID
	Created    time.Time
	ActivateAt time.Time // of a staged epoch that becomes active by itself
	Activated  time.Time // zero while it is staged
	Until      time.Time // of a retiring epoch
	Barred     []uint16
	Secret     []byte // 32 bytes; copied
}

// Acceptance is what a member of a channel is given at a moment: all epochs that live,
// and archived ones as the keeper likes.
type Acceptance struct {
	// Keeper identifies who keeps the channel, in 1 to 64 bytes. Only they can give more.
	Keeper []byte
	// Serial grows with every change: what comes with a lower one is ErrOlder.
	Serial uint64
	// Grace is how long live Receivers accept an epoch after the next became active;
	// 0 for 10 seconds.
	Grace time.Duration
	// Senders are the numbers that this ring may make Senders with. None: it only opens.
	Senders []SenderRange
	// Epochs come in the order of their numbers.
	Epochs []Given
}

// keeper is a channel's field: who keeps it, and what they allowed.
//
//	str(keeper) ‖ BE64(serial) ‖ BE16(number of ranges) ‖ for each, ascending: BE16(first) ‖ BE16(last)
type keeper struct {
	id      []byte
	serial  uint64
	senders []SenderRange
}

const (
	maxKeeper = 64
	maxRanges = 1024
)

func (k *keeper) encode() []byte {
	b := str(nil, string(k.id))
	b = binary.BigEndian.AppendUint64(b, k.serial)
	return appendRanges(b, k.senders)
}

func appendRanges(b []byte, ranges []SenderRange) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(ranges)))
	for _, r := range ranges {
		b = binary.BigEndian.AppendUint16(b, r.First)
		b = binary.BigEndian.AppendUint16(b, r.Last)
	}
	return b
}

// ranges reads what appendRanges wrote: ascending, and none touching another.
func (d *decoder) ranges() (out []SenderRange) {
	n := int(d.u16())
	if n > maxRanges {
		d.bad = true
	}
	for i := 0; i < n && !d.bad; i++ {
		r := SenderRange{d.u16(), d.u16()}
		if r.Last < r.First || i > 0 && r.First <= out[i-1].Last {
			d.bad = true
		}
		out = append(out, r)
	}
	return out
}

func decodeKeeper(b []byte) (*keeper, bool) {
	d := decoder{b: b}
	k := &keeper{id: slices.Clone(d.bytes()), serial: d.u64(), senders: d.ranges()}
	return k, d.done() && len(k.id) > 0 && len(k.id) <= maxKeeper
}

// keeper returns who keeps the channel; nil if this ring does.
func (s *state) keeper() *keeper {
	b := s.more.get(fieldKeeper)
	if b == nil {
		return nil
	}
	k, ok := decodeKeeper(b)
	if !ok { // decodeState looked
		return &keeper{}
	}
	return k
}

// mayMake says whether this ring makes the channel's epochs.
func (s *state) mayMake() error {
	if s.more.get(fieldKeeper) != nil {
		return ErrKept
	}
	return nil
}

// granted returns what tells whether this ring may seal under a sender number.
func (s *state) granted() func(number uint16) bool {
	k := s.keeper()
	return func(number uint16) bool {
		return k == nil || slices.ContainsFunc(k.senders, func(r SenderRange) bool { return number >= r.First && number <= r.Last })
	}
}

// own is update for what only who keeps the channel may do.
func (c *Channel) own(ctx context.Context, change func(*state, time.Time) error) (Info, error) {
	return c.update(ctx, func(st *state, now time.Time) error {
		if err := st.mayMake(); err != nil {
			return err
		}
		return change(st, now)
	})
}

// Accept takes a channel's epochs from who keeps it, and makes the channel if the ring
// does not have it. The first to give a channel keeps it. What is known already stays:
// states only go forward, forgotten epochs stay forgotten. Nothing is taken of what is
// refused.
func (r *Ring) Accept(ctx context.Context, name string, a Acceptance) (Info, error) {
	if err := r.checkAcceptance(&a); err != nil {
		return Info{}, fmt.Errorf("keyring: accept the channel %q: %w", name, err)
	}
	id, err := r.channelID(name)
	if err != nil {
		return Info{}, err
	}
	c := &Channel{ring: r, name: name, id: id}
	for {
		info, err := r.accept(ctx, c, &a)
		switch {
		case errors.Is(err, ErrConflict) && ctx.Err() == nil:
			continue
		case err != nil:
			return Info{}, fmt.Errorf("keyring: accept the channel %q: %w", name, err)
		}
		return info, nil
	}
}

func (r *Ring) accept(ctx context.Context, c *Channel, a *Acceptance) (Info, error) {
	st, rev, err := r.load(ctx, c.id)
	if err == nil {
		defer st.wipe()
		info, ended, err := c.tryUpdate(ctx, st, rev, func(st *state, now time.Time) error { return st.accept(now, a) })
		if err == nil {
			r.changed(c.id)
			for _, n := range ended {
				_ = r.store.Drop(ctx, takeSet(c.id, n))
			}
		}
		return info, err
	} else if !errors.Is(err, ErrNotFound) {
		return Info{}, err
	}
	policy, err := Policy{Grace: a.Grace}.withDefaults()
	if err != nil {
		return Info{}, err
	}
	now := r.now()
	st = &state{name: c.name, policy: policy, floor: a.Epochs[0].Number - 1}
	defer st.wipe()
	st.more = st.more.set(fieldKeeper, (&keeper{id: a.Keeper}).encode())
	if err := st.accept(now, a); err != nil {
		return Info{}, err
	}
	if err := r.save(ctx, c.id, st, 0); err != nil {
		return Info{}, err
	}
	r.changed(c.id)
	return r.describe(st, now), nil
}

// checkAcceptance checks the form of what comes from outside.
func (r *Ring) checkAcceptance(a *Acceptance) error {
	if len(a.Keeper) == 0 || len(a.Keeper) > maxKeeper {
		return fmt.Errorf("a keeper of %d bytes, want 1 to %d", len(a.Keeper), maxKeeper)
	}
	if len(a.Epochs) == 0 || len(a.Epochs) > MaxEpochs {
		return fmt.Errorf("%d epochs, want 1 to %d", len(a.Epochs), MaxEpochs)
	}
	d := decoder{b: appendRanges(nil, a.Senders)}
	if d.ranges(); !d.done() || len(a.Senders) > maxRanges {
		return errors.New("the ranges of sender numbers are not ascending, or too many")
	}
	active, staged := uint64(0), uint64(0)
	for i := range a.Epochs {
		g := &a.Epochs[i]
		if g.Kind == 0 {
			g.Kind = Random
		}
		switch {
		case g.Number == 0 || g.Number > 1<<62 || i > 0 && g.Number <= a.Epochs[i-1].Number:
			return fmt.Errorf("epoch %d is out of order", g.Number)
		case len(g.Secret) != secretSize:
			return fmt.Errorf("epoch %d has a secret of %d bytes, want %d", g.Number, len(g.Secret), secretSize)
		case !g.Kind.known() || g.State < Staged || g.State > Archived:
			return fmt.Errorf("epoch %d is of a kind or state that this version does not know: %w", g.Number, ErrVersion)
		case len(g.Barred) > MaxBarred:
			return fmt.Errorf("epoch %d bars %d senders, more than %d", g.Number, len(g.Barred), MaxBarred)
		}
		if _, err := r.suite(g.Suite); err != nil {
			return fmt.Errorf("epoch %d: %w", g.Number, err)
		}
		if !slices.IsSorted(g.Barred) {
			g.Barred = slices.Compact(slices.Sorted(slices.Values(g.Barred)))
		}
		switch {
		case g.State == Active && active == 0 && staged == 0:
			active = g.Number
		case g.State == Staged && staged == 0 && active != 0:
			staged = g.Number
		case g.State == Active || g.State == Staged || active != 0:
			return fmt.Errorf("epoch %d is %v, which does not fit the others", g.Number, g.State)
		}
	}
	if active == 0 {
		return errors.New("no epoch is active")
	}
	p, err := Policy{Grace: a.Grace}.withDefaults()
	a.Grace = p.Grace
	return err
}

// accept merges what is given, which checkAcceptance passed.
func (s *state) accept(now time.Time, a *Acceptance) error {
	k := s.keeper()
	if k == nil || subtle.ConstantTimeCompare(k.id, a.Keeper) != 1 {
		return ErrOtherKeeper
	}
	if a.Serial < k.serial {
		return ErrOlder
	}
	// 1. Nothing is changed before all of it is known to fit.
	var active, staged *Given
	for i := range a.Epochs {
		g := &a.Epochs[i]
		switch g.State {
		case Active:
			active = g
		case Staged:
			staged = g
		}
		e := s.epoch(g.Number)
		if e == nil || e.state == Forgotten {
			continue
		}
		if subtle.ConstantTimeCompare(e.secret.key[:], g.Secret) != 1 || e.suite != g.Suite || e.kind != g.Kind {
			other := epoch{number: g.Number, suite: g.Suite, secret: secretFrom(g.Secret)}
			err := fmt.Errorf("epoch %d has the fingerprint %s here, what is given %s: %w", g.Number, e.fingerprint(s.name), other.fingerprint(s.name), ErrOtherSecret)
			other.secret.wipe()
			return err
		}
	}
	current := s.activeNumber()
	if current > active.Number && (staged == nil || staged.Number != current) {
		return ErrOlder // a clock that is ahead may have activated what is still staged there; nothing else is newer here
	}
	if first := a.Epochs[0].Number; first > s.top() && !slices.ContainsFunc(s.epochs, func(e epoch) bool { return e.state != Forgotten }) {
		s.floor, s.epochs = first-1, nil // all there was is forgotten: so is what was missed
	}
	if last := a.Epochs[len(a.Epochs)-1].Number; last > s.top() && last-s.top() > MaxEpochs-uint64(len(s.epochs)) {
		return ErrFull
	}

	// 2. New epochs, and what became of old ones.
	for i := range a.Epochs {
		s.takeIn(now, &a.Epochs[i])
	}
	if current < active.Number {
		s.follow(now, active)
	}
	for i := range s.epochs {
		e := &s.epochs[i]
		if e.state == Staged && (staged == nil || e.number != staged.Number) {
			e.forget() // it was taken back
		}
	}
	if e := s.staged(); e != nil && staged != nil {
		e.activateAt = staged.ActivateAt
	}
	s.apart(now)
	s.raise()
	k.serial, k.senders, s.policy.Grace = a.Serial, a.Senders, a.Grace
	s.more = s.more.set(fieldKeeper, k.encode())
	if e := s.active(); e != nil {
		s.suite = e.suite
	}
	s.advance(now)
	return nil
}

// takeIn takes one epoch in, in the state that does not disturb others: active ones wait
// for follow.
func (s *state) takeIn(now time.Time, g *Given) {
	if g.Number <= s.floor {
		return
	}
	for s.top() < g.Number-1 {
		s.epochs = append(s.epochs, epoch{number: s.top() + 1, kind: Random, state: Forgotten, suite: g.Suite, created: now})
	}
	if g.Number > s.top() {
		e := epoch{number: g.Number, kind: g.Kind, state: Staged, suite: g.Suite, created: g.Created, activateAt: g.ActivateAt, secret: secretFrom(g.Secret)}
		if g.State == Retiring || g.State == Archived {
			e.state, e.activated, e.retired, e.until = Retiring, g.Activated, now, now
			if g.State == Retiring && g.Until.After(now) {
				e.until = g.Until
			}
		}
		s.epochs = append(s.epochs, e)
	}
	e := s.epoch(g.Number)
	if e.state == Forgotten {
		return
	}
	if g.Barred != nil {
		e.barred = slices.Clone(g.Barred)
	}
	if e.state != Retiring {
		return
	}
	switch {
	case g.State == Archived && e.until.After(now):
		e.until = now
	case g.State == Retiring && g.Until.Before(e.until):
		e.until = g.Until
	}
}

// follow makes a given epoch the active one. Those before it retire.
func (s *state) follow(now time.Time, g *Given) {
	at := g.Activated
	if at.IsZero() || at.After(now) {
		at = now
	}
	if old := s.active(); old != nil {
		old.state, old.retired, old.until = Retiring, at, at.Add(s.policy.Grace)
	}
	if e := s.epoch(g.Number); e != nil && e.state == Staged {
		e.state, e.activated, e.activateAt = Active, at, time.Time{}
	}
}

// apart ends the grace of epochs that have the low 8 bits of a newer one that lives.
func (s *state) apart(now time.Time) {
	for i := range s.epochs {
		for j := i + 256; j < len(s.epochs); j += 256 {
			if e := &s.epochs[i]; e.state == Retiring && e.until.After(now) && s.epochs[j].live(now) {
				e.until = now
			}
		}
	}
}
