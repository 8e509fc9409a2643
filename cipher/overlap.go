package cipher

import "unsafe"

// overlaps reports whether a and b share a byte of memory.
func overlaps(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	ap, bp := start(a), start(b)
	return ap < bp+uintptr(len(b)) && bp < ap+uintptr(len(a))
}

// start is the address of a slice's first byte. It is only compared, never turned
// back into a pointer.
func start(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

const overlapMessage = "cipher: dst overlaps the frame or the additional data"

// extend returns dst with n more bytes, and those bytes. It allocates when dst has
// no room for them, and panics when its room overlaps src or aad.
func extend(dst []byte, n int, src, aad []byte) (whole, tail []byte) {
	if have := len(dst); cap(dst)-have >= n {
		whole = dst[:have+n]
		tail = whole[have:]
		if overlaps(tail, src) || overlaps(tail, aad) {
			panic(overlapMessage)
		}
		return whole, tail
	}
	whole = append(dst, make([]byte, n)...)
	return whole, whole[len(dst):]
}
