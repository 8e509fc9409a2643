package ciphertest

import (
	"crypto/fips140"
	"runtime"
	"slices"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
)

// allocRuns is how often a call is repeated to count its allocations.
const allocRuns = 200

// allocs is how many allocations f makes a run, rounded down: what the runtime does
// now and then by itself does not count.
func allocs(f func(i int)) uint64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f(0) // fills pools
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range allocRuns {
		f(i + 1)
	}
	runtime.ReadMemStats(&after)
	return (after.Mallocs - before.Mallocs) / allocRuns
}

// noAllocs checks that f allocates nothing. The race detector and FIPS mode do.
func (x *exam) noAllocs(what string, f func(i int)) {
	x.t.Helper()
	if raceflag.Enabled || fips140.Enabled() || x.not(MayAllocate) {
		f(0)
		return
	}
	if n := allocs(f); n > 0 {
		x.t.Errorf("%s: %d allocations a frame, want 0", what, n)
	}
}

var allocSizes = []int{0, 20, 160, 1200, 20000}

// checkAllocs: a frame costs no allocation when dst has room, nor does one that is
// refused.
func checkAllocs(x *exam) {
	s, o := x.fresh()
	for _, n := range allocSizes {
		frame, aad := random(n, n), random(n, 24)
		sealed := make([][]byte, allocRuns+1)
		for i := range sealed {
			sealed[i] = x.seal(s, frame, aad)
		}
		dst := make([]byte, 0, n+s.Overhead()+64)
		var err error
		x.noAllocs("Seal", func(int) { _, err = s.Seal(dst, frame, aad) })
		if err != nil {
			x.t.Errorf("Seal: %v", err)
		}
		x.noAllocs("Open", func(i int) { _, err = o.Open(dst, sealed[i], aad) })
		if err != nil {
			x.t.Errorf("Open: %v", err)
		}
		if !x.not(NoReplay) {
			x.noAllocs("Open of a replayed frame", func(int) { _, err = o.Open(dst, sealed[0], aad) })
			if err == nil {
				x.t.Errorf("a replayed frame was opened")
			}
		}
		if x.not(NoAuth) {
			continue
		}
		bad := x.seal(s, frame, aad)
		bad[len(bad)-1] ^= 1
		x.noAllocs("Open of a changed frame", func(int) { _, err = o.Open(dst, bad, aad) })
		if err == nil {
			x.t.Errorf("a changed frame was opened")
		}
		x.noAllocs("Open of a frame cut short", func(i int) { _, err = o.Open(dst, bad[:i%4], aad) })
		if err == nil {
			x.t.Errorf("a frame cut short was opened")
		}
	}
}

// checkSuiteAllocs: the same for what keys of a suite do besides.
func checkSuiteAllocs(x *exam) {
	s, o := x.keys(examKID, cipher.FreshKey)
	_, other := x.keys(examKID+1, cipher.FreshKey)
	for _, n := range allocSizes {
		frame, aad := random(n, n), random(n, 24)
		good := x.seal(s, frame, aad)
		malformed := slices.Concat([]byte{0x80, 1}, good)
		buf := make([]byte, cipher.MaxHeader+n+x.suite.Overhead())
		var inPlace []byte
		var err error
		x.noAllocs("SealInPlace and OpenInPlace", func(int) {
			if inPlace, err = s.SealInPlace(buf, cipher.MaxHeader, n, aad); err == nil {
				_, err = o.OpenInPlace(inPlace, aad)
			}
		})
		if err != nil {
			x.t.Errorf("SealInPlace and OpenInPlace: %v", err)
		}
		x.noAllocs("SealInPlace without room", func(int) { _, err = s.SealInPlace(buf, cipher.MaxHeader+1, n, aad) })
		x.noAllocs("Open of another key's frame", func(int) { _, err = other.Open(nil, good, aad) })
		x.noAllocs("Open of a malformed frame", func(int) { _, err = o.Open(nil, malformed, aad) })
		x.noAllocs("OpenInPlace of nothing", func(int) { _, err = o.OpenInPlace(inPlace[:0], aad) })
		if err == nil {
			x.t.Errorf("an empty frame was opened")
		}

		const batch = 8
		var frames, sealed [batch]cipher.Frame
		memory := make([]byte, 2*batch*(n+s.Overhead()))
		piece := func(i int) []byte { return memory[i*(n+s.Overhead()):][: 0 : n+s.Overhead()] }
		failed := 0
		x.noAllocs("SealBatch and OpenBatch", func(int) {
			for i := range frames {
				frames[i] = cipher.Frame{Dst: piece(i), Src: frame, AAD: aad}
			}
			failed += s.SealBatch(frames[:])
			for i := range sealed {
				sealed[i] = cipher.Frame{Dst: piece(batch + i), Src: frames[i].Dst, AAD: aad}
			}
			failed += o.OpenBatch(sealed[:])
		})
		if failed > 0 {
			x.t.Errorf("SealBatch and OpenBatch: %d frames failed", failed)
		}
	}
	s.Retire()
	o.Retire()
	var err error
	x.noAllocs("Seal with a retired key", func(int) { _, err = s.Seal(nil, nil, nil) })
	sealed := []byte{0x91, 1, 0x23, 0}
	x.noAllocs("Open with a retired key", func(int) { _, err = o.Open(nil, sealed, nil) })
	if err == nil {
		x.t.Errorf("a retired key opened a frame")
	}
}
