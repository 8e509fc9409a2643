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

// maxText is the longest text GCM allows, in bytes: 2^36 - 32 (NIST SP 800-38D,
// section 5.2.1.1).
const maxText = 1<<36 - 32

// wholeHead is the most bytes of Head and AAD that the AVX-512 kernels take as they
// are; the AVX2 kernels take no Head and one block.
const wholeHead = 48

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

// GCMFrame is one frame to seal or to open under Key: alone, by its methods Seal and
// Open, or in a batch. It lies where the kernels read it: the caller sets its fields
// one by one, since a composite literal is built apart and copied in wider words,
// which the kernels' loads then cannot take from the store queue.
type GCMFrame struct {
	Key           *GCM
	Dst, Src, AAD []byte
	// Head is what the additional data begin with, in front of AAD: HeadLen bytes, at
	// most 16, the first in the lowest byte of Head[0]; the other bytes are 0.
	Head    [2]uint64
	HeadLen int32
	OK      bool // set by Open
	// Nonce is 12 bytes, likewise.
	Nonce [2]uint64
	state *gcmState
}

func (f *GCMFrame) sealStd() {
	var nonce [12]byte
	f.putNonce(&nonce)
	var buf [joinSize]byte
	hideKey(f.Key).std.Seal(hide(f.Dst)[:0], hide(nonce[:]), hide(f.Src), hide(f.join(&buf)))
}

func (f *GCMFrame) openStd(dst []byte) {
	var nonce [12]byte
	f.putNonce(&nonce)
	var buf [joinSize]byte
	_, err := hideKey(f.Key).std.Open(hide(dst)[:0], hide(nonce[:]), hide(f.Src), hide(f.join(&buf)))
	f.OK = err == nil
}

// joinSize is the most bytes of additional data that are put together on the stack.
const joinSize = 128

// join is Head ‖ AAD for the standard library, in buf if need be.
func (f *GCMFrame) join(buf *[joinSize]byte) []byte {
	if f.HeadLen == 0 {
		return f.AAD
	}
	if len(f.AAD) > joinSize-16 {
		b := make([]byte, 16, 16+len(f.AAD))
		f.putHead(b)
		return append(b[:f.HeadLen], f.AAD...)
	}
	f.putHead(buf[:])
	return buf[:f.HeadLen+int32(copy(buf[f.HeadLen:], f.AAD))]
}

// putNonce writes the nonce to b.
func (f *GCMFrame) putNonce(b *[12]byte) {
	binary.LittleEndian.PutUint64(b[:8], f.Nonce[0])
	binary.LittleEndian.PutUint32(b[8:], uint32(f.Nonce[1]))
}

// putHead writes the 16 bytes of Head to b.
func (f *GCMFrame) putHead(b []byte) {
	binary.LittleEndian.PutUint64(b, f.Head[0])
	binary.LittleEndian.PutUint64(b[8:], f.Head[1])
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
