//go:build amd64 && !purego

package engine

import "unsafe"

// ctrMACKey is what the kernels for CTR with HMAC read. Offsets are fixed: cipher/_asm
// has them as constants.
type ctrMACKey struct {
	rk  schedule
	mid midstates
	tag int
}

// The assembly's idea of the layout.
var (
	_ = [1]struct{}{}[unsafe.Offsetof(ctrMACKey{}.mid)-256]
	_ = [1]struct{}{}[unsafe.Offsetof(ctrMACKey{}.tag)-320]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRHMAC{}.asm)-0]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.Dst)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.Src)-32]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.AAD)-56]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.Head)-80]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.HeadLen)-96]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.Lo)-104]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.Hi)-112]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.OK)-116]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.state)-120]
	_ = [1]struct{}{}[unsafe.Offsetof(CTRFrame{}.tag)-128]
	_ = [1]struct{}{}[unsafe.Sizeof(CTRFrame{})-160]
	_ = [1]struct{}{}[unsafe.Offsetof(macState{}.prev)-32]
	_ = [1]struct{}{}[unsafe.Offsetof(macState{}.fill)-40]
	_ = [1]struct{}{}[unsafe.Offsetof(macState{}.total)-48]
	_ = [1]struct{}{}[unsafe.Offsetof(macState{}.block)-56]
	_ = [1]struct{}{}[unsafe.Offsetof(macState{}.more)-64]
)

//go:noescape
func sealCTRMACAVX512(fr *CTRFrame)

//go:noescape
func openCTRMACAVX512(fr *CTRFrame)

//go:noescape
func macAVX512(fr *CTRFrame)

//go:noescape
func sealFourAVX512(frames *CTRFrame)

//go:noescape
func openFourAVX512(frames *CTRFrame)

//go:noescape
func sumFourAVX512(frames *CTRFrame)

// openMost is the longest text in bytes for whose key stream openFourAVX512 and
// openEightAVX512 have room.
const openMost = 512

// together takes the first frames of a batch through a kernel for several, and returns how
// many: none if they are too few, or not such as it takes. Where six and more go in lanes of a
// vector, see wideSHA, they do; else four at a time through the SHA extensions.
func together(frames []CTRFrame, seal bool) int {
	n := 4
	eight := wideSHA && len(frames) >= wideLeast
	if eight {
		n = min(len(frames), wideLanes)
	}
	if len(frames) < n {
		return 0
	}
	longest, ok := alike(frames[:n], seal)
	switch {
	case !ok:
		return 0
	case seal && eight:
		sealEightAVX512(&frames[0], n)
	case seal:
		sealFourAVX512(&frames[0])
	case longest <= openMost && eight:
		openEightAVX512(&frames[0], n)
	case longest <= openMost:
		openFourAVX512(&frames[0])
	default:
		if eight {
			sumEightAVX512(&frames[0], n)
		} else {
			sumFourAVX512(&frames[0])
		}
		for i := range frames[:n] {
			frames[i].decrypt(&frames[i].tag)
		}
	}
	return n
}

// alike returns the longest text's bytes, and whether the frames have kernels, texts that fit, and not
// too different lengths: all take as long as the longest. It cuts their Dst.
func alike(frames []CTRFrame, seal bool) (longest int, ok bool) {
	sum := 0
	for i := range frames {
		f := &frames[i]
		k := hideKey(f.Key)
		n := len(f.Src)
		if !seal {
			n -= k.tag
		}
		if k.asm == nil || n < ctrLeast || n > ctrStreamMost || f.HeadLen+len(f.AAD) > ctrHeadMost {
			return 0, false
		}
		sum += n + 128
		longest = max(longest, n)
		if seal {
			f.Dst = f.Dst[:n+k.tag]
		} else {
			f.Dst = f.Dst[:n]
		}
	}
	return longest, 4*sum >= 3*len(frames)*(longest+128)
}

// newCTRMACKey takes the keys over from both halves, which then point into it.
func newCTRMACKey(ctr *CTR, mac *HMAC, tag int) *ctrMACKey {
	k := new(ctrMACKey)
	k.rk, k.mid, k.tag = *ctr.asm, *mac.mid, tag
	*ctr.asm, *mac.mid = schedule{}, midstates{}
	ctr.asm, mac.mid = &k.rk, &k.mid
	return k
}

func sealCTRMAC(f *CTRFrame) { sealCTRMACAVX512(f) }
func openCTRMAC(f *CTRFrame) { openCTRMACAVX512(f) }
func sumCTRMAC(f *CTRFrame)  { macAVX512(f) }

//go:noescape
func sealEightAVX512(frames *CTRFrame, count int)

//go:noescape
func openEightAVX512(frames *CTRFrame, count int)

//go:noescape
func sumEightAVX512(frames *CTRFrame, count int)
