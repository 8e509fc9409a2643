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
type keyBox struct {
	core core
}

type keySlot struct {
	box   atomic.Pointer[keyBox]
	ended atomic.Bool // by its failure limit, not by Retire
}

func (k *keySlot) put(c core) {
	box := &keyBox{core: c}
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
