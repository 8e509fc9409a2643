package rtpseal

import (
	"bytes"
	"errors"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// StreamOpener opens the units of a stream. [Keys] implement it; [Shared] makes one of
// any [cipher.Opener].
type StreamOpener interface {
	OpenStream(ssrc uint32, dst, sealed []byte) ([]byte, error)
}

// FamiliarOpener is a StreamOpener that can tell units of sources from which others
// authenticated, so that a flood of forged ones from elsewhere costs those nothing;
// [Shared] makes one of a keyring.Receiver.
type FamiliarOpener interface {
	StreamOpener
	OpenFamiliar(ssrc uint32, dst, sealed []byte) ([]byte, error)
}

// StreamSealer seals the units of a stream.
type StreamSealer interface {
	SealStream(ssrc uint32, dst, unit []byte) ([]byte, error)
	Overhead() int
}

// Shared has all streams use the same keys, whatever their SSRC.
func Shared(o cipher.Opener) StreamOpener {
	if f, ok := o.(familiarOpener); ok {
		return sharedFamiliar{shared{o}, f}
	}
	return shared{o}
}

type familiarOpener interface {
	OpenFamiliar(dst, sealed, aad []byte) ([]byte, error)
}

type sharedFamiliar struct {
	shared
	f familiarOpener
}

func (s sharedFamiliar) OpenFamiliar(_ uint32, dst, sealed []byte) ([]byte, error) {
	return s.f.OpenFamiliar(dst, sealed, nil)
}

type shared struct{ cipher.Opener }

func (s shared) OpenStream(_ uint32, dst, sealed []byte) ([]byte, error) {
	return s.Open(dst, sealed, nil)
}

// SharedSealer has all streams use the same key, whatever their SSRC.
func SharedSealer(s cipher.Sealer) StreamSealer { return sharedSealer{s} }

type sharedSealer struct{ cipher.Sealer }

func (s sharedSealer) SealStream(_ uint32, dst, unit []byte) ([]byte, error) {
	return s.Seal(dst, unit, nil)
}

// ReceiverOptions of [NewReceiver].
type ReceiverOptions struct {
	Opener StreamOpener
	Limits Limits
	// Frame gets each unit that opened, with its frame or payload; both are valid
	// until it returns. Units come as they are complete.
	Frame func(u *Unit, frame []byte)
	// Waits, which may be nil, says whether a unit with this key ID that failed for want
	// of a key is to wait for one: a sender that was put out is not waited for.
	Waits func(kid cipher.KeyID, err error) bool
	// Refused, which may be nil, is told of units that did not open.
	Refused func(u *Unit, err error)
	// Dropped, which may be nil, is told of what was given up; a keyframe is needed.
	Dropped func(Drop)
}

// Receiver puts units together and opens them. Units whose key is not known wait for
// it, for [Limits].Age at most. It is for one goroutine.
type Receiver struct {
	o     ReceiverOptions
	parts *Depacketizer
	out   []byte

	familiar FamiliarOpener // the Opener, if it is one
	known    bool           // what comes now comes from where others authenticated

	// Of an Opening: where a unit's content is to be appended, nil for the usual place.
	place  func(u *Unit) []byte
	placed func(whole []byte)

	held      []held
	heldBytes int
	retry     time.Time
}

// held is a unit that waits for its key.
type held struct {
	unit  Unit // owns Head and Sealed
	kid   cipher.KeyID
	at    time.Time
	known bool // as the Receiver's
}

// NewReceiver makes a Receiver.
func NewReceiver(o ReceiverOptions) (*Receiver, error) {
	if o.Opener == nil || o.Frame == nil {
		return nil, errors.New("rtpseal: a Receiver needs an Opener and a Frame function")
	}
	if o.Waits == nil {
		o.Waits = func(cipher.KeyID, error) bool { return true }
	}
	if o.Refused == nil {
		o.Refused = func(*Unit, error) {}
	}
	if o.Dropped == nil {
		o.Dropped = func(Drop) {}
	}
	o.Limits = o.Limits.withDefaults()
	r := &Receiver{o: o, parts: NewDepacketizer(o.Limits, o.Dropped)}
	r.familiar, _ = o.Opener.(FamiliarOpener)
	return r, nil
}

// Push takes a packet in.
func (r *Receiver) Push(pkt []byte, now time.Time) error {
	u, err := r.parts.Push(pkt, now)
	if u == nil {
		return err
	}
	switch err := r.open(u); {
	case err == nil:
		if n := len(r.held); n > 0 && (n <= retryMost || !now.Before(r.retry)) {
			r.retry = now.Add(retryEvery / 4) // a flood of units that never open may not cost more
			r.again(now, func(h *held) bool { return h.unit.SSRC == u.SSRC })
		}
	case errors.Is(err, cipher.ErrUnknownKey) && r.hold(u, err, now):
	default:
		r.o.Refused(u, err)
	}
	return nil
}

func (r *Receiver) open(u *Unit) error {
	if r.place != nil {
		if dst := r.place(u); dst != nil {
			whole, err := r.openStream(u.SSRC, dst, u.Sealed)
			if err != nil {
				return err
			}
			r.parts.Confirm(u.SSRC)
			r.placed(whole)
			return nil
		}
	}
	out, err := r.openStream(u.SSRC, r.out[:0], u.Sealed)
	if err != nil {
		return err
	}
	r.parts.Confirm(u.SSRC)
	r.out = out
	r.o.Frame(u, out)
	clear(out)
	return nil
}

func (r *Receiver) openStream(ssrc uint32, dst, sealed []byte) ([]byte, error) {
	if r.known && r.familiar != nil {
		return r.familiar.OpenFamiliar(ssrc, dst, sealed)
	}
	return r.o.Opener.OpenStream(ssrc, dst, sealed)
}

// hold keeps a unit. Half of the room is for those of known sources. It reports false if there is no room, or nothing to wait for.
func (r *Receiver) hold(u *Unit, why error, now time.Time) bool {
	n := len(u.Head) + len(u.Sealed)
	most, bytesMost := r.o.Limits.Held, r.o.Limits.Bytes/4
	if r.familiar != nil && !r.known {
		most, bytesMost = most/2, bytesMost/2
	}
	if len(r.held) >= most || r.heldBytes+n > bytesMost {
		return false
	}
	h, _, err := cipher.ParseHeader(u.Sealed)
	if err != nil || !r.o.Waits(h.KID, why) {
		return false
	}
	for i := range r.held { // of packets that come twice one is enough
		if x := &r.held[i]; x.unit.SSRC == u.SSRC && x.unit.Sequence == u.Sequence && x.kid == h.KID && bytes.Equal(x.unit.Sealed, u.Sealed) {
			return true
		}
	}
	keep := held{unit: *u, kid: h.KID, at: u.FirstHeard, known: r.known}
	keep.unit.Head, keep.unit.Sealed = bytes.Clone(u.Head), bytes.Clone(u.Sealed)
	r.held = append(r.held, keep)
	r.heldBytes += n
	return true
}

// again tries units that were held, and drops those that are too old.
func (r *Receiver) again(now time.Time, which func(*held) bool) {
	kept := r.held[:0]
	defer func(known bool) { r.known = known }(r.known)
	var lost Drop
	for i := range r.held {
		h := &r.held[i]
		old := now.Sub(h.at) > r.o.Limits.Age*3/4
		if old || which(h) {
			err := cipher.ErrUnknownKey
			if !old {
				r.known = h.known
				err = r.open(&h.unit)
			}
			if old || err == nil || !errors.Is(err, cipher.ErrUnknownKey) || !r.o.Waits(h.kid, err) {
				r.heldBytes -= len(h.unit.Head) + len(h.unit.Sealed)
				if err != nil {
					r.o.Refused(&h.unit, err)
					lost = Drop{h.unit.SSRC, lost.Packets + h.unit.Packets, "age"}
				}
				h.wipe()
				continue
			}
		}
		kept = append(kept, *h)
	}
	clear(r.held[len(kept):])
	r.held = kept
	if lost.Packets > 0 {
		r.o.Dropped(lost)
	}
}

func (h *held) wipe() {
	clear(h.unit.Head)
	clear(h.unit.Sealed)
}

// retryEvery is how often units that wait are tried though nothing came of their
// stream, and retryMost how many of them.
const (
	retryEvery = 100 * time.Millisecond
	retryMost  = 16
)

// Sweep drops what is too old and tries units whose key may have come by another way.
// Call it at least every 250 ms.
func (r *Receiver) Sweep(now time.Time) {
	r.parts.Sweep(now)
	if len(r.held) > 0 && !now.Before(r.retry) {
		r.retry = now.Add(retryEvery)
		n := 0
		r.again(now, func(*held) bool { n++; return n <= retryMost })
	}
}

// Retry tries all units that wait: a key came.
func (r *Receiver) Retry(now time.Time) { r.again(now, func(*held) bool { return true }) }

// Leave drops and wipes at once all that is held of a stream: its sender said BYE, left
// or was put out.
func (r *Receiver) Leave(ssrc uint32) {
	r.parts.Leave(ssrc)
	r.leaveHeld(func(h *held) bool { return h.unit.SSRC == ssrc })
}

// LeaveSender drops and wipes at once all that waits under a key ID for which gone
// reports true, of whatever stream, and what is incomplete of it: that sender was put
// out. What other units of the stream have is dropped with it.
func (r *Receiver) LeaveSender(gone func(cipher.KeyID) bool) {
	r.parts.leaveSender(gone)
	for i := range r.held {
		if gone(r.held[i].kid) {
			r.parts.Leave(r.held[i].unit.SSRC)
		}
	}
	r.leaveHeld(func(h *held) bool { return gone(h.kid) })
}

// Close drops and wipes at once all that is held.
func (r *Receiver) Close() {
	r.parts.close()
	r.leaveHeld(func(*held) bool { return true })
}

func (r *Receiver) leaveHeld(gone func(*held) bool) {
	kept := r.held[:0]
	for i := range r.held {
		h := &r.held[i]
		if !gone(h) {
			kept = append(kept, *h)
			continue
		}
		r.heldBytes -= len(h.unit.Head) + len(h.unit.Sealed)
		h.wipe()
	}
	clear(r.held[len(kept):])
	r.held = kept
}

// Kept is how many bytes are held.
func (r *Receiver) Kept() int { return r.parts.Kept() + r.heldBytes }
