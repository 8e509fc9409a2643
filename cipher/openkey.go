package cipher

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// OpenKey opens one sender's frames under one KID, each counter once. It is safe for
// concurrent use.
type OpenKey struct {
	keySlot
	suite    *Suite
	kid      KeyID
	header   headerTemplate
	window   *window
	failures atomic.Uint64
}

// NewOpenKey makes the opening half of (kid, baseKey), with a replay window of
// [DefaultWindow] frames. baseKey is not kept.
func (s *Suite) NewOpenKey(kid KeyID, baseKey []byte) (*OpenKey, error) {
	return s.NewOpenKeyWindow(kid, baseKey, DefaultWindow)
}

// NewOpenKeyWindow is NewOpenKey with a replay window of that many frames, from
// [MinWindow] to [MaxWindow].
func (s *Suite) NewOpenKeyWindow(kid KeyID, baseKey []byte, frames int) (*OpenKey, error) {
	if frames < MinWindow || frames > MaxWindow {
		return nil, fmt.Errorf("cipher: replay window of %d frames, want %d to %d", frames, MinWindow, MaxWindow)
	}
	c, err := s.newCore(kid, baseKey)
	if err != nil {
		return nil, err
	}
	k := &OpenKey{suite: s, kid: kid, header: newHeaderTemplate(kid), window: newWindow(frames)}
	k.put(c)
	return k, nil
}

// KeyID is the KID of the frames that the key opens.
func (k *OpenKey) KeyID() KeyID { return k.kid }

// Suite is the suite that the key belongs to.
func (k *OpenKey) Suite() *Suite { return k.suite }

// Open appends the frame inside sealed to dst. The errors are [ErrShort] and
// [ErrMalformed] (not an SFrame ciphertext), [ErrUnknownKey] (another KID, or the key
// was retired), [ErrReplayed], [ErrAuth] and [ErrExhausted] (too many failures, see
// [OpenKey.Condition]).
//
// The bytes behind dst that are written may overlap neither sealed nor aad (that
// panics); nothing is allocated when dst has room. On an error dst comes back at its
// old length and the bytes behind it that were written are cleared.
func (k *OpenKey) Open(dst, sealed, aad []byte) ([]byte, error) {
	// Nearly every frame is one of GCM, in order, and dst has room for it. It goes straight
	// through: the calls that openAny consists of would cost a short frame as much as its
	// decryption.
	box := k.box.Load()
	size, ctr := k.header.counter(sealed)
	end := len(dst) + len(sealed) - size - engine.TagSize
	if size == 0 || box == nil || box.gcm == nil || cap(dst) < end || !k.window.inOrder(ctr) {
		return k.openOther(box, dst, sealed, aad)
	}
	whole := dst[:end]
	out := whole[len(dst):]
	if overlaps(out, sealed) || overlaps(out, aad) {
		panic(overlapMessage)
	}
	c := box.gcm
	ok := c.gcm.Open(out, sealed, aad, size, ctr, &c.salt)
	runtime.KeepAlive(box)
	if !ok {
		return dst, k.failed() // out is cleared
	}
	if !k.window.commitInOrder(ctr) && !k.window.commit(ctr) {
		clear(out)
		return dst, ErrReplayed
	}
	return whole, nil
}

// openOther is Open for frames that it does not take itself.
func (k *OpenKey) openOther(box *keyBox, dst, sealed, aad []byte) ([]byte, error) {
	if box != nil && box.ctr != nil {
		if h, ctr, ok := k.header.unpack(sealed); ok {
			return k.openCTR(box, dst, sealed, aad, ctr, h)
		}
	}
	return k.openAny(dst, sealed, aad)
}

// openAny is Open for every suite, and it finds the error of what Open does not take.
func (k *OpenKey) openAny(dst, sealed, aad []byte) ([]byte, error) {
	box, h, ctr, err := k.begin(sealed)
	if err != nil {
		return dst, err
	}
	whole, out := extend(dst, k.room(len(sealed)-h.size), sealed, aad)
	n, err := k.openTo(box, out, sealed, aad, ctr, h)
	if err != nil {
		return dst, err
	}
	return whole[:len(dst)+n], nil
}

// OpenInPlace opens sealed where it lies and returns the frame, which is a part of
// sealed. aad may not overlap sealed. On any error the content of sealed is destroyed.
func (k *OpenKey) OpenInPlace(sealed, aad []byte) ([]byte, error) {
	if overlaps(sealed, aad) {
		panic(overlapMessage)
	}
	box, h, ctr, err := k.begin(sealed)
	if err != nil {
		clear(sealed)
		return nil, err
	}
	out := sealed[h.size : h.size+k.room(len(sealed)-h.size)]
	n, err := k.openTo(box, out, sealed, aad, ctr, h)
	if err != nil {
		clear(sealed)
		return nil, err
	}
	return out[:n:n], nil
}

// begin decides what can be decided before the cipher runs: form, key, length, and
// whether the replay window could take the counter. It changes nothing.
func (k *OpenKey) begin(sealed []byte) (box *keyBox, h packedHeader, ctr uint64, err error) {
	h, ctr, ok := k.header.unpack(sealed)
	if !ok {
		parsed, size, err := ParseHeader(sealed)
		if err != nil {
			return nil, h, 0, err
		}
		if parsed.KID != k.kid {
			return nil, h, 0, ErrUnknownKey
		}
		ctr, h = parsed.CTR, k.header.pack(parsed.CTR)
		h.size = size
	}
	if box = k.box.Load(); box == nil {
		return nil, h, 0, k.gone()
	}
	if !k.suite.variable && len(sealed)-h.size < k.suite.overhead {
		return nil, h, 0, ErrShort
	}
	if !k.window.peek(ctr) {
		return nil, h, 0, ErrReplayed
	}
	return box, h, ctr, nil
}

// room is the most bytes that a frame can have whose ciphertext and tag have n.
func (k *OpenKey) room(n int) int {
	if k.suite.variable {
		return n
	}
	return n - k.suite.overhead
}

// openTo opens sealed into out and only then marks its counter as used. Of two calls
// with one frame the loser clears what it wrote.
func (k *OpenKey) openTo(box *keyBox, out, sealed, aad []byte, ctr uint64, h packedHeader) (n int, err error) {
	var ok bool
	if c := box.gcm; c != nil && h.size <= packable {
		n, ok = len(out), c.openFrame(out, sealed[h.size:], ctr, h, aad)
	} else {
		n, ok = box.open(out, sealed[h.size:], ctr, sealed[:h.size], aad)
	}
	runtime.KeepAlive(box)
	if !ok {
		clear(out)
		return 0, k.failed()
	}
	if !k.window.commit(ctr) {
		clear(out)
		return 0, ErrReplayed
	}
	clear(out[n:])
	return n, nil
}

// AppendReplayState appends the replay window in a form for
// [OpenKey.RestoreReplayState]: 13 bytes and one bit for each frame of the window.
func (k *OpenKey) AppendReplayState(dst []byte) []byte { return k.window.appendState(dst) }

// RestoreReplayState puts a saved replay window in place of the key's own. It is for
// a key that was just made: it must not run beside Open. The state is not
// authenticated; keep it where nobody else can write.
func (k *OpenKey) RestoreReplayState(state []byte) error {
	w, err := restoreWindow(state)
	if err != nil {
		return err
	}
	k.window = w
	return nil
}
