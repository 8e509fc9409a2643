package cipher

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// Spec describes an AEAD of the application's own for [NewSuite].
type Spec struct {
	ID       SuiteID          // MinCustomID or above; bound into every key
	Name     string           // as it is asked for and reported
	KeySize  int              // bytes, 16 to 256
	Overhead int              // bytes, 4 to 64, and equal to the AEAD's
	Hash     func() hash.Hash // of the key schedule; nil: SHA-256 for keys up to 32 bytes, else SHA-512
	// New makes the AEAD. It may not keep key, which is cleared afterwards. The
	// AEAD takes nonces of 12 to 24 bytes and additional data of any length, is
	// safe for concurrent use, and keeps crypto/cipher's rules on overlap: dst and
	// the input are the same memory or do not meet.
	New func(key []byte) (AEAD, error)
}

// NewSuite makes a suite of the application's own AEAD. Nonces, replay protection and
// key life stay with this package. The suite is passed to whoever needs it; nothing
// is registered. NewSuite makes one key to try the AEAD out.
func NewSuite(spec Spec) (*Suite, error) {
	s, err := customSuite(spec.ID, spec.Name, spec.KeySize, spec.Hash)
	if err != nil {
		return nil, err
	}
	if spec.Overhead < 4 || spec.Overhead > 64 {
		return nil, fmt.Errorf("cipher: suite %q: overhead of %d bytes, want 4 to 64", spec.Name, spec.Overhead)
	}
	if spec.New == nil {
		return nil, fmt.Errorf("cipher: suite %q: New is missing", spec.Name)
	}
	s.overhead = spec.Overhead
	aead, err := tryNew(spec.New, make([]byte, spec.KeySize))
	if err != nil {
		return nil, fmt.Errorf("cipher: suite %q: making a key: %w", spec.Name, err)
	}
	if n := aead.NonceSize(); n < 12 || n > maxNonce {
		return nil, fmt.Errorf("cipher: suite %q: nonces of %d bytes, want 12 to %d", spec.Name, n, maxNonce)
	}
	if n := aead.Overhead(); n != spec.Overhead {
		return nil, fmt.Errorf("cipher: suite %q: the AEAD's overhead is %d bytes, the Spec says %d", spec.Name, n, spec.Overhead)
	}
	s.nonceSize = aead.NonceSize()
	s.new = func(s *Suite, _ KeyID, key, salt []byte) (core, error) {
		aead, err := tryNew(spec.New, key)
		if err != nil {
			return nil, fmt.Errorf("cipher: suite %q: making a key: %w", s.name, err)
		}
		if aead.NonceSize() != s.nonceSize || aead.Overhead() != s.overhead {
			return nil, fmt.Errorf("cipher: suite %q: nonce size or overhead changed from key to key", s.name)
		}
		return &aeadCore{aead: aead, salt: salt, guard: true}, nil
	}
	return s, nil
}

// customSuite checks what a Spec and a Hook have in common.
func customSuite(id SuiteID, name string, keySize int, newHash func() hash.Hash) (*Suite, error) {
	if name == "" || len(name) > 64 {
		return nil, fmt.Errorf("cipher: custom suite %#04x: name of %d bytes, want 1 to 64", uint16(id), len(name))
	}
	if _, err := Lookup(name); err == nil {
		return nil, fmt.Errorf("cipher: custom suite %q: a built-in suite has this name", name)
	}
	if id < MinCustomID {
		return nil, fmt.Errorf("cipher: suite %q: ID %#04x, want %#04x to 0xffff", name, uint16(id), uint16(MinCustomID))
	}
	if keySize < 16 || keySize > 256 {
		return nil, fmt.Errorf("cipher: suite %q: key of %d bytes, want 16 to 256", name, keySize)
	}
	if newHash == nil {
		newHash = sha256.New
		if keySize > 32 {
			newHash = sha512.New
		}
	}
	if n := newHash().Size(); n < 32 {
		return nil, fmt.Errorf("cipher: suite %q: hash of %d bytes, want 32 or more", name, n)
	}
	return &Suite{id: id, name: name, keySize: keySize, hash: newHash, custom: true}, nil
}

// tryNew turns a panic of the application's constructor, and a nil, into an error.
func tryNew(make func([]byte) (AEAD, error), key []byte) (aead AEAD, err error) {
	defer func() {
		if recover() != nil {
			aead, err = nil, ErrHook
		}
	}()
	if aead, err = make(key); err == nil && aead == nil {
		err = ErrHook
	}
	return aead, err
}
