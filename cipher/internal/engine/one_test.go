package engine

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// loneCase is one header, text and tag, as GCMFrame seals them, for GCM.Open.
type loneCase struct {
	g    GCM
	salt [2]uint64
}

// seal puts header, text and tag into sealed, of which all but header and tag is text.
func (c *loneCase) seal(sealed, head, aad []byte, ctr uint64) {
	copy(sealed, head)
	n := bits.ReverseBytes64(ctr)
	var b [16]byte
	copy(b[:], head)
	f := GCMFrame{Key: &c.g, Dst: sealed[len(head):], Src: sealed[len(head) : len(sealed)-TagSize], AAD: aad, HeadLen: int32(len(head))}
	f.Head = [2]uint64{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
	f.Nonce = [2]uint64{c.salt[0] ^ n<<32, c.salt[1] ^ n>>32}
	f.Seal()
}

func eachLone(t *testing.T, f func(t *testing.T, c *loneCase, r *rand.ChaCha8)) {
	needGCM(t)
	eachTier(t, func(t *testing.T, tr tier) {
		for _, size := range []int{16, 32} {
			r := source(uint64(90 + size))
			c := &loneCase{salt: [2]uint64{r.Uint64(), r.Uint64() >> 32}}
			if err := c.g.init(fill(r, size), tr); err != nil {
				t.Fatal(err)
			}
			f(t, c, r)
		}
	})
}

// check opens what it sealed, apart and in place, and refuses it with a bit changed, in text, tag,
// header or aad; it returns what went wrong. sealed has room for header, text and tag, dst for the text.
func (c *loneCase) check(r *rand.ChaCha8, dst, sealed, aad []byte, headLen int) string {
	head, ctr := fill(r, headLen), r.Uint64()
	r.Read(aad)
	r.Read(sealed)
	text := bytes.Clone(sealed[headLen : len(sealed)-TagSize])
	c.seal(sealed, head, aad, ctr)
	if !c.g.Open(dst, sealed, aad, headLen, ctr, &c.salt) || !bytes.Equal(dst, text) {
		return "does not open"
	}
	for _, part := range [][]byte{sealed[:headLen], sealed[headLen:], sealed[len(sealed)-TagSize:], aad} {
		if len(part) == 0 {
			continue
		}
		at := int(r.Uint64() >> 1 % uint64(8*len(part)))
		part[at/8] ^= 1 << (at % 8)
		for i := range dst {
			dst[i] = 0xa5
		}
		if c.g.Open(dst, sealed, aad, headLen, ctr, &c.salt) {
			return "opens with a bit changed"
		}
		if bytes.Count(dst, []byte{0}) != len(dst) {
			return "leaves text behind that it refused"
		}
		part[at/8] ^= 1 << (at % 8)
	}
	if c.g.Open(dst, sealed, aad, headLen, ctr^1<<(r.Uint64()%64), &c.salt) {
		return "opens under another counter"
	}
	if in := sealed[headLen:][:len(text)]; !c.g.Open(in, sealed, aad, headLen, ctr, &c.salt) || !bytes.Equal(in, text) {
		return "does not open in place"
	}
	return ""
}

// TestGCMOpen has every length of text, header and additional data around those that have
// kernels of their own, between guard bytes.
func TestGCMOpen(t *testing.T) {
	eachLone(t, func(t *testing.T, c *loneCase, r *rand.ChaCha8) {
		rounds := 2
		if long {
			rounds = 40
		}
		for n := range 700 {
			for round := range rounds {
				headLen, aadLen := 1+(n+7*round)%16, int(r.Uint64()>>1%60)
				if round%2 == 0 {
					aadLen = int(r.Uint64() >> 1 % uint64(33-headLen))
				}
				buf := bytes.Repeat([]byte{0x5a}, n+200)
				at := 64 + int(r.Uint64()%64)
				dst := buf[at : at+n : at+n]
				var aad []byte
				if aadLen > 0 || n%2 == 0 {
					aad = make([]byte, aadLen)
				}
				if bad := c.check(r, dst, make([]byte, headLen+n+TagSize), aad, headLen); bad != "" {
					t.Fatalf("%d bytes, header of %d, AAD of %d: %s", n, headLen, aadLen, bad)
				}
				if bytes.Count(buf[:at], []byte{0x5a}) != at || bytes.Count(buf[at+n:], []byte{0x5a}) != len(buf)-at-n {
					t.Fatalf("%d bytes: wrote outside its room", n)
				}
			}
		}
	})
}
