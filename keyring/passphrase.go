package keyring

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// What a passphrase wraps a ring's root key with:
//
//	Argon2 version (1 byte, 0x13) ‖ t (BE32) ‖ m in KiB (BE32) ‖ p (1 byte) ‖ salt (16 bytes) ‖ sealed root key (48 bytes)
//
// The key is Argon2id(passphrase, salt, t, m, p, 32 bytes) (RFC 9106); it seals
// the root key, once, by ChaCha20-Poly1305 (RFC 8439) with an all-zero nonce
// and "chanseal 1 passphrase" ‖ ring ID ‖ all before the sealed key as
// additional data. t=3, m=64 MiB, p=4 is RFC 9106's second recommended choice.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonSalt    = 16
	argonHead    = 1 + 4 + 4 + 1 + argonSalt

	// What is accepted on reading, so that a foreign ring cannot ask for all memory.
	maxArgonTime    = 16
	maxArgonMemory  = 1 << 20 // KiB
	maxArgonThreads = 16
)

type passphrase struct {
	secret []byte
	t, m   uint32
	p      uint8
}

// Passphrase returns a KEK that derives its key from a passphrase by Argon2id.
// It keeps a copy of the passphrase. Opening a ring with it takes 64 MiB of
// memory and some 150 ms.
func Passphrase(phrase []byte) (KEK, error) {
	if len(phrase) == 0 {
		return nil, errors.New("keyring: the passphrase is empty")
	}
	return &passphrase{append([]byte(nil), phrase...), argonTime, argonMemory, argonThreads}, nil
}

func (*passphrase) Kind() string { return "argon2id" }

// Format prints nothing of it.
func (passphrase) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

func (k *passphrase) Wrap(root, ringID []byte) ([]byte, error) {
	b := []byte{argon2.Version}
	b = binary.BigEndian.AppendUint32(b, k.t)
	b = binary.BigEndian.AppendUint32(b, k.m)
	b = append(b, k.p)
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	b = append(b, salt...)
	key := argon2.IDKey(k.secret, salt, k.t, k.m, k.p, chacha20poly1305.KeySize)
	defer clear(key)
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(b, make([]byte, chacha20poly1305.NonceSize), root, passphraseData(ringID, b)), nil
}

func (k *passphrase) Unwrap(wrapped, ringID []byte) ([]byte, error) {
	if len(wrapped) != argonHead+secretSize+chacha20poly1305.Overhead {
		return nil, fmt.Errorf("keyring: passphrase wrapping of %d bytes: %w", len(wrapped), ErrDamaged)
	}
	head := wrapped[:argonHead:argonHead]
	d := decoder{b: head}
	version, t, m, p := d.u8(), d.u32(), d.u32(), d.u8()
	salt := d.next(argonSalt)
	if version != argon2.Version || t < 1 || t > maxArgonTime || p < 1 || p > maxArgonThreads ||
		m < 8*uint32(p) || m > maxArgonMemory {
		return nil, fmt.Errorf("keyring: Argon2 version %#x t=%d m=%d KiB p=%d is outside the bounds: %w", version, t, m, p, ErrDamaged)
	}
	key := argon2.IDKey(k.secret, salt, t, m, p, chacha20poly1305.KeySize)
	defer clear(key)
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, err
	}
	root, err := aead.Open(nil, make([]byte, chacha20poly1305.NonceSize), wrapped[argonHead:], passphraseData(ringID, head))
	if err != nil {
		return nil, ErrLocked
	}
	return root, nil
}

func passphraseData(ringID, head []byte) []byte {
	return append(append([]byte("chanseal 1 passphrase"), ringID...), head...)
}
