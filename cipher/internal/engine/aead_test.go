package engine

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"slices"
	"testing"
)

// asAEAD is GCM in the form of crypto/cipher.
type asAEAD struct{ g GCM }

func (asAEAD) NonceSize() int { return 12 }
func (asAEAD) Overhead() int  { return TagSize }

func (a *asAEAD) frame(dst, nonce, src, aad []byte) GCMFrame {
	var n [16]byte
	copy(n[:], nonce)
	f := makeFrame(&a.g, dst, src, 0, 5, aad)
	f.Nonce = [2]uint64{leWord(n[:8]), leWord(n[8:])}
	return f
}

func leWord(b []byte) (v uint64) {
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	return v
}

func (a *asAEAD) Seal(dst, nonce, src, aad []byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, len(src)+TagSize)[:n+len(src)+TagSize]
	f := a.frame(dst[n:], nonce, src, aad)
	f.Seal()
	return dst
}

func (a *asAEAD) Open(dst, nonce, src, aad []byte) ([]byte, error) {
	if len(src) < TagSize {
		return nil, errors.New("short")
	}
	n := len(dst)
	dst = slices.Grow(dst, len(src)-TagSize)[:n+len(src)-TagSize]
	f := a.frame(dst[n:], nonce, src, aad)
	if !f.Open() {
		return nil, errors.New("refused")
	}
	return dst, nil
}

// TestGCMAsAEAD asks of ours what crypto/cipher's own tests ask of every AEAD: the
// same lengths of text and additional data, round trips, inputs that stay as they are,
// appending behind a prefix with and without room, in place, nothing written beyond
// the result, and no opening of anything that was changed.
func TestGCMAsAEAD(t *testing.T) {
	lengths := []int{0, 1, 15, 16, 17, 31, 100, 156, 512, 1024, 8192, 8193, 8208}
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(60)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			var ours cipher.AEAD = &asAEAD{p.ours}
			for _, n := range lengths {
				for _, m := range lengths {
					nonce, text, aad := fill(r, 12), fill(r, n), fill(r, m)
					keep := [][]byte{bytes.Clone(nonce), bytes.Clone(text), bytes.Clone(aad)}
					fail := func(what string) { t.Helper(); t.Errorf("AES-%d, %d bytes, AAD %d: %s", 8*size, n, m, what) }

					sealed := ours.Seal(nil, nonce, text, aad)
					if !bytes.Equal(sealed, p.std.Seal(nil, nonce, text, aad)) {
						fail("sealed text differs")
					}
					opened, err := ours.Open(nil, nonce, sealed, aad)
					if err != nil || !bytes.Equal(opened, text) {
						fail("round trip")
					}
					if !bytes.Equal(nonce, keep[0]) || !bytes.Equal(text, keep[1]) || !bytes.Equal(aad, keep[2]) {
						fail("an input was changed")
					}

					// Behind a prefix, in room of its own and in room with more behind it.
					prefix := fill(r, 7)
					room := bytes.Repeat([]byte{0xa5}, 7+len(sealed)+40)
					copy(room, prefix)
					for _, dst := range [][]byte{bytes.Clone(prefix), room[:7]} {
						if got := ours.Seal(dst, nonce, text, aad); !bytes.Equal(got, append(bytes.Clone(prefix), sealed...)) {
							fail("Seal behind a prefix")
						}
					}
					if !bytes.Equal(room[7+len(sealed):], bytes.Repeat([]byte{0xa5}, 40)) {
						fail("Seal wrote beyond its result")
					}
					room = bytes.Repeat([]byte{0xa5}, 7+n+40)
					copy(room, prefix)
					for _, dst := range [][]byte{bytes.Clone(prefix), room[:7]} {
						if got, err := ours.Open(dst, nonce, sealed, aad); err != nil || !bytes.Equal(got, append(bytes.Clone(prefix), text...)) {
							fail("Open behind a prefix")
						}
					}
					if !bytes.Equal(room[7+n:], bytes.Repeat([]byte{0xa5}, 40)) {
						fail("Open wrote beyond its result")
					}

					// In place.
					buf := append(bytes.Clone(text), make([]byte, TagSize)...)
					if got := ours.Seal(buf[:0], nonce, buf[:n], aad); !bytes.Equal(got, sealed) {
						fail("Seal in place")
					}
					if got, err := ours.Open(buf[:0], nonce, buf, aad); err != nil || !bytes.Equal(got, text) {
						fail("Open in place")
					}

					// Whatever is changed, it does not open.
					for _, part := range [][]byte{nonce, sealed, aad} {
						if len(part) == 0 {
							continue
						}
						i := int(r.Uint64()>>33) % (8 * len(part))
						part[i/8] ^= 1 << (i % 8)
						if _, err := ours.Open(nil, nonce, sealed, aad); err == nil {
							fail("opened with a bit flipped")
						}
						part[i/8] ^= 1 << (i % 8)
					}
					if _, err := ours.Open(nil, nonce, sealed[:len(sealed)-1], aad); err == nil {
						fail("opened without its end")
					}
					if _, err := ours.Open(nil, nonce, append(bytes.Clone(sealed), 0), aad); err == nil {
						fail("opened with a byte more")
					}
				}
			}
		}
	})
}
