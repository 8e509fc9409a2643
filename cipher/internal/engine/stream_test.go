package engine

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"sync"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// A stream is one direction of CTR or XTS under a fixed key: length-preserving,
// with a nonce. want is an independent implementation.
type stream struct {
	name string
	run  func(dst, src []byte, hi uint32, lo uint64)
	want func(src []byte, hi uint32, lo uint64) []byte
}

func streams(t testing.TB, tr tier) []stream {
	t.Helper()
	r := source(20)
	var all []stream
	for _, size := range []int{16, 32} {
		key, key2 := fill(r, size), fill(r, size)
		c, x := new(CTR), new(XTS)
		if err := c.init(key, tr); err != nil {
			t.Fatal(err)
		}
		if err := x.init(key, key2, tr); err != nil {
			t.Fatal(err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all,
			stream{fmt.Sprintf("CTR-%d", 8*size), c.XOR, func(src []byte, hi uint32, lo uint64) []byte {
				var iv [16]byte
				putNonce((*[12]byte)(iv[:]), hi, lo)
				out := make([]byte, len(src))
				cipher.NewCTR(block, iv[:]).XORKeyStream(out, src)
				return out
			}},
			stream{fmt.Sprintf("XTS-%d encrypt", 8*size), x.Encrypt, func(src []byte, hi uint32, lo uint64) []byte {
				return plainXTS(t, key, key2, src, hi, lo, true)
			}},
			stream{fmt.Sprintf("XTS-%d decrypt", 8*size), x.Decrypt, func(src []byte, hi uint32, lo uint64) []byte {
				return plainXTS(t, key, key2, src, hi, lo, false)
			}})
	}
	return all
}

// check runs s from src to dst, which may be src, and compares.
func (s *stream) check(dst, src []byte, hi uint32, lo uint64) string {
	text := bytes.Clone(src)
	want := s.want(text, hi, lo)
	s.run(dst, src, hi, lo)
	if !bytes.Equal(dst[:len(src)], want) {
		return s.name + ": output differs"
	}
	if len(src) > 0 && &dst[0] != &src[0] && !bytes.Equal(src, text) {
		return s.name + ": wrote to src"
	}
	return ""
}

func eachStream(t *testing.T, fn func(t *testing.T, s *stream)) {
	eachTier(t, func(t *testing.T, tr tier) {
		for _, s := range streams(t, tr) {
			fn(t, &s)
		}
	})
}

func TestStreamEveryLength(t *testing.T) {
	most := 1300
	if long {
		most = 4096
	}
	eachStream(t, func(t *testing.T, s *stream) {
		r := source(21)
		buf, dst := make([]byte, most), make([]byte, most+1)
		for n := 0; n <= most; n++ {
			r.Read(buf[:n])
			dst[n] = 0x5a
			for _, to := range [][]byte{dst, buf} {
				if bad := s.check(to, buf[:n], uint32(r.Uint64()), r.Uint64()); bad != "" {
					t.Fatalf("%d bytes: %s", n, bad)
				}
			}
			if dst[n] != 0x5a {
				t.Fatalf("%d bytes: %s wrote behind dst", n, s.name)
			}
		}
	})
}

func TestStreamLong(t *testing.T) {
	eachStream(t, func(t *testing.T, s *stream) {
		r := source(22)
		buf, dst := fill(r, maxPiece*2+600), make([]byte, maxPiece*2+600)
		for _, n := range []int{4096, 5000, 65535, 65551, maxPiece - 1, maxPiece, maxPiece + 1, maxPiece + 16, maxPiece + 31, 2*maxPiece + 527} {
			for _, to := range [][]byte{dst, buf} {
				if bad := s.check(to, buf[:n], ^uint32(0), r.Uint64()); bad != "" {
					t.Fatalf("%d bytes: %s", n, bad)
				}
			}
		}
	})
}

func TestStreamAlignments(t *testing.T) {
	eachStream(t, func(t *testing.T, s *stream) {
		r := source(23)
		src, dst := fill(r, 1300), make([]byte, 1300)
		for _, n := range []int{1, 16, 63, 64, 65, 511, 512, 513, 1100} {
			for off := range 64 {
				bad := s.check(dst[off:], src[:n], 1, r.Uint64())
				if bad == "" {
					bad = s.check(dst, src[off:off+n], 1, r.Uint64())
				}
				if bad != "" {
					t.Fatalf("%d bytes, offset %d: %s", n, off, bad)
				}
			}
		}
	})
}

func TestStreamRandom(t *testing.T) {
	cases := 2_000
	if long {
		cases = 300_000
	}
	eachStream(t, func(t *testing.T, s *stream) {
		r := source(24)
		src, dst := fill(r, 6000), make([]byte, 6000)
		for i := range cases {
			v := r.Uint64()
			n, from := int(v%700), int(v>>20%64)
			if v>>60 == 0 {
				n = int(v % 5900)
			}
			to := dst[v>>26%64:]
			if v>>59&1 == 1 {
				to = src[from:]
			}
			if bad := s.check(to, src[from:from+n], uint32(v>>13), r.Uint64()); bad != "" {
				t.Fatalf("case %d, %d bytes from %d: %s", i, n, from, bad)
			}
		}
	})
}

func TestStreamConcurrent(t *testing.T) {
	eachStream(t, func(t *testing.T, s *stream) {
		var wg sync.WaitGroup
		for id := range 32 {
			wg.Go(func() {
				r := source(uint64(200 + id))
				buf, dst := fill(r, 1000), make([]byte, 1000)
				for range 20 {
					v := r.Uint64()
					if bad := s.check(dst, buf[:v%1000], uint32(v>>32), v); bad != "" {
						t.Error(bad)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestStreamAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	eachStream(t, func(t *testing.T, s *stream) {
		if enforced() && s.name[:3] == "CTR" {
			return // allowed to allocate there
		}
		buf := make([]byte, 300<<10+7)
		for _, n := range []int{0, 1, 15, 31, 96, 1200, len(buf)} {
			if a := testing.AllocsPerRun(10, func() { s.run(buf, buf[:n], 1, 2) }); a != 0 {
				t.Errorf("%s, %d bytes: %v allocations", s.name, n, a)
			}
		}
	})
}

func TestStreamMisuse(t *testing.T) {
	for _, n := range []int{0, 15, 17, 24, 31, 33, 64} {
		if new(CTR).Init(make([]byte, n)) == nil || new(XTS).Init(make([]byte, n), make([]byte, n)) == nil {
			t.Errorf("a key of %d bytes is accepted", n)
		}
	}
	if new(XTS).Init(make([]byte, 16), make([]byte, 32)) == nil {
		t.Error("keys of two lengths are accepted")
	}
	eachStream(t, func(t *testing.T, s *stream) {
		mustPanic(t, s.name+" into a short dst", func() { s.run(make([]byte, 99), make([]byte, 100), 0, 0) })
	})
	eachTier(t, func(t *testing.T, tr tier) {
		var c CTR
		var x XTS
		if c.init(make([]byte, 16), tr) != nil || x.init(make([]byte, 16), make([]byte, 16), tr) != nil {
			t.Fatal("a good key is refused")
		}
		s, k := c.asm, x.asm
		c.Wipe()
		x.Wipe()
		if c != (CTR{}) || x != (XTS{}) || (s != nil && *s != schedule{}) || (k != nil && *k != xtsKey{}) {
			t.Error("Wipe leaves a key")
		}
	})
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("text"), uint32(1), uint64(2))
	f.Add(make([]byte, 1231), ^uint32(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, text []byte, hi uint32, lo uint64) {
		for _, tr := range tiers() {
			for _, s := range streams(t, tr) {
				if bad := s.check(make([]byte, len(text)), text, hi, lo); bad != "" {
					t.Fatalf("%v: %s", tr, bad)
				}
			}
		}
	})
}
