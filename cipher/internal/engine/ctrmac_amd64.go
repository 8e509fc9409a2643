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
