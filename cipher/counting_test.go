package cipher

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func newTestSealKey(t testing.TB, counting Counting) *SealKey {
	t.Helper()
	k, err := AES128CTRHMAC80().NewSealKey(1, make([]byte, 32), counting)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sealedCTR(t testing.TB, k *SealKey) (uint64, error) {
	t.Helper()
	sealed, err := k.Seal(nil, []byte("x"), nil)
	if err != nil {
		if len(sealed) > 0 {
			t.Errorf("%v, and yet %d bytes came out", err, len(sealed))
		}
		return 0, err
	}
	h, _, err := ParseHeader(sealed)
	if err != nil {
		t.Fatal(err)
	}
	return h.CTR, nil
}

func TestCountingRequired(t *testing.T) {
	if _, err := AES128CTRHMAC80().NewSealKey(1, make([]byte, 32), Counting{}); err == nil {
		t.Error("a SealKey without a Counting was made")
	}
	if _, err := AES128CTRHMAC80().NewSealKey(1, make([]byte, 32), Reserve(nil)); err == nil {
		t.Error("a SealKey with a nil Reserve was made")
	}
}

func TestFreshExhaustion(t *testing.T) {
	k := newTestSealKey(t, FreshKey)
	if k.Left() != maxFrames {
		t.Errorf("a fresh key has %d frames left, want 2^32", k.Left())
	}
	k.next.Store(maxFrames - 3)
	for want := uint64(maxFrames - 3); want < maxFrames; want++ {
		if got, err := sealedCTR(t, k); err != nil || got != want {
			t.Fatalf("counter %d, error %v, want %d", got, err, want)
		}
	}
	for range 3 {
		if _, err := sealedCTR(t, k); !errors.Is(err, ErrExhausted) {
			t.Fatalf("error %v, want %v", err, ErrExhausted)
		}
	}
	if k.Left() != 0 {
		t.Errorf("%d frames left", k.Left())
	}
	buf := make([]byte, 100)
	if _, err := k.SealInPlace(buf, MaxHeader, 10, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("in place: error %v, want %v", err, ErrExhausted)
	}
	if n := k.next.Load(); n != maxFrames {
		t.Errorf("asking an exhausted key moved its counter to %d", n)
	}
}

// TestFreshExhaustionConcurrent: at the very end too, every counter goes out once and
// none beyond the last.
func TestFreshExhaustionConcurrent(t *testing.T) {
	const left, goroutines = 100, 16
	k := newTestSealKey(t, FreshKey)
	k.next.Store(maxFrames - left)
	var mu sync.Mutex
	seen := map[uint64]int{}
	inParallel(goroutines, func(int) {
		for range left {
			if ctr, err := sealedCTR(t, k); err == nil {
				mu.Lock()
				seen[ctr]++
				mu.Unlock()
			} else if !errors.Is(err, ErrExhausted) {
				t.Error(err)
			}
		}
	})
	for ctr := uint64(maxFrames - left); ctr < maxFrames; ctr++ {
		if seen[ctr] != 1 {
			t.Errorf("counter %d went out %d times", ctr, seen[ctr])
		}
	}
	if len(seen) != left {
		t.Errorf("%d counters went out, want %d", len(seen), left)
	}
}

// TestBatchAtTheEnd: a batch that is longer than what is left seals what is left, as
// single frames would.
func TestBatchAtTheEnd(t *testing.T) {
	k := newTestSealKey(t, FreshKey)
	k.next.Store(maxFrames - 5)
	frames := make([]Frame, 8)
	if failed := k.SealBatch(frames); failed != 3 {
		t.Errorf("%d frames failed, want 3", failed)
	}
	for i, f := range frames {
		if (f.Err == nil) != (i < 5) || i >= 5 && (!errors.Is(f.Err, ErrExhausted) || f.Dst != nil) {
			t.Errorf("frame %d: error %v", i, f.Err)
		}
	}
}

// TestBlockLimit: long frames wear a key out before 2^32 of them.
func TestBlockLimit(t *testing.T) {
	const long = 2 * freeBlocks * 16 // bytes; counts twice
	frame := make([]byte, long)
	k := newTestSealKey(t, FreshKey)
	k.next.Store(maxFrames / 2)
	if _, err := k.Seal(nil, frame, nil); err != nil {
		t.Fatal(err)
	}
	// Half of the frames, and as much again in long ones, less room for three.
	k.excess.Store(maxBlocks/2 - 4*freeBlocks)
	if got := k.Left(); got != 3 {
		t.Errorf("%d frames left, want 3", got)
	}
	if _, err := k.Seal(nil, frame, nil); err != nil {
		t.Fatal(err)
	}
	if got := k.Left(); got != 1 {
		t.Errorf("%d frames left, want 1", got)
	}
	if _, err := k.Seal(nil, frame, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("a long frame beyond the limit: error %v, want %v", err, ErrExhausted)
	}
	if _, err := k.Seal(nil, []byte("short"), nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("a short frame after that: error %v, want %v", err, ErrExhausted)
	}
	if k.Left() != 0 {
		t.Errorf("%d frames left", k.Left())
	}
	// The longest frame that still counts as one.
	k = newTestSealKey(t, FreshKey)
	if _, err := k.Seal(nil, frame[:freeBlocks*16], nil); err != nil || k.excess.Load() != 0 {
		t.Errorf("128 KiB: error %v, %d blocks above", err, k.excess.Load())
	}
	if _, err := k.Seal(nil, frame[:freeBlocks*16+1], nil); err != nil || k.excess.Load() != 1 {
		t.Errorf("128 KiB and a byte: error %v, %d blocks above", err, k.excess.Load())
	}
}

// TestReserveBlocks: counters come from the blocks that were reserved, in order, and
// what lies between the blocks is left out.
func TestReserveBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var reserved [][2]uint64
		next := rapid.Uint64Range(0, 1<<40).Draw(t, "first")
		k := &SealKey{suite: AES128CTRHMAC80(), header: newHeaderTemplate(1)}
		err := k.counter.init(Reserve(func(n uint64) (uint64, error) {
			if rapid.Bool().Draw(t, "gap") {
				next += rapid.Uint64Range(1, 1<<20).Draw(t, "length")
			}
			first := next
			next += n
			reserved = append(reserved, [2]uint64{first, next})
			return first, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		last, began := uint64(0), false
		for range rapid.IntRange(1, 40).Draw(t, "takes") {
			n := rapid.SampledFrom([]uint64{1, 1, 2, 100, ReserveBlock - 1, ReserveBlock, ReserveBlock + 1, 3 * ReserveBlock}).Draw(t, "n")
			first, err := k.take(n)
			if err != nil {
				t.Fatal(err)
			}
			if began && first < last {
				t.Fatalf("%d counters from %d on, after %d", n, first, last)
			}
			began, last = true, first+n
			inside := false
			for _, r := range reserved {
				inside = inside || first >= r[0] && first+n <= r[1]
			}
			// Blocks without a gap between them are one.
			for i := 0; i+1 < len(reserved) && !inside; i++ {
				for j := i + 1; j < len(reserved) && reserved[j][0] == reserved[j-1][1]; j++ {
					inside = inside || first >= reserved[i][0] && first+n <= reserved[j][1]
				}
			}
			if !inside {
				t.Fatalf("%d counters from %d on were never reserved: %v", n, first, reserved)
			}
		}
	})
}

func TestReserveConcurrent(t *testing.T) {
	const goroutines, each = 16, 3000 // several blocks together
	var next uint64
	r := rand.New(rand.NewPCG(1, 2))
	k := newTestSealKey(t, Reserve(func(n uint64) (uint64, error) {
		next += r.Uint64N(2) * 1000 // not locked: Reserve calls it one at a time
		first := next
		next += n
		return first, nil
	}))
	var mu sync.Mutex
	seen := map[uint64]bool{}
	inParallel(goroutines, func(g int) {
		own := make([]uint64, 0, each)
		for i := range each {
			n := uint64(1 + (g+i)%3)
			first, err := k.take(n)
			if err != nil {
				t.Error(err)
				return
			}
			for j := range n {
				own = append(own, first+j)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, ctr := range own {
			if seen[ctr] {
				t.Errorf("counter %d was used twice", ctr)
			}
			seen[ctr] = true
		}
	})
}

// TestReserveRace: two goroutines side by side take every counter once between them.
func TestReserveRace(t *testing.T) {
	rounds := raceRounds()
	var next uint64
	k := newTestSealKey(t, Reserve(func(n uint64) (uint64, error) {
		first := next
		next += n
		return first, nil
	}))
	used := make([]atomic.Int32, rounds)
	inParallel(2, func(int) {
		for range rounds / 2 {
			ctr, err := k.take(1)
			if err != nil || ctr >= rounds {
				t.Errorf("counter %d, error %v", ctr, err)
				return
			}
			used[ctr].Add(1)
		}
	})
	for ctr := range used {
		if n := used[ctr].Load(); n != 1 {
			t.Fatalf("counter %d was used %d times", ctr, n)
		}
	}
}

// TestReserveRefuses: a reservation that goes back, overlaps the last one or overflows
// is an error, and so is the reserver's own; nothing is sealed.
func TestReserveRefuses(t *testing.T) {
	errDisk := errors.New("disk full")
	for name, c := range map[string]struct {
		first []uint64 // of one reservation after the other
		err   error
		want  error
	}{
		"goes back":        {first: []uint64{1 << 20, 0}, want: errReserve},
		"the same again":   {first: []uint64{5, 5}, want: errReserve},
		"overlaps by one":  {first: []uint64{0, ReserveBlock - 1}, want: errReserve},
		"overflows":        {first: []uint64{0, 1<<64 - ReserveBlock + 1}, want: errReserve},
		"the reserver's":   {first: []uint64{0}, err: errDisk, want: errDisk},
		"from the outset":  {err: errDisk, want: errDisk},
		"overflow at once": {first: []uint64{1<<64 - 1}, want: errReserve},
	} {
		calls := 0
		k := newTestSealKey(t, Reserve(func(uint64) (uint64, error) {
			if calls++; calls <= len(c.first) {
				return c.first[calls-1], nil
			}
			return 0, cmp.Or(c.err, errors.New("no more"))
		}))
		var err error
		sealed := 0
		for err == nil && sealed <= 3*ReserveBlock {
			if _, err = k.take(1); err == nil {
				sealed++
			}
		}
		if !errors.Is(err, c.want) || sealed%ReserveBlock != 0 || sealed > ReserveBlock {
			t.Errorf("%s: error %v after %d counters, want %v", name, err, sealed, c.want)
		}
		if _, err := sealedCTR(t, k); err == nil {
			t.Errorf("%s: sealed all the same", name)
		}
	}
}

// TestReserveRecovers: an error of the reserver is that call's only.
func TestReserveRecovers(t *testing.T) {
	fail := true
	k := newTestSealKey(t, Reserve(func(uint64) (uint64, error) {
		if fail {
			return 0, errors.New("busy")
		}
		return 77, nil
	}))
	if _, err := sealedCTR(t, k); err == nil {
		t.Fatal("sealed without a reservation")
	}
	fail = false
	if ctr, err := sealedCTR(t, k); err != nil || ctr != 77 {
		t.Errorf("counter %d, error %v, want 77", ctr, err)
	}
}

// TestReserveLife: reserved counters end with the key's life too, wherever they lie.
func TestReserveLife(t *testing.T) {
	next := uint64(1 << 50)
	k := newTestSealKey(t, Reserve(func(n uint64) (uint64, error) {
		first := next
		next += n
		return first, nil
	}))
	k.granted = maxFrames - 10
	if left := k.Left(); left != 10 {
		t.Errorf("%d left, want 10", left)
	}
	for range 10 {
		if _, err := sealedCTR(t, k); err != nil {
			t.Fatal(err)
		}
	}
	if next != 1<<50+10 {
		t.Errorf("%d counters were reserved for the last 10", next-1<<50)
	}
	if _, err := sealedCTR(t, k); !errors.Is(err, ErrExhausted) || k.Left() != 0 {
		t.Errorf("error %v, want %v; %d left", err, ErrExhausted, k.Left())
	}
}
