package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
)

// TagSize is the length of a GCM tag in bytes.
const TagSize = 16

var errKeySize = errors.New("engine: AES key must be 16 or 32 bytes long")

// GCM is AES-GCM (NIST SP 800-38D) under one key, with 12-byte nonces and
// 16-byte tags. The zero value has no key; a copy shares the key.
type GCM struct {
	asm *gcmKey     // nil on the generic tier
	std cipher.AEAD // nil on the others
}

// Init sets the key, 16 or 32 bytes long. It fails on another length, and when
// FIPS mode refuses GCM with nonces of one's own.
func (g *GCM) Init(key []byte) error { return g.init(key, best) }

func (g *GCM) init(key []byte, t tier) error {
	if len(key) != 16 && len(key) != 32 {
		return errKeySize
	}
	if t != generic {
		*g = GCM{asm: newGCMKey(key, t)}
		return nil
	}
	aead, err := stdGCM(key)
	if err != nil {
		return err
	}
	*g = GCM{std: aead}
	return nil
}

// stdGCM makes the standard library's GCM. Under fips140=only it refuses
// (with a panic or an error, by version) because the nonces are ours.
func stdGCM(key []byte) (aead cipher.AEAD, err error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	aead, err = cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return aead, nil
}

// Seal encrypts src and writes len(src)+TagSize bytes to dst. The nonce is the
// 4 bytes of hi and the 8 of lo, big endian. dst may begin where src begins,
// else they must not overlap; aad must not overlap dst. Seal panics if dst is
// too short.
func (g *GCM) Seal(dst, src []byte, hi uint32, lo uint64, aad []byte) {
	dst = dst[:len(src)+TagSize]
	if g.asm != nil {
		g.asm.seal(dst, src, hi, lo, aad)
		return
	}
	var nonce [12]byte
	putNonce(&nonce, hi, lo)
	g.std.Seal(hide(dst)[:0], hide(nonce[:]), hide(src), hide(aad))
}

// Open decrypts src, a text and its tag, into the first len(src)-TagSize bytes
// of dst, and reports whether the tag was right. If not, those bytes of dst are
// cleared. Overlap is as for Seal.
func (g *GCM) Open(dst, src []byte, hi uint32, lo uint64, aad []byte) bool {
	n := len(src) - TagSize
	if n < 0 {
		return false
	}
	dst = dst[:n]
	if g.asm != nil {
		if !g.asm.open(dst, src, hi, lo, aad) {
			clear(dst)
			return false
		}
		return true
	}
	var nonce [12]byte
	putNonce(&nonce, hi, lo)
	if _, err := g.std.Open(hide(dst)[:0], hide(nonce[:]), hide(src), hide(aad)); err != nil {
		clear(dst)
		return false
	}
	return true
}

// Wipe destroys the key. No call may be under way or follow. Copies inside the
// standard library are left to the collector.
func (g *GCM) Wipe() {
	if g.asm != nil {
		*g.asm = gcmKey{}
	}
	*g = GCM{}
}

func putNonce(b *[12]byte, hi uint32, lo uint64) {
	binary.BigEndian.PutUint32(b[:4], hi)
	binary.BigEndian.PutUint64(b[4:], lo)
}
