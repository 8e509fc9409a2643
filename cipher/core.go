package cipher

import (
	"encoding/binary"
	"sync"
)

// core is a keyed cipher: what is left of a suite once a key went in. It is given the
// counter, never a nonce. A core is safe for concurrent use; its state per call lies
// in the scratch.
//
// src and dst begin at the same byte (in place) or do not overlap. s.aad holds
// header ‖ additional data (RFC 9605, Section 4.4.3).
type core interface {
	// seal writes the sealed src to dst, which has len(src) + overhead bytes, and
	// returns how many of them it wrote.
	seal(dst, src []byte, ctr uint64, s *scratch) (int, error)
	// open writes the frame inside src to dst, which has len(src) - overhead bytes
	// (len(src) if the overhead is variable), and returns how many of them it
	// wrote. It may leave anything in dst when it returns false.
	open(dst, src []byte, ctr uint64, s *scratch) (int, bool)
	// wipe clears what key material it can reach. No call may be running.
	wipe()
}

// scratch is the working memory of one call. It lives in a pool since whatever goes
// through an interface would otherwise be allocated for each frame.
type scratch struct {
	aad   []byte
	nonce [maxNonce]byte
	block [16]byte // the beginning of an input; cleared after use
	hook  []byte
}

// keepScratch bounds what a pooled scratch may hold on to, in bytes.
const keepScratch = 64 << 10

var scratches = sync.Pool{New: func() any { return &scratch{aad: make([]byte, 0, 128)} }}

func getScratch(header, aad []byte) *scratch {
	s := scratches.Get().(*scratch)
	s.aad = append(append(s.aad[:0], header...), aad...)
	return s
}

func putScratch(s *scratch) {
	if cap(s.aad) > keepScratch {
		s.aad = nil
	}
	if cap(s.hook) > keepScratch {
		s.hook = nil
	}
	scratches.Put(s)
}

// maxNonce is the longest nonce in bytes (XChaCha20's; see NewSuite).
const maxNonce = 24

// putNonce forms the nonce: the salt with the counter, as a big-endian number of the
// salt's length, added to it bit by bit (RFC 9605, Section 4.4.3).
func putNonce(dst *[maxNonce]byte, salt []byte, ctr uint64) []byte {
	n := copy(dst[:], salt)
	low := dst[n-8 : n]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^ctr)
	return dst[:n]
}
