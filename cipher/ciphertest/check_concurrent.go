package ciphertest

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
)

// All frames together are fewer than a usual replay window holds: one that waits
// while the others are opened is not too old then.
const (
	goroutines      = 32
	framesPerWorker = 30
)

// together runs f in many goroutines that begin at once, and reports what they return
// and how they panic.
func (x *exam) together(f func(worker int) error) {
	x.t.Helper()
	begin := make(chan struct{})
	errs := make([]error, goroutines)
	var done sync.WaitGroup
	for i := range goroutines {
		done.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					errs[i] = fmt.Errorf("panic: %v", r)
				}
			}()
			<-begin
			errs[i] = f(i)
		})
	}
	close(begin)
	done.Wait()
	for _, err := range errs {
		if err != nil {
			x.t.Errorf("%d goroutines on one key: %v", goroutines, err)
			return // the others will say the same
		}
	}
}

// checkConcurrent: many goroutines seal and open on one pair, and each gets its own.
func checkConcurrent(x *exam) {
	s, o := x.fresh()
	var all sync.Map
	x.together(func(worker int) error {
		for i := range framesPerWorker {
			frame, aad := random(worker<<16|i, 20+37*i%400), random(worker, 8)
			sealed, err := s.Seal(nil, frame, aad)
			if err != nil {
				return fmt.Errorf("sealing: %w", err)
			}
			if _, twice := all.LoadOrStore(string(sealed), true); twice {
				return fmt.Errorf("two sealed frames are equal")
			}
			back, err := o.Open(nil, sealed, aad)
			if err != nil {
				return fmt.Errorf("opening: %w", err)
			}
			if !bytes.Equal(back, frame) {
				return fmt.Errorf("another frame came out")
			}
		}
		return nil
	})
}

// checkRace: of many that open one frame at once, exactly one succeeds.
func checkRace(x *exam) {
	s, o := x.fresh()
	want := int64(1)
	if x.not(NoReplay) {
		want = goroutines
	}
	for i := range 64 {
		frame := random(i, 100+i%2*4000)
		sealed := x.seal(s, frame, nil)
		var opened atomic.Int64
		x.together(func(int) error {
			// A copy each: whether the opener writes to it is another check's question.
			dst, sealed := make([]byte, 0, len(sealed)), bytes.Clone(sealed)
			back, err := o.Open(dst, sealed, nil)
			switch {
			case err == nil && !bytes.Equal(back, frame):
				return fmt.Errorf("another frame came out")
			case err == nil:
				opened.Add(1)
			case x.not(NoReplay):
				return fmt.Errorf("opening: %w", err)
			case bytes.Contains(dst[:cap(dst)], frame[:16]):
				return fmt.Errorf("a frame was refused, and part of it left behind dst")
			}
			return nil
		})
		if got := opened.Load(); got != want {
			x.t.Errorf("%d goroutines opened one frame, want %d", got, want)
			return
		}
	}
}
