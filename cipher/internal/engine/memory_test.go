//go:build unix

package engine

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// fence returns size bytes that lie between two pages no one may touch: any
// access outside them, masked or not, ends the program unless it is suppressed.
// atEnd puts them against the upper page, else they begin at the lower one.
type fence struct{ mem []byte }

func newFence(t testing.TB, capacity int) *fence {
	t.Helper()
	page := os.Getpagesize()
	inner := (capacity + page - 1) / page * page
	mem, err := syscall.Mmap(-1, 0, inner+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(mem) })
	for _, edge := range [][]byte{mem[:page], mem[page+inner:]} {
		if err := syscall.Mprotect(edge, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return &fence{mem[page : page+inner : page+inner]}
}

func (f *fence) slice(size int, atEnd bool) []byte {
	if atEnd {
		return f.mem[len(f.mem)-size:]
	}
	return f.mem[:size:size]
}

// TestGCMAtPageEdges puts text, AAD and output against absent pages, at both
// ends, for every length of the straight line and around the loop's turns.
func TestGCMAtPageEdges(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(7)
		const most = 1700
		src, dst, extra := newFence(t, most+TagSize), newFence(t, most+TagSize), newFence(t, 300)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			for n := 0; n <= most; n++ {
				aad := extra.slice(n%290, n%3 != 0)
				r.Read(aad)
				hi, lo := uint32(r.Uint64()), r.Uint64()
				for _, end := range []bool{false, true} {
					if bad := p.check(dst.slice(n+TagSize, end), src.slice(n+TagSize, end), n, hi, lo, aad); bad != "" {
						t.Fatalf("AES-%d, %d bytes apart, at end %v: %s", 8*size, n, end, bad)
					}
					both := src.slice(n+TagSize, end)
					if bad := p.check(both, both, n, hi, lo, aad); bad != "" {
						t.Fatalf("AES-%d, %d bytes in place, at end %v: %s", 8*size, n, end, bad)
					}
				}
				// The text alone against the page: src of Seal and dst of Open have no room behind.
				text, sealed := src.slice(n, true), dst.slice(n+TagSize, true)
				r.Read(text)
				p.ours.seal(sealed, text, hi, lo, aad)
				if want := p.std.Seal(nil, stdNonce(hi, lo), text, aad); string(sealed) != string(want) {
					t.Fatalf("AES-%d, %d bytes, text against the page: sealed text differs", 8*size, n)
				}
				want := string(text)
				clear(text)
				if !p.ours.open(text, sealed, hi, lo, aad) || string(text) != want {
					t.Fatalf("AES-%d, %d bytes, text against the page: Open fails", 8*size, n)
				}
			}
		}
	})
}

// TestGCMOpenAtPageEdges has GCM.Open's frame, text and additional data against absent pages.
func TestGCMOpenAtPageEdges(t *testing.T) {
	sealed, dst, extra := newFence(t, 400), newFence(t, 400), newFence(t, 64)
	eachLone(t, func(t *testing.T, c *loneCase, r *rand.ChaCha8) {
		for n := range 300 {
			headLen, aadLen := 1+n%16, n*7%40
			for bit := range 8 {
				s, d, a := sealed.slice(headLen+n+TagSize, bit&1 != 0), dst.slice(n, bit&2 != 0), extra.slice(aadLen, bit&4 != 0)
				if bad := c.check(r, d, s, a, headLen); bad != "" {
					t.Fatalf("%d bytes, header of %d, AAD of %d, edges %03b: %s", n, headLen, aadLen, bit, bad)
				}
			}
		}
	})
}

// TestGCMBatchAtPageEdges has a frame of each length of the kernels for short frames
// against absent pages, alone in its batch and among others of every number, with
// texts, AAD and outputs at both ends.
func TestGCMBatchAtPageEdges(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		r := source(8)
		src, dst, extra := newFence(t, 300), newFence(t, 300), newFence(t, 64)
		for _, size := range []int{16, 32} {
			p := newGCMPair(t, fill(r, size), tr)
			for n := 0; n <= 180; n++ {
				count, at := 1+n%5, n%(1+n%5)
				for _, end := range []bool{false, true} {
					frames, wants := make([]GCMFrame, count), make([][]byte, count)
					texts := make([][]byte, count)
					for i := range frames {
						m, lo := int(r.Uint64()%177), r.Uint64()
						to, from, aad := make([]byte, m+TagSize), make([]byte, m), fill(r, int(r.Uint64()%33))
						if i == at {
							m = n
							to, from, aad = dst.slice(n+TagSize, end), src.slice(n, end), extra.slice(n%33, end)
							r.Read(aad)
						}
						r.Read(from)
						texts[i] = bytes.Clone(from)
						wants[i] = p.std.Seal(nil, stdNonce(7, lo), from, aad)
						frames[i] = makeFrame(&p.ours, to, from, 7, lo, aad)
					}
					SealBatch(frames)
					for i := range frames {
						if !bytes.Equal(frames[i].Dst, wants[i]) {
							t.Fatalf("AES-%d, %d bytes, frame %d of %d, at end %v: sealed text differs", 8*size, n, i, count, end)
						}
						frames[i].Src, frames[i].Dst = frames[i].Dst, frames[i].Src
						clear(frames[i].Dst)
					}
					OpenBatch(frames)
					for i := range frames {
						if !frames[i].OK || !bytes.Equal(frames[i].Dst, texts[i]) {
							t.Fatalf("AES-%d, %d bytes, frame %d of %d, at end %v: opened %v", 8*size, n, i, count, end, frames[i].OK)
						}
					}
				}
			}
		}
	})
}

// TestGCMRunAtPageEdges has a frame of each length of the kernels for runs against
// absent pages, among others of every number, with all its parts at both ends.
func TestGCMRunAtPageEdges(t *testing.T) {
	src, dst, extra := newFence(t, 700), newFence(t, 700), newFence(t, 64)
	eachRunKey(t, func(t *testing.T, c *runCase, r *rand.ChaCha8) {
		const headLen, size = 6, 2
		c.headLen, c.head = headLen, [2]uint64{0x01020304}
		for n := range 600 {
			count, at := 1+n%4, n%(1+n%4)
			for _, end := range []bool{false, true} {
				var run GCMRun
				run.Head, run.Salt = c.head, c.salt
				least := n // of an even run, or of a mixed one
				if n%3 == 0 {
					least = 0
				}
				if !run.Init(&c.g, headLen) || !run.Fit(least, n, runHeadMost-headLen) {
					t.Fatal("no kernel")
				}
				frames, texts := make([]RunFrame, count), make([][]byte, count)
				var sealed []byte
				for i := range frames {
					f := &frames[i]
					f.Src, f.AAD, f.Dst = make([]byte, n), fill(r, i), make([]byte, 0, headLen+n+TagSize)
					if i == at {
						f.Src, f.AAD, f.Dst = src.slice(n, end), extra.slice(n%(runHeadMost-headLen+1), end), dst.slice(headLen+n+TagSize, end)[:0]
					}
					r.Read(f.Src)
					r.Read(f.AAD)
					run.Ctr[i] = 40000 + uint64(i)
					texts[i] = bytes.Clone(f.Src)
				}
				// Where the allocator puts the others decides which kernel seals: alone, the frame is taken.
				if sealed, _ := run.SealShort(frames, nil); !sealed {
					if count == 1 && run.even {
						t.Fatalf("%d bytes, at end %v: SealShort takes not even one frame", n, end)
					}
					run.Seal(frames)
				}
				for i := range frames {
					f := &frames[i]
					sealed = f.Dst
					if !bytes.Equal(sealed, c.seal(texts[i], f.AAD, run.Ctr[i], size)) {
						t.Fatalf("%d bytes, frame %d of %d, at end %v: sealed text differs", n, i, count, end)
					}
					f.Src, f.Dst = sealed, f.Src[:0]
					clear(f.Dst[:n])
				}
				if !run.Open(frames) {
					t.Fatalf("%d bytes, %d frames, at end %v: refused", n, count, end)
				}
				for i := range frames {
					if !bytes.Equal(frames[i].Dst[:n], texts[i]) {
						t.Fatalf("%d bytes, frame %d of %d, at end %v: opened text differs", n, i, count, end)
					}
				}
			}
		}
	})
}

func TestStreamAtPageEdges(t *testing.T) {
	const most = 1100
	eachStream(t, func(t *testing.T, s *stream) {
		r := source(25)
		src, dst := newFence(t, most), newFence(t, most)
		for n := 1; n <= most; n++ {
			for _, end := range []bool{false, true} {
				from := src.slice(n, end)
				r.Read(from)
				bad := s.check(dst.slice(n, !end), from, 1, r.Uint64())
				if bad == "" {
					bad = s.check(dst.slice(n, end), from, 1, r.Uint64())
				}
				if bad == "" {
					bad = s.check(from, from, 1, r.Uint64())
				}
				if bad != "" {
					t.Fatalf("%d bytes, at end %v: %s", n, end, bad)
				}
			}
		}
	})
}

// TestCTRMACAtPageEdges puts text, AAD and output of CTR with HMAC against absent pages.
func TestCTRMACAtPageEdges(t *testing.T) {
	const most = 700
	eachMAC(t, func(t *testing.T, p *macPair) {
		if p.ours.asm == nil && !long {
			return // the halves have tests of their own
		}
		r := source(64)
		src, dst, extra := newFence(t, most+40), newFence(t, most+40), newFence(t, 60)
		for n := range most + 1 {
			aad := extra.slice(n%40, n%3 != 0)
			r.Read(aad)
			for _, end := range []bool{false, true} {
				bad := p.check(dst.slice(n+p.tag, end), src.slice(n, end), n, 5, r.Uint64(), aad, 0)
				if bad == "" {
					both := src.slice(n+p.tag, end)
					bad = p.check(both, both, n, 5, r.Uint64(), aad, 4)
				}
				if bad != "" {
					t.Fatalf("%s: %d bytes, at end %v: %s", p.name, n, end, bad)
				}
			}
		}
	})
}

// TestGCMTooLong has a text that is one byte longer than GCM allows: Open refuses it, as it
// refuses whatever nobody can have sealed, and Seal panics. Neither touches it, so that no
// memory stands behind its addresses.
func TestGCMTooLong(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("no text is as long as that")
	}
	needGCM(t)
	n := uint64(maxText + 1)
	mem, err := syscall.Mmap(-1, 0, int(n+TagSize), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		t.Skip("no addresses for it:", err)
	}
	defer syscall.Munmap(mem)
	eachTier(t, func(t *testing.T, tr tier) {
		p := newGCMPair(t, make([]byte, 16), tr)
		frames := make([]GCMFrame, 2)
		for i := range frames {
			frames[i] = makeFrame(&p.ours, mem[:n], mem, 1, 2, nil)
			frames[i].OK = true
		}
		if frames[0].Open() || frames[0].OK {
			t.Error("opens")
		}
		frames[0].OK = true
		if OpenBatch(frames); frames[0].OK || frames[1].OK {
			t.Error("opens in a batch")
		}
		defer func() {
			if recover() == nil {
				t.Error("seals")
			}
		}()
		frames[0] = makeFrame(&p.ours, mem, mem[:n], 1, 2, nil)
		frames[0].Seal()
	})
}
