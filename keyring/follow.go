package keyring

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How a follower keeps time.
const (
	retryEvery   = 250 * time.Millisecond // after the store failed
	sweepEvery   = time.Minute            // how often Receivers note which KIDs are idle
	loadAtMost   = 10 * time.Second       // then a store does not answer any more
	loadsAtMost  = 20                     // in a second, that frames of unknown epochs ask for
	loadPatience = 250 * time.Millisecond // how long such loads may hold up frames at once
	loadRecovers = 40                     // ... of which a fortieth part comes back in the same time
)

// follower keeps one channel's Senders and Receivers up to date. There is one
// for a channel, as long as it has any of them.
//
// Locks: a Receiver's mu may be held when taking follower.mu, not the other way
// round.
type follower struct {
	ch     *Channel
	refs   int // guarded by Ring.mu
	cancel context.CancelFunc
	wake   chan struct{} // has room for one: "look again"
	stale  atomic.Bool   // the record may have changed

	mu        sync.Mutex
	st        *state // nil once shut; its secrets are used under mu only
	active    uint64 // the active epoch's number that Feeds were told of
	closed    bool
	senders   map[*Sender]struct{}
	receivers map[*Receiver]struct{}
	feeds     map[*Feed]struct{}

	loading  chan struct{} // one load at a time
	loads    atomic.Uint64
	patience patience // of frames with loads
}

// follow returns the channel's follower, which the caller gives back with leave.
func (c *Channel) follow(ctx context.Context) (*follower, error) {
	st, _, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	r := c.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root.key == nil {
		st.wipe()
		return nil, ErrClosed
	}
	if f := r.followers[c.id]; f != nil {
		f.refs++
		f.take(st)
		return f, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{
		ch: c, refs: 1, cancel: cancel, wake: make(chan struct{}, 1), loading: make(chan struct{}, 1), st: st, active: st.activeNumber(),
		senders: map[*Sender]struct{}{}, receivers: map[*Receiver]struct{}{}, feeds: map[*Feed]struct{}{}, patience: patience{left: loadPatience, at: time.Now(), forged: newLimiter(loadsAtMost)},
	}
	r.followers[c.id] = f
	r.running.Go(func() { f.run(ctx) })
	if r.stopWatch == nil {
		ctx, cancel := context.WithCancel(context.Background())
		r.stopWatch = cancel
		r.running.Go(func() { r.watch(ctx) })
	}
	return f, nil
}

// leave ends the follower with its last user.
func (f *follower) leave() {
	r := f.ch.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	f.refs--
	if f.refs > 0 || r.followers[f.ch.id] != f {
		return
	}
	delete(r.followers, f.ch.id)
	f.cancel()
	f.drop()
	if len(r.followers) == 0 && r.stopWatch != nil {
		r.stopWatch()
		r.stopWatch = nil
	}
}

// drop wipes the follower's copy of the channel's secrets.
func (f *follower) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.tell()
	if f.st != nil {
		f.st.wipe()
		f.st = nil
	}
}

// shut ends the follower and all that follow.
func (f *follower) shut() {
	f.cancel()
	f.mu.Lock()
	var all []interface{ end() bool }
	for s := range f.senders {
		all = append(all, s)
	}
	for r := range f.receivers {
		all = append(all, r)
	}
	f.mu.Unlock()
	for _, m := range all {
		m.end()
	}
	f.drop()
}

// watch waits for changes of channels, by whomever, and wakes their followers. It does
// not ask for all there ever was: there may be a million channels. What followers
// missed before it listened they read again.
func (r *Ring) watch(ctx context.Context) {
	var after uint64
	for known := false; ctx.Err() == nil; {
		if !known {
			if rev, err := r.revision(ctx); err == nil {
				after, known = rev, true
				r.changedAll()
			}
		}
		if known {
			for ev, err := range r.store.Watch(ctx, channelPrefix, after) {
				if err != nil {
					known = !errors.Is(err, ErrCompacted)
					break
				}
				after = max(after, ev.Rev)
				r.changed(ev.Key[len(channelPrefix):])
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}

// revision is the store's, as cheaply as it tells.
func (r *Ring) revision(ctx context.Context) (uint64, error) {
	if s, ok := r.store.(Revisioner); ok {
		return s.Revision(ctx)
	}
	_, rev, err := r.store.List(ctx, headerKey)
	return rev, err
}

// changed tells a channel's follower that its record changed.
func (r *Ring) changed(id string) {
	r.mu.Lock()
	f := r.followers[id]
	r.mu.Unlock()
	if f != nil {
		f.stale.Store(true)
		f.nudge()
	}
}

// changedAll tells all followers that their records may have changed.
func (r *Ring) changedAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.followers {
		f.stale.Store(true)
		f.nudge()
	}
}

// nudge wakes the follower. It never blocks.
func (f *follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take makes st the follower's state, unless it has a newer one.
func (f *follower) take(st *state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.st.revision >= st.revision {
		st.wipe()
		return
	}
	f.st.wipe()
	f.st, f.active = st, st.activeNumber()
	f.tell()
}

// tell wakes the Feeds; mu is held.
func (f *follower) tell() {
	for d := range f.feeds {
		d.tell()
	}
}

func (f *follower) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadAtMost)
	defer cancel()
	select {
	case f.loading <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-f.loading }()
	return f.loadLocked(ctx)
}

func (f *follower) loadLocked(ctx context.Context) error {
	st, _, err := f.ch.load(ctx)
	if err == nil {
		f.take(st)
		f.loads.Add(1)
	}
	return err
}

// patience is what frames still have with loads of the store. It is for anybody to send
// frames of epochs that nobody knows, and a store may hang: however many such frames
// come, those of others are not held up for long.
type patience struct {
	mu     sync.Mutex
	left   time.Duration
	at     time.Time // when that was so
	forged limiter   // of loads that frames asked for
}

// recover brings left up to now; mu is held.
func (p *patience) recover(now time.Time) {
	p.left = min(loadPatience, p.left+now.Sub(p.at)/loadRecovers)
	p.at = now
}

// begin returns how long a load may take now, and whether there may be one.
func (p *patience) begin(now time.Time) (wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.forged.allow(now, 1) {
		return 0, false
	}
	p.forged.fail(now)
	p.recover(now)
	return p.left, true
}

func (p *patience) spend(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recover(time.Now())
	p.left -= d
}

// loadForFrame reads the record again, as a frame came of an epoch that the
// follower does not know: its Sender may have noticed a rotation first. Frames
// can be forged, so it does that a few times a second at most, and once the patience is
// used up it leaves it to the follower.
func (f *follower) loadForFrame() {
	before, begun := f.loads.Load(), time.Now()
	wait, ok := f.patience.begin(begun)
	if !ok {
		return
	}
	if wait > 0 {
		defer func() { f.patience.spend(time.Since(begun)) }()
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		select {
		case f.loading <- struct{}{}:
			defer func() { <-f.loading }()
			if f.loads.Load() != before || f.loadLocked(ctx) == nil {
				f.nudge()
				return
			}
		case <-ctx.Done():
		}
	}
	f.stale.Store(true)
	f.nudge()
}

func (f *follower) run(ctx context.Context) {
	timer := time.NewTimer(sweepEvery)
	defer timer.Stop()
	sweep := f.ch.ring.now().Add(sweepEvery)
	for ctx.Err() == nil {
		retry := false
		if f.stale.Swap(false) && f.load(ctx) != nil {
			f.stale.Store(true)
			retry = true
		}
		now := f.ch.ring.now()
		swept := !now.Before(sweep)
		if swept {
			sweep = now.Add(sweepEvery)
		}
		next := f.apply(ctx, swept)
		if next.IsZero() || next.After(sweep) {
			next = sweep
		}
		wait := next.Sub(f.ch.ring.now())
		if retry {
			wait = min(wait, retryEvery)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-f.wake:
		}
	}
}

// apply brings Senders and Receivers to the current state and moment, and
// returns when to look again, zero for whenever.
func (f *follower) apply(ctx context.Context, sweep bool) (next time.Time) {
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	now := f.ch.ring.now()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	var senders []*Sender
	for s := range f.senders {
		senders = append(senders, s)
	}
	var receivers []*Receiver
	for r := range f.receivers {
		receivers = append(receivers, r)
	}
	f.st.advance(now)
	number := f.st.activeNumber()
	if number != f.active {
		f.active = number
		f.tell()
	}
	coming := f.st.pending.how == Fresh || f.st.given() // the next epoch is on its way, or none is to be made
	given := f.st.given()
	if e := f.st.staged(); e != nil && !e.activateAt.IsZero() {
		sooner(e.activateAt)
		coming = coming || !e.activateAt.After(now.Add(f.st.policy.delay()))
	}
	sealing := len(f.senders)+len(f.feeds) > 0
	due := f.st.duty(now, sealing)
	granted := f.st.granted()
	until := map[uint64]time.Time{} // of epochs in their grace
	for i := range f.st.epochs {
		if e := &f.st.epochs[i]; e.at(now) == Retiring {
			until[e.number] = e.until
			sooner(e.until)
		}
	}
	f.mu.Unlock()

	for _, r := range receivers {
		r.prune()
		if sweep {
			r.sweep()
		}
	}
	spent, urgent := false, false
	for _, s := range senders {
		at, closed := s.at()
		switch {
		case closed:
		case number == 0:
			s.stop(ErrForgotten)
		case !granted(s.id): // not any more; renew tries again with the next record
			s.stop(ErrNotGranted)
		case at < number: // a Sender may know of a rotation before its follower
			if err := s.renew(ctx); err != nil {
				sooner(now.Add(retryEvery))
				if end, ok := until[at]; !ok || !now.Before(end) {
					s.stop(ErrStale)
				}
			}
		}
		s.prune(f.forgotten)
		a, b := s.spent(number)
		spent, urgent = spent || a, urgent || b
	}
	// The updates mark this follower's state as stale and wake it.
	act := func(do func() error) {
		if do() != nil {
			sooner(now.Add(retryEvery))
			return
		}
		f.stale.Store(true)
		f.nudge()
	}
	if number != 0 && (urgent && !given || spent && !coming) {
		act(func() error { return f.ch.renewFrom(ctx, number, urgent) })
	}
	switch {
	case due.IsZero():
	case due.After(now):
		sooner(due)
	case sealing:
		act(func() error { return f.ch.turn(ctx, sealing) })
	}
	return next
}

// settle ends what the Ring itself still holds of epochs that were forgotten, before
// Forget returns: a frame that comes then does not open. (Other processes do so when
// they notice, as with every change.)
func (r *Ring) settle(ctx context.Context, id string) error {
	r.mu.Lock()
	f := r.followers[id]
	r.mu.Unlock()
	if f == nil {
		return nil
	}
	if err := f.load(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	senders, receivers := slices.Collect(maps.Keys(f.senders)), slices.Collect(maps.Keys(f.receivers))
	gone := f.st != nil && f.st.active() == nil
	f.mu.Unlock()
	for _, r := range receivers {
		r.prune()
	}
	for _, s := range senders {
		at, closed := s.at()
		switch {
		case closed:
		case gone:
			s.stop(ErrForgotten)
		case f.forgotten(at) && s.renew(ctx) != nil:
			s.stop(ErrStale)
		}
		s.prune(f.forgotten)
	}
	return nil
}

// forgotten reports whether an epoch's secret is known to be destroyed.
func (f *follower) forgotten(number uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.st == nil {
		return false
	}
	e := f.st.epoch(number)
	return number <= f.st.floor || e != nil && e.state == Forgotten
}
