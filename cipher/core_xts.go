package cipher

import (
	"crypto/subtle"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// xtsHMACCore is AES-XTS (IEEE Std 1619) with one frame as the data unit, and HMAC
// over the ciphertext as in CTR-HMAC: XTS by itself authenticates nothing.
//
// The tweak of a frame is E_K2(nonce ‖ 00000000). Frames of 16 bytes and more use
// ciphertext stealing; shorter ones, which XTS does not define, are combined by XOR
// with E_K2(nonce ‖ 00000001).
type xtsHMACCore struct {
	xts  engine.XTS
	mac  macKey
	salt nonceSalt
}

func newXTSHMAC(s *Suite, _ KeyID, key, salt []byte) (core, error) {
	nk := (s.keySize - s.hash().Size()) / 2
	c := &xtsHMACCore{}
	if err := c.xts.Init(key[:nk], key[nk:2*nk]); err != nil {
		return nil, err
	}
	c.mac.init(key[2*nk:], s.overhead)
	c.salt = newNonceSalt(salt)
	return c, nil
}

func (c *xtsHMACCore) sealAAD(dst, src []byte, ctr uint64, aad []byte) int {
	n, lo := len(src), c.salt.lo^ctr
	c.xts.Encrypt(dst[:n], src, c.salt.hi, lo)
	var tag [maxMAC]byte
	c.mac.sum(&tag, c.salt.hi, lo, aad, dst[:n])
	return n + copy(dst[n:], tag[:c.mac.tag])
}

func (c *xtsHMACCore) openAAD(dst, src []byte, ctr uint64, aad []byte) (int, bool) {
	n, lo := len(src)-c.mac.tag, c.salt.lo^ctr
	var tag [maxMAC]byte
	c.mac.sum(&tag, c.salt.hi, lo, aad, src[:n])
	if subtle.ConstantTimeCompare(tag[:c.mac.tag], src[n:]) != 1 {
		return 0, false
	}
	c.xts.Decrypt(dst[:n], src[:n], c.salt.hi, lo)
	return n, true
}

func (c *xtsHMACCore) seal(dst, src []byte, ctr uint64, s *scratch) (int, error) {
	return c.sealAAD(dst, src, ctr, s.aad), nil
}

func (c *xtsHMACCore) open(dst, src []byte, ctr uint64, s *scratch) (int, bool) {
	return c.openAAD(dst, src, ctr, s.aad)
}

func (c *xtsHMACCore) wipe() {
	c.xts.Wipe()
	c.mac.wipe()
	c.salt = nonceSalt{}
}
