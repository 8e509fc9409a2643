//go:build !amd64 || purego

package engine

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
func mac4([]CTRFrame, bool) int                { return 0 }
func sumCTRMAC(*CTRFrame)                      {}

func newXTSKey(_, _ []byte, _ tier) *xtsKey                                { panic("engine: no kernels on this platform") }
func (*xtsKey) crypt(_, _ []byte, _ uint32, _ uint64, _ *[16]byte, _ bool) {}
func (*xtsKey) encryptTweak(*[16]byte)                                     {}

func shaBlocks(*shaState, *byte, int)              { panic("engine: no kernels on this platform") }
func shaBlocks2(_, _ *shaState, _, _ *byte, _ int) { panic("engine: no kernels on this platform") }

func shaBlocks3(_, _, _ *shaState, _, _, _ *byte, _ int) {
	panic("engine: no kernels on this platform")
}

func shaDigest(*shaState, *[MACSize]byte) { panic("engine: no kernels on this platform") }

func shaFinish(_, _ *shaState, _ *byte, _ int, _ *[MACSize]byte) {
	panic("engine: no kernels on this platform")
}

func sealSome([]GCMFrame) int { return 0 }
func openSome([]GCMFrame) int { return 0 }

func (schedule) kind() byte                   { return 0 }
func sealFrames(byte, *GCMFrame, int)         {}
func openFrames(byte, *GCMFrame, int)         {}
func (*gcmKey) takes(_ *GCMFrame, _ int) bool { return false }
func (*gcmKey) sealLong(*GCMFrame)            {}
func (*gcmKey) openLong(*GCMFrame)            {}
