package cipher

import (
	"runtime"
	"slices"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// SealKey seals one sender's frames under one KID. It only seals: RFC 9605, Section
// 4.2, has a key used in one direction. It is safe for concurrent use.
type SealKey struct {
	keySlot
	suite  *Suite
	kid    KeyID
	header headerTemplate
	counter
}

// NewSealKey makes the sealing half of (kid, baseKey). A good base key has
// [Suite.BaseKeySize] bytes; it is not kept. counting says why no counter of this
// key was ever used before: [FreshKey] or [Reserve].
//
// No base key may be given to two SealKeys with one KID: they would count alike, and
// two frames under one counter undo the encryption of both.
func (s *Suite) NewSealKey(kid KeyID, baseKey []byte, counting Counting) (*SealKey, error) {
	k := &SealKey{suite: s, kid: kid, header: newHeaderTemplate(kid)}
	if err := k.counter.init(counting); err != nil {
		return nil, err
	}
	c, err := s.newCore(kid, baseKey)
	if err != nil {
		return nil, err
	}
	k.put(c)
	return k, nil
}

// KeyID is the KID that the key's frames carry.
func (k *SealKey) KeyID() KeyID { return k.kid }

// Suite is the suite that the key belongs to.
func (k *SealKey) Suite() *Suite { return k.suite }

// Left is how many frames the key can still seal: 2^32 in all, fewer when frames are
// longer than 128 KiB on average (2^45 blocks of 16 bytes). Rotate well before 0.
func (k *SealKey) Left() uint64 { return k.left() }

// Overhead is the most bytes by which a frame grows: header and tag. The header has
// from 1 to [MaxHeader] bytes, by the size of KID and counter.
func (k *SealKey) Overhead() int {
	longest := uint64(maxFrames - 1)
	if k.reserve != nil {
		longest = 1<<64 - 1
	}
	return k.header.len(longest) + k.suite.overhead
}

// Seal appends the sealed frame to dst: SFrame header, ciphertext, tag (RFC 9605,
// Section 4.2). aad, the metadata of the RFC, is authenticated and not sent.
//
// The bytes behind dst that are written may overlap neither frame nor aad (that
// panics); nothing is allocated when dst has room. On an error ([ErrExhausted],
// [ErrUnknownKey] after Retire, the error of a [Reserve] function or [ErrHook]) dst
// comes back at its old length.
func (k *SealKey) Seal(dst, frame, aad []byte) ([]byte, error) {
	box := k.box.Load()
	if box == nil {
		return dst, k.gone()
	}
	ctr, ok := k.takeOne(len(frame))
	if !ok {
		var err error
		if ctr, err = k.begin(len(frame)); err != nil {
			return dst, err
		}
	}
	c, h := box.gcm, k.header.pack(ctr)
	if c == nil || h.size > packable {
		if box.ctr != nil {
			return k.sealCTR(box, dst, frame, aad, ctr, h)
		}
		return k.sealAny(box, dst, frame, aad, ctr)
	}
	// From here on as sealAny, but in one piece: the calls between the functions that
	// it consists of would cost a short frame as much as its encryption.
	end := len(dst) + h.size + len(frame) + engine.TagSize
	if cap(dst) < end {
		dst = slices.Grow(dst, end-len(dst))
	}
	whole := dst[:end]
	out := whole[len(dst):]
	if overlaps(out, frame) || overlaps(out, aad) {
		panic(overlapMessage)
	}
	if len(frame) <= engine.OneText && c.gcm.SealOne(out, frame, aad, h.lo, h.hi, h.size, ctr, &c.salt) {
		runtime.KeepAlive(box)
		return whole, nil
	}
	h.put(out) // text and tag overwrite what it writes behind the header
	var f engine.GCMFrame
	// Not by a function that is given &f: what it stores there would count as escaping.
	f.Key, f.Dst, f.Src, f.AAD = &c.gcm, out[h.size:], frame, aad
	f.Head[0], f.Head[1], f.HeadLen = h.lo, h.hi, int32(h.size)
	f.Nonce[0], f.Nonce[1] = c.nonce(ctr)
	f.Seal()
	runtime.KeepAlive(box)
	return whole, nil
}

// sealAny is Seal for every suite, with the counter taken.
func (k *SealKey) sealAny(box *keyBox, dst, frame, aad []byte, ctr uint64) ([]byte, error) {
	size := k.header.len(ctr)
	whole, out := extend(dst, size+len(frame)+k.suite.overhead, frame, aad)
	k.header.putApart(out, ctr)
	n, err := k.sealTo(box, out, frame, aad, ctr, size)
	if err != nil {
		return dst, err
	}
	return whole[:len(dst)+n], nil
}

// SealInPlace seals the n bytes at buf[off:] where they lie and returns the sealed
// frame, which is a part of buf. The header goes in front of off, the tag behind the
// frame: off is at least [MaxHeader], and buf has [Suite.Overhead] bytes more than
// off+n; otherwise [ErrShort]. aad may not overlap buf. On an error the frame is left
// as it was, unless a custom cipher failed: then it is destroyed.
func (k *SealKey) SealInPlace(buf []byte, off, n int, aad []byte) ([]byte, error) {
	box := k.box.Load()
	if box == nil {
		return nil, k.gone()
	}
	if off < MaxHeader || n < 0 || off > len(buf) || len(buf)-off < n || len(buf)-off-n < k.suite.overhead {
		return nil, ErrShort
	}
	if overlaps(buf, aad) {
		panic(overlapMessage)
	}
	ctr, err := k.begin(n)
	if err != nil {
		return nil, err
	}
	size := k.header.len(ctr)
	out := buf[off-size : off+n+k.suite.overhead]
	k.header.put(out, ctr)
	if c := box.gcm; c != nil && size <= packable {
		c.sealFrame(out[size:], buf[off:off+n], ctr, k.header.pack(ctr), aad)
		runtime.KeepAlive(box)
		return out[:len(out):len(out)], nil
	}
	m, err := k.sealTo(box, out, buf[off:off+n], aad, ctr, size)
	if err != nil {
		return nil, err
	}
	return out[:m:m], nil
}

// begin takes a counter for a frame of n bytes.
func (k *SealKey) begin(n int) (ctr uint64, err error) {
	if uint64(n) > maxFrame {
		return 0, errFrameTooLong
	}
	if ctr, err = k.take(1); err != nil {
		return 0, err
	}
	return ctr, k.spend(n)
}

// sealTo writes ciphertext and tag to out, behind a header of size bytes, and returns
// the length of all. src is out[size:] or does not overlap out.
func (k *SealKey) sealTo(box *keyBox, out, src, aad []byte, ctr uint64, size int) (int, error) {
	n, err := box.seal(out[size:size+len(src)+k.suite.overhead], src, ctr, out[:size], aad)
	runtime.KeepAlive(box)
	if err != nil {
		clear(out)
		return 0, err
	}
	return size + n, nil
}
