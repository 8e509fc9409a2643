package cipher

import (
	"crypto/subtle"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// ctrHMACCore is AES-CTR with HMAC over the ciphertext (RFC 9605, Section 4.4.1).
type ctrHMACCore struct {
	stream engine.CTR
	mac    macKey
	salt   nonceSalt
}

func newCTRHMAC(s *Suite, _ KeyID, key, salt []byte) (core, error) {
	nka := s.keySize - s.hash().Size()
	c := &ctrHMACCore{}
	if err := c.stream.Init(key[:nka]); err != nil {
		return nil, err
	}
	c.mac.init(key[nka:], s.overhead)
	c.salt = newNonceSalt(salt)
	return c, nil
}

func (c *ctrHMACCore) sealAAD(dst, src []byte, ctr uint64, aad []byte) int {
	n, lo := len(src), c.salt.lo^ctr
	c.stream.XOR(dst[:n], src, c.salt.hi, lo)
	var tag [maxMAC]byte
	c.mac.sum(&tag, c.salt.hi, lo, aad, dst[:n])
	return n + copy(dst[n:], tag[:c.mac.tag])
}

func (c *ctrHMACCore) openAAD(dst, src []byte, ctr uint64, aad []byte) (int, bool) {
	n, lo := len(src)-c.mac.tag, c.salt.lo^ctr
	// The tag first, in constant time: nothing is decrypted that did not authenticate.
	var tag [maxMAC]byte
	c.mac.sum(&tag, c.salt.hi, lo, aad, src[:n])
	if subtle.ConstantTimeCompare(tag[:c.mac.tag], src[n:]) != 1 {
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
	c.stream.Wipe()
	c.mac.wipe()
	c.salt = nonceSalt{}
}
