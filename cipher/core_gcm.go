package cipher

import (
	"encoding/binary"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// gcmCore is AES-GCM by this package's own engine.
type gcmCore struct {
	gcm  engine.GCM
	salt nonceSalt
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
	c.salt = newNonceSalt(salt)
	return c, nil
}

func (c *gcmCore) sealAAD(dst, src []byte, ctr uint64, aad []byte) int {
	c.gcm.Seal(dst, src, c.salt.hi, c.salt.lo^ctr, aad)
	return len(dst)
}

func (c *gcmCore) openAAD(dst, src []byte, ctr uint64, aad []byte) (int, bool) {
	return len(dst), c.gcm.Open(dst, src, c.salt.hi, c.salt.lo^ctr, aad)
}

func (c *gcmCore) seal(dst, src []byte, ctr uint64, s *scratch) (int, error) {
	return c.sealAAD(dst, src, ctr, s.aad), nil
}

func (c *gcmCore) open(dst, src []byte, ctr uint64, s *scratch) (int, bool) {
	return c.openAAD(dst, src, ctr, s.aad)
}

func (c *gcmCore) wipe() {
	c.gcm.Wipe()
	c.salt = nonceSalt{}
}
