package cipher

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
)

// keyBox holds a core so that a key in use is never wiped. A call loads the pointer
// once and keeps it until it is done; Retire takes the pointer away; when the last
// call has left, nothing points to the box and the collector's finalizer wipes it.
// That costs a frame one plain load, and no count of who is inside.
//
// The built-in suites' cores are called by their own types. A call through the
// interface would let the slices escape, so that a caller's additional data on the
// stack would be allocated for each frame.
type keyBox struct {
	core core
	gcm  *gcmCore // core by its type; at most one of the three is set
	ctr  *ctrHMACCore
	xts  *xtsHMACCore
}

func newKeyBox(c core) *keyBox {
	b := &keyBox{core: c}
	switch c := c.(type) {
	case *gcmCore:
		b.gcm = c
	case *ctrHMACCore:
		b.ctr = c
	case *xtsHMACCore:
		b.xts = c
	}
	return b
}

// joinSize is the most bytes of header and additional data that are put together on
// the stack.
const joinSize = 128

// seal is core.seal with header and additional data apart.
func (b *keyBox) seal(dst, src []byte, ctr uint64, header, aad []byte) (int, error) {
	switch {
	case !b.builtin():
	case len(aad) == 0:
		return b.sealBuiltin(dst, src, ctr, header), nil
	case len(aad) <= joinSize-MaxHeader:
		var buf [joinSize]byte
		n := copy(buf[:], header)
		return b.sealBuiltin(dst, src, ctr, buf[:n+copy(buf[n:], aad)]), nil
	}
	s := getScratch(header, aad)
	n, err := b.core.seal(dst, src, ctr, s)
	putScratch(s)
	return n, err
}

// open is core.open with header and additional data apart.
func (b *keyBox) open(dst, src []byte, ctr uint64, header, aad []byte) (int, bool) {
	switch {
	case !b.builtin():
	case len(aad) == 0:
		return b.openBuiltin(dst, src, ctr, header)
	case len(aad) <= joinSize-MaxHeader:
		var buf [joinSize]byte
		n := copy(buf[:], header)
		return b.openBuiltin(dst, src, ctr, buf[:n+copy(buf[n:], aad)])
	}
	s := getScratch(header, aad)
	n, ok := b.core.open(dst, src, ctr, s)
	putScratch(s)
	return n, ok
}

func (b *keyBox) builtin() bool { return b.gcm != nil || b.ctr != nil || b.xts != nil }

func (b *keyBox) sealBuiltin(dst, src []byte, ctr uint64, aad []byte) int {
	switch {
	case b.gcm != nil:
		return b.gcm.sealAAD(dst, src, ctr, aad)
	case b.ctr != nil:
		return b.ctr.sealAAD(dst, src, ctr, aad)
	}
	return b.xts.sealAAD(dst, src, ctr, aad)
}

func (b *keyBox) openBuiltin(dst, src []byte, ctr uint64, aad []byte) (int, bool) {
	switch {
	case b.gcm != nil:
		return b.gcm.openAAD(dst, src, ctr, aad)
	case b.ctr != nil:
		return b.ctr.openAAD(dst, src, ctr, aad)
	}
	return b.xts.openAAD(dst, src, ctr, aad)
}

type keySlot struct {
	box   atomic.Pointer[keyBox]
	ended atomic.Bool // by its failure limit, not by Retire
}

func (k *keySlot) put(c core) {
	box := newKeyBox(c)
	runtime.SetFinalizer(box, func(b *keyBox) { b.core.wipe() })
	k.box.Store(box)
}

// Retire ends the key: calls that begin later get [ErrUnknownKey], those inside
// finish. The key material that this package holds is cleared by the garbage
// collection that follows the last of them. It is safe for concurrent use, and more
// than once.
func (k *keySlot) Retire() { k.box.Store(nil) }

// String keeps keys out of logs.
func (k *keySlot) String() string { return "cipher.Key(REDACTED)" }

// Format prints the same for every verb.
func (k *keySlot) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// gone is the error of a key without a core.
func (k *keySlot) gone() error {
	if k.ended.Load() {
		return ErrExhausted
	}
	return ErrUnknownKey
}

// maxFrame is GCM's longest plaintext in bytes (SP 800-38D, Section 5.2.1.1), taken
// for every suite.
const maxFrame = 1<<36 - 32

var errFrameTooLong = errors.New("cipher: frame longer than 2^36 - 32 bytes")

// newCore runs the key schedule. What it derived stays only in the core.
func (s *Suite) newCore(kid KeyID, baseKey []byte) (core, error) {
	key, salt, err := s.deriveKeys(kid, baseKey)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	c, err := s.new(s, kid, key, salt)
	if err != nil {
		clear(salt)
		return nil, err
	}
	return c, nil
}
