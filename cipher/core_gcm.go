package cipher

import (
	"encoding/binary"
	"math/bits"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// gcmCore is AES-GCM by this package's own engine.
type gcmCore struct {
	gcm  engine.GCM
	salt [2]uint64 // 12 bytes, the first in the lowest byte of the first word
}

// nonce is the salt with the counter in its last eight bytes, big endian.
func (c *gcmCore) nonce(ctr uint64) (uint64, uint64) {
	r := bits.ReverseBytes64(ctr)
	return c.salt[0] ^ r<<32, c.salt[1] ^ r>>32
}

// nonceSalt is a salt of 12 bytes in the form in which the engine takes nonces.
type nonceSalt struct {
	hi uint32
	lo uint64
}

// newNonceSalt takes a salt over and clears it.
func newNonceSalt(salt []byte) nonceSalt {
	n := nonceSalt{hi: binary.BigEndian.Uint32(salt), lo: binary.BigEndian.Uint64(salt[4:])}
	clear(salt)
	return n
}

func newGCM(_ *Suite, _ KeyID, key, salt []byte) (core, error) {
	c := &gcmCore{}
	if err := c.gcm.Init(key); err != nil {
		return nil, err
	}
	c.salt = [2]uint64{binary.LittleEndian.Uint64(salt), uint64(binary.LittleEndian.Uint32(salt[8:]))}
	clear(salt)
	return c, nil
}

// sealFrame seals src under header ‖ aad to dst, which is as long as the result.
func (c *gcmCore) sealFrame(dst, src []byte, ctr uint64, h packedHeader, aad []byte) {
	var f engine.GCMFrame
	// Not by a function that is given &f: what it stores there would count as escaping.
	f.Key, f.Dst, f.Src, f.AAD = &c.gcm, dst, src, aad
	f.Head[0], f.Head[1], f.HeadLen = h.lo, h.hi, int32(h.size)
	f.Nonce[0], f.Nonce[1] = c.nonce(ctr)
	f.Seal()
}

// openFrame opens src under header ‖ aad to dst, which it clears if src is refused.
func (c *gcmCore) openFrame(dst, src []byte, ctr uint64, h packedHeader, aad []byte) bool {
	var f engine.GCMFrame
	f.Key, f.Dst, f.Src, f.AAD = &c.gcm, dst, src, aad
	f.Head[0], f.Head[1], f.HeadLen = h.lo, h.hi, int32(h.size)
	f.Nonce[0], f.Nonce[1] = c.nonce(ctr)
	return f.Open()
}

func (c *gcmCore) sealAAD(dst, src []byte, ctr uint64, aad []byte) int {
	c.sealFrame(dst, src, ctr, packedHeader{}, aad)
	return len(dst)
}

func (c *gcmCore) openAAD(dst, src []byte, ctr uint64, aad []byte) (int, bool) {
	return len(dst), c.openFrame(dst, src, ctr, packedHeader{}, aad)
}

func (c *gcmCore) seal(dst, src []byte, ctr uint64, s *scratch) (int, error) {
	return c.sealAAD(dst, src, ctr, s.aad), nil
}

func (c *gcmCore) open(dst, src []byte, ctr uint64, s *scratch) (int, bool) {
	return c.openAAD(dst, src, ctr, s.aad)
}

func (c *gcmCore) wipe() {
	c.gcm.Wipe()
	c.salt = [2]uint64{}
}
