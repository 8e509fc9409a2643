//go:build !amd64 || purego

package engine

import "sync/atomic"

// These types have no kernels here: every key is of the generic tier, and
// nothing below is reached.
type (
	gcmKey   struct{ rk schedule }
	schedule struct{}
	xtsKey   struct{}

	ctrMACKey struct{}
)

func newGCMKey([]byte, tier) *gcmKey { panic("engine: no kernels on this platform") }

func newSchedule([]byte, tier) *schedule              { panic("engine: no kernels on this platform") }
func (*schedule) ctr(_, _ []byte, _ uint32, _ uint64) {}

func newCTRMACKey(*CTR, *HMAC, int) *ctrMACKey { panic("engine: no kernels on this platform") }
func sealCTRMAC(*CTRFrame)                     {}
func openCTRMAC(*CTRFrame)                     {}
func together([]CTRFrame, bool) int            { return 0 }
func sumCTRMAC(*CTRFrame)                      {}

func newXTSKey(_, _ []byte, _ tier) *xtsKey                                { panic("engine: no kernels on this platform") }
func (*xtsKey) crypt(_, _ []byte, _ uint32, _ uint64, _ *[16]byte, _ bool) {}
func (*xtsKey) encryptTweak(*[16]byte)                                     {}

func shaBlocks(*shaState, *byte, int)              { panic("engine: no kernels on this platform") }
func shaBlocks2(_, _ *shaState, _, _ *byte, _ int) { panic("engine: no kernels on this platform") }

func shaBlocks3(_, _, _ *shaState, _, _, _ *byte, _ int) {
	panic("engine: no kernels on this platform")
}

func shaBlocks8(*[wideLanes]shaLane, int) { panic("engine: no kernels on this platform") }
func shaDigest(*shaState, *[MACSize]byte) { panic("engine: no kernels on this platform") }

func shaFinish(_, _ *shaState, _ *byte, _ int, _ *[MACSize]byte) {
	panic("engine: no kernels on this platform")
}

func sealSome([]GCMFrame) int { return 0 }
func openSome([]GCMFrame) int { return 0 }

func (*gcmKey) runs() bool      { return false }
func (*GCMRun) Seal([]RunFrame) {}

func (*GCMRun) SealShort([]RunFrame, *atomic.Uint64) (sealed, errs bool) { return false, false }

func (*GCMRun) Open([]RunFrame) bool { return false }

// SealOne is described at its twin for amd64.
func (*GCM) SealOne(_, _, _ []byte, _, _ uint64, _ int, _ uint64, _ *[2]uint64) bool { return false }

func (g *GCM) openRaw(dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64, salt *[2]uint64) bool {
	return g.openFrame(dst, sealed, n, headLen, aad, aadLen, ctr, salt)
}

func (schedule) kind() byte { return 0 }

// Seal is described at its twin for amd64.
func (f *GCMFrame) Seal() {
	f.Dst = f.Dst[:len(f.Src)+TagSize]
	f.sealStd()
}

// Open is described at its twin for amd64.
func (f *GCMFrame) Open() bool {
	n := len(f.Src) - TagSize
	if f.OK = false; uint64(n) > maxText { // or under 0
		return false
	}
	dst := f.Dst[:n]
	if f.openStd(dst); !f.OK {
		clear(dst)
	}
	return f.OK
}

// ShapeOf is described at its twin for amd64.
func ShapeOf(frames []RunFrame, extra int) Shape { return shapeOf(frames, extra) }
