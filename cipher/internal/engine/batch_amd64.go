//go:build amd64 && !purego

package engine

import "unsafe"

// batchJobs is the most frames one call of a kernel takes.
const batchJobs = 8

// sealSome seals the first frames that one call can take together, and returns
// how many; none if the first needs a call of its own.
func sealSome(frames []GCMFrame) int {
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
		j := &jobs[n]
		j.key = k
		j.dst = &f.Dst[:len(f.Src)+TagSize][0]
		j.src = unsafe.SliceData(f.Src)
		j.n = len(f.Src)
		j.hi = uint64(f.Hi)
		j.lo = f.Lo
		j.aad = unsafe.SliceData(f.AAD)
		j.aadn = len(f.AAD)
		n++
	}
	if n > 0 {
		sealJobs(kind, &jobs[0], n)
	}
	return n
}

// openSome is sealSome for Open.
func openSome(frames []GCMFrame) int {
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
		j := &jobs[n]
		j.key = k
		j.dst = unsafe.SliceData(f.Dst[:size])
		j.src = &f.Src[0]
		j.n = size
		j.hi = uint64(f.Hi)
		j.lo = f.Lo
		j.aad = unsafe.SliceData(f.AAD)
		j.aadn = len(f.AAD)
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
