package cipher

import (
	"errors"
	"sync"
	"testing"
)

// TestBatchCounters has goroutines seal short batches, whose counters the engine takes, longer
// ones and single frames under one key, fresh and with reserved blocks, over the counters at which
// headers grow and blocks end, until the key is exhausted: each counter goes out once.
func TestBatchCounters(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  uint64 // how many were taken before
		limit uint64 // where goroutines begin no more frames
		gap   uint64 // between reserved blocks
		fresh bool
	}{
		{"headers grow", 0, 6000, 0, true},
		{"the end", maxFrames - 6000, maxFrames, 0, true},
		{"blocks reserved", maxFrames - 3*ReserveBlock - 100, maxFrames, 0, false},
		{"blocks reserved with gaps", 0, 4 * ReserveBlock, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			counting, first := FreshKey, c.from
			if !c.fresh {
				counting = Reserve(func(n uint64) (uint64, error) {
					begin := first
					first += n + c.gap
					return begin, nil
				})
			}
			k, err := AES128GCM().NewSealKey(9, make([]byte, 16), counting)
			if err != nil {
				t.Skip(err)
			}
			if k.granted = c.from; c.fresh {
				k.next.Store(c.from)
			}
			left := k.Left()
			var mu sync.Mutex
			seen := map[uint64]bool{}
			note := func(sealed []byte) {
				h, _, err := ParseHeader(sealed)
				mu.Lock()
				defer mu.Unlock()
				if err != nil || seen[h.CTR] {
					t.Errorf("counter %d again, or %v", h.CTR, err)
				}
				seen[h.CTR] = true
			}
			var all sync.WaitGroup
			for g := range 4 {
				all.Go(func() {
					memory, text := make([]byte, 20*100), make([]byte, 20)
					for round := g; k.next.Load() < c.limit; round++ {
						if round%3 == 0 {
							out, err := k.Seal(memory[:0], text, nil)
							if errors.Is(err, ErrExhausted) {
								return
							}
							note(out)
						}
						frames := make([]Frame, 1+round%20)
						for i := range frames {
							frames[i] = Frame{Dst: memory[100*i:][:0:100], Src: text}
						}
						k.SealBatch(frames)
						for i := range frames {
							if frames[i].Err == nil {
								note(frames[i].Dst)
							} else if !errors.Is(frames[i].Err, ErrExhausted) {
								t.Error(frames[i].Err)
							}
						}
					}
				})
			}
			all.Wait()
			if c.limit == maxFrames && uint64(len(seen)) != left {
				t.Errorf("%d counters went out, want %d", len(seen), left)
			}
		})
	}
}
