package keyring

import (
	"slices"
	"time"
)

// The turn of epochs by policy, as a state machine over a channel's record. It has
// no clock and no store: every step is a function of the record and of a moment, and
// is written by compare-and-swap, so that of several processes that take the same
// step at once exactly one does. Nobody has to live until the step is due: what waits
// stands in the record (pending), and whoever follows the channel then takes it.
//
//	a member joins, leaves, is put out → pending (how, due) ─┐ debounce
//	a Sender sealed as many frames as the policy wants ──────┤
//	the active epoch is as old as the policy wants ──────────┤
//	                                                         ▼
//	staged, with the moment activate_at = now + delay: handed out, Receivers open it
//	                                                         ▼ activate_at comes, by each one's own clock
//	active: Senders seal under it; the epoch before retires, for the grace
//
// A member whose clock is a second ahead seals under the next epoch a second early:
// everyone holds it since the delay. One that is a second behind seals under the old
// epoch a second late: everyone accepts it for the grace.

// notice is how long before its activate_at a staged epoch is no longer taken back:
// news take up to a second, and clocks may differ by another. Who switched already
// would seal what nobody opens.
const notice = 2 * time.Second

// MaxBarred is how many sender numbers can be barred in an epoch.
const MaxBarred = 64

// pending is a turn that waits for its moment.
type pending struct {
	how    Turn // 0 for none
	due    time.Time
	after  uint64 // Fresh: the newest epoch that may be in the hands of who left
	reason string
}

// allows reports whether the pending turn may be done by making e the next epoch:
// always, unless somebody left who may have its secret. A ratchet's secret is in the
// hands of whoever had the one before.
func (p pending) allows(e *epoch) bool {
	return p.how != Fresh || e.kind == Random && e.number > p.after
}

// note asks for a turn; of several that wait, the strongest and the earliest count.
func (s *state) note(how Turn, due time.Time, reason string) {
	p := &s.pending
	if p.how == 0 || due.Before(p.due) {
		p.due = due
	}
	if how >= p.how {
		p.how, p.reason = how, reason
	}
	if how == Fresh {
		p.after = s.top()
		if s.owed.IsZero() {
			s.owed = due
		}
	}
}

// joined notes that somebody came. from is the first epoch he may be given.
func (s *state) joined(now time.Time) (from uint64, err error) {
	active, staged := s.active(), s.staged()
	switch {
	case active == nil:
		return 0, ErrForgotten
	case s.policy.OnJoin == Keep:
		return active.number, errSame
	case staged != nil && s.pending.allows(staged):
		from = staged.number // nothing was sealed under it yet
		if at := staged.activateAt; s.pending.how == 0 && !at.IsZero() && !at.After(now.Add(s.policy.debounce()+s.policy.delay())) {
			return from, errSame // it comes soon enough
		}
	default:
		from = s.top() + 1
	}
	before := s.pending
	if s.note(s.policy.OnJoin, now.Add(s.policy.debounce()), "join"); s.pending == before {
		err = errSame
	}
	return from, err
}

// left notes that somebody went, or was put out, and bars sender numbers: live
// Receivers refuse them from now on in every epoch he may have the secret of.
func (s *state) left(now time.Time, putOut bool, reason string, senders []uint16) error {
	if s.active() == nil {
		return ErrForgotten
	}
	barred := s.bar(now, senders)
	due := now.Add(s.policy.debounce())
	switch {
	case putOut:
		due = now
	case s.policy.OnLeave == Keep && barred:
		return nil
	case s.policy.OnLeave == Keep:
		return errSame
	}
	s.note(Fresh, due, reason)
	return nil
}

// bar adds sender numbers to those that are refused in the epochs that live.
func (s *state) bar(now time.Time, senders []uint16) (changed bool) {
	for i := range s.epochs {
		e := &s.epochs[i]
		if !e.live(now) {
			e.barred = nil // only live Receivers ask, and they refuse the whole epoch
			continue
		}
		for _, n := range senders {
			if at, found := slices.BinarySearch(e.barred, n); !found && len(e.barred) < MaxBarred {
				e.barred = slices.Insert(slices.Clone(e.barred), at, n)
				changed = true
			}
		}
	}
	return changed
}

// turn takes the steps that are due, and reports whether the record changed. sealing
// says that somebody uses the channel, so that it has to grow old.
func (s *state) turn(now time.Time, sealing bool) (changed bool, err error) {
	s.advance(now)
	if s.active() == nil {
		return false, nil
	}
	changed = s.setBack(now)
	if s.pending.how != 0 && !now.Before(s.pending.due) {
		taken, err := s.take(now)
		changed = changed || taken
		if err != nil {
			return changed, err
		}
	}
	if !sealing || s.pending.how == Fresh || s.given() {
		return changed, nil
	}
	if s.staged() == nil && (s.policy.Ahead || s.aged(now)) {
		if _, err = s.stage(now, "ahead"); err != nil {
			return changed, err
		}
		changed = true
	}
	// By age, an epoch that is staged long before is announced with it.
	if e := s.staged(); e != nil && e.activateAt.IsZero() && s.policy.Age > 0 && (s.policy.Ahead || s.aged(now)) {
		e.activateAt = latest(s.active().activated.Add(s.policy.Age), e.created.Add(s.policy.delay()))
		e.reason = "age"
		changed = true
	}
	return changed, nil
}

// aged reports whether it is time to announce the epoch after one that grew old.
func (s *state) aged(now time.Time) bool {
	return s.policy.Age > 0 && !now.Before(s.active().activated.Add(s.policy.Age-s.policy.delay()))
}

// take does what is pending.
func (s *state) take(now time.Time) (changed bool, err error) {
	p, staged := s.pending, s.staged()
	if staged != nil && !p.allows(staged) {
		late := !s.owed.IsZero() && now.Sub(s.owed) > s.policy.delay()
		if at := staged.activateAt; !at.IsZero() && (late || at.Before(now.Add(notice))) {
			// It is not taken back: some may seal under it already; or an epoch is owed for so
			// long that who is put out again and again would keep any from ever becoming
			// active. The one after it excludes who left.
			if p.due.Equal(at) {
				return false, nil
			}
			s.pending.due = at
			return true, nil
		}
		staged.forget()
		staged = nil
	}
	kind, sec := Random, secret{}
	if staged == nil {
		if p.how == Step {
			kind, sec = Ratchet, s.active().secret.step()
		} else {
			sec = newSecret()
		}
		if staged, err = s.append(now, p.reason, kind, sec); err != nil {
			return false, err
		}
	}
	s.schedule(now, staged, p.reason)
	s.pending = pending{}
	return true, nil
}

// schedule has a staged epoch become active as soon as everybody can hold it.
func (s *state) schedule(now time.Time, e *epoch, reason string) {
	at := latest(now, e.created.Add(s.policy.delay()))
	if e.activateAt.IsZero() || at.Before(e.activateAt) {
		e.activateAt, e.reason = at, reason
	}
	s.advance(now)
}

// renew announces the next epoch, unless one is on its way: of several Senders that
// find the active epoch at its end, exactly one does. urgent says that some Sender
// cannot seal any more.
func (s *state) renew(now time.Time, number uint64, reason string, urgent bool) error {
	if e := s.active(); e == nil || e.number != number || s.given() {
		return errSame
	}
	if urgent {
		return s.rotate(now, reason, false)
	}
	staged := s.staged()
	if staged != nil && !staged.activateAt.IsZero() && !staged.activateAt.After(now.Add(s.policy.delay())) {
		return errSame
	}
	if s.pending.how == Fresh { // it brings the next epoch anyway
		return errSame
	}
	if staged == nil {
		var err error
		if staged, err = s.stage(now, reason); err != nil {
			return err
		}
	}
	s.schedule(now, staged, reason)
	return nil
}

// given reports whether the active epoch came from outside: who gave it has to give the
// next one, too, as others have theirs from there.
func (s *state) given() bool {
	e := s.active()
	return e != nil && (e.kind == Vendor || e.kind == Exported)
}

// fromAhead reports whether a moment was written by a clock that was ahead of this one.
func fromAhead(t, now time.Time) bool { return t.After(now.Add(notice)) }

// isAhead reports whether what waits was reckoned by a clock that was ahead of this one:
// this one was set back before the process was started, or the clocks of two differ.
func (s *state) isAhead(now time.Time) bool {
	if s.pending.how != 0 && fromAhead(s.pending.due, now.Add(s.policy.debounce())) {
		if e := s.staged(); e == nil || !s.pending.due.Equal(e.activateAt) {
			return true
		}
	}
	for i := range s.epochs {
		e := &s.epochs[i]
		if e.state == Staged && !e.activateAt.IsZero() && fromAhead(e.created, now) || e.state == Retiring && fromAhead(e.retired, now) {
			return true
		}
	}
	return false
}

// setBack has what waits by such a clock wait from now on, for as long as it was to:
// who was put out would otherwise have the active epoch for as much longer.
func (s *state) setBack(now time.Time) bool {
	if !s.isAhead(now) {
		return false
	}
	if s.owed.After(now) {
		s.owed = now
	}
	for i := range s.epochs {
		switch e := &s.epochs[i]; {
		case e.state == Staged && !e.activateAt.IsZero() && fromAhead(e.created, now):
			at := now.Add(max(0, e.activateAt.Sub(e.created)))
			if s.pending.due.Equal(e.activateAt) {
				s.pending.due = at
			}
			e.created, e.activateAt = now, at
		case e.state == Retiring && fromAhead(e.retired, now):
			e.retired, e.until = now, now.Add(max(0, e.until.Sub(e.retired)))
		}
	}
	if latest := now.Add(s.policy.debounce()); s.pending.how != 0 && fromAhead(s.pending.due, latest) {
		if e := s.staged(); e == nil || !s.pending.due.Equal(e.activateAt) {
			s.pending.due = latest
		}
	}
	return true
}

// duty is when turn is to be called next; zero for whenever.
func (s *state) duty(now time.Time, sealing bool) time.Time {
	active := s.active()
	if active == nil || s.mayMake() != nil {
		return time.Time{}
	}
	if s.isAhead(now) {
		return now
	}
	var due time.Time
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	if s.pending.how != 0 {
		sooner(s.pending.due)
	}
	if !sealing || s.pending.how == Fresh || s.given() {
		return due
	}
	switch staged := s.staged(); {
	case s.policy.Ahead && (staged == nil || staged.activateAt.IsZero() && s.policy.Age > 0):
		sooner(active.activated)
	case s.policy.Age > 0 && (staged == nil || staged.activateAt.IsZero()):
		sooner(active.activated.Add(s.policy.Age - s.policy.delay()))
	}
	return due
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
