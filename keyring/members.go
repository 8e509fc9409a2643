package keyring

import (
	"context"
	"time"
)

// What a service that lets members in and out tells the channel. The policy decides
// what comes of it. Several services may tell at once: a turn is made once.
//
// The next epoch is staged for the policy's delay: hand it out as soon as the [Feed]
// shows it, with its ActivateAt. Who shares the ring needs no service: Senders and
// Receivers follow by themselves.

// Joined tells that a member came, and returns the number of the first epoch he may be
// given. With a policy whose OnJoin is Keep that is the active one; otherwise it may be
// still to be made: a later number serves as well, an earlier one does not.
func (c *Channel) Joined(ctx context.Context) (from uint64, info Info, err error) {
	info, err = c.own(ctx, func(st *state, now time.Time) error {
		var err error
		if from, err = st.joined(now); err != nil {
			return err
		}
		_, err = st.turn(now, false)
		return err
	})
	return from, info, err
}

// Left tells that a member went. After the policy's debounce, unless it says
// otherwise, an epoch is made that he was never given, even if another one was staged.
// Live Receivers refuse his sender numbers from now on in the epochs that he may have.
func (c *Channel) Left(ctx context.Context, senders ...uint16) (Info, error) {
	return c.gone(ctx, false, "leave", senders)
}

// PutOut is Left for a member who is not to stay a moment longer than it takes: it does
// not wait for others who leave, and the policy cannot keep it from making an epoch.
// That becomes active after the policy's delay, so that nobody else loses a frame.
func (c *Channel) PutOut(ctx context.Context, senders ...uint16) (Info, error) {
	return c.gone(ctx, true, "put out", senders)
}

func (c *Channel) gone(ctx context.Context, putOut bool, reason string, senders []uint16) (Info, error) {
	return c.own(ctx, func(st *state, now time.Time) error {
		if err := st.left(now, putOut, reason, senders); err != nil {
			return err
		}
		_, err := st.turn(now, false)
		return err
	})
}

// turn takes the steps of the policy that are due.
func (c *Channel) turn(ctx context.Context, sealing bool) error {
	_, err := c.update(ctx, func(st *state, now time.Time) error {
		if st.mayMake() != nil {
			return errSame
		}
		changed, err := st.turn(now, sealing)
		if err == nil && !changed {
			err = errSame
		}
		return err
	})
	return err
}

// renewFrom announces the epoch after one that sealed as many frames as the policy wants.
func (c *Channel) renewFrom(ctx context.Context, number uint64, urgent bool) error {
	_, err := c.update(ctx, func(st *state, now time.Time) error {
		if st.mayMake() != nil {
			return errSame
		}
		return st.renew(now, number, "frames", urgent)
	})
	return err
}

// SetPolicy replaces the channel's policy, whose zero fields stand for defaults.
func (c *Channel) SetPolicy(ctx context.Context, p Policy) (Info, error) {
	p, err := p.withDefaults()
	if err != nil {
		return Info{}, err
	}
	return c.own(ctx, func(st *state, now time.Time) error {
		if st.active() == nil {
			return ErrForgotten
		}
		if st.policy == p {
			return errSame
		}
		st.policy = p
		return nil
	})
}

// ActivateAt has the staged epoch become active at a moment to come, so that whoever was handed it by then
// switches without further news. A moment in the past is now.
func (c *Channel) ActivateAt(ctx context.Context, at time.Time) (Info, error) {
	return c.own(ctx, func(st *state, now time.Time) error {
		e := st.staged()
		if e == nil {
			return ErrNotStaged
		}
		e.activateAt = at
		st.advance(now)
		return nil
	})
}
