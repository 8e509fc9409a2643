//go:build amd64 && !purego

package engine

import "unsafe"

// xtsKey holds K1's schedules for both directions and K2's. Offsets are fixed:
// cipher/_asm has them as constants.
type xtsKey struct{ enc, dec, tweak schedule }

var (
	_ = [1]struct{}{}[unsafe.Offsetof(xtsKey{}.dec)-256]
	_ = [1]struct{}{}[unsafe.Offsetof(xtsKey{}.tweak)-512]
)

//go:noescape
func xtsEncrypt128AVX512(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

//go:noescape
func xtsDecrypt128AVX512(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

//go:noescape
func xtsEncrypt256AVX512(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

//go:noescape
func xtsDecrypt256AVX512(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

//go:noescape
func xtsEncrypt128AVX2(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

//go:noescape
func xtsEncrypt256AVX2(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

//go:noescape
func xtsDecrypt128AVX2(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

//go:noescape
func xtsDecrypt256AVX2(k *xtsKey, dst, src *byte, n int, hi, lo uint64, tweak *[16]byte)

func newXTSKey(k1, k2 []byte, t tier) *xtsKey {
	k := new(xtsKey)
	k.enc.expand(k1, t)
	k.tweak.expand(k2, t)
	decryptKeys(&k.dec, &k.enc, k.enc.rounds())
	return k
}

// crypt processes whole blocks, at least one, with the nonce's tweak or, if it
// is given, with tweak, which it brings forward.
func (k *xtsKey) crypt(dst, src []byte, hi uint32, lo uint64, tweak *[16]byte, encrypt bool) {
	d, s, n, h := &dst[0], &src[0], len(src), uint64(hi)
	switch kind := k.enc.kind(); {
	case encrypt && kind == avx512x128:
		xtsEncrypt128AVX512(k, d, s, n, h, lo, tweak)
	case encrypt && kind == avx512x256:
		xtsEncrypt256AVX512(k, d, s, n, h, lo, tweak)
	case encrypt && kind == avx2x128:
		xtsEncrypt128AVX2(k, d, s, n, h, lo, tweak)
	case encrypt:
		xtsEncrypt256AVX2(k, d, s, n, h, lo, tweak)
	case kind == avx512x128:
		xtsDecrypt128AVX512(k, d, s, n, h, lo, tweak)
	case kind == avx512x256:
		xtsDecrypt256AVX512(k, d, s, n, h, lo, tweak)
	case kind == avx2x128:
		xtsDecrypt128AVX2(k, d, s, n, h, lo, tweak)
	default:
		xtsDecrypt256AVX2(k, d, s, n, h, lo, tweak)
	}
}

func (k *xtsKey) encryptTweak(t *[16]byte) { encryptBlock(&k.tweak, k.tweak.rounds(), t, t) }
