package cipher

import (
	"crypto/subtle"
	"runtime"
	"slices"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// ctrHMACCore is AES-CTR with HMAC over the ciphertext (RFC 9605, Section 4.4.1). With
// HMAC-SHA256 both are one in the engine; with HMAC-SHA512, the standard library's, they
// are apart.
type ctrHMACCore struct {
	both   engine.CTRHMAC
	stream engine.CTR
	mac    *wideMAC // nil: both
	tag    int
	salt   nonceSalt
}

func newCTRHMAC(s *Suite, _ KeyID, key, salt []byte) (core, error) {
	nka := s.keySize - s.hash().Size()
	c := &ctrHMACCore{tag: s.overhead}
	if s.hash().Size() == engine.MACSize {
		if err := c.both.Init(key[:nka], key[nka:], c.tag); err != nil {
			return nil, err
		}
	} else {
		if err := c.stream.Init(key[:nka]); err != nil {
			return nil, err
		}
		c.mac = newWideMAC(key[nka:])
	}
	c.salt = newNonceSalt(salt)
	return c, nil
}

// sealCTR is Seal's way for these suites; as there, all in one piece.
func (k *SealKey) sealCTR(box *keyBox, dst, frame, aad []byte, ctr uint64, h packedHeader) ([]byte, error) {
	c := box.ctr
	if c.mac != nil || h.size > packable || len(frame) < packable {
		return k.sealAny(box, dst, frame, aad, ctr)
	}
	end := len(dst) + h.size + len(frame) + c.tag
	if cap(dst) < end {
		dst = slices.Grow(dst, end-len(dst))
	}
	whole := dst[:end]
	out := whole[len(dst):]
	if overlaps(out, frame) || overlaps(out, aad) {
		panic(overlapMessage)
	}
	h.put(out) // the text, no shorter than what it writes, overwrites the rest
	var f engine.CTRFrame
	// Not by a function that is given &f: what it stores there would count as escaping.
	f.Key, f.Dst, f.Src, f.AAD = &c.both, out[h.size:], frame, aad
	f.Head[0], f.Head[1], f.HeadLen = h.lo, h.hi, h.size
	f.Hi, f.Lo = c.salt.hi, c.salt.lo^ctr
	f.Seal()
	runtime.KeepAlive(box)
	return whole, nil
}

// openCTR is Open's way for these suites, for a frame whose header was unpacked.
func (k *OpenKey) openCTR(box *keyBox, dst, sealed, aad []byte, ctr uint64, h packedHeader) ([]byte, error) {
	c := box.ctr
	if c.mac != nil || len(sealed) < h.size+c.tag || !k.window.inOrder(ctr) && !k.window.peek(ctr) {
		return k.openAny(dst, sealed, aad)
	}
	end := len(dst) + len(sealed) - h.size - c.tag
	if cap(dst) < end {
		dst = slices.Grow(dst, end-len(dst))
	}
	whole := dst[:end]
	out := whole[len(dst):]
	if overlaps(out, sealed) || overlaps(out, aad) {
		panic(overlapMessage)
	}
	var f engine.CTRFrame
	f.Key, f.Dst, f.Src, f.AAD = &c.both, out, sealed[h.size:], aad
	f.Head[0], f.Head[1], f.HeadLen = h.lo, h.hi, h.size
	f.Hi, f.Lo = c.salt.hi, c.salt.lo^ctr
	ok := f.Open()
	runtime.KeepAlive(box)
	if !ok {
		clear(out)
		return dst, k.failed()
	}
	if !k.window.commitInOrder(ctr) && !k.window.commit(ctr) {
		clear(out)
		return dst, ErrReplayed
	}
	return whole, nil
}

func (c *ctrHMACCore) sealAAD(dst, src []byte, ctr uint64, aad []byte) int {
	if c.mac == nil {
		var f engine.CTRFrame
		f.Key, f.Dst, f.Src, f.AAD = &c.both, dst, src, aad
		f.Hi, f.Lo = c.salt.hi, c.salt.lo^ctr
		f.Seal()
		return len(src) + c.tag
	}
	n, lo := len(src), c.salt.lo^ctr
	c.stream.XOR(dst[:n], src, c.salt.hi, lo)
	var tag [maxMAC]byte
	c.mac.sum(&tag, c.tag, c.salt.hi, lo, aad, dst[:n])
	return n + copy(dst[n:], tag[:c.tag])
}

func (c *ctrHMACCore) openAAD(dst, src []byte, ctr uint64, aad []byte) (int, bool) {
	n, lo := len(src)-c.tag, c.salt.lo^ctr
	if c.mac == nil {
		var f engine.CTRFrame
		f.Key, f.Dst, f.Src, f.AAD = &c.both, dst, src, aad
		f.Hi, f.Lo = c.salt.hi, c.salt.lo^ctr
		return n, f.Open()
	}
	// The tag first, in constant time: nothing is decrypted that did not authenticate.
	var tag [maxMAC]byte
	c.mac.sum(&tag, c.tag, c.salt.hi, lo, aad, src[:n])
	if subtle.ConstantTimeCompare(tag[:c.tag], src[n:]) != 1 {
		return 0, false
	}
	c.stream.XOR(dst[:n], src[:n], c.salt.hi, lo)
	return n, true
}

func (c *ctrHMACCore) seal(dst, src []byte, ctr uint64, s *scratch) (int, error) {
	return c.sealAAD(dst, src, ctr, s.aad), nil
}

func (c *ctrHMACCore) open(dst, src []byte, ctr uint64, s *scratch) (int, bool) {
	return c.openAAD(dst, src, ctr, s.aad)
}

func (c *ctrHMACCore) wipe() {
	c.both.Wipe()
	c.stream.Wipe()
	if c.mac != nil {
		c.mac.wipe()
	}
	c.salt = nonceSalt{}
}
