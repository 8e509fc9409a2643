package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Channel is a channel of a [Ring]. It is safe for concurrent use, and needs no
// closing.
type Channel struct {
	ring *Ring
	name string
	id   string // its record's key in the store, without the prefix
}

// Name returns the channel's name.
func (c *Channel) Name() string { return c.name }

// Format prints the channel's name.
func (c *Channel) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "keyring.Channel(%q)", c.name) }

// Info describes a channel. It holds no secret.
type Info struct {
	Name        string
	Epoch       uint64 // the active epoch's number; 0 if the channel was forgotten
	Suite       string // name of the active epoch's suite
	SuiteID     cipher.SuiteID
	Fingerprint string // of the active epoch's secret
	Policy      Policy
	Keeper      []byte        // who else makes the channel's epochs; nil: this ring
	Senders     []SenderRange // with a Keeper: the numbers this ring may seal under
	Pending     Turn          // what waits for Due; 0 for nothing
	Due         time.Time     // when it is done
	Floor       uint64        // epochs 1 to Floor were forgotten and are not listed
	Epochs      []Epoch       // in the order of their numbers
}

// Epoch describes an epoch.
type Epoch struct {
	Number      uint64
	Kind        Kind
	State       State
	Suite       string
	Created     time.Time
	ActivateAt  time.Time // of a staged epoch: when it becomes active by itself; zero for never
	Activated   time.Time // zero if it never was active
	Retired     time.Time // when the next one became active; zero before
	Until       time.Time // end of the grace; zero before it was retired
	Reason      string    // why it was made, as given
	Barred      []uint16  // sender numbers that live Receivers refuse
	Fingerprint string    // of its secret; empty once forgotten
}

func (r *Ring) suiteName(id cipher.SuiteID) string {
	if s, err := r.suite(id); err == nil {
		return s.Name()
	}
	return fmt.Sprintf("%#04x", uint16(id))
}

func (r *Ring) describe(st *state, now time.Time) Info {
	info := Info{Name: st.name, Suite: r.suiteName(st.suite), SuiteID: st.suite, Policy: st.policy, Floor: st.floor, Pending: st.pending.how, Due: st.pending.due}
	if k := st.keeper(); k != nil {
		info.Keeper, info.Senders = k.id, k.senders
	}
	for i := range st.epochs {
		e := &st.epochs[i]
		d := Epoch{
			Number: e.number, Kind: e.kind, State: e.at(now), Suite: r.suiteName(e.suite), Created: e.created, ActivateAt: e.activateAt,
			Activated: e.activated, Retired: e.retired, Until: e.until, Reason: e.reason, Barred: slices.Clone(e.barred), Fingerprint: e.fingerprint(st.name),
		}
		if d.State == Active {
			info.Epoch, info.Suite, info.SuiteID, info.Fingerprint = e.number, d.Suite, e.suite, d.Fingerprint
		}
		info.Epochs = append(info.Epochs, d)
	}
	return info
}

// load reads the channel's record.
func (c *Channel) load(ctx context.Context) (*state, uint64, error) {
	st, rev, err := c.ring.load(ctx, c.id)
	if errors.Is(err, ErrNotFound) {
		return nil, 0, fmt.Errorf("%w: %q", ErrNoChannel, c.name)
	} else if err != nil {
		return nil, 0, fmt.Errorf("keyring: read the channel %q: %w", c.name, err)
	}
	return st, rev, nil
}

// Show describes the channel.
func (c *Channel) Show(ctx context.Context) (Info, error) {
	st, _, err := c.load(ctx)
	if err != nil {
		return Info{}, err
	}
	defer st.wipe()
	return c.ring.describe(st, c.ring.now()), nil
}

// errSame ends an update that found nothing to do.
var errSame = errors.New("keyring: nothing to change")

// update changes the channel's record: change is called again, on the newer
// record, when another process was faster.
func (c *Channel) update(ctx context.Context, change func(*state, time.Time) error) (Info, error) {
	for {
		st, rev, err := c.load(ctx)
		if err != nil {
			return Info{}, err
		}
		info, ended, err := c.tryUpdate(ctx, st, rev, change)
		st.wipe()
		switch {
		case errors.Is(err, ErrConflict):
			if ctx.Err() != nil {
				return Info{}, ctx.Err()
			}
			continue
		case err != nil:
			return Info{}, fmt.Errorf("keyring: change the channel %q: %w", c.name, err)
		}
		c.ring.changed(c.id)
		for _, n := range ended {
			// No Sender starts in an epoch that is not active: its instances
			// need not be kept. What stays after an error only takes space.
			_ = c.ring.store.Drop(ctx, takeSet(c.id, n))
		}
		return info, nil
	}
}

// tryUpdate also returns the epochs that were active before and no longer are.
func (c *Channel) tryUpdate(ctx context.Context, st *state, rev uint64, change func(*state, time.Time) error) (Info, []uint64, error) {
	var ended []uint64
	if st.stored != 0 {
		ended = append(ended, st.stored)
	}
	now := c.ring.now()
	if err := change(st, now); errors.Is(err, errSame) {
		return c.ring.describe(st, now), nil, nil
	} else if err != nil {
		return Info{}, nil, err
	}
	if e := st.active(); e != nil && len(ended) > 0 && e.number == ended[0] {
		ended = nil
	}
	if err := c.ring.save(ctx, c.id, st, rev); err != nil {
		return Info{}, nil, err
	}
	return c.ring.describe(st, now), ended, nil
}

// Stage makes the next epoch's secret and lets Receivers open it, without
// sealing under it yet: it can be handed out before it is needed.
func (c *Channel) Stage(ctx context.Context, reason string) (Info, error) {
	return c.own(ctx, func(st *state, now time.Time) error {
		if st.active() == nil {
			return ErrForgotten
		}
		_, err := st.stage(now, reason)
		return err
	})
}

// Activate makes the staged epoch the active one.
func (c *Channel) Activate(ctx context.Context) (Info, error) {
	return c.own(ctx, func(st *state, now time.Time) error { return st.activate(now) })
}

// Rotate makes the staged epoch the active one, or a fresh epoch if none is
// staged. Senders follow within a second, in this process and in others; live
// Receivers accept the old epoch for the policy's grace.
func (c *Channel) Rotate(ctx context.Context, reason string) (Info, error) {
	return c.own(ctx, func(st *state, now time.Time) error {
		if st.active() == nil {
			return ErrForgotten
		}
		return st.rotate(now, reason, false)
	})
}

// Revoke makes a fresh epoch the active one at once, which nobody was handed yet, and
// destroys a staged one. Who is not handed the new epoch is excluded from it on; the
// old epoch is still accepted for the grace, but not from the sender numbers given.
// (A number is no proof: who has the old epoch's secret can seal under any.)
//
// Members who get the new epoch by a service rather than from this ring lose the frames
// until it arrives: [Channel.PutOut] gives them the policy's delay.
func (c *Channel) Revoke(ctx context.Context, reason string, senders ...uint16) (Info, error) {
	return c.own(ctx, func(st *state, now time.Time) error {
		if st.active() == nil {
			return ErrForgotten
		}
		st.bar(now, senders)
		return st.rotate(now, reason, true)
	})
}

// Forget destroys an epoch's secret: what was sealed under it never opens again.
// The active epoch is refused with ErrEpochActive. Copies of the ring, and
// whatever a disk or file system keeps of what was overwritten, are out of reach.
func (c *Channel) Forget(ctx context.Context, number uint64) (Info, error) {
	info, err := c.update(ctx, func(st *state, _ time.Time) error { return st.forget(number) })
	return info, c.forgot(ctx, err)
}

// ForgetAll destroys the secrets of every epoch, the active one included. The
// channel's name and numbers stay, so that a file can be told to be of a
// forgotten channel; [Ring.Create] takes the channel into use again.
func (c *Channel) ForgetAll(ctx context.Context) (Info, error) {
	info, err := c.update(ctx, func(st *state, _ time.Time) error {
		st.forgetAll()
		return nil
	})
	return info, c.forgot(ctx, err)
}

// forgot completes what forgetting has to do beside the record.
func (c *Channel) forgot(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	settled := c.ring.settle(ctx, c.id)
	if s, ok := c.ring.store.(Scrubber); ok {
		if err = s.Scrub(ctx); err != nil {
			return fmt.Errorf("keyring: the epoch is forgotten, but the store was not overwritten: %w", err)
		}
	}
	if settled != nil {
		return fmt.Errorf("keyring: the epoch is forgotten, but Senders and Receivers that run were not told yet: %w", settled)
	}
	return nil
}
