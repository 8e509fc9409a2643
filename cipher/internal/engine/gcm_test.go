package engine

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// tiers are those this machine can run, so that every test runs on each.
func tiers() []tier {
	var all []tier
	for t := generic; t <= cpuTier(); t++ {
		all = append(all, t)
	}
	return all
}

func eachTier(t *testing.T, fn func(t *testing.T, tr tier)) {
	for _, tr := range tiers() {
		t.Run(tr.String(), func(t *testing.T) { fn(t, tr) })
	}
}

// source is a seeded generator: the failing case is the same in every run.
func source(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(s)
}

func fill(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// pair is a key of ours and the standard library's of the same bytes.
type gcmPair struct {
	ours GCM
	std  cipher.AEAD
}

func newGCMPair(t testing.TB, key []byte, tr tier) *gcmPair {
	t.Helper()
	needGCM(t)
	p := new(gcmPair)
	if err := p.ours.init(key, tr); err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	if p.std, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	return p
}

// makeFrame has the first bytes of aad, of a number that lo decides, in Head.
func makeFrame(g *GCM, dst, src []byte, hi uint32, lo uint64, aad []byte) (f GCMFrame) {
	f.Key, f.Dst, f.Src = g, dst, src
	var nonce [16]byte
	putNonce((*[12]byte)(nonce[:]), hi, lo)
	f.Nonce = [2]uint64{binary.LittleEndian.Uint64(nonce[:]), binary.LittleEndian.Uint64(nonce[8:])}
	f.HeadLen = int32(min(int(lo%17), len(aad)))
	for i, b := range aad[:f.HeadLen] {
		f.Head[i/8] |= uint64(b) << (8 * (i % 8))
	}
	f.AAD = aad[f.HeadLen:]
	return f
}

func (g *GCM) seal(dst, src []byte, hi uint32, lo uint64, aad []byte) {
	f := makeFrame(g, dst, src, hi, lo, aad)
	f.Seal()
}

func (g *GCM) open(dst, src []byte, hi uint32, lo uint64, aad []byte) bool {
	f := makeFrame(g, dst, src, hi, lo, aad)
	return f.Open()
}

func enforced() bool { return fips140.Enforced() }

// needGCM skips where the reference itself may not run.
func needGCM(t testing.TB) {
	t.Helper()
	if enforced() {
		if new(GCM).Init(make([]byte, 16)) == nil {
			t.Fatal("GCM with counter nonces works under fips140=only")
		}
		t.Skip("fips140=only refuses GCM with counter nonces")
	}
}

func stdNonce(hi uint32, lo uint64) []byte {
	var b [12]byte
	putNonce(&b, hi, lo)
	return b[:]
}

// check seals and opens text with ours in the memory given: dst and src are of
// the sealed length, the text lies in src; dst may be src. It reports the first
// disagreement with the standard library.
func (p *gcmPair) check(dst, src []byte, n int, hi uint32, lo uint64, aad []byte) string {
	text := bytes.Clone(src[:n])
	want := p.std.Seal(nil, stdNonce(hi, lo), text, aad)
	p.ours.seal(dst, src[:n], hi, lo, aad)
	if !bytes.Equal(dst[:n+TagSize], want) {
		return "sealed text differs"
	}
	if &dst[0] != &src[0] && !bytes.Equal(src[:n], text) {
		return "Seal wrote to src"
	}
	copy(src, want)
	if !p.ours.open(dst[:n], src[:n+TagSize], hi, lo, aad) {
		return "Open refuses"
	}
	if !bytes.Equal(dst[:n], text) {
		return "opened text differs"
	}
	return ""
}

func TestGCMEveryLength(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(1)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			src, dst := make([]byte, 4096+TagSize), make([]byte, 4096+TagSize)
			aad := fill(r, 12)
			for n := 0; n <= 4096; n++ {
				r.Read(src)
				if bad := p.check(dst, src, n, uint32(r.Uint64()), r.Uint64(), aad); bad != "" {
					t.Fatalf("AES-%d, %d bytes apart: %s", 8*size, n, bad)
				}
				if bad := p.check(src, src, n, uint32(r.Uint64()), r.Uint64(), aad); bad != "" {
					t.Fatalf("AES-%d, %d bytes in place: %s", 8*size, n, bad)
				}
			}
		}
	})
}

// TestGCMLongFrames sweeps lengths to 2 MiB, densely round the loop's turns,
// the round table's period and the cuts between assembly calls.
func TestGCMLongFrames(t *testing.T) {
	const most = 2<<20 + 4096
	var lengths []int
	for _, mid := range []int{8192, 65536, 256 << 10, 512 << 10, 1 << 20, 2 << 20} {
		for _, d := range []int{-512, -65, -64, -63, -17, -16, -15, -1, 0, 1, 15, 16, 17, 63, 64, 65, 511, 512, 513, 1024, 4095} {
			lengths = append(lengths, mid+d)
		}
	}
	step := 48271
	if long {
		step = 1009
	}
	for n := 4097; n < 2<<20; n += step {
		lengths = append(lengths, n)
	}
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(2)
		src, dst := fill(r, most+TagSize), make([]byte, most+TagSize)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			for i, n := range lengths {
				aad := fill(r, []int{0, 12, 16, 17, 272}[i%5])
				to := dst
				if i%2 == 1 {
					to = src
				}
				if bad := p.check(to, src, n, uint32(r.Uint64()), r.Uint64(), aad); bad != "" {
					t.Fatalf("AES-%d, %d bytes, AAD %d: %s", 8*size, n, len(aad), bad)
				}
			}
		}
	})
}

func TestGCMEveryAAD(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(3)
		buf, dst := make([]byte, 300<<10), make([]byte, 300<<10)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			lengths := []int{1000, 4096, 65535, 65536, 65537, 131072, 200001}
			for n := 0; n <= 272; n++ {
				lengths = append(lengths, n)
			}
			for _, a := range lengths {
				aad := fill(r, a)
				for _, n := range []int{0, 1, 96, 512, 513, 1200, 256<<10 + 7} {
					if n > 2000 && a%16 > 1 {
						continue
					}
					if bad := p.check(dst, buf, n, uint32(r.Uint64()), r.Uint64(), aad); bad != "" {
						t.Fatalf("AES-%d, %d bytes, AAD %d: %s", 8*size, n, a, bad)
					}
				}
			}
		}
	})
}

// TestGCMAlignments sweeps each address modulo 64 with the others fixed.
func TestGCMAlignments(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(4)
		src, dst, extra := make([]byte, 4400), make([]byte, 4400), fill(r, 100)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			for _, n := range []int{1, 16, 63, 64, 65, 200, 511, 512, 513, 1100, 2049, 4201} {
				for off := range 64 {
					for which := range 3 {
						var at [3]int
						at[which] = off
						r.Read(src)
						if bad := p.check(dst[at[0]:], src[at[1]:], n, 1, r.Uint64(), extra[at[2]:at[2]+15]); bad != "" {
							t.Fatalf("AES-%d, %d bytes, offsets %v: %s", 8*size, n, at, bad)
						}
					}
				}
			}
		}
	})
}

func TestGCMRandom(t *testing.T) {
	cases := 10_000
	if long {
		cases = 1_000_000
	}
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(5)
		src, dst, extra := make([]byte, 6000), make([]byte, 6000), make([]byte, 512)
		var p *gcmPair
		for i := range cases {
			if i%512 == 0 {
				p = newGCMPair(t, fill(r, 16+16*int(r.Uint64()%2)), tr)
				r.Read(src)
				r.Read(extra)
			}
			v := r.Uint64()
			n := int(v % 2048)
			if v>>60 == 0 {
				n = int(v % 5800)
			}
			s, d, a := int(v>>20%64), int(v>>26%64), int(v>>32%64)
			aad := extra[a : a+int(v>>38%300)]
			to := dst[d:]
			if v>>59&1 == 1 {
				to = src[s:]
			}
			if bad := p.check(to, src[s:], n, uint32(v>>13), r.Uint64(), aad); bad != "" {
				t.Fatalf("case %d, %d bytes, AAD %d, offsets %d %d %d: %s", i, n, len(aad), s, d, a, bad)
			}
		}
	})
}

// TestGCMRefuses flips bits of every part and changes lengths: nothing opens,
// and nothing of the text stays in dst.
func TestGCMRefuses(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(6)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			for _, n := range []int{0, 1, 15, 16, 96, 512, 513, 1200, 5000, 256<<10 + 300} {
				text, aad := fill(r, n), fill(r, 1+int(r.Uint64()%40))
				hi, lo := uint32(r.Uint64()), r.Uint64()
				sealed := make([]byte, n+TagSize)
				p.ours.seal(sealed, text, hi, lo, aad)
				out := make([]byte, n)
				try := func(what string, sealed []byte, hi uint32, lo uint64, aad []byte) {
					t.Helper()
					for i := range out {
						out[i] = 0xaa
					}
					m := max(0, len(sealed)-TagSize)
					if p.ours.open(out, sealed, hi, lo, aad) {
						t.Fatalf("%d bytes: opened with %s", n, what)
					}
					if len(sealed) >= TagSize && !bytes.Equal(out[:m], make([]byte, m)) {
						t.Fatalf("%d bytes: output left after %s", n, what)
					}
				}
				if !p.ours.open(out, sealed, hi, lo, aad) || !bytes.Equal(out, text) {
					t.Fatalf("%d bytes: the right text is refused", n)
				}
				flips := 200
				if n > 10000 {
					flips = 20
				}
				for i := range flips {
					v := int(r.Uint64() >> 33)
					bad := bytes.Clone(sealed)
					if i < 128 && i < flips-1 {
						v = 8*n + i // every bit of the tag
					}
					v %= 8 * len(bad)
					bad[v/8] ^= 1 << (v % 8)
					try("a flipped bit", bad, hi, lo, aad)
				}
				badAAD := bytes.Clone(aad)
				badAAD[int(r.Uint64()>>33)%len(aad)] ^= 0x20
				try("other AAD", sealed, hi, lo, badAAD)
				try("longer AAD", sealed, hi, lo, append(bytes.Clone(aad), 0))
				try("shorter AAD", sealed, hi, lo, aad[:len(aad)-1])
				try("no AAD", sealed, hi, lo, nil)
				try("another nonce", sealed, hi^1, lo, aad)
				try("another nonce", sealed, hi, lo^1<<63, aad)
				for _, cut := range []int{1, TagSize, len(sealed)} {
					if cut <= len(sealed) {
						try("a cut", sealed[:len(sealed)-cut], hi, lo, aad)
					}
				}
			}
		}
	})
}

func TestGCMConcurrent(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		p := newGCMPair(t, fill(source(8), 16), tr)
		var wg sync.WaitGroup
		for id := range 32 {
			wg.Go(func() {
				r := source(uint64(100 + id))
				src, dst := make([]byte, 3000), make([]byte, 3000)
				for range 60 {
					r.Read(src)
					v := r.Uint64()
					if bad := p.check(dst, src, int(v%2900), uint32(v>>32), r.Uint64(), src[2950:2950+v>>20%40]); bad != "" {
						t.Error(bad)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestGCMMisuse(t *testing.T) {
	for _, n := range []int{0, 15, 17, 24, 31, 33, 64} {
		if new(GCM).Init(make([]byte, n)) == nil {
			t.Errorf("a key of %d bytes is accepted", n)
		}
	}
	needGCM(t)
	eachTier(t, func(t *testing.T, tr tier) {
		var g GCM
		if err := g.init(make([]byte, 16), tr); err != nil {
			t.Fatal(err)
		}
		mustPanic(t, "Seal into a short dst", func() { g.seal(make([]byte, 25), make([]byte, 10), 0, 0, nil) })
		mustPanic(t, "Open into a short dst", func() { g.open(make([]byte, 9), make([]byte, 26), 0, 0, nil) })
		k := g.asm
		g.Wipe()
		if g != (GCM{}) || (k != nil && *k != gcmKey{}) {
			t.Error("Wipe leaves a key")
		}
	})
}

func mustPanic(t *testing.T, what string, fn func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", what)
		}
	}()
	fn()
}

func TestGCMAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	needGCM(t)
	eachTier(t, func(t *testing.T, tr tier) {
		var g GCM
		if err := g.init(make([]byte, 16), tr); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 96, 1200, 300 << 10} {
			sealed, out := make([]byte, n+TagSize), make([]byte, n)
			if a := testing.AllocsPerRun(20, func() {
				var aad [40]byte // stays on the stack
				g.seal(sealed, out, 1, 2, aad[:])
				if !g.open(out, sealed, 1, 2, aad[:]) {
					t.Error("refused")
				}
				sealed[0] ^= 1
				g.open(out, sealed, 1, 2, aad[:])
			}); a != 0 {
				t.Errorf("%d bytes: %v allocations", n, a)
			}
		}
	})
}

func FuzzGCM(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), []byte("text"), []byte("aad"), uint32(1), uint64(2))
	f.Add(make([]byte, 32), make([]byte, 1200), make([]byte, 17), ^uint32(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, key, text, aad []byte, hi uint32, lo uint64) {
		if len(key) != 16 && len(key) != 32 {
			return
		}
		src := append(bytes.Clone(text), make([]byte, TagSize)...)
		for _, tr := range tiers() {
			p := newGCMPair(t, key, tr)
			if bad := p.check(make([]byte, len(src)), src, len(text), hi, lo, aad); bad != "" {
				t.Fatalf("%v: %s", tr, bad)
			}
		}
	})
}
