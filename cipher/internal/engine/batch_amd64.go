//go:build amd64 && !purego

package engine

// Limits of one call of a kernel: frames of any length, and short frames, which
// have kernels of their own.
const (
	batchFrames = 8
	batchShort  = 256
	shortText   = 176 // bytes
	shortHead   = 32  // bytes of Head and AAD
)

// shortRun returns how many of the first frames the kernels for short frames can
// take together, and in how many vectors each; extra is what a frame's Src is longer
// than its text. It panics where Seal and Open would.
func shortRun(frames []GCMFrame, extra int) (n, vectors int) {
	kind, most := byte(0), 0
	for n < min(len(frames), batchShort) {
		f := &frames[n]
		k, text := f.Key.asm, len(f.Src)-extra
		if k == nil || uint(text) > shortText || int(f.HeadLen)+len(f.AAD) > shortHead {
			break
		}
		if n == 0 {
			kind = k.rk.kind()
		}
		if kind < avx512x128 || k.rk.kind() != kind {
			break
		}
		_ = f.Dst[:text+TagSize-extra]
		most = max(most, text)
		n++
	}
	return n, (most + 16 + 63) / 64
}

// run returns how many of the first frames one call for frames of any length can
// take, and of which kind their keys are; extra is as for shortRun. It panics where
// Seal and Open would.
func run(frames []GCMFrame, extra int) (n int, kind byte) {
	room := maxPiece
	for n < min(len(frames), batchFrames) {
		f := &frames[n]
		k, text := f.Key.asm, len(f.Src)-extra
		if k == nil || text < 0 || text > room || !k.takes(f, text) || n > 0 && k.rk.kind() != kind {
			break
		}
		kind = k.rk.kind()
		room -= text
		_ = f.Dst[:text+TagSize-extra]
		n++
	}
	return n, kind
}

// sealSome seals the first frames that one call can take together, and returns
// how many; none if the first needs a call of its own.
func sealSome(frames []GCMFrame) int {
	if n, vectors := shortRun(frames, 0); n > 1 {
		if frames[0].Key.asm.rk.kind() == avx512x128 {
			sealShort128AVX512(&frames[0], n, vectors)
		} else {
			sealShort256AVX512(&frames[0], n, vectors)
		}
		return n
	}
	n, kind := run(frames, 0)
	if n > 0 {
		sealFrames(kind, &frames[0], n)
	}
	return n
}

// openSome is sealSome for Open.
func openSome(frames []GCMFrame) int {
	n, vectors := shortRun(frames, TagSize)
	if n > 1 {
		if frames[0].Key.asm.rk.kind() == avx512x128 {
			openShort128AVX512(&frames[0], n, vectors)
		} else {
			openShort256AVX512(&frames[0], n, vectors)
		}
	} else {
		var kind byte
		if n, kind = run(frames, TagSize); n > 0 {
			openFrames(kind, &frames[0], n)
		}
	}
	for i := range frames[:n] {
		if f := &frames[i]; !f.OK {
			clear(f.Dst[:len(f.Src)-TagSize])
		}
	}
	return n
}
