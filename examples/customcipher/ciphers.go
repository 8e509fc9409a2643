package main

import (
	"crypto/sha256"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/nacl/secretbox"

	"github.com/chanseal/chanseal/cipher"
)

// xchacha is XChaCha20-Poly1305, which is an AEAD: six lines. Nonces, counters, replay
// protection and the life of keys stay with chanseal.
func xchacha() *cipher.Suite {
	return must(cipher.NewSuite(cipher.Spec{
		ID: 0xF100, Name: "xchacha20-poly1305", KeySize: chacha20poly1305.KeySize, Overhead: chacha20poly1305.Overhead,
		New: chacha20poly1305.NewX,
	}))
}

// secretBox is NaCl's XSalsa20-Poly1305, which is no AEAD: it takes no additional data.
// So it is a Hook, and a built-in suite round it authenticates the rest.
func secretBox() *cipher.Suite {
	return must(cipher.NewHook(cipher.Hook{
		ID: 0xF101, Name: "nacl-secretbox", KeySize: 32, Extra: secretbox.Overhead,
		New: func(_ cipher.KeyID, key []byte) (cipher.Sealer, cipher.Opener, error) {
			b := box{key: [32]byte(key)}
			return b, b, nil
		},
		Inside: cipher.AES128GCM(),
	}))
}

type box struct{ key [32]byte }

func (box) Overhead() int { return secretbox.Overhead }

// nonce is made of the additional data: it begins with the frame's header, whose KID
// and CTR no other frame under this key has.
func nonce(aad []byte) *[24]byte {
	h := sha256.Sum256(aad)
	return (*[24]byte)(h[:24])
}

func (b box) Seal(dst, frame, aad []byte) ([]byte, error) {
	return secretbox.Seal(dst, frame, nonce(aad), &b.key), nil
}

func (b box) Open(dst, sealed, aad []byte) ([]byte, error) {
	out, ok := secretbox.Open(dst, sealed, nonce(aad), &b.key)
	if !ok {
		return dst, errors.New("not sealed with this key")
	}
	return out, nil
}

// must is for suites that are the same at every start: what is wrong with one shows in
// the first test.
func must(s *cipher.Suite, err error) *cipher.Suite {
	if err != nil {
		panic(err)
	}
	return s
}
