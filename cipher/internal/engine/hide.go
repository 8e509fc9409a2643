package engine

import "unsafe"

// hide returns b by a way that escape analysis does not follow. Arguments of an
// interface call count as escaping, so without it every nonce array here and
// every scratch buffer of a caller would be allocated, on all tiers, for the
// sake of the generic one. It is used only for calls into the standard
// library's AES, which keeps none of its arguments.
//
// That the address is an integer for a moment is safe: no call stands between
// the two conversions, and the runtime moves stacks at calls only, not at
// asynchronous preemption points.
func hide(b []byte) []byte {
	type view struct {
		addr     uintptr
		len, cap int
	}
	v := *(*view)(unsafe.Pointer(&b))
	return *(*[]byte)(unsafe.Pointer(&v))
}

// hideKey is hide for the pointer to a key: what is reached through it lives on the
// heap whatever escape analysis makes of it, but a frame's other fields would count as
// escaping with it.
func hideKey[T any](key *T) *T {
	addr := *(*uintptr)(unsafe.Pointer(&key))
	return *(**T)(unsafe.Pointer(&addr))
}
