package keyring

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Feed follows a channel for a service that hands its epochs out to members: a
// [Handout] is what they are given now, and Changed tells when there is another,
// whichever process changed the channel. It is safe for concurrent use, and is to be
// closed.
type Feed struct {
	f       *follower
	changed chan struct{}
	closed  atomic.Bool
}

// Handout is what the members of a channel are given at a moment: the active epoch and
// the staged one, with their secrets, and the numbers of those that retire. Wipe it
// after use.
type Handout struct {
	Channel  string
	Revision uint64        // of the channel's record: grows with every change
	Grace    time.Duration // of the channel's policy
	Keys     []EpochKey    // active, staged; empty if the channel was forgotten
	Retiring []EpochGrace  // in the order of their numbers
}

// EpochKey is an epoch with its secret. No print shows the secret.
type EpochKey struct {
	Number      uint64
	Kind        Kind // Ratchet: who has the epoch before can step to it (RatchetStep)
	State       State
	Suite       cipher.SuiteID
	SuiteName   string
	Created     time.Time
	ActivateAt  time.Time // of a staged epoch: seal under it from this moment on; zero for not yet known
	Activated   time.Time // zero while it is staged
	Fingerprint string
	Barred      []uint16 // sender numbers that live Receivers refuse, ascending
	secret      secret
}

// EpochGrace is an epoch that live Receivers accept until a moment.
type EpochGrace struct {
	Number uint64
	Until  time.Time
}

// Secret returns a copy of the epoch's secret, 32 bytes, for the caller to hand out and
// wipe. Who has it opens and seals every frame of the epoch.
func (e *EpochKey) Secret() []byte { return slices.Clone(e.secret.key[:]) }

// Wipe destroys the handout's secrets.
func (h *Handout) Wipe() {
	for i := range h.Keys {
		h.Keys[i].secret.wipe()
	}
}

// Feed begins to follow the channel.
func (c *Channel) Feed(ctx context.Context) (*Feed, error) {
	f, err := c.follow(ctx)
	if err != nil {
		return nil, err
	}
	d := &Feed{f: f, changed: make(chan struct{}, 1)}
	f.mu.Lock()
	closed := f.closed
	if !closed {
		f.feeds[d] = struct{}{}
	}
	f.mu.Unlock()
	if closed {
		f.leave()
		return nil, ErrClosed
	}
	return d, nil
}

// Changed has a value when the channel may have changed since it was last received
// from.
func (d *Feed) Changed() <-chan struct{} { return d.changed }

// tell never blocks.
func (d *Feed) tell() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Refresh reads the channel's record again, without waiting for a change to be noticed.
func (d *Feed) Refresh(ctx context.Context) error { return d.f.load(ctx) }

// Current returns what members are to be given now. ErrClosed says that the Ring was
// closed.
func (d *Feed) Current() (Handout, error) {
	h, err := d.current()
	for i := range h.Keys { // not under the lock: the Ring's comes before it
		h.Keys[i].SuiteName = d.f.ch.ring.suiteName(h.Keys[i].Suite)
	}
	return h, err
}

func (d *Feed) current() (Handout, error) {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	if d.f.closed || d.closed.Load() {
		return Handout{}, ErrClosed
	}
	st, now := d.f.st, d.f.ch.ring.now()
	st.advance(now)
	h := Handout{Channel: st.name, Revision: st.revision, Grace: st.policy.Grace}
	for i := range st.epochs {
		switch e := &st.epochs[i]; e.at(now) {
		case Active, Staged:
			h.Keys = append(h.Keys, EpochKey{Number: e.number, Kind: e.kind, State: e.state, Suite: e.suite,
				Created: e.created, ActivateAt: e.activateAt, Activated: e.activated, Fingerprint: e.fingerprint(st.name), Barred: slices.Clone(e.barred), secret: e.secret.clone()})
		case Retiring:
			h.Retiring = append(h.Retiring, EpochGrace{e.number, e.until})
		}
	}
	return h, nil
}

// Close ends the Feed.
func (d *Feed) Close() {
	if d.closed.Swap(true) {
		return
	}
	d.f.mu.Lock()
	delete(d.f.feeds, d)
	d.f.mu.Unlock()
	d.f.leave()
}
