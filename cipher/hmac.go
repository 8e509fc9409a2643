package cipher

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"hash"
)

// macKey is an HMAC key (RFC 2104) as the two states in which a hash stands after the
// padded key went in: a frame then costs no key set-up, and the key is a value that
// many goroutines can use at once.
type macKey struct {
	wide         bool   // SHA-512, not SHA-256
	inner, outer []byte // marshalled states
	tag          int    // bytes of the result that are used
	plain        []byte // the key itself, only under FIPS, where crypto/hmac does all
}

// stateHash is a hash whose state can be put back without allocating.
type stateHash interface {
	hash.Hash
	encoding.BinaryUnmarshaler
}

// hmacScratch holds one hash of each kind.
type hmacScratch struct {
	narrow, wide stateHash
	lengths      [24]byte
}

func newMACKey(key []byte, tag int) macKey {
	m := macKey{wide: len(key) == sha512.Size, tag: tag}
	if fips140.Enabled() {
		m.plain = append([]byte(nil), key...)
		return m
	}
	m.inner, m.outer = hmacState(m.hash(), key, 0x36), hmacState(m.hash(), key, 0x5c)
	return m
}

func (m *macKey) hash() hash.Hash {
	if m.wide {
		return sha512.New()
	}
	return sha256.New()
}

func hmacState(h hash.Hash, key []byte, pad byte) []byte {
	block := make([]byte, h.BlockSize()) // the key is never longer than a block here
	copy(block, key)
	for i := range block {
		block[i] ^= pad
	}
	h.Write(block)
	clear(block)
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic("cipher: the standard library's SHA-2 cannot save its state: " + err.Error())
	}
	return state
}

// sum is the tag of RFC 9605, Section 4.4.1: HMAC over
// BE64(len(aad)) ‖ BE64(len(ct)) ‖ BE64(Nt) ‖ nonce ‖ aad ‖ ct. It lies in s.mac.
func (m *macKey) sum(s *scratch, nonce, ct []byte) []byte {
	b := &s.hmac
	binary.BigEndian.PutUint64(b.lengths[0:], uint64(len(s.aad)))
	binary.BigEndian.PutUint64(b.lengths[8:], uint64(len(ct)))
	binary.BigEndian.PutUint64(b.lengths[16:], uint64(m.tag))
	if m.plain != nil {
		h := hmac.New(m.hash, m.plain)
		m.write(h, b, nonce, s.aad, ct)
		return h.Sum(s.mac[:0])[:m.tag]
	}
	h := b.of(m)
	defer h.Reset() // the state of a key does not stay in the pool
	restore(h, m.inner)
	m.write(h, b, nonce, s.aad, ct)
	inner := h.Sum(s.mac[:0])
	restore(h, m.outer)
	h.Write(inner)
	return h.Sum(s.mac[:0])[:m.tag]
}

func (m *macKey) write(h hash.Hash, b *hmacScratch, nonce, aad, ct []byte) {
	h.Write(b.lengths[:])
	h.Write(nonce)
	h.Write(aad)
	h.Write(ct)
}

func (b *hmacScratch) of(m *macKey) stateHash {
	h := &b.narrow
	if m.wide {
		h = &b.wide
	}
	if *h == nil {
		*h = m.hash().(stateHash)
	}
	return *h
}

func restore(h stateHash, state []byte) {
	if err := h.UnmarshalBinary(state); err != nil {
		panic("cipher: the standard library's SHA-2 cannot restore its state: " + err.Error())
	}
}

func (m *macKey) wipe() {
	clear(m.inner)
	clear(m.outer)
	clear(m.plain)
}
