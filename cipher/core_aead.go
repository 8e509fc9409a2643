package cipher

import (
	"bytes"
	"crypto/cipher"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// aeadCore seals with anything that is a crypto/cipher.AEAD.
type aeadCore struct {
	aead  cipher.AEAD
	salt  []byte
	guard bool // code of the application: a panic in it must not get out
}

func newChaCha(_ *Suite, _ KeyID, key, salt []byte) (core, error) {
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, fmt.Errorf("cipher: chacha20-poly1305: %w", err)
	}
	return &aeadCore{aead: aead, salt: salt}, nil
}

func (c *aeadCore) seal(dst, src []byte, ctr uint64, s *scratch) (n int, err error) {
	nonce := putNonce(&s.nonce, c.salt, ctr)
	if c.guard {
		return c.sealGuarded(dst, src, nonce, s)
	}
	return len(c.aead.Seal(dst[:0], nonce, src, s.aad)), nil
}

func (c *aeadCore) open(dst, src []byte, ctr uint64, s *scratch) (n int, ok bool) {
	nonce := putNonce(&s.nonce, c.salt, ctr)
	if c.guard {
		return c.openGuarded(dst, src, nonce, s.aad)
	}
	// Full slice: what the algorithm may write ends where the frame does.
	out, err := c.aead.Open(dst[:0:len(dst)], nonce, src, s.aad)
	return len(out), err == nil
}

// sealGuarded holds the application's AEAD to its contract: no panic, the exact
// length, and an output that does not begin like its input (which by chance happens
// to one frame in 2^128).
func (c *aeadCore) sealGuarded(dst, src, nonce []byte, s *scratch) (n int, err error) {
	defer func() {
		if recover() != nil {
			n, err = 0, ErrHook
		}
	}()
	before := s.block[:copy(s.block[:], src)]
	defer clear(before)
	out := c.aead.Seal(dst[:0:len(dst)], nonce, src, s.aad)
	if len(out) != len(dst) || len(before) == len(s.block) && bytes.Equal(out[:len(before)], before) {
		return 0, ErrHook
	}
	if start(out) != start(dst) {
		copy(dst, out)
	}
	return len(dst), nil
}

func (c *aeadCore) openGuarded(dst, src, nonce, aad []byte) (n int, ok bool) {
	defer func() {
		if recover() != nil {
			n, ok = 0, false
		}
	}()
	out, err := c.aead.Open(dst[:0:len(dst)], nonce, src, aad)
	if err != nil || len(out) != len(dst) {
		return 0, false
	}
	if start(out) != start(dst) {
		copy(dst, out)
	}
	return len(dst), true
}

// wipe clears the salt. The key schedule lies inside the AEAD, out of reach, and is
// left to the collector.
func (c *aeadCore) wipe() { clear(c.salt) }
