package cipher

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// maxMAC is the longest HMAC that is computed here, in bytes.
const maxMAC = sha512.Size

// macKey is the HMAC key (RFC 2104) of a suite: HMAC-SHA256 by the engine,
// HMAC-SHA512 by the standard library.
type macKey struct {
	narrow engine.HMAC
	wide   *wideMAC // nil: SHA-256
	tag    int      // bytes of the result that are used
}

func (m *macKey) init(key []byte, tag int) {
	m.tag = tag
	if len(key) == sha512.Size {
		m.wide = newWideMAC(key)
		return
	}
	m.narrow.Init(key)
}

// sum is HMAC over BE64(len(aad)) ‖ BE64(len(ct)) ‖ BE64(Nt) ‖ nonce ‖ aad ‖ ct
// (RFC 9605, Section 4.4.1), of which the first m.tag bytes are the tag.
func (m *macKey) sum(out *[maxMAC]byte, hi uint32, lo uint64, aad, ct []byte) {
	if m.wide != nil {
		m.wide.sum(out, m.tag, hi, lo, aad, ct)
		return
	}
	var head [macHead]byte
	putMACHead(&head, m.tag, hi, lo, aad, ct)
	m.narrow.Sum((*[engine.MACSize]byte)(out[:]), head[:], aad, ct)
}

// macHead is the length in bytes of what stands in front of aad.
const macHead = 3*8 + 12

func putMACHead(head *[macHead]byte, tag int, hi uint32, lo uint64, aad, ct []byte) {
	binary.BigEndian.PutUint64(head[0:], uint64(len(aad)))
	binary.BigEndian.PutUint64(head[8:], uint64(len(ct)))
	binary.BigEndian.PutUint64(head[16:], uint64(tag))
	binary.BigEndian.PutUint32(head[24:], hi)
	binary.BigEndian.PutUint64(head[28:], lo)
}

func (m *macKey) wipe() {
	m.narrow.Wipe()
	if m.wide != nil {
		m.wide.wipe()
	}
}

// wideMAC is an HMAC-SHA512 key as the two states in which the hash stands after the
// padded key went in: a frame then costs no key set-up, and the key is a value that
// many goroutines can use at once.
type wideMAC struct {
	inner, outer []byte // marshalled states
	plain        []byte // the key itself, only under FIPS, where crypto/hmac does all
}

// wideScratch is the working memory of one call, in a pool since whatever goes
// through an interface would otherwise be allocated for each frame.
type wideScratch struct {
	hash interface {
		hash.Hash
		encoding.BinaryUnmarshaler
	}
	head [macHead]byte
	out  [maxMAC]byte
	aad  []byte
}

var wideScratches = sync.Pool{New: func() any {
	s := &wideScratch{}
	var ok bool
	if s.hash, ok = sha512.New().(interface {
		hash.Hash
		encoding.BinaryUnmarshaler
	}); !ok {
		panic("cipher: the standard library's SHA-512 cannot restore its state")
	}
	return s
}}

func newWideMAC(key []byte) *wideMAC {
	if fips140.Enabled() {
		return &wideMAC{plain: append([]byte(nil), key...)}
	}
	return &wideMAC{inner: hmacState(key, 0x36), outer: hmacState(key, 0x5c)}
}

func hmacState(key []byte, pad byte) []byte {
	var block [sha512.BlockSize]byte // the key is never longer here
	copy(block[:], key)
	for i := range block {
		block[i] ^= pad
	}
	h := sha512.New()
	h.Write(block[:])
	clear(block[:])
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic("cipher: the standard library's SHA-512 cannot save its state: " + err.Error())
	}
	return state
}

func (m *wideMAC) sum(out *[maxMAC]byte, tag int, hi uint32, lo uint64, aad, ct []byte) {
	s := wideScratches.Get().(*wideScratch)
	putMACHead(&s.head, tag, hi, lo, aad, ct)
	s.aad = append(s.aad[:0], aad...) // the caller's may lie on its stack
	if m.plain != nil {
		h := hmac.New(sha512.New, m.plain)
		s.write(h, ct)
		h.Sum(s.out[:0])
	} else {
		s.restore(m.inner)
		s.write(s.hash, ct)
		inner := s.hash.Sum(s.out[:0])
		s.restore(m.outer)
		s.hash.Write(inner)
		s.hash.Sum(s.out[:0])
		s.hash.Reset() // the state of a key does not stay in the pool
	}
	*out = s.out
	clear(s.out[:])
	if cap(s.aad) > keepScratch {
		s.aad = nil
	}
	wideScratches.Put(s)
}

func (s *wideScratch) write(h hash.Hash, ct []byte) {
	h.Write(s.head[:])
	h.Write(s.aad)
	h.Write(ct)
}

func (s *wideScratch) restore(state []byte) {
	if err := s.hash.UnmarshalBinary(state); err != nil {
		panic("cipher: the standard library's SHA-512 cannot restore its state: " + err.Error())
	}
}

func (m *wideMAC) wipe() {
	clear(m.inner)
	clear(m.outer)
	clear(m.plain)
}
