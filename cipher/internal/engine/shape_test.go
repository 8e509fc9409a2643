package engine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// layout puts count frames into memory as batches come, each Dst's room behind the one before, texts and additional
// data in front of all rooms or behind them, and then, unless how is 0, disturbs one thing. extra is what a room
// has more than a text.
func layout(r *rand.ChaCha8, memory []byte, count, extra, least, span, aadMost int, how int) []RunFrame {
	pick := func(n int) int { return int(r.Uint64()>>1) % n }
	frames := make([]RunFrame, count)
	at := 0
	if how&1 == 0 { // what is read comes first
		at = count * (least + span + aadMost)
	}
	begin := at
	for i := range frames {
		f := &frames[i]
		n, before := least+pick(span), pick(9)
		room := before + n + extra
		f.Dst = memory[at:][: before : room+pick(3)]
		at += room + pick(2)*7
		f.Src = make([]byte, n)
	}
	if begin > 0 {
		at = 0
	}
	for i := range frames {
		f := &frames[i]
		n, aad := len(f.Src), pick(aadMost+1)
		f.Src, f.AAD = memory[at:][:n], memory[at+n:][:aad]
		if aad == 0 && pick(2) == 0 && begin > 0 {
			f.AAD = nil
		}
		at += n + aad
	}
	if i := pick(count); how > 1 {
		f, other := &frames[i], &frames[pick(count)]
		j := pick(len(memory) - 400)
		switch how >> 1 {
		case 1: // a text or additional data anywhere
			f.Src = memory[j:][:len(f.Src)]
		case 2:
			f.AAD = memory[j:][:len(f.AAD)]
		case 3: // a room anywhere
			f.Dst = memory[j:][:len(f.Dst):cap(f.Dst)]
		case 4: // a room too small by a byte
			if n := len(f.Dst) + len(f.Src) + extra - 1; n >= len(f.Dst) {
				f.Dst = f.Dst[:len(f.Dst):n]
			}
		case 5: // by a byte in the next room
			if n := len(f.Dst) + len(f.Src) + extra; i+1 < count && n > 0 {
				p := &frames[i+1]
				p.Dst = memory[int(start(f.Dst)-start(memory))+n-1:][:len(p.Dst):cap(p.Dst)]
			}
		case 6: // two in turned order
			f.Dst, other.Dst = other.Dst, f.Dst
		case 7: // text or additional data one byte into a room, at either end
			first, last := &frames[0], &frames[count-1]
			begin := int(start(first.Dst)-start(memory)) + len(first.Dst)
			end := int(start(last.Dst)-start(memory)) + len(last.Dst) + len(last.Src) + extra
			read := &f.Src
			if pick(2) == 0 {
				read = &f.AAD
			}
			if j := begin + 1 - len(*read); pick(2) == 0 && j >= 0 {
				*read = memory[j:][:len(*read)]
			} else if end > begin {
				*read = memory[end-1:][:len(*read)]
			}
		}
	}
	if pick(4) == 0 {
		frames[pick(count)].Err = errors.New("left over")
	}
	return frames
}

// disjoint looks at each pair of what may be written and what may be read or written.
func disjoint(frames []RunFrame, extra int) bool {
	meet := func(a, b []byte) bool {
		return len(a) > 0 && len(b) > 0 && start(a) < start(b)+uintptr(len(b)) && start(b) < start(a)+uintptr(len(a))
	}
	for i := range frames {
		f := &frames[i]
		n := len(f.Src) + extra
		if n < 0 || cap(f.Dst)-len(f.Dst) < n {
			return false
		}
		room := f.Dst[len(f.Dst) : len(f.Dst)+n]
		for j := range frames {
			g := &frames[j]
			if meet(room, g.Src) || meet(room, g.AAD) {
				return false
			}
			if m := len(g.Src) + extra; i != j && m >= 0 && cap(g.Dst)-len(g.Dst) >= m && meet(room, g.Dst[len(g.Dst):len(g.Dst)+m]) {
				return false
			}
		}
	}
	return true
}

// TestShape compares ShapeOf with its twin in Go, and both with what they claim, on batches as they come and
// on others that differ from those by one thing.
func TestShape(t *testing.T) {
	r := source(80)
	rounds := 40_000
	if long {
		rounds *= 50
	}
	apart, not := 0, 0
	memory := make([]byte, 8000)
	for k := range rounds {
		extra, how := int(r.Uint64()>>1%60)-22, int(r.Uint64()>>1%16)
		frames := layout(r, memory, 1+int(r.Uint64()>>1%9), extra, 22, 1+int(r.Uint64()>>1%200), 40, how)
		got, want := ShapeOf(frames, extra), shapeOf(frames, extra)
		if got != want && (got.Apart || want.Apart) {
			t.Fatalf("round %d: %+v, in Go %+v", k, got, want)
		}
		if !got.Apart {
			first, last := &frames[0], &frames[len(frames)-1]
			bytes := int(start(last.Dst)-start(first.Dst)) + len(last.Dst) + len(last.Src) + extra - len(first.Dst)
			if not++; how <= 1 && bytes > 0 { // rooms without a byte are met by all
				t.Fatalf("round %d: a batch as they come is not apart", k)
			}
			continue
		}
		apart++
		if !disjoint(frames, extra) {
			t.Fatalf("round %d, kind %d: %+v of frames that are not apart", k, how, got)
		}
		least, most, aad, errs := len(frames[0].Src), 0, 0, false
		for i := range frames {
			f := &frames[i]
			least, most, aad, errs = min(least, len(f.Src)), max(most, len(f.Src)), max(aad, len(f.AAD)), errs || f.Err != nil
		}
		if want := (Shape{true, errs, least, most, aad}); got != want {
			t.Fatalf("round %d: %+v, want %+v", k, got, want)
		}
	}
	if apart < rounds/4 || not < rounds/4 {
		t.Errorf("%d apart, %d not: the test tells nothing", apart, not)
	}
}

// TestSealShortLooks has SealShort take what ShapeOf finds apart and what is of about one length, and nothing
// else; and what it does not take it leaves as it was.
func TestSealShortLooks(t *testing.T) {
	eachRunKey(t, func(t *testing.T, c *runCase, r *rand.ChaCha8) {
		rounds := 20_000
		if long {
			rounds *= 20
		}
		taken, not := 0, 0
		memory := make([]byte, 8000)
		r.Read(memory)
		for k := range rounds {
			c.headLen = 2 + int(r.Uint64()>>1%15)
			extra, how := c.headLen+TagSize, int(r.Uint64()>>1%16)
			vector, span := 64*int(r.Uint64()>>1%4), 49
			if r.Uint64()>>61 == 0 {
				span = 60 // now and then of more vectors
			}
			frames := layout(r, memory, 1+int(r.Uint64()>>1%RunMost), extra, vector, span, runHeadMost-c.headLen+int(r.Uint64()>>1%8)/7, how)
			var run GCMRun
			if !run.Init(&c.g, c.headLen) {
				t.Fatal("no kernel")
			}
			var next atomic.Uint64
			first := r.Uint64() >> 20
			next.Store(first)
			for i := range frames {
				run.Ctr[i] = first + uint64(i)
			}
			moved := r.Uint64()>>61 == 0
			if moved {
				next.Add(1)
			}
			s := shapeOf(frames, extra)
			want := s.Apart && run.Fit(s.Least, s.Most, s.AAD) && run.even && !moved
			before := bytes.Clone(memory)
			var lengths []int
			for i := range frames {
				lengths = append(lengths, len(frames[i].Dst))
			}
			sealed, errs := run.SealShort(frames, &next)
			if sealed != want {
				t.Fatalf("round %d, kind %d: sealed %v of %+v; moved %v", k, how, sealed, s, moved)
			}
			if sealed {
				taken++
				if errs != s.Errs || next.Load() != first+uint64(len(frames)) {
					t.Fatalf("round %d: errs %v of %+v, next %d, was %d", k, errs, s, next.Load(), first)
				}
				for i, n := range lengths {
					if f := &frames[i]; len(f.Dst) != n+len(f.Src)+extra {
						t.Fatalf("round %d: Dst has got %d bytes", k, len(f.Dst)-n)
					}
				}
				continue
			}
			not++
			if errs || !bytes.Equal(memory, before) || next.Load() != first && !moved {
				t.Fatalf("round %d: something was done", k)
			}
			for i, n := range lengths {
				if len(frames[i].Dst) != n {
					t.Fatalf("round %d: a Dst got longer", k)
				}
			}
		}
		if taken < rounds/8 || not < rounds/8 {
			t.Errorf("%d taken, %d not: the test tells nothing", taken, not)
		}
	})
}

// TestShapeTooShort has one Src be shorter than what a room has less than it: that frame cannot be told apart from
// others by where its room ends.
func TestShapeTooShort(t *testing.T) {
	const extra = -17
	memory, src := make([]byte, 200), make([]byte, 100)
	for count := 1; count <= 9; count++ {
		for short := range count {
			for n := range 20 {
				frames := make([]RunFrame, count)
				for i := range frames {
					frames[i] = RunFrame{Dst: memory[20*i:][:0:20], Src: src[:37]}
				}
				frames[short].Src = src[:n]
				for name, s := range map[string]Shape{"ShapeOf": ShapeOf(frames, extra), "its twin in Go": shapeOf(frames, extra)} {
					if room := n + extra; s.Apart && room < 0 || !s.Apart && room > 0 { // of 0, either is right
						t.Errorf("%s: %d bytes in frame %d of %d: apart %v", name, n, short, count, s.Apart)
					}
				}
			}
		}
	}
}

// TestSealShortCounts has goroutines that do nothing else take counters from one place: no two may get the same.
// It needs more than one core to tell a locked instruction from others.
func TestSealShortCounts(t *testing.T) {
	eachRunKey(t, func(t *testing.T, c *runCase, _ *rand.ChaCha8) {
		const limit = 100_000
		c.headLen = 5
		var next, taken atomic.Uint64
		var all sync.WaitGroup
		for g := range 4 {
			all.Go(func() {
				var run GCMRun
				if !run.Init(&c.g, c.headLen) {
					t.Error("no kernel")
					return
				}
				n := uint64(1 + g%2)
				memory, frames := make([]byte, 200), make([]RunFrame, n)
				for {
					for i := range frames {
						frames[i].Dst = memory[100*i:][:0:100]
					}
					first := next.Load()
					if run.Ctr[0], run.Ctr[1] = first, first+1; first >= limit {
						return
					}
					if sealed, _ := run.SealShort(frames, &next); sealed {
						taken.Add(n)
					}
				}
			})
		}
		all.Wait()
		if next.Load() != taken.Load() {
			t.Errorf("%d counters taken, the next one is %d", taken.Load(), next.Load())
		}
	})
}
