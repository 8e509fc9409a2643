//go:build amd64 && !purego

package engine

import "unsafe"

//go:noescape
func openOne128AVX512(k *gcmKey, salt *[2]uint64, dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64) (ok bool)

//go:noescape
func openOne256AVX512(k *gcmKey, salt *[2]uint64, dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64) (ok bool)

//go:noescape
func openLone128AVX512(key *GCM, salt *[2]uint64, dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64) (ok bool)

//go:noescape
func openLone256AVX512(key *GCM, salt *[2]uint64, dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64) (ok bool)

// Limits of the openOne kernels; the openLone ones take what GCMFrame's take.
const (
	oneText = 176 // bytes
	oneLast = 48  // bytes of the last vector of 64, if it is not full
	oneHead = 32  // bytes of header and AAD
)

// openRaw is Open with as many arguments as go in registers.
func (g *GCM) openRaw(dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64, salt *[2]uint64) bool {
	k, text, head := g.asm, n-headLen-TagSize, headLen+aadLen
	if k == nil || k.rk.kind() < avx512x128 || text > maxPiece || head > wholeHead {
		return g.openFrame(dst, sealed, n, headLen, aad, aadLen, ctr, salt)
	}
	if aadLen == 0 {
		aad = sealed // of nothing the address may be nil
	}
	var ok bool
	small := k.rk.kind() == avx512x128
	if text > oneText || text&63 > oneLast || head > oneHead || atPageEnd(dst, text, 0) || atPageEnd(sealed, text, headLen) || atPageEnd(aad, 0, -headLen) {
		if small {
			ok = openLone128AVX512(g, salt, dst, sealed, n, headLen, aad, aadLen, ctr)
		} else {
			ok = openLone256AVX512(g, salt, dst, sealed, n, headLen, aad, aadLen, ctr)
		}
	} else {
		if small {
			ok = openOne128AVX512(k, salt, dst, sealed, text, headLen, aad, aadLen, ctr)
		} else {
			ok = openOne256AVX512(k, salt, dst, sealed, text, headLen, aad, aadLen, ctr)
		}
	}
	if !ok {
		clear(unsafe.Slice(dst, text))
	}
	return ok
}

// atPageEnd reports whether 64 bytes from the last vector of n on, which begin at p and offset, may lie on
// two pages. Of what a mask keeps off a page that is absent an access takes 200 ns all the same.
func atPageEnd(p *byte, n, offset int) bool {
	return (uintptr(unsafe.Pointer(p))+uintptr(offset)+uintptr(n&^63))&4095 > 4096-64
}
