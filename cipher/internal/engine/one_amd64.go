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

//go:noescape
func sealOne128AVX512(k *gcmKey, salt *[2]uint64, dst, text *byte, n, headLen int, aad *byte, aadLen int, ctr, lo, hi uint64)

//go:noescape
func sealOne256AVX512(k *gcmKey, salt *[2]uint64, dst, text *byte, n, headLen int, aad *byte, aadLen int, ctr, lo, hi uint64)

// Limits of the sealOne and openOne kernels; the openLone ones take what GCMFrame's take.
const (
	oneText = OneText
	oneLast = 48 // bytes of the last vector of 64, if it is not full
	oneHead = 32 // bytes of header and AAD
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

// SealOne seals one frame of at most OneText bytes if there is a kernel for it, and reports whether: it
// writes a header of headLen bytes, 1 to 16, ciphertext and tag to dst, which is as long as they are. The header's
// first byte is the lowest one of lo, and what is behind it in the words is 0. The nonce is as for Open.
// dst may overlap neither text nor aad.
func (g *GCM) SealOne(dst, text, aad []byte, lo, hi uint64, headLen int, ctr uint64, salt *[2]uint64) bool {
	k, n, head := g.asm, len(text), headLen+len(aad)
	to, from, more := unsafe.SliceData(dst), unsafe.SliceData(text), unsafe.SliceData(aad)
	if n == 0 {
		from = to // of nothing the address may be nil, or anything
	}
	if len(aad) == 0 {
		more = to
	}
	if k == nil || n > oneText || n&63 > oneLast || head > oneHead || k.rk.kind() < avx512x128 ||
		atPageEnd(to, n, headLen) || atPageEnd(from, n, 0) || atPageEnd(more, 0, -headLen) {
		return false
	}
	if k.rk.kind() == avx512x128 {
		sealOne128AVX512(k, salt, to, from, n, headLen, more, len(aad), ctr, lo, hi)
	} else {
		sealOne256AVX512(k, salt, to, from, n, headLen, more, len(aad), ctr, lo, hi)
	}
	return true
}

// atPageEnd reports whether 64 bytes from the last vector of n on, which begin at p and offset, may lie on
// two pages. Of what a mask keeps off a page that is absent an access takes 200 ns all the same.
func atPageEnd(p *byte, n, offset int) bool {
	return (uintptr(unsafe.Pointer(p))+uintptr(offset)+uintptr(n&^63))&4095 > 4096-64
}
