package keyring

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Compact key IDs are for live voice, where the KID of 8 bytes would cost as much
// as the tag. Most frames of a compact Sender carry
//
//	short KID = sender(16 bits) ‖ epoch mod 2^4
//
// which is 1 byte for sender numbers below 16, 2 below 4096 and 3 for the others.
// Longer frames, and some others, the announcements, carry the full KID, and so tell the instance that a
// Receiver needs to derive the key of the short one. An announcement is an ordinary
// frame: it authenticates, or changes nothing, and its replay is refused.
//
// Both keys come from the same base key, which binds the full instance; RFC 9605,
// Section 4.4.2, binds the KID, so that they are different keys with a counter each.
// Two Senders with one short KID have different instances, and so no nonce of one is
// ever used under the key of the other.

// AnnounceEvery is the longest time between two announcements of a compact Sender
// that is in use: a Receiver that joins waits no longer for its first frame.
const AnnounceEvery = 240 * time.Millisecond

// announceFirst is the first of these times; each is twice the one before, up to
// AnnounceEvery: the first announcement may be lost, and all that is sealed waits for one.
const announceFirst = 30 * time.Millisecond

// announceSlack is by how much an announcement may be early, so that frames that come
// at their own pace do not make it late.
const announceSlack = 10 * time.Millisecond

// announceFrames is how many frames come between two announcements at most, and
// announceBurst how many behind the first: twice as many behind each of the next. Voice is
// too slow for that to matter. But what seals packets of video, or a recording faster than
// life, seals hundreds within 20 ms, which would all wait for one packet that was lost.
const (
	announceFrames = 64
	announceBurst  = 8
)

// MaxShort is how many instances a Receiver knows for one short KID: so many Senders
// with one number can be heard at a time. Those that announced themselves last count.
const MaxShort = 4

// shortKIDs is the first number that is no short KID. A full KID is larger: no
// instance is 0.
const shortKIDs = 1 << 20

// ShortKID returns the compact form of the key ID; see [SenderOptions.Compact].
func (o Origin) ShortKID() cipher.KeyID { return cipher.KeyID(o.Sender)<<4 | cipher.KeyID(o.Epoch&15) }

// SenderOf returns the sender number that a key ID shows, full or short. It is not
// authenticated, and means nothing for key IDs that are not this package's.
func SenderOf(kid cipher.KeyID) uint16 {
	if kid < shortKIDs {
		return uint16(kid >> 4)
	}
	return ParseKID(kid).Sender
}

// announcer is the compact half of a sealing.
type announcer struct {
	short *cipher.SealKey
	begun time.Time
	next  atomic.Int64 // when the next announcement is due, in nanoseconds after begun
	every atomic.Int64 // how long after that the one behind it is

	until atomic.Uint64 // it is due, too, once the short key has no more frames left than these
	burst atomic.Uint64 // how many frames behind that the one behind it is
}

func newAnnouncer(short *cipher.SealKey) *announcer {
	a := &announcer{short: short, begun: time.Now()}
	a.every.Store(int64(announceFirst))
	a.until.Store(short.Left())
	a.burst.Store(announceBurst)
	return a
}

// due reports whether the next frame has to announce, to one of several callers.
func (a *announcer) due() bool {
	now, next, left := int64(time.Since(a.begun)), a.next.Load(), a.short.Left()
	if now < next && left > a.until.Load() {
		return false
	}
	every, burst := a.every.Load(), a.burst.Load()
	if !a.next.CompareAndSwap(next, now+every-int64(announceSlack)) {
		return false
	}
	a.until.Store(left - min(left, burst))
	a.every.Store(min(2*every, int64(AnnounceEvery)))
	a.burst.Store(min(2*burst, announceFrames))
	return true
}

// compactMost is the longest frame in bytes that is worth a short KID. With longer ones
// the full KID costs next to nothing, and each opens by itself, whatever was lost.
const compactMost = 512

// pick returns the key for the next frame, of n bytes.
func (c *sealing) pick(n int) *cipher.SealKey {
	if c.compact == nil || n > compactMost || c.compact.due() {
		return c.key
	}
	return c.compact.short
}

// pickBatch returns the key for several frames.
func (c *sealing) pickBatch(frames []cipher.Frame) *cipher.SealKey {
	n := 0
	if c.compact != nil {
		for i := range frames {
			n = max(n, len(frames[i].Src))
		}
	}
	return c.pick(n)
}

// left is how many frames the keys can still seal.
func (c *sealing) left() uint64 {
	left := c.key.Left()
	if c.compact != nil {
		left = min(left, c.compact.short.Left())
	}
	return left
}

// end retires the keys.
func (c *sealing) end() {
	c.key.Retire()
	if c.compact != nil {
		c.compact.short.Retire()
	}
}

// Announce makes a compact Sender's next frame an announcement. Call it for every
// keyframe: who joins then can open it. Otherwise it does nothing.
func (s *Sender) Announce() {
	if c := s.cur.Load(); c != nil && c.compact != nil {
		c.compact.next.Store(0)
	}
}

// shortKey is what a Receiver has of a short KID: the key of one instance. It lives as
// long as the full KID's entry: with it goes the memory of what was played.
type shortKey struct {
	key    *cipher.OpenKey
	entry  *kidEntry
	behind atomic.Bool // not the first of its list: its next announcement moves it
}

// shortList are the keys of a short KID, the one that announced itself last first. It is
// replaced, never changed, so that readers need no lock.
type shortList struct {
	of   []*shortKey
	keys []*cipher.OpenKey // theirs, in the same order
}

func newShortList(of []*shortKey) *shortList {
	l := &shortList{of: of}
	for i, k := range of {
		k.behind.Store(i > 0)
		l.keys = append(l.keys, k.key)
	}
	return l
}

// shortTable finds the keys of a short KID.
type shortTable struct {
	lists atomic.Pointer[map[cipher.KeyID]*shortList]
}

func (t *shortTable) get(kid cipher.KeyID) *shortList {
	if m := t.lists.Load(); m != nil {
		return (*m)[kid]
	}
	return nil
}

// set replaces the list of a KID; the caller holds the Receiver's mu.
func (t *shortTable) set(kid cipher.KeyID, of []*shortKey) *shortList {
	next := map[cipher.KeyID]*shortList{}
	if m := t.lists.Load(); m != nil {
		for k, l := range *m {
			next[k] = l
		}
	}
	var list *shortList
	if len(of) == 0 {
		delete(next, kid)
	} else {
		list = newShortList(of)
		next[kid] = list
	}
	t.lists.Store(&next)
	return list
}

// ErrUnannounced says that a frame under a short KID opens under none of the keys that
// announced themselves for it: it is forged, or of a Sender whose announcement is
// still to come. [errors.Is] finds cipher.ErrUnknownKey and cipher.ErrAuth in it.
var ErrUnannounced error = &frameError{"keyring: no key that announced itself opens the frame", errors.Join(cipher.ErrUnknownKey, cipher.ErrAuth)}

// openShort opens a frame under a short KID. done says that the answer is final: the
// KID is a short one.
func (r *Receiver) openShort(dst, sealed, aad []byte, kid cipher.KeyID) (out []byte, o Origin, done bool, err error) {
	if kid >= shortKIDs {
		return dst, Origin{}, false, nil
	}
	list := r.short.get(kid)
	if list == nil {
		if list = r.learnShort(kid); list == nil {
			return dst, Origin{}, true, cipher.ErrUnknownKey
		}
	}
	out, which, err := cipher.OpenAny(list.keys, dst, sealed, aad)
	if err != nil {
		if err != cipher.ErrReplayed && err != cipher.ErrShort {
			err = ErrUnannounced
		}
		return dst, Origin{}, true, err
	}
	e := list.of[which].entry
	if !e.used.Load() {
		e.used.Store(true)
	}
	return out, e.origin, true, nil
}

// learnShort derives the keys of a short KID that was not seen before from the
// instances that announced themselves.
func (r *Receiver) learnShort(kid cipher.KeyID) *shortList {
	r.mu.Lock()
	defer r.mu.Unlock()
	if list := r.short.get(kid); list != nil || r.closed.Load() {
		return list
	}
	var entries []*kidEntry
	for _, e := range r.table.all() {
		if e.origin.ShortKID() == kid {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *kidEntry) int { return int(int64(b.serial) - int64(a.serial)) })
	var list []*shortKey
	for _, e := range entries[:min(len(entries), MaxShort)] {
		if k := r.shortOf(e); k != nil {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return r.short.set(kid, list)
}

// announced is called for every frame of a full KID that authenticated.
func (r *Receiver) announced(e *kidEntry) {
	if k := e.short.Load(); k != nil && !k.behind.Load() || k == nil && r.short.get(e.origin.ShortKID()) == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announce(e)
}

// announce puts an entry's short key in front of its list, if anybody asked for the
// short KID; mu is held.
func (r *Receiver) announce(e *kidEntry) {
	kid := e.origin.ShortKID()
	if r.closed.Load() || r.table.get(e.kid) != e || r.short.get(kid) == nil {
		return
	}
	k := r.shortOf(e)
	if k == nil {
		return
	}
	list := []*shortKey{k}
	for _, other := range r.short.get(kid).of {
		if other != k && len(list) < MaxShort {
			list = append(list, other)
		} else if other != k {
			other.behind.Store(true)
		}
	}
	r.short.set(kid, list)
}

// shortOf returns an entry's key of the short KID, or makes it; nil if the epoch is
// gone. An entry has one for its whole life.
func (r *Receiver) shortOf(e *kidEntry) *shortKey {
	if k := e.short.Load(); k != nil {
		return k
	}
	secret, ok := r.f.secretOf(e.origin.Epoch)
	if !ok {
		return nil
	}
	defer secret.wipe()
	suite := e.key.Suite()
	base, err := baseKey(suite, secret, r.f.ch.name, e.origin)
	if err != nil {
		return nil
	}
	defer clear(base)
	key, err := suite.NewOpenKeyWindow(e.origin.ShortKID(), base, r.window)
	if err != nil {
		return nil
	}
	k := &shortKey{key: key, entry: e}
	e.short.Store(k)
	return k
}

// secretOf returns a copy of an epoch's secret, which the caller wipes.
func (f *follower) secretOf(number uint64) (secret, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.st == nil {
		return secret{}, false
	}
	e := f.st.epoch(number)
	if e == nil || e.state == Forgotten {
		return secret{}, false
	}
	return e.secret.clone(), true
}

// drop retires the keys of an entry that left the table; the Receiver's mu is held.
func (r *Receiver) drop(e *kidEntry) {
	e.key.Retire()
	k := e.short.Swap(nil)
	if k == nil {
		return
	}
	k.key.Retire()
	kid := e.origin.ShortKID()
	if list := r.short.get(kid); list != nil && slices.Contains(list.of, k) {
		r.short.set(kid, slices.DeleteFunc(slices.Clone(list.of), func(x *shortKey) bool { return x == k }))
	}
}
