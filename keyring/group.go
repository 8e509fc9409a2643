package keyring

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// GroupOptions of [Ring.Group].
type GroupOptions struct {
	Suite *cipher.Suite // nil is AES-128-GCM
	// Layout divides the key ID as all members agreed; zero is 8 bits for the epoch and 16
	// for the sender. At least 40 bits have to be left for the context.
	Layout cipher.MLSLayout
	// Grace is how long frames of an epoch are accepted after the next one began; 0
	// stands for 10 seconds.
	Grace time.Duration
	// Window is the size of each key ID's replay window in frames; 0 stands for
	// cipher.DefaultWindow.
	Window int
}

// Group seals and opens with the secrets of an external group key agreement, such as MLS
// (RFC 9420), by RFC 9605, Section 5.2: the base key is what the agreement's exporter gives
// for the label "SFrame 1.0 Base Key", and the key ID is
//
//	context ‖ sender index ‖ epoch mod 2^E
//
// All members of an epoch share one base key, so nothing but the key ID keeps their nonces
// apart: the sender index is the agreement's, and each Group draws a context of 40 random
// bits for each epoch, which the ring's store records before the first frame, so that a
// program that is restarted in the middle of an epoch does not begin to count again under
// the same key. The secrets themselves are not stored: they are the agreement's to keep.
//
// A Group is safe for concurrent use and is to be closed.
type Group struct {
	ring   *Ring
	id     string // of its name, as a channel's
	suite  *cipher.Suite
	layout cipher.MLSLayout
	grace  time.Duration
	window int

	cur   atomic.Pointer[groupSeal] // nil before the first epoch
	table kidTable                  // written under mu

	advancing sync.Mutex // one Advance at a time
	mu        sync.Mutex
	epochs    []*groupEpoch // those that open, the newest last
	limit     limiter
	closed    bool
}

type groupEpoch struct {
	number uint64
	base   []byte
	retire *time.Timer // nil while it is the newest
}

// Format prints no key.
func (e *groupEpoch) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "epoch %d, %s", e.number, redacted) }

type groupSeal struct {
	key   *cipher.SealKey
	epoch *groupEpoch
	index uint64
	last  uint64      // a new context is drawn once so many frames are left
	spent atomic.Bool // that moment came
}

const contextBits = instanceBits

var (
	_ cipher.Sealer = (*Group)(nil)
	_ cipher.Opener = (*Group)(nil)
)

// Group begins to seal and open for a group of that name. It has no epoch before
// [Group.Advance]: until then nothing is sealed and nothing opens.
func (r *Ring) Group(name string, o GroupOptions) (*Group, error) {
	id, err := r.channelID(name)
	if err != nil {
		return nil, err
	}
	if o.Suite == nil {
		o.Suite = cipher.AES128GCM()
	}
	if o.Layout == (cipher.MLSLayout{}) {
		o.Layout = cipher.MLSLayout{EpochBits: 8, SenderBits: 16}
	}
	if _, err := o.Layout.KID(0, 0, 1<<contextBits-1); err != nil {
		return nil, fmt.Errorf("keyring: the group %q: at least %d bits of the key ID have to be left for the context: %w", name, contextBits, err)
	}
	if o.Layout.EpochBits < 1 {
		return nil, fmt.Errorf("keyring: the group %q: the key ID shows nothing of the epoch", name)
	}
	if o.Window == 0 {
		o.Window = cipher.DefaultWindow
	}
	if o.Window < cipher.MinWindow || o.Window > cipher.MaxWindow {
		return nil, fmt.Errorf("keyring: a replay window of %d frames: make it %d to %d", o.Window, cipher.MinWindow, cipher.MaxWindow)
	}
	policy, err := Policy{Grace: o.Grace}.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Group{ring: r, id: id, suite: o.Suite, layout: o.Layout, grace: policy.Grace, window: o.Window, limit: newLimiter(MaxUnseen)}, nil
}

// Advance takes the group to an epoch of the agreement: index is this member's sender
// index in it, export its exporter, which is called once. Frames are sealed under it from
// now on; those of the epoch before are accepted for the grace. A lower epoch than the
// group is at is ErrOlder, the same one with another secret ErrOtherSecret, and to come to
// the same one again changes nothing.
func (g *Group) Advance(ctx context.Context, epoch, index uint64, export cipher.Exporter) error {
	g.advancing.Lock()
	defer g.advancing.Unlock()
	base, err := cipher.MLSBaseKey(g.suite, export)
	if err != nil {
		return fmt.Errorf("keyring: advance the group: %w", err)
	}
	if c := g.cur.Load(); c != nil && epoch <= c.epoch.number {
		defer clear(base)
		switch {
		case epoch < c.epoch.number:
			return fmt.Errorf("keyring: advance the group to epoch %d: it is at %d: %w", epoch, c.epoch.number, ErrOlder)
		case subtle.ConstantTimeCompare(base, c.epoch.base) != 1:
			return fmt.Errorf("keyring: advance the group to epoch %d: %w", epoch, ErrOtherSecret)
		case index == c.index:
			return nil
		}
		return fmt.Errorf("keyring: advance the group to epoch %d: this member had index %d in it, and now %d", epoch, c.index, index)
	}
	e := &groupEpoch{number: epoch, base: base}
	next, err := g.seal(ctx, e, index)
	if err != nil {
		clear(base)
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		next.key.Retire()
		clear(base)
		return ErrClosed
	}
	for _, old := range g.epochs {
		if old.retire == nil {
			old.retire = time.AfterFunc(g.grace, func() { g.drop(old) })
		}
	}
	// RFC 9605, Section 5.2: the old epoch with the same low bits has to go.
	for _, old := range append([]*groupEpoch(nil), g.epochs...) {
		if (old.number^epoch)&(1<<g.layout.EpochBits-1) == 0 {
			g.dropLocked(old)
		}
	}
	g.epochs = append(g.epochs, e)
	if old := g.cur.Swap(next); old != nil {
		old.key.Retire()
	}
	return nil
}

// seal makes a key of an epoch. Its context is recorded before it seals anything.
func (g *Group) seal(ctx context.Context, e *groupEpoch, index uint64) (*groupSeal, error) {
	set := fmt.Sprintf("g/%s/%d", g.id, e.number)
	for range drawsAtMost {
		context := g.ring.draw()
		kid, err := g.layout.KID(e.number, index, context)
		if err != nil {
			return nil, fmt.Errorf("keyring: advance the group: %w", err)
		}
		name := fmt.Appendf(nil, "%016x", uint64(kid))
		switch err := g.ring.store.Take(ctx, set, string(name)); {
		case errors.Is(err, ErrTaken):
			continue
		case err != nil:
			return nil, fmt.Errorf("keyring: record a sender of the group: %w", err)
		}
		// Fresh: this key ID was just recorded for this epoch, and its index is ours.
		key, err := g.suite.NewSealKey(kid, e.base, cipher.FreshKey)
		if err != nil {
			return nil, fmt.Errorf("keyring: advance the group: %w", err)
		}
		return &groupSeal{key: key, epoch: e, index: index, last: key.Left() / 64}, nil
	}
	return nil, fmt.Errorf("keyring: no context for a sender of the group after %d draws: %w", drawsAtMost, ErrConflict)
}

// Forget drops what the store recorded for an epoch of the group: for one that the
// agreement can never come to again.
func (g *Group) Forget(ctx context.Context, epoch uint64) error {
	if c := g.cur.Load(); c == nil || epoch >= c.epoch.number {
		return ErrEpochActive
	}
	return g.ring.store.Drop(ctx, fmt.Sprintf("g/%s/%d", g.id, epoch))
}

// Overhead is the most bytes by which a frame grows.
func (g *Group) Overhead() int { return headerAtMost + g.suite.Overhead() }

// Seal appends the sealed frame to dst; see [cipher.SealKey.Seal]. cipher.ErrUnknownKey
// says that there is no epoch yet, or that the Group was closed.
func (g *Group) Seal(dst, frame, aad []byte) ([]byte, error) {
	for {
		c := g.cur.Load()
		if c == nil {
			return dst, cipher.ErrUnknownKey
		}
		out, err := c.key.Seal(dst, frame, aad)
		if err == cipher.ErrUnknownKey && g.cur.Load() != c {
			continue // an epoch later
		}
		if c.key.Left() <= c.last && !c.spent.Swap(true) {
			go g.renew(c)
		}
		return out, err
	}
}

// renew draws another context in the epoch of a key that is nearly used up.
func (g *Group) renew(c *groupSeal) {
	g.advancing.Lock()
	defer g.advancing.Unlock()
	if g.cur.Load() != c {
		return
	}
	next, err := g.seal(context.Background(), c.epoch, c.index)
	if err != nil {
		c.spent.Store(false) // the next frame asks again
		return
	}
	if !g.cur.CompareAndSwap(c, next) { // closed
		next.key.Retire()
		return
	}
	c.key.Retire()
}

// Open appends the frame inside sealed to dst; see [Group.OpenFrom].
func (g *Group) Open(dst, sealed, aad []byte) ([]byte, error) {
	out, _, err := g.OpenFrom(dst, sealed, aad)
	return out, err
}

// OpenFrom appends the frame inside sealed to dst, and returns the sender index in its key
// ID: it proves that a member of the epoch sealed it, not which one. A frame of an epoch
// that the group did not come to yet is cipher.ErrUnknownKey: it may open later.
func (g *Group) OpenFrom(dst, sealed, aad []byte) (out []byte, index uint64, err error) {
	h, _, err := cipher.ParseHeader(sealed)
	if err != nil {
		return dst, 0, err
	}
	index = uint64(h.KID) >> g.layout.EpochBits & (1<<g.layout.SenderBits - 1)
	if e := g.table.get(h.KID); e != nil {
		if out, err = e.key.Open(dst, sealed, aad); err != cipher.ErrUnknownKey {
			return out, index, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.table.get(h.KID); e != nil {
		out, err = e.key.Open(dst, sealed, aad)
		return out, index, err
	}
	now := g.ring.now()
	switch {
	case g.closed:
		return dst, 0, ErrClosed
	case !g.limit.allow(now, 1):
		return dst, 0, ErrLimited
	case g.table.count >= MaxKIDs:
		return dst, 0, ErrTableFull
	}
	for _, e := range g.epochs {
		if (uint64(h.KID)^e.number)&(1<<g.layout.EpochBits-1) != 0 {
			continue
		}
		key, err := g.suite.NewOpenKeyWindow(h.KID, e.base, g.window)
		if err != nil {
			return dst, 0, err
		}
		if out, err = key.Open(dst, sealed, aad); err != nil {
			g.limit.fail(now)
			key.Retire()
			return dst, 0, err
		}
		g.table.put(&kidEntry{kid: h.KID, origin: Origin{Epoch: e.number}, key: key})
		return out, index, nil
	}
	return dst, 0, cipher.ErrUnknownKey
}

func (g *Group) drop(e *groupEpoch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dropLocked(e)
}

// dropLocked ends an epoch; mu is held.
func (g *Group) dropLocked(e *groupEpoch) {
	for i, other := range g.epochs {
		if other != e {
			continue
		}
		g.epochs = append(g.epochs[:i:i], g.epochs[i+1:]...)
		if e.retire != nil {
			e.retire.Stop()
		}
		for _, k := range g.table.remove(func(k *kidEntry) bool { return k.origin.Epoch == e.number }) {
			k.key.Retire()
		}
		clear(e.base)
		return
	}
}

// Close ends the Group and wipes its keys. Close it before its Ring.
func (g *Group) Close() error {
	g.advancing.Lock()
	defer g.advancing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if c := g.cur.Swap(nil); c != nil {
		c.key.Retire()
	}
	for len(g.epochs) > 0 {
		g.dropLocked(g.epochs[0])
	}
	return nil
}

// Format prints no key.
func (g *Group) Format(w fmt.State, _ rune) { io.WriteString(w, "keyring.Group("+redacted+")") }
