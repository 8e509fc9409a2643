package keyring

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"encoding/binary"

	"github.com/chanseal/chanseal/cipher"
)

// SenderOptions of [Channel.Sender].
type SenderOptions struct {
	// Suite seals instead of the channel's own; nil is the channel's. The
	// suite's number is bound into the key: a Receiver must be told of it, too.
	Suite *cipher.Suite
	// Compact has most frames of up to 512 bytes carry a key ID of 1 to 3 bytes instead
	// of 8; those in between, [AnnounceEvery] at the latest, and longer ones let Receivers
	// learn which key it names. It is for live voice: who lost those frames can open the
	// others only from the next one on.
	Compact bool
}

// Sender seals frames under the channel's active epoch. It implements
// [cipher.Sealer], is safe for concurrent use, and is to be closed.
type Sender struct {
	f     *follower
	id    uint16
	suite *cipher.Suite // nil: the epoch's
	short bool          // compact

	cur      atomic.Pointer[sealing] // nil once stopped
	overhead atomic.Int64            // of the newest key

	mu     sync.Mutex
	handed []*sealing // those that Key gave away; cur may be among them
	closed bool
	why    atomic.Pointer[error] // why cur is nil
}

// sealing is a key with what a frame needs beside it.
type sealing struct {
	key     *cipher.SealKey
	compact *announcer // nil: every frame carries the full KID
	origin  Origin
	last    uint64      // ask for the next epoch once this many frames are left
	urgent  uint64      // and do not wait for anybody once it is as few as this
	spent   atomic.Bool // that moment came
	pressed atomic.Bool // this one
}

var _ cipher.Sealer = (*Sender)(nil)

// Sender makes a sender of the channel with a number from 0 to 65535, which every
// Receiver learns with each frame. Several Senders may have the same number: what
// keeps their keys apart is the instance that each draws.
func (c *Channel) Sender(ctx context.Context, number uint16, o SenderOptions) (*Sender, error) {
	f, err := c.follow(ctx)
	if err != nil {
		return nil, err
	}
	s := &Sender{f: f, id: number, suite: o.Suite, short: o.Compact}
	if err := s.renew(ctx); err != nil {
		f.leave()
		return nil, err
	}
	f.mu.Lock()
	closed := f.closed
	f.senders[s] = struct{}{}
	f.mu.Unlock()
	if closed {
		s.Close()
		return nil, ErrClosed
	}
	f.nudge()
	return s, nil
}

// drawsAtMost bounds how often a Sender draws an instance that was taken, or
// that a rotation overtook. In a ring that works, one draw is enough.
const drawsAtMost = 64

// renew gives the Sender a key of the active epoch. The order matters: an
// instance is recorded, then the epoch is seen to be active still, then a frame
// is sealed. So the instances of an epoch that is over can be dropped.
func (s *Sender) renew(ctx context.Context) error {
	c := s.f.ch
	var taken *Origin
	for range drawsAtMost {
		st, _, err := c.load(ctx)
		if err != nil {
			return err
		}
		e := st.active()
		if e == nil {
			st.wipe()
			return fmt.Errorf("keyring: the channel %q: %w", c.name, ErrForgotten)
		}
		if !st.granted()(s.id) {
			st.wipe()
			return fmt.Errorf("keyring: sender %d of the channel %q: %w", s.id, c.name, ErrNotGranted)
		}
		if taken != nil && taken.Epoch == e.number {
			defer st.wipe()
			return s.use(st, e, *taken)
		}
		o := Origin{Epoch: e.number, Sender: s.id, Instance: c.ring.draw()}
		st.wipe()
		if o.Instance == 0 { // its KID would look like a short one
			continue
		}
		err = c.ring.store.Take(ctx, takeSet(c.id, o.Epoch), hex.EncodeToString(binary.BigEndian.AppendUint64(nil, o.Instance)))
		switch {
		case err == nil:
			taken = &o
		case errors.Is(err, ErrTaken):
			taken = nil
		default:
			return fmt.Errorf("keyring: record a sender of the channel %q: %w", c.name, err)
		}
	}
	return fmt.Errorf("keyring: no instance for a sender of the channel %q after %d draws: %w", c.name, drawsAtMost, ErrConflict)
}

// headerAtMost is the longest SFrame header of a Sender's frames in bytes: a
// byte, a KID of 8, a counter of at most 4 (2^32 frames a key).
const headerAtMost = 1 + 8 + 4

func (s *Sender) use(st *state, e *epoch, o Origin) error {
	suite := s.suite
	if suite == nil {
		var err error
		if suite, err = s.f.ch.ring.suite(e.suite); err != nil {
			return fmt.Errorf("keyring: the channel %q: %w", st.name, err)
		}
	}
	base, err := baseKey(suite, e.secret, st.name, o)
	if err != nil {
		return err
	}
	defer clear(base)
	// Fresh: the instance, just recorded, stands in the base key.
	key, err := suite.NewSealKey(o.KID(), base, cipher.FreshKey)
	if err != nil {
		return fmt.Errorf("keyring: make a key of the channel %q: %w", st.name, err)
	}
	next := &sealing{key: key, origin: o}
	if s.short {
		short, err := suite.NewSealKey(o.ShortKID(), base, cipher.FreshKey)
		if err != nil {
			key.Retire()
			return fmt.Errorf("keyring: make a key of the channel %q: %w", st.name, err)
		}
		next.compact = newAnnouncer(short)
	}
	left := key.Left()
	next.urgent = left / 256
	next.last = left / 64
	if left > st.policy.Frames {
		next.last = max(next.last, left-st.policy.Frames)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		next.end()
		return ErrClosed
	}
	s.overhead.Store(int64(headerAtMost + suite.Overhead()))
	s.retire(s.cur.Swap(next))
	s.why.Store(nil)
	return nil
}

// retire ends a key unless it was handed out. s.mu is held.
func (s *Sender) retire(old *sealing) {
	if old == nil {
		return
	}
	for _, h := range s.handed {
		if h == old {
			return
		}
	}
	old.end()
}

// Overhead is the most bytes by which a frame grows.
func (s *Sender) Overhead() int { return int(s.overhead.Load()) }

// Seal appends the sealed frame to dst; see [cipher.SealKey.Seal]. It allocates
// nothing if dst has room, waits for nothing, and moves on to a new epoch
// between two frames. Beside the errors of package cipher there are ErrClosed,
// ErrStale, ErrForgotten and ErrNotGranted; dst then comes back as it was.
func (s *Sender) Seal(dst, frame, aad []byte) ([]byte, error) {
	for {
		c := s.cur.Load()
		if c == nil {
			return dst, s.reason()
		}
		out, err := c.pick(len(frame)).Seal(dst, frame, aad)
		if s.again(c, err) {
			continue
		}
		return out, err
	}
}

// SealInPlace seals the n bytes at buf[off:] where they lie; see
// [cipher.SealKey.SealInPlace].
func (s *Sender) SealInPlace(buf []byte, off, n int, aad []byte) ([]byte, error) {
	for {
		c := s.cur.Load()
		if c == nil {
			return nil, s.reason()
		}
		out, err := c.pick(n).SealInPlace(buf, off, n, aad)
		if s.again(c, err) {
			continue
		}
		return out, err
	}
}

// SealBatch seals frames under one key; see [cipher.SealKey.SealBatch].
func (s *Sender) SealBatch(frames []cipher.Frame) (failed int) {
	for {
		c := s.cur.Load()
		if c == nil {
			for i := range frames {
				frames[i].Err = s.reason()
			}
			return len(frames)
		}
		failed = c.pickBatch(frames).SealBatch(frames)
		var err error // a key that was retired fails the whole batch
		if failed > 0 {
			err = frames[len(frames)-1].Err
		}
		if !s.again(c, err) {
			return failed
		}
	}
}

// again looks at the result of sealing with c: it asks for a rotation when the
// key's life ends, and reports whether the key was replaced before it sealed.
func (s *Sender) again(c *sealing, err error) bool {
	if err == cipher.ErrUnknownKey {
		return s.cur.Load() != c
	}
	if err != nil && err != cipher.ErrExhausted {
		return false
	}
	left := c.left()
	if err == nil && left > c.last {
		return false
	}
	if !c.spent.Swap(true) || left <= c.urgent && !c.pressed.Swap(true) {
		s.f.nudge()
	}
	return false
}

// spent reports whether the key of this epoch sealed as many frames as the
// policy wants, and whether it hardly has any left.
func (s *Sender) spent(number uint64) (spent, urgent bool) {
	c := s.cur.Load()
	if c == nil || c.origin.Epoch != number {
		return false, false
	}
	return c.spent.Load(), c.pressed.Load()
}

func (s *Sender) reason() error {
	if why := s.why.Load(); why != nil {
		return *why
	}
	return ErrClosed
}

// Key hands out the current key, for a caller that has to stay on one KID for a
// while, such as a file. The key works until the Sender is closed or the epoch is
// forgotten, whatever is rotated meanwhile: such a caller asks again, at moments
// of its own, and moves over when the key's KeyID differs. Asking is also what
// has the Sender see that the key sealed as many frames as the policy wants.
func (s *Sender) Key() (*cipher.SealKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cur.Load()
	if c == nil {
		return nil, s.reason()
	}
	s.again(c, nil)
	for _, h := range s.handed {
		if h == c {
			return c.key, nil
		}
	}
	s.handed = append(s.handed, c)
	return c.key, nil
}

// Origin says what the KID of the next frame tells. It is zero once the Sender
// has stopped.
func (s *Sender) Origin() Origin {
	if c := s.cur.Load(); c != nil {
		return c.origin
	}
	return Origin{}
}

// at returns the epoch the Sender seals in, 0 if it has stopped, and whether it
// was closed: then it is to be left alone.
func (s *Sender) at() (number uint64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Origin().Epoch, s.closed
}

// prune ends the keys of epochs that were forgotten, those handed out included.
func (s *Sender) prune(forgotten func(uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.handed[:0]
	for _, h := range s.handed {
		if forgotten(h.origin.Epoch) {
			h.end()
		} else {
			kept = append(kept, h)
		}
	}
	clear(s.handed[len(kept):])
	s.handed = kept
}

// stop ends sealing, until renew succeeds.
func (s *Sender) stop(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.why.Store(&why)
	s.retire(s.cur.Swap(nil))
}

// end is Close by the Ring.
func (s *Sender) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	closed := ErrClosed
	s.why.Store(&closed)
	if c := s.cur.Swap(nil); c != nil {
		c.end()
	}
	for _, h := range s.handed {
		h.end()
	}
	s.handed = nil
	return true
}

// Close ends the Sender and wipes its keys, those that Key handed out included,
// once the last call has left them.
func (s *Sender) Close() error {
	if s.end() {
		s.f.mu.Lock()
		delete(s.f.senders, s)
		s.f.mu.Unlock()
		s.f.leave()
	}
	return nil
}

// Format prints no key.
func (s *Sender) Format(w fmt.State, _ rune) {
	io.WriteString(w, fmt.Sprintf("keyring.Sender(%d, %s)", s.id, redacted))
}
