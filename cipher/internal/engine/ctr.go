package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"fmt"
)

// CTR is AES in counter mode (NIST SP 800-38A) under one key, with 12-byte
// nonces; the key stream begins at block nonce || 00000000. The zero value has
// no key; a copy shares the key.
type CTR struct {
	asm   *schedule    // nil on the generic tier
	block cipher.Block // nil on the others
	gcm   cipher.AEAD  // key stream from block 2 on; nil where FIPS mode refuses it
}

// Init sets the key, 16 or 32 bytes long.
func (c *CTR) Init(key []byte) error { return c.init(key, best) }

func (c *CTR) init(key []byte, t tier) error {
	if len(key) != 16 && len(key) != 32 {
		return errKeySize
	}
	if t != generic {
		*c = CTR{asm: newSchedule(key, t)}
		return nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	*c = CTR{block: block}
	if !fips140.Enforced() {
		c.gcm, err = cipher.NewGCM(block)
	}
	return err
}

// XOR writes src XOR the key stream to the first len(src) bytes of dst. The
// nonce is the 4 bytes of hi and the 8 of lo, big endian. dst may begin where
// src begins, else they must not overlap. It panics if dst is too short.
func (c *CTR) XOR(dst, src []byte, hi uint32, lo uint64) {
	dst = dst[:len(src)]
	switch {
	case len(src) == 0:
	case c.asm != nil:
		c.asm.ctr(dst, src, hi, lo)
	case c.gcm != nil:
		c.xorStd(dst, src, hi, lo)
	default:
		var iv [16]byte
		putNonce((*[12]byte)(iv[:]), hi, lo)
		cipher.NewCTR(c.block, iv[:]).XORKeyStream(hide(dst), hide(src))
	}
}

// Wipe destroys the key. No call may be under way or follow. Copies inside the
// standard library are left to the collector.
func (c *CTR) Wipe() {
	if c.asm != nil {
		*c.asm = schedule{}
	}
	*c = CTR{}
}

// xorStd makes counter mode out of the standard library's GCM, whose key stream
// for the same nonce begins at block 2: NewCTR would allocate for every frame.
// Blocks 0 and 1 are encrypted one by one, and so is the end of the text, whose
// place takes the tag that nobody asked for. The longest text this is right for
// is GCM's, 64 GiB.
func (c *CTR) xorStd(dst, src []byte, hi uint32, lo uint64) {
	var nonce [12]byte
	putNonce(&nonce, hi, lo)
	const head = 2 * aes.BlockSize
	middle := 0
	if len(src) >= head+4*aes.BlockSize {
		middle = (len(src) - head - TagSize) &^ (aes.BlockSize - 1)
	}
	from := head + middle
	var save [2 * aes.BlockSize]byte // of src, where the tag falls
	var end []byte
	if middle > 0 {
		end = save[:copy(save[:], src[from:])]
		c.gcm.Seal(hide(dst)[head:head], hide(nonce[:]), hide(src)[head:from], nil)
	} else {
		end = src[min(len(src), head):]
		from = min(len(src), head)
	}
	c.xorBlocks(dst[:min(len(src), head)], src[:min(len(src), head)], &nonce, 0)
	c.xorBlocks(dst[from:], end, &nonce, uint32(from/aes.BlockSize))
	clear(save[:])
}

// xorBlocks is counter mode block by block, from the given one on.
func (c *CTR) xorBlocks(dst, src []byte, nonce *[12]byte, block uint32) {
	var in, out [aes.BlockSize]byte
	copy(in[:], nonce[:])
	for len(src) > 0 {
		in[12], in[13], in[14], in[15] = byte(block>>24), byte(block>>16), byte(block>>8), byte(block)
		c.block.Encrypt(hide(out[:]), hide(in[:]))
		for i := range min(len(src), aes.BlockSize) {
			dst[i] = src[i] ^ out[i]
		}
		n := min(len(src), aes.BlockSize)
		dst, src = dst[n:], src[n:]
		block++
	}
	clear(out[:])
}
