package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// runCase is a run of frames of which the kernel does all and GCMFrame what should come out.
type runCase struct {
	g          GCM
	head, salt [2]uint64
	headLen    int
}

func newRunCase(t testing.TB, r *rand.ChaCha8, keySize int) *runCase {
	c := &runCase{}
	if err := c.g.init(fill(r, keySize), best); err != nil {
		t.Fatal(err)
	}
	c.headLen = 2 + int(r.Uint64()%15)
	c.salt = [2]uint64{r.Uint64(), r.Uint64() >> 32}
	return c
}

// header is one of headLen bytes which ends with size bytes of counter.
func (c *runCase) header(ctr uint64, size int) (h [2]uint64) {
	var b, be [16]byte
	putWords(b[:], c.head)
	binary.BigEndian.PutUint64(be[:], ctr)
	copy(b[c.headLen-size:c.headLen], be[8-size:8])
	return [2]uint64{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
}

func putWords(b []byte, w [2]uint64) {
	binary.LittleEndian.PutUint64(b, w[0])
	binary.LittleEndian.PutUint64(b[8:], w[1])
}

// seal is what one frame must become.
func (c *runCase) seal(text, aad []byte, ctr uint64, size int) []byte {
	f := GCMFrame{Key: &c.g, Dst: make([]byte, len(text)+TagSize), Src: text, AAD: aad, Head: c.header(ctr, size), HeadLen: int32(c.headLen)}
	var be, n [16]byte
	binary.BigEndian.PutUint64(be[4:], ctr)
	putWords(n[:], c.salt)
	for i := range 12 {
		n[i] ^= be[i]
	}
	f.Nonce = [2]uint64{binary.LittleEndian.Uint64(n[:]), binary.LittleEndian.Uint64(n[8:])}
	f.Seal()
	var head [16]byte
	putWords(head[:], f.Head)
	return append(head[:c.headLen:c.headLen], f.Dst...)
}

// check seals and opens a run of texts with the given lengths, whose rooms end where guard
// bytes begin, and flips a bit of the frame bad, if there is one.
func (c *runCase) check(r *rand.ChaCha8, lengths, aads []int, bad int) string {
	size := 1 + int(r.Uint64()%uint64(min(8, c.headLen-1)))
	for i := range c.head {
		c.head[i] = r.Uint64()
	}
	lo, hi := ^uint64(0), ^uint64(0) // bytes in front of the counter
	if n := 8 * (c.headLen - size); n < 64 {
		lo, hi = 1<<n-1, 0
	} else if n < 128 {
		hi = 1<<(n-64) - 1
	}
	c.head[0] &= lo
	c.head[1] &= hi
	least, most, aad := lengths[0], 0, 0
	for i, n := range lengths {
		least, most, aad = min(least, n), max(most, n), max(aad, aads[i])
	}
	var run GCMRun
	run.Head, run.Salt = c.head, c.salt
	if !run.Init(&c.g, c.headLen) || !run.Fit(least, most, aad) {
		return fmt.Sprintf("no kernel for %v with %d and %d", lengths, c.headLen, aad)
	}
	sizes := 0
	for _, n := range lengths {
		sizes += 20 + c.headLen + n + TagSize + 5
	}
	frames, wants, texts := make([]RunFrame, len(lengths)), make([][]byte, len(lengths)), make([][]byte, len(lengths))
	const guard = 0xa5
	memory := bytes.Repeat([]byte{guard}, sizes)
	for i, n := range lengths {
		run.Ctr[i] = r.Uint64() >> (64 - 8*size)
		texts[i] = fill(r, n)
		f := &frames[i]
		f.Src, f.AAD = texts[i], fill(r, aads[i])
		if aads[i] == 0 && r.Uint64()&1 == 0 {
			f.AAD = nil
		}
		before := int(r.Uint64() % 20)
		room := before + c.headLen + n + TagSize + 5
		f.Dst, memory = memory[:before:room], memory[room:]
		wants[i] = c.seal(texts[i], f.AAD, run.Ctr[i], size)
	}
	intact := func(b []byte) bool { return bytes.Count(b, []byte{guard}) == len(b) }
	// Twice: by the kernel for short texts of about one length, if they are that, and by the other.
	short, before := run.even, make([]int, len(frames))
	for i := range frames {
		before[i] = len(frames[i].Dst)
	}
	for {
		if short {
			if sealed, errs := run.SealShort(frames, nil); !sealed || errs {
				return fmt.Sprintf("%v: SealShort has sealed: %v; an error: %v", lengths, sealed, errs)
			}
		} else {
			run.Seal(frames)
		}
		for i := range frames {
			f := &frames[i]
			all, n := f.Dst[:cap(f.Dst)], before[i]
			got := f.Dst[n:]
			if !bytes.Equal(got, wants[i]) {
				return fmt.Sprintf("frame %d of %v: sealed %x, want %x", i, lengths, got, wants[i])
			}
			if !intact(all[:n]) || !intact(all[n+len(got):]) {
				return fmt.Sprintf("frame %d of %v: wrote outside its room", i, lengths)
			}
			for j := range all {
				all[j] = guard
			}
			f.Dst = f.Dst[:n]
		}
		if !short {
			break
		}
		short = false
	}
	for i := range frames {
		src := bytes.Clone(wants[i])
		if i == bad {
			src[int(r.Uint64()>>1)%len(src)] ^= 1 << (r.Uint64() % 8)
		}
		frames[i].Src = src
	}
	if ok := run.Open(frames); ok != (bad < 0) {
		return fmt.Sprintf("%v, frame %d changed: opened %v", lengths, bad, ok)
	}
	for i := range frames {
		f := &frames[i]
		all := f.Dst[:cap(f.Dst)]
		got := all[len(f.Dst):][:len(texts[i])]
		if i != bad && !bytes.Equal(got, texts[i]) {
			return fmt.Sprintf("frame %d of %v: opened %x, want %x", i, lengths, got, texts[i])
		}
		if !intact(all[:len(f.Dst)]) || !intact(all[len(f.Dst)+len(got):]) {
			return fmt.Sprintf("frame %d of %v: Open wrote outside its room", i, lengths)
		}
	}
	return ""
}

func eachRunKey(t *testing.T, f func(t *testing.T, c *runCase, r *rand.ChaCha8)) {
	if best != avx512VAES {
		t.Skip("no kernels for runs on this CPU")
	}
	for _, size := range []int{16, 32} {
		t.Run(fmt.Sprintf("AES-%d", 8*size), func(t *testing.T) {
			r := source(uint64(70 + size))
			f(t, newRunCase(t, r, size), r)
		})
	}
}

// TestGCMRun has every length alone, beside every other one that a call may mix it with, and random runs
// of every count, with every length of header, counter and additional data.
func TestGCMRun(t *testing.T) {
	eachRunKey(t, func(t *testing.T, c *runCase, r *rand.ChaCha8) {
		takes := func(n int) int { return (n + TagSize + 63) / 64 }
		fits := func(n int) bool { return takes(n) <= runVectorsMost && n >= 64*(takes(n)-1) }
		for n := range 64 * runVectorsMost {
			for c.headLen = 2; c.headLen <= 16 && fits(n); c.headLen++ {
				if bad := c.check(r, []int{n}, []int{(n * 5) % (runHeadMost + 1 - c.headLen)}, -1); bad != "" {
					t.Fatal(bad)
				}
			}
			for m := range 64 * runVectorsMost {
				if c.headLen = 2 + (n+m)%15; fits(n) && fits(m) && takes(n) == takes(m) {
					aad := (n * m) % (runHeadMost + 1 - c.headLen)
					if bad := c.check(r, []int{n, m}, []int{aad, (aad + n) % (runHeadMost + 1 - c.headLen)}, (n+m)%3-1); bad != "" {
						t.Fatal(bad)
					}
				}
			}
		}
		// Lengths that the kernel for even runs does not take.
		for n := range 1300 {
			c.headLen = 2 + n%15
			m := n * 7 % 1300
			aad := n % (wholeHead + 1 - c.headLen)
			if bad := c.check(r, []int{n, m, n}, []int{aad, aad / 2, 0}, n%6-3); bad != "" {
				t.Fatal(bad)
			}
		}
		rounds := 3000
		if long {
			rounds = 300_000
		}
		for range rounds {
			c.headLen = 2 + int(r.Uint64()>>1%15)
			v := 1 + int(r.Uint64()>>1%runVectorsMost)
			lengths, aads := make([]int, 1+r.Uint64()>>1%RunMost), make([]int, RunMost)
			for i := range lengths {
				lengths[i] = 64*(v-1) + int(r.Uint64()>>1%49)
				aads[i] = int(r.Uint64() >> 1 % uint64(runHeadMost+1-c.headLen))
				switch r.Uint64() >> 61 {
				case 0: // mixed
					lengths[i] = int(r.Uint64() >> 1 % 177)
				case 1:
					if v == 1 {
						lengths[i] = int(r.Uint64() >> 1 % 3000)
						aads[i] = int(r.Uint64() >> 1 % uint64(wholeHead+1-c.headLen))
					}
				}
			}
			if bad := c.check(r, lengths, aads, int(r.Uint64()>>1%uint64(2*len(lengths)))-len(lengths)); bad != "" {
				t.Fatal(bad)
			}
		}
	})
}

// TestGCMRunRefuses changes each bit of each frame of a run.
func TestGCMRunRefuses(t *testing.T) {
	eachRunKey(t, func(t *testing.T, c *runCase, r *rand.ChaCha8) {
		for _, n := range []int{20, 100, 150} {
			for count := 1; count <= 5; count += 2 {
				const at, size = 3, 2
				c.headLen, c.head = 5, [2]uint64{r.Uint64() & 0xffffff}
				var run GCMRun
				run.Head, run.Salt = c.head, c.salt
				if !run.Init(&c.g, c.headLen) || !run.Fit(n, n, at) {
					t.Fatal("no kernel")
				}
				frames := make([]RunFrame, count)
				for i := range frames {
					run.Ctr[i] = uint64(300 + i)
					frames[i].AAD = fill(r, at)
					frames[i].Src, frames[i].Dst = c.seal(fill(r, n), frames[i].AAD, run.Ctr[i], size), make([]byte, 0, n)
				}
				if !run.Open(frames) {
					t.Fatal("refuses what is right")
				}
				step := 13
				if long {
					step = 1
				}
				for i := range frames {
					for _, part := range [][]byte{frames[i].Src, frames[i].AAD} {
						for bit := i; bit < 8*len(part); bit += step {
							part[bit/8] ^= 1 << (bit % 8)
							if run.Open(frames) {
								t.Fatalf("%d bytes, %d frames: opens frame %d with bit %d of %d changed", n, count, i, bit, 8*len(part))
							}
							part[bit/8] ^= 1 << (bit % 8)
						}
					}
				}
			}
		}
	})
}

// TestGCMRunInit asks for what no kernel takes.
func TestGCMRunInit(t *testing.T) {
	eachRunKey(t, func(t *testing.T, c *runCase, _ *rand.ChaCha8) {
		var run GCMRun
		for _, n := range []int{-1, 0, 17} {
			if run.Init(&c.g, n) {
				t.Errorf("takes a header of %d bytes", n)
			}
		}
		for _, no := range []struct{ head, least, most, aad int }{
			{5, 96, 96, 44}, {5, 96, runTextMost + 1, 0}, {5, -1, -1, 0},
		} {
			if run.Init(&c.g, no.head) && run.Fit(no.least, no.most, no.aad) {
				t.Errorf("takes %+v", no)
			}
		}
		if !run.Init(&c.g, 16) || !run.Fit(0, runTextMost, 32) {
			t.Error("refuses what it can take")
		}
		var std GCM
		if err := std.init(make([]byte, 16), generic); err != nil {
			t.Skip(err)
		}
		if run.Init(&std, 5) {
			t.Error("takes a key of the generic tier")
		}
	})
}
