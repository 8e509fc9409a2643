package cipher

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// newTestGCM is a key whose short batches are counted by the engine.
func newTestGCM(t testing.TB, kid KeyID, from Counting) *SealKey {
	t.Helper()
	k, err := AES128GCM().NewSealKey(kid, make([]byte, 16), from)
	if err != nil {
		t.Skip(err)
	}
	return k
}

// laidOut is n frames as batches come.
func laidOut(n int) []Frame {
	memory, text := make([]byte, 100*n), []byte("twenty bytes of text")
	frames := make([]Frame, n)
	for i := range frames {
		frames[i] = Frame{Dst: memory[100*i:][:0:100], Src: text, AAD: text[:i%5]}
	}
	return frames
}

// TestBatchHeaderGrows has batches of every length begin at every counter from which they reach the one
// at which the header gets longer.
func TestBatchHeaderGrows(t *testing.T) {
	for _, kid := range []KeyID{1, 200, 1 << 62} {
		one, many := newTestGCM(t, kid, FreshKey), newTestGCM(t, kid, FreshKey)
		for _, grows := range []uint64{8, 1 << 8, 1 << 16, 1 << 24} {
			for n := 1; n <= 10; n++ {
				for first := grows - min(grows, uint64(n)); first <= grows; first++ {
					one.next.Store(first)
					many.next.Store(first)
					frames := laidOut(n)
					if failed := many.SealBatch(frames); failed != 0 {
						t.Fatal(frames[0].Err)
					}
					for i := range frames {
						f := &frames[i]
						if want, err := one.Seal(nil, f.Src, f.AAD); err != nil || !bytes.Equal(f.Dst, want) {
							t.Fatalf("KID %d, %d frames from counter %d on: frame %d is %x, want %x, %v", kid, n, first, i, f.Dst, want, err)
						}
					}
				}
			}
		}
	}
}

// TestShortBatchAtTheEnd has short batches meet the end of a key's life, or have it behind them: what is left
// is sealed, and no more.
func TestShortBatchAtTheEnd(t *testing.T) {
	for n := 1; n <= 8; n++ {
		for left := -2; left <= n; left++ { // below 0: goroutines have added to the counter beyond the end
			k := newTestGCM(t, 1, FreshKey)
			k.next.Store(uint64(int64(maxFrames) - int64(left)))
			frames, want := laidOut(n), max(left, 0)
			if failed := k.SealBatch(frames); failed != n-want {
				t.Errorf("%d frames with %d left: %d failed", n, left, failed)
			}
			for i, f := range frames {
				if (f.Err == nil) != (i < want) || i >= want && (!errors.Is(f.Err, ErrExhausted) || len(f.Dst) > 0) {
					t.Errorf("%d frames with %d left: frame %d: %v, %d bytes", n, left, i, f.Err, len(f.Dst))
				}
			}
		}
	}
}

// TestShortBatchWornOut has long frames wear a key out: short batches get nothing more.
func TestShortBatchWornOut(t *testing.T) {
	for n := 1; n <= 10; n++ {
		k := newTestGCM(t, 1, FreshKey)
		k.next.Store(1000)
		k.excess.Store(maxBlocks)
		frames := laidOut(n)
		if failed := k.SealBatch(frames); failed != n {
			t.Errorf("%d of %d frames failed", failed, n)
		}
		for i, f := range frames {
			if !errors.Is(f.Err, ErrExhausted) || len(f.Dst) > 0 {
				t.Errorf("frame %d of %d: %v, %d bytes", i, n, f.Err, len(f.Dst))
			}
		}
	}
}

// TestShortBatchReserved has short batches meet the end of a reserved block: each counter is one that
// was reserved, and none goes out twice.
func TestShortBatchReserved(t *testing.T) {
	for _, gap := range []uint64{0, 1, 5, 1000} {
		for n := 1; n <= 8; n++ {
			for left := range n + 1 {
				var blocks [][2]uint64
				at := uint64(300)
				k := newTestGCM(t, 1, Reserve(func(n uint64) (uint64, error) {
					first := at
					blocks, at = append(blocks, [2]uint64{first, first + n}), first+n+gap
					return first, nil
				}))
				k.SealBatch(laidOut(1))
				k.next.Store(blocks[0][1] - uint64(left))
				seen := map[uint64]bool{}
				for range 3 {
					frames := laidOut(n)
					if k.SealBatch(frames) != 0 {
						t.Fatal(frames[0].Err)
					}
					for _, f := range frames {
						h, _, err := ParseHeader(f.Dst)
						reserved := slices.ContainsFunc(blocks, func(b [2]uint64) bool { return b[0] <= h.CTR && h.CTR < b[1] })
						if err != nil || seen[h.CTR] || !reserved {
							t.Fatalf("%d frames, %d left, gaps of %d: counter %d; again: %v; reserved: %v; %v", n, left, gap, h.CTR, seen[h.CTR], reserved, err)
						}
						seen[h.CTR] = true
					}
				}
			}
		}
	}
}

// TestBatchNotLaidOut has batches that do not come as the engine takes them, under counters with which it takes
// the others: rooms in another order, missing, or a byte too small.
func TestBatchNotLaidOut(t *testing.T) {
	one, many := newTestGCM(t, 1, FreshKey), newTestGCM(t, 1, FreshKey)
	for n := 1; n <= 20; n++ {
		for at := range n {
			for name, change := range map[string]func(frames []Frame){
				"all rooms missing": func(frames []Frame) {
					for i := range frames {
						frames[i].Dst = nil
					}
				},
				"room missing": func(frames []Frame) { frames[at].Dst = nil },
				"too small": func(frames []Frame) {
					f := &frames[at]
					f.Dst = f.Dst[: 0 : many.header.len(many.next.Load())+len(f.Src)+15]
				},
				"order": func(frames []Frame) { frames[at].Dst, frames[0].Dst = frames[0].Dst, frames[at].Dst },
			} {
				one.next.Store(300)
				many.next.Store(300)
				frames := laidOut(n)
				change(frames)
				before := slices.Clone(frames)
				if failed := many.SealBatch(frames); failed != 0 {
					t.Fatal(frames[0].Err)
				}
				for i := range frames {
					f := &frames[i]
					if want, err := one.Seal(nil, f.Src, f.AAD); err != nil || !bytes.Equal(f.Dst, want) {
						t.Fatalf("%s, frame %d of %d: frame %d is %x, want %x, %v", name, at, n, i, f.Dst, want, err)
					}
					if spare := before[i].Dst[:cap(before[i].Dst)]; cap(f.Dst) != cap(spare) && bytes.Count(spare, []byte{0}) != len(spare) {
						t.Fatalf("%s, frame %d of %d: room %d was too small and was written", name, at, n, i)
					}
				}
			}
		}
	}
}

// TestOpenBatchRooms has rooms that exactly hold their texts follow each other without a gap, which opens, and then
// one begin a byte in front of the end of the one before, which panics.
func TestOpenBatchRooms(t *testing.T) {
	const n, size = 5, 30
	for _, first := range []uint64{0, 300} {
		seal := newTestGCM(t, 1, FreshKey)
		seal.next.Store(first)
		sealed := laidOut(n)
		for i := range sealed {
			sealed[i].Src = bytes.Repeat([]byte{byte(i)}, size)[:size]
			sealed[i].Dst = nil
		}
		seal.SealBatch(sealed)
		for early := range n {
			memory, frames, at := make([]byte, n*size), make([]Frame, n), 0
			for i := range frames {
				if i > 0 && i == early {
					at--
				}
				frames[i] = Frame{Dst: memory[at:][:0:size], Src: sealed[i].Dst, AAD: sealed[i].AAD}
				at += size
			}
			open, err := AES128GCM().NewOpenKey(1, make([]byte, 16))
			if err != nil {
				t.Fatal(err)
			}
			message := func() (message string) {
				defer func() {
					if r := recover(); r != nil {
						message = fmt.Sprint(r)
					}
				}()
				if failed := open.OpenBatch(frames); failed != 0 {
					t.Error(frames[0].Err)
				}
				return ""
			}()
			if early > 0 != (message == batchOverlapMessage) || bytes.Count(memory[:size], []byte{0}) != size {
				t.Errorf("from counter %d on, room %d a byte early: panic %q", first, early, message)
			}
			if message != "" {
				continue
			}
			for i := range frames {
				if !bytes.Equal(frames[i].Dst, sealed[i].Src) {
					t.Errorf("frame %d opened wrongly", i)
				}
			}
		}
	}
}
