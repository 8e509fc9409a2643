package engine

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// macPair is a key of ours and, by the same bytes, what RFC 9605 says it does, written
// with the standard library.
type macPair struct {
	name    string
	ours    CTRHMAC
	block   cipher.Block
	key, mk []byte
	tag     int
}

func (p *macPair) seal(hi uint32, lo uint64, text, aad []byte) []byte {
	var iv [16]byte
	putNonce((*[12]byte)(iv[:]), hi, lo)
	out := make([]byte, len(text))
	cipher.NewCTR(p.block, iv[:]).XORKeyStream(out, text)
	m := hmac.New(sha256.New, p.mk)
	head := binary.BigEndian.AppendUint64(nil, uint64(len(aad)))
	head = binary.BigEndian.AppendUint64(head, uint64(len(text)))
	head = binary.BigEndian.AppendUint64(head, uint64(p.tag))
	m.Write(append(head, iv[:12]...))
	m.Write(aad)
	m.Write(out)
	return m.Sum(out)[:len(text)+p.tag]
}

// frame is a frame whose additional data are split into Head and AAD after n bytes.
func (p *macPair) frame(f *CTRFrame, hi uint32, lo uint64, aad []byte, n int) {
	var head [16]byte
	n = copy(head[:], aad[:min(n, len(aad))])
	f.Key, f.Hi, f.Lo, f.AAD = &p.ours, hi, lo, aad[n:]
	f.Head[0], f.Head[1], f.HeadLen = binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:]), n
}

// check seals text, in src, to dst and back, and refuses what was changed.
func (p *macPair) check(dst, src []byte, n int, hi uint32, lo uint64, aad []byte, head int) string {
	text := bytes.Clone(src[:n])
	want := p.seal(hi, lo, text, aad)
	var f CTRFrame
	p.frame(&f, hi, lo, aad, head)
	f.Dst, f.Src = dst, src[:n]
	f.Seal()
	if !bytes.Equal(dst[:len(want)], want) {
		return "sealed text differs"
	}
	f.Dst, f.Src = src, dst[:len(want)]
	if !f.Open() || !f.OK || !bytes.Equal(src[:n], text) {
		return "does not open"
	}
	copy(dst, want) // for in place
	for i := range n {
		src[i] = ^text[i]
	}
	copy(dst, want)
	bit := int(lo % uint64(8*len(want)))
	dst[bit/8] ^= 1 << (bit % 8)
	was := bytes.Clone(src[:n])
	f.Dst, f.Src = src, dst[:len(want)]
	if f.Open() || f.OK {
		return fmt.Sprintf("opens with bit %d flipped", bit)
	}
	if !bytes.Equal(src[:n], was) {
		return "touches Dst of a refused frame"
	}
	return ""
}

func eachMAC(t *testing.T, fn func(t *testing.T, p *macPair)) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(60)
		for _, size := range []int{16, 32} {
			for _, tag := range []int{10, 8, 4, 32} {
				for name, sha := range macKernels() {
					p := &macPair{name: fmt.Sprintf("AES-%d, tag of %d, %s", 8*size, tag, name), key: fill(r, size), mk: fill(r, 32), tag: tag}
					if err := p.ours.init(p.key, p.mk, tag, tr, sha); err != nil {
						t.Fatal(err)
					}
					if fused := p.ours.asm != nil; fused != (tr == avx512VAES && sha && size == 16 && tag != 32) {
						t.Fatalf("%s: kernels for both: %v", p.name, fused)
					}
					if p.ours.asm == nil && tag != 10 && !long {
						continue // the halves have tests of their own
					}
					p.block, _ = aes.NewCipher(p.key)
					fn(t, p)
				}
			}
		}
	})
}

func TestCTRMACEveryLength(t *testing.T) {
	most := 700
	if long {
		most = 4096
	}
	eachMAC(t, func(t *testing.T, p *macPair) {
		r := source(61)
		src, dst, aad := make([]byte, most+40), make([]byte, most+40), fill(r, 300)
		check := func(n, aadn, head int) {
			r.Read(src[:n])
			dst[n+p.tag] = 0x5a
			bad := p.check(dst, src, n, uint32(r.Uint64()), r.Uint64(), aad[:aadn], head)
			if bad == "" && dst[n+p.tag] != 0x5a {
				bad = "writes behind the tag"
			}
			if bad == "" {
				bad = p.check(src, src, n, uint32(r.Uint64()), r.Uint64(), aad[:aadn], head)
			}
			if bad != "" {
				t.Fatalf("%s: %d bytes, %d of AAD, %d of them head: %s", p.name, n, aadn, head, bad)
			}
		}
		for n := range most + 1 {
			check(n, 16, 4)
		}
		for aadn := range 273 {
			for _, n := range []int{16, 96, 103, 130} {
				check(n, aadn, aadn%17)
			}
		}
		for aadn := range 29 {
			for n := range 140 {
				check(n, aadn, (n+aadn)%17)
			}
		}
		for _, n := range []int{ctrStreamMost - 1, ctrStreamMost, ctrStreamMost + 1} {
			src, dst = make([]byte, n+40), make([]byte, n+40)
			for aadn := range 30 {
				check(n, aadn, 3)
			}
		}
	})
}

// TestCTRMACPieces has frames of several calls, cut at every kind of place.
func TestCTRMACPieces(t *testing.T) {
	eachMAC(t, func(t *testing.T, p *macPair) {
		r := source(62)
		most := 3*ctrPiece + 200
		src, dst, aad := fill(r, most+40), make([]byte, most+40), fill(r, 100)
		for _, n := range []int{ctrPiece - 1, ctrPiece, ctrPiece + 1, ctrPiece + 63, ctrPiece + 64, ctrPiece + 65, 2*ctrPiece + 64, 2*ctrPiece + 65, most} {
			for _, aadn := range []int{0, 28, 29, 92, 100} {
				if bad := p.check(dst, src, n, 7, r.Uint64(), aad[:aadn], 3); bad != "" {
					t.Fatalf("%s: %d bytes, %d of AAD: %s", p.name, n, aadn, bad)
				}
				if !long {
					break
				}
			}
		}
	})
}

func TestCTRMACRandom(t *testing.T) {
	cases := 400
	if long {
		cases = 100_000
	}
	eachMAC(t, func(t *testing.T, p *macPair) {
		r := source(63)
		src, dst, aad := make([]byte, 6000), make([]byte, 6000), fill(r, 200)
		for i := range cases {
			v := r.Uint64()
			n, from, to := int(v%500), int(v>>20%64), int(v>>26%64)
			if v>>60 == 0 {
				n = int(v % 5800)
			}
			in, out := src[from:], dst[to:]
			r.Read(in[:n])
			if v>>59&1 == 1 {
				out = in
			}
			if bad := p.check(out, in, n, uint32(v>>13), r.Uint64(), aad[v>>40&7:][:v>>32%60], int(v>>45%17)); bad != "" {
				t.Fatalf("%s: case %d, %d bytes: %s", p.name, i, n, bad)
			}
		}
	})
}

func TestCTRMACAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	eachMAC(t, func(t *testing.T, p *macPair) {
		if enforced() {
			return // AES-CTR is allowed to allocate there
		}
		src, dst := make([]byte, ctrPiece+1000), make([]byte, ctrPiece+1100)
		for _, n := range []int{0, 15, 96, 1200, 5000, len(src)} {
			for _, aadn := range []int{0, 12, 70} {
				if a := testing.AllocsPerRun(5, func() {
					var aad [70]byte // stays on the stack
					var f CTRFrame
					f.Key, f.AAD, f.HeadLen = &p.ours, aad[:aadn], 3
					f.Dst, f.Src = dst, src[:n]
					f.Seal()
					f.Dst, f.Src = src, dst[:n+p.tag]
					f.Open()
				}); a != 0 {
					t.Errorf("%s: %d bytes, %d of AAD: %v allocations", p.name, n, aadn, a)
				}
			}
		}
	})
}

func TestCTRMACConcurrent(t *testing.T) {
	eachMAC(t, func(t *testing.T, p *macPair) {
		var wg sync.WaitGroup
		for id := range 32 {
			wg.Go(func() {
				r := source(uint64(300 + id))
				buf, dst, aad := fill(r, 1000), make([]byte, 1040), fill(r, 20)
				for range 10 {
					v := r.Uint64()
					if bad := p.check(dst, buf, int(v%1000), uint32(v>>32), v, aad, 4); bad != "" {
						t.Error(bad)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestCTRMACMisuse(t *testing.T) {
	for _, n := range []int{0, 15, 17, 24, 31, 33} {
		if new(CTRHMAC).Init(make([]byte, n), make([]byte, 32), 10) == nil {
			t.Errorf("a key of %d bytes is accepted", n)
		}
	}
	for _, tag := range []int{-1, 0, 33} {
		if new(CTRHMAC).Init(make([]byte, 16), make([]byte, 32), tag) == nil {
			t.Errorf("a tag of %d bytes is accepted", tag)
		}
	}
	eachMAC(t, func(t *testing.T, p *macPair) {
		var f CTRFrame
		p.frame(&f, 1, 2, nil, 0)
		f.Dst, f.Src = make([]byte, 100+p.tag-1), make([]byte, 100)
		mustPanic(t, "Seal into a short Dst", f.Seal)
		f.Dst, f.Src = make([]byte, 99), make([]byte, 100+p.tag)
		mustPanic(t, "Open into a short Dst", func() { f.Open() })
		if f.Src = make([]byte, p.tag-1); f.Open() {
			t.Error("opens what is shorter than a tag")
		}
		k, c, m := p.ours.asm, p.ours.ctr.asm, p.ours.mac.mid
		p.ours.Wipe()
		if p.ours != (CTRHMAC{}) || k != nil && *k != (ctrMACKey{}) || c != nil && *c != (schedule{}) || m != nil && *m != (midstates{}) {
			t.Errorf("%s: Wipe leaves a key", p.name)
		}
	})
}

func FuzzCTRMAC(f *testing.F) {
	f.Add([]byte("text of sixteen."), []byte("aad"), uint32(1), uint64(2), uint8(3))
	f.Add(make([]byte, 1231), make([]byte, 28), ^uint32(0), ^uint64(0), uint8(16))
	f.Fuzz(func(t *testing.T, text, aad []byte, hi uint32, lo uint64, head uint8) {
		for _, tr := range tiers() {
			for _, tag := range []int{10, 8, 4} {
				p := &macPair{key: make([]byte, 16), mk: make([]byte, 32), tag: tag}
				if err := p.ours.init(p.key, p.mk, tag, tr, cpuSHA()); err != nil {
					t.Fatal(err)
				}
				p.block, _ = aes.NewCipher(p.key)
				if bad := p.check(make([]byte, len(text)+tag), bytes.Clone(text), len(text), hi, lo, aad, int(head%17)); bad != "" {
					t.Fatalf("%v: %s", tr, bad)
				}
			}
		}
	})
}
