//go:build !amd64 || purego

package engine

// gcmKey has no kernels here: GCM is the standard library's.
type gcmKey struct{}

func newGCMKey([]byte, tier) *gcmKey                                { panic("engine: no kernels on this platform") }
func (*gcmKey) seal(_, _ []byte, _ uint32, _ uint64, _ []byte)      {}
func (*gcmKey) open(_, _ []byte, _ uint32, _ uint64, _ []byte) bool { return false }
