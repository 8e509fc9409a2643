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
	_ = [1]struct{}{}[unsafe.Offsetof(mac4Job{}.msg)-32]
	_ = [1]struct{}{}[unsafe.Offsetof(mac4Job{}.blocks)-64]
	_ = [1]struct{}{}[unsafe.Offsetof(mac4Job{}.most)-96]
	_ = [1]struct{}{}[unsafe.Offsetof(mac4Job{}.state)-104]
	_ = [1]struct{}{}[unsafe.Offsetof(mac4Job{}.tag)-232]
)

//go:noescape
func sealCTRMACAVX512(fr *CTRFrame)

//go:noescape
func openCTRMACAVX512(fr *CTRFrame)

//go:noescape
func macAVX512(fr *CTRFrame)

//go:noescape
func laySealAVX512(fr *CTRFrame, msg *byte) (blocks int)

//go:noescape
func layOpenAVX512(fr *CTRFrame, msg *byte) (blocks int)

//go:noescape
func mac4AVX512(job *mac4Job)

// mac4Job is four messages in buffers on their way through HMAC.
type mac4Job struct {
	key    [4]*ctrMACKey
	msg    [4]*byte
	blocks [4]int // of each message
	most   int    // of all
	state  [4]shaState
	tag    [4][MACSize]byte
}

// Limits of what goes through mac4AVX512.
const (
	layBlocks = 6                     // blocks of a message
	layMost   = 64*layBlocks - 9 - 63 // bytes of text: with any head it has no more blocks
)

// layable reports whether the first frame of a batch can go with others through
// mac4AVX512; extra is what its Src is longer than its text.
func (f *CTRFrame) layable(extra int) bool {
	n := len(f.Src) - extra
	return hideKey(f.Key).asm != nil && n >= ctrLeast && n <= layMost && f.HeadLen+len(f.AAD) <= ctrHeadMost
}

// mac4 puts the tags of the first frames of a batch, that are to be sealed or opened,
// into their tag fields, and returns of how many; none if they cannot go together.
// What is sealed is encrypted, too. Three frames take as long as four.
func mac4(frames []CTRFrame, seal bool) int {
	n := min(len(frames), 4)
	if n < 3 {
		return 0
	}
	for i := range frames[:n] {
		extra := 0
		if !seal {
			extra = frames[i].Key.tag
		}
		if !frames[i].layable(extra) {
			return 0
		}
	}
	var bufs [4][64 * layBlocks]byte
	var job mac4Job
	for i := range frames[:n] {
		f := &frames[i]
		if seal {
			f.Dst = f.Dst[:len(f.Src)+f.Key.tag]
			job.blocks[i] = laySealAVX512(f, &bufs[i][0])
		} else {
			job.blocks[i] = layOpenAVX512(f, &bufs[i][0])
		}
		job.key[i] = hideKey(f.Key).asm
		job.msg[i] = &bufs[i][0]
		job.most = max(job.most, job.blocks[i])
	}
	for i := n; i < 4; i++ {
		job.key[i], job.msg[i], job.blocks[i] = job.key[0], job.msg[0], job.blocks[0]
	}
	mac4AVX512(&job)
	for i := range frames[:n] {
		frames[i].tag = job.tag[i]
	}
	return n
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
