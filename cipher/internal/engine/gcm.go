package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
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
	if k := g.asm; k != nil {
		if !whole(src, aad) {
			k.sealLong(dst, src, hi, lo, aad)
			return
		}
		var job gcmJob
		job.key = k
		job.dst = &dst[0]
		job.src = unsafe.SliceData(src)
		job.n = len(src)
		job.hi = uint64(hi)
		job.lo = lo
		job.aad = unsafe.SliceData(aad)
		job.aadn = len(aad)
		sealJobs(k.rk.kind(), &job, 1)
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
	if k := g.asm; k != nil {
		var ok bool
		if whole(dst, aad) {
			var job gcmJob
			job.key = k
			job.dst = unsafe.SliceData(dst)
			job.src = &src[0]
			job.n = n
			job.hi = uint64(hi)
			job.lo = lo
			job.aad = unsafe.SliceData(aad)
			job.aadn = len(aad)
			openJobs(k.rk.kind(), &job, 1)
			ok = job.ok == 1
		} else {
			ok = k.openLong(dst, src, hi, lo, aad)
		}
		if !ok {
			clear(dst)
		}
		return ok
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

// gcmState is what a frame brings along that one call does not see: AAD longer
// than one block, or earlier pieces of a long text.
type gcmState struct {
	y        [2]uint64 // GHASH state, byte-reflected
	textBits uint64    // bits of text in earlier pieces
	aadBits  uint64    // bits of AAD in all
	blocks   uint64    // blocks of text in earlier pieces, a multiple of 256
	skip     uint64    // 0: y still waits for the last AAD block; 16: y is complete
}

// gcmJob is one frame for a kernel, its lengths within what one call may take.
// Set its fields one by one: a composite literal is built apart and copied in
// wider words, which the kernel's loads then cannot take from the store queue.
type gcmJob struct {
	key      *gcmKey
	dst, src *byte
	n        int // bytes of text
	hi, lo   uint64
	aad      *byte
	aadn     int // at most 16
	st       *gcmState
	ok       uint64 // set by open, 1 or 0
}

// whole says whether one call can take the frame as it is.
func whole(text, aad []byte) bool { return len(aad) <= 16 && len(text) <= maxPiece }
