package cipher

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// ctrHMACCore is AES-CTR with HMAC over the ciphertext (RFC 9605, Section 4.4.1).
type ctrHMACCore struct {
	stream ctrKey
	mac    macKey
	salt   []byte
}

func newCTRHMAC(s *Suite, _ KeyID, key, salt []byte) (core, error) {
	nka := s.keySize - s.hash().Size()
	stream, err := newCTRKey(key[:nka])
	if err != nil {
		return nil, err
	}
	return &ctrHMACCore{stream: stream, mac: newMACKey(key[nka:], s.overhead), salt: salt}, nil
}

func (c *ctrHMACCore) seal(dst, src []byte, ctr uint64, s *scratch) (int, error) {
	nonce := putNonce(&s.nonce, c.salt, ctr)
	n := len(src)
	c.stream.xor(dst[:n], src, nonce, s)
	return n + copy(dst[n:], c.mac.sum(s, nonce, dst[:n])), nil
}

func (c *ctrHMACCore) open(dst, src []byte, ctr uint64, s *scratch) (int, bool) {
	nonce := putNonce(&s.nonce, c.salt, ctr)
	n := len(src) - c.mac.tag
	// The tag first, in constant time: nothing is decrypted that did not authenticate.
	if subtle.ConstantTimeCompare(c.mac.sum(s, nonce, src[:n]), src[n:]) != 1 {
		return 0, false
	}
	c.stream.xor(dst[:n], src[:n], nonce, s)
	return n, true
}

func (c *ctrHMACCore) wipe() {
	c.mac.wipe()
	clear(c.salt)
}

// ctrKey is AES in counter mode from block 0 on. The standard library's NewCTR
// allocates a stream for every frame; its GCM does not, and encrypts in counter mode
// from block 2 on. So the first two blocks go through the block cipher, the bulk
// through GCM with its tag thrown away, and the rest through the block cipher again.
type ctrKey struct {
	block cipher.Block
	gcm   cipher.AEAD // nil under FIPS, where NewCTR does all
}

func newCTRKey(key []byte) (ctrKey, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return ctrKey{}, fmt.Errorf("cipher: aes-ctr: %w", err)
	}
	if fips140.Enabled() {
		return ctrKey{block: block}, nil
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return ctrKey{}, fmt.Errorf("cipher: aes-ctr: %w", err)
	}
	return ctrKey{block: block, gcm: gcm}, nil
}

const (
	blockSize = aes.BlockSize
	// gcmFrom is the block at which GCM's key stream begins.
	gcmFrom = 2
	// gcmLeast is the bulk in bytes below which GCM's own set-up costs more than
	// single blocks do.
	gcmLeast = 4 * blockSize
)

// xor encrypts or decrypts; the counter block is nonce ‖ BE32(block number).
func (k *ctrKey) xor(dst, src, nonce []byte, s *scratch) {
	if k.gcm == nil {
		var iv [blockSize]byte
		copy(iv[:], nonce)
		cipher.NewCTR(k.block, iv[:]).XORKeyStream(dst, src)
		return
	}
	const head = gcmFrom * blockSize
	if len(src) < head+gcmLeast+blockSize {
		k.xorBlocks(dst, src, nonce, 0, s)
		return
	}
	k.xorBlocks(dst[:head], src[:head], nonce, 0, s)
	// GCM's tag lands on the 16 bytes behind the bulk, which in place are input not
	// read yet. They are at most 31 with what follows, and are kept aside.
	bulk := (len(src) - head - blockSize) / blockSize * blockSize
	rest := s.block[32 : 32+copy(s.block[32:], src[head+bulk:])]
	k.gcm.Seal(dst[head:head:head+bulk+blockSize], nonce, src[head:head+bulk], nil)
	k.xorBlocks(dst[head+bulk:], rest, nonce, uint32(head+bulk)/blockSize, s)
	clear(s.block[32:])
}

// xorBlocks is counter mode, a block at a time, from block number first on.
func (k *ctrKey) xorBlocks(dst, src, nonce []byte, first uint32, s *scratch) {
	counter, stream := s.block[:blockSize], s.block[blockSize:2*blockSize]
	copy(counter, nonce)
	for i := 0; i < len(src); i += blockSize {
		binary.BigEndian.PutUint32(counter[12:], first)
		first++
		k.block.Encrypt(stream, counter)
		subtle.XORBytes(dst[i:], src[i:min(i+blockSize, len(src))], stream)
	}
	clear(s.block[:2*blockSize])
}
