package cipher

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// xtsHMACCore is AES-XTS (IEEE Std 1619) with one frame as the data unit, and HMAC
// over the ciphertext as in CTR-HMAC: XTS by itself authenticates nothing.
//
// The tweak of a frame is E_K2(nonce ‖ 00000000). Frames of 16 bytes and more use
// ciphertext stealing; shorter ones, which XTS does not define, are combined by XOR
// with E_K2(nonce ‖ 00000001).
type xtsHMACCore struct {
	data, tweak cipher.Block
	mac         macKey
	salt        []byte
}

func newXTSHMAC(s *Suite, _ KeyID, key, salt []byte) (core, error) {
	nk := (s.keySize - s.hash().Size()) / 2
	data, err := aes.NewCipher(key[:nk])
	if err != nil {
		return nil, fmt.Errorf("cipher: aes-xts: %w", err)
	}
	tweak, err := aes.NewCipher(key[nk : 2*nk])
	if err != nil {
		return nil, fmt.Errorf("cipher: aes-xts: %w", err)
	}
	return &xtsHMACCore{data: data, tweak: tweak, mac: newMACKey(key[2*nk:], s.overhead), salt: salt}, nil
}

func (c *xtsHMACCore) seal(dst, src []byte, ctr uint64, s *scratch) (int, error) {
	nonce := putNonce(&s.nonce, c.salt, ctr)
	n := len(src)
	c.crypt(dst[:n], src, nonce, s, true)
	return n + copy(dst[n:], c.mac.sum(s, nonce, dst[:n])), nil
}

func (c *xtsHMACCore) open(dst, src []byte, ctr uint64, s *scratch) (int, bool) {
	nonce := putNonce(&s.nonce, c.salt, ctr)
	n := len(src) - c.mac.tag
	if subtle.ConstantTimeCompare(c.mac.sum(s, nonce, src[:n]), src[n:]) != 1 {
		return 0, false
	}
	c.crypt(dst[:n], src[:n], nonce, s, false)
	return n, true
}

func (c *xtsHMACCore) wipe() {
	c.mac.wipe()
	clear(c.salt)
}

func (c *xtsHMACCore) crypt(dst, src, nonce []byte, s *scratch, encrypt bool) {
	t, last, b := s.block[0:16], s.block[16:32], s.block[32:48]
	defer clear(s.block[:])
	clear(t)
	copy(t, nonce)
	if len(src) < blockSize {
		t[blockSize-1] = 1
		c.tweak.Encrypt(t, t)
		subtle.XORBytes(dst, src, t)
		return
	}
	c.tweak.Encrypt(t, t)
	whole := len(src) / blockSize * blockSize
	rest := len(src) - whole
	if rest > 0 {
		whole -= blockSize // the last whole block takes part in the stealing
	}
	for i := 0; i < whole; i += blockSize {
		c.one(dst[i:i+blockSize], src[i:i+blockSize], t, b, encrypt)
		nextTweak(t)
	}
	if rest == 0 {
		return
	}
	// Stealing. Encryption uses the two last tweaks in order, decryption the other
	// way round. The short block is read before its place is written, for in place.
	copy(last, t)
	nextTweak(last)
	first, second := t, last
	if !encrypt {
		first, second = last, t
	}
	stolen := s.block[48:64]
	c.one(stolen, src[whole:whole+blockSize], first, b, encrypt)
	var short [blockSize]byte
	copy(short[:rest], src[whole+blockSize:])
	copy(dst[whole+blockSize:], stolen[:rest])
	copy(stolen, short[:rest])
	clear(short[:])
	c.one(dst[whole:whole+blockSize], stolen, second, b, encrypt)
}

// one is a single block under a tweak; b is working memory.
func (c *xtsHMACCore) one(dst, src, tweak, b []byte, encrypt bool) {
	subtle.XORBytes(b, src, tweak)
	if encrypt {
		c.data.Encrypt(b, b)
	} else {
		c.data.Decrypt(b, b)
	}
	subtle.XORBytes(dst, b, tweak)
}

// nextTweak multiplies the tweak by x in GF(2^128), in XTS's little-endian order,
// without a branch on its bits.
func nextTweak(t []byte) {
	lo, hi := binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint64(t[8:])
	binary.LittleEndian.PutUint64(t[8:], hi<<1|lo>>63)
	binary.LittleEndian.PutUint64(t, lo<<1^0x87&-(hi>>63))
}
