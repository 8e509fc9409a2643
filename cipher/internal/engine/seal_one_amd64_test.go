//go:build amd64 && !purego

package engine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// sealOne compares SealOne with what GCMFrame makes of header, text and aad; dst has the room for it. It says whether there
// was a kernel.
func (c *loneCase) sealOne(t *testing.T, dst, head, text, aad []byte, ctr uint64) bool {
	var b [16]byte
	copy(b[:], head)
	want := append(bytes.Clone(head), make([]byte, len(text)+TagSize)...)
	copy(want[len(head):], text)
	c.seal(want, head, aad, ctr)
	before := bytes.Clone(dst)
	ok := c.g.SealOne(dst, text, aad, binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]), len(head), ctr, &c.salt)
	if ok && !bytes.Equal(dst, want) {
		t.Fatalf("%d bytes, header of %d, AAD of %d: sealed %x, want %x", len(text), len(head), len(aad), dst, want)
	}
	if !ok && !bytes.Equal(dst, before) {
		t.Fatalf("%d bytes: not taken, and yet something was written", len(text))
	}
	return ok
}

// TestGCMSealOne has every length of text with every length of header and many of additional data, between guard bytes.
func TestGCMSealOne(t *testing.T) {
	eachLone(t, func(t *testing.T, c *loneCase, r *rand.ChaCha8) {
		rounds := 1
		if long {
			rounds = 20
		}
		kernels := c.g.asm != nil && c.g.asm.runs()
		taken := 0
		for n := range 260 {
			for headLen := 1; headLen <= 16; headLen++ {
				for range rounds {
					aadLen := int(r.Uint64() >> 1 % 36)
					head, text, aad := fill(r, headLen), fill(r, n), fill(r, aadLen)
					if r.Uint64()&1 == 0 && aadLen == 0 {
						aad = nil
					}
					if r.Uint64()&1 == 0 && n == 0 {
						text = nil
					}
					const guard = 0x5a
					buf := bytes.Repeat([]byte{guard}, n+250)
					at, size := 64+int(r.Uint64()%64), headLen+n+TagSize
					ok := c.sealOne(t, buf[at:at+size:at+size], head, text, aad, r.Uint64())
					if bytes.Count(buf[:at], []byte{guard}) != at || bytes.Count(buf[at+size:], []byte{guard}) != len(buf)-at-size {
						t.Fatalf("%d bytes: wrote outside its room", n)
					}
					fits := kernels && n <= OneText && n&63 <= 48 && headLen+aadLen <= oneHead
					if ok && !fits {
						t.Fatalf("%d bytes, header of %d, AAD of %d: taken", n, headLen, aadLen)
					}
					edge := func(p []byte, n, offset int) bool { return len(p) > 0 && atPageEnd(unsafe.SliceData(p), n, offset) }
					if near := edge(buf[at:], n, headLen) || edge(text, n, 0) || edge(aad, 0, -headLen) || aadLen == 0 && edge(buf[at:], 0, -headLen); !ok && fits && !near && n > 0 {
						t.Fatalf("%d bytes, header of %d, AAD of %d: not taken", n, headLen, aadLen)
					}
					if ok {
						taken++
					}
				}
			}
		}
		if kernels && taken < 1000*rounds {
			t.Errorf("%d frames taken: the test tells nothing", taken)
		}
	})
}
