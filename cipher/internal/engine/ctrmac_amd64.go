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

// fourMost is the longest text in bytes for whose key stream openFourAVX512 has room.
const fourMost = 512

// four takes the first frames of a batch through a kernel for four, if there are as many
// and it takes them, and seals or opens them. The four take as long as four of the longest, so the others must not be
// much shorter.
func four(frames []CTRFrame, seal bool) bool {
	if len(frames) < 4 {
		return false
	}
	sum, most := 0, 0
	for i := range frames[:4] {
		f := &frames[i]
		k := hideKey(f.Key)
		n := len(f.Src)
		if !seal {
			n -= k.tag
		}
		if k.asm == nil || n < ctrLeast || n > ctrStreamMost || f.HeadLen+len(f.AAD) > ctrHeadMost {
			return false
		}
		sum += n + 128
		most = max(most, n+128)
		if seal {
			f.Dst = f.Dst[:n+k.tag]
		} else {
			f.Dst = f.Dst[:n]
		}
	}
	if sum < 3*most {
		return false
	}
	switch {
	case seal:
		sealFourAVX512(&frames[0])
	case most <= fourMost+128:
		openFourAVX512(&frames[0])
	default:
		sumFourAVX512(&frames[0])
		for i := range frames[:4] {
			frames[i].decrypt(&frames[i].tag)
		}
	}
	return true
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
