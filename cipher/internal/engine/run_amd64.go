//go:build amd64 && !purego

package engine

import (
	"sync/atomic"
	"unsafe"
)

// The assembly's idea of the layout.
var (
	_ = [1]struct{}{}[unsafe.Offsetof(GCMRun{}.vectors)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMRun{}.headLen)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMRun{}.Head)-24]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMRun{}.Salt)-40]
	_ = [1]struct{}{}[unsafe.Offsetof(GCMRun{}.Ctr)-56]
	_ = [1]struct{}{}[unsafe.Offsetof(RunFrame{}.Src)-24]
	_ = [1]struct{}{}[unsafe.Offsetof(RunFrame{}.AAD)-48]
	_ = [1]struct{}{}[unsafe.Sizeof(RunFrame{})-88]
)

//go:noescape
func sealRun128AVX512(r *GCMRun, frames *RunFrame, count int, next *atomic.Uint64) (sealed, errs bool)

//go:noescape
func sealRun256AVX512(r *GCMRun, frames *RunFrame, count int, next *atomic.Uint64) (sealed, errs bool)

//go:noescape
func openRun128AVX512(r *GCMRun, frames *RunFrame, count int) (ok bool)

//go:noescape
func openRun256AVX512(r *GCMRun, frames *RunFrame, count int) (ok bool)

//go:noescape
func sealJobs128AVX512(r *GCMRun, frames *RunFrame, count int)

//go:noescape
func sealJobs256AVX512(r *GCMRun, frames *RunFrame, count int)

//go:noescape
func openJobs128AVX512(r *GCMRun, frames *RunFrame, count int) (ok bool)

//go:noescape
func openJobs256AVX512(r *GCMRun, frames *RunFrame, count int) (ok bool)

func (k *gcmKey) runs() bool { return k.rk.kind() >= avx512x128 }

// SealShort seals up to RunMost frames as Seal does, under consecutive counters, if they are short ones of about
// one length and it finds them apart as [Shape] says, and reports whether. Fit is not needed.
// If next is not nil it is where counters are taken: just before the first byte is written it goes from
// Ctr[0] to Ctr[0]+len(frames); if it is no longer there, nothing is sealed. errs says
// whether the Err of a sealed frame is not nil.
func (r *GCMRun) SealShort(frames []RunFrame, next *atomic.Uint64) (sealed, errs bool) {
	_ = r.Ctr[len(frames)-1]
	if r.key.rk.kind() == avx512x128 {
		return sealRun128AVX512(r, &frames[0], len(frames), next)
	}
	return sealRun256AVX512(r, &frames[0], len(frames), next)
}

// Seal seals up to RunMost frames: header, ciphertext and tag go to the memory behind Dst, which
// must have room for them and overlap no frame's Src, AAD and room. Dst gets longer by what was written.
func (r *GCMRun) Seal(frames []RunFrame) {
	_ = r.Ctr[len(frames)-1]
	if r.key.rk.kind() == avx512x128 {
		sealJobs128AVX512(r, &frames[0], len(frames))
	} else {
		sealJobs256AVX512(r, &frames[0], len(frames))
	}
}

// Open is Seal's inverse, for frames of the length that Fit was told and 16 bytes of
// tag and a header more. It says whether all tags were right; if not, what was written must be cleared.
func (r *GCMRun) Open(frames []RunFrame) bool {
	_ = r.Ctr[len(frames)-1]
	first, n := &frames[0], len(frames)
	switch small := r.key.rk.kind() == avx512x128; {
	case small && r.even:
		return openRun128AVX512(r, first, n)
	case small:
		return openJobs128AVX512(r, first, n)
	case r.even:
		return openRun256AVX512(r, first, n)
	default:
		return openJobs256AVX512(r, first, n)
	}
}
