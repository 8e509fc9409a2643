//go:build amd64 && !purego

package engine

import "unsafe"

// Limits of one call of a kernel: frames of any length, and short frames, which
// have kernels of their own if they take equally many 64-byte vectors.
const (
	batchJobs  = 8
	batchShort = 256
	shortMax   = 192 // bytes of text
)

func vectors(n int) int { return (n + 63) / 64 }

// shortRun returns how many of the first frames the kernels for short frames can
// take together; extra is what a frame's Src is longer than its text.
func shortRun(frames []GCMFrame, extra int) int {
	n, kind, size := 0, byte(0), 0
	for i := range frames[:min(len(frames), batchShort)] {
		f := &frames[i]
		k, text := f.Key.asm, len(f.Src)-extra
		if k == nil || uint(text-1) >= shortMax || len(f.AAD) > 16 || len(f.Dst) < text+TagSize-extra {
			break
		}
		if n == 0 {
			kind, size = k.rk.kind(), vectors(text)
		}
		if kind < avx512x128 || k.rk.kind() != kind || vectors(text) != size {
			break
		}
		n++
	}
	return n
}

// sealSome seals the first frames that one call can take together, and returns
// how many; none if the first needs a call of its own.
func sealSome(frames []GCMFrame) int {
	if n := shortRun(frames, 0); n > 1 {
		if frames[0].Key.asm.rk.kind() == avx512x128 {
			sealShort128AVX512(&frames[0], n, vectors(len(frames[0].Src)))
		} else {
			sealShort256AVX512(&frames[0], n, vectors(len(frames[0].Src)))
		}
		return n
	}
	var jobs [batchJobs]gcmJob
	n, kind, room := 0, byte(0), maxPiece
	for n < min(len(frames), batchJobs) {
		f := &frames[n]
		k := f.Key.asm
		if k == nil || !whole(f.Src, f.AAD) || len(f.Src) > room || n > 0 && k.rk.kind() != kind {
			break
		}
		kind = k.rk.kind()
		room -= len(f.Src)
		// By index: what is stored through a pointer would count as escaping.
		jobs[n].key = k
		jobs[n].dst = &f.Dst[:len(f.Src)+TagSize][0]
		jobs[n].src = unsafe.SliceData(f.Src)
		jobs[n].n = len(f.Src)
		jobs[n].hi = uint64(f.Hi)
		jobs[n].lo = f.Lo
		jobs[n].aad = unsafe.SliceData(f.AAD)
		jobs[n].aadn = len(f.AAD)
		n++
	}
	if n > 0 {
		sealJobs(kind, &jobs[0], n)
	}
	return n
}

// openSome is sealSome for Open.
func openSome(frames []GCMFrame) int {
	if n := shortRun(frames, TagSize); n > 1 {
		size := vectors(len(frames[0].Src) - TagSize)
		if frames[0].Key.asm.rk.kind() == avx512x128 {
			openShort128AVX512(&frames[0], n, size)
		} else {
			openShort256AVX512(&frames[0], n, size)
		}
		for i := range frames[:n] {
			if f := &frames[i]; !f.OK {
				clear(f.Dst[:len(f.Src)-TagSize])
			}
		}
		return n
	}
	var jobs [batchJobs]gcmJob
	n, kind, room := 0, byte(0), maxPiece
	for n < min(len(frames), batchJobs) {
		f := &frames[n]
		k := f.Key.asm
		size := len(f.Src) - TagSize
		if k == nil || size < 0 || !whole(f.Src, f.AAD) || size > room || n > 0 && k.rk.kind() != kind {
			break
		}
		kind = k.rk.kind()
		room -= size
		// By index: what is stored through a pointer would count as escaping.
		jobs[n].key = k
		jobs[n].dst = unsafe.SliceData(f.Dst[:size])
		jobs[n].src = &f.Src[0]
		jobs[n].n = size
		jobs[n].hi = uint64(f.Hi)
		jobs[n].lo = f.Lo
		jobs[n].aad = unsafe.SliceData(f.AAD)
		jobs[n].aadn = len(f.AAD)
		n++
	}
	if n > 0 {
		openJobs(kind, &jobs[0], n)
	}
	for i := range n {
		f := &frames[i]
		f.OK = jobs[i].ok == 1
		if !f.OK {
			clear(f.Dst[:jobs[i].n])
		}
	}
	return n
}
