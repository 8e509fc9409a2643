package ciphertest_test

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"sync"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
	"github.com/chanseal/chanseal/internal/raceflag"
)

// badAEAD is AES-GCM, but for what is put in its place.
type badAEAD struct {
	stdcipher.AEAD
	seal func(a stdcipher.AEAD, dst, nonce, plaintext, ad []byte) []byte
	open func(a stdcipher.AEAD, dst, nonce, ciphertext, ad []byte) ([]byte, error)
}

func (b *badAEAD) Seal(dst, nonce, plaintext, ad []byte) []byte {
	if b.seal != nil {
		return b.seal(b.AEAD, dst, nonce, plaintext, ad)
	}
	return b.AEAD.Seal(dst, nonce, plaintext, ad)
}

func (b *badAEAD) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	if b.open != nil {
		return b.open(b.AEAD, dst, nonce, ciphertext, ad)
	}
	return b.AEAD.Open(dst, nonce, ciphertext, ad)
}

func newGCM(key []byte) (stdcipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return stdcipher.NewGCM(block)
}

func customSuite(t *testing.T, bad badAEAD) *cipher.Suite {
	t.Helper()
	s, err := cipher.NewSuite(cipher.Spec{
		ID: 0xF123, Name: "examined", KeySize: 16, Overhead: 16,
		New: func(key []byte) (cipher.AEAD, error) {
			aead, err := newGCM(key)
			own := bad
			own.AEAD = aead
			return &own, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBrokenSuites does the same with AEADs that an application might plug in. What
// package cipher stands in for by itself (panics, replay, what a failure leaves
// behind) is not here: a suite cannot get it wrong.
func TestBrokenSuites(t *testing.T) {
	skipWithoutGCM(t)
	var zero [12]byte
	var shared struct {
		sync.Mutex
		buf []byte
	}
	for _, c := range []struct {
		name string
		bad  badAEAD
		want string
	}{
		{"honest", badAEAD{}, "none"},
		{"ignores the nonce", badAEAD{
			seal: func(a stdcipher.AEAD, dst, _, pt, ad []byte) []byte { return a.Seal(dst, zero[:], pt, ad) },
			open: func(a stdcipher.AEAD, dst, _, ct, ad []byte) ([]byte, error) { return a.Open(dst, zero[:], ct, ad) },
		}, "Secrecy"},
		{"ignores the additional data, and the header with it", badAEAD{
			seal: func(a stdcipher.AEAD, dst, nonce, pt, _ []byte) []byte { return a.Seal(dst, nonce, pt, nil) },
			open: func(a stdcipher.AEAD, dst, nonce, ct, _ []byte) ([]byte, error) { return a.Open(dst, nonce, ct, nil) },
		}, "AAD"},
		{"ignores the tag", badAEAD{
			open: func(a stdcipher.AEAD, dst, nonce, ct, _ []byte) ([]byte, error) {
				n := len(ct) - 16
				return append(dst, a.Seal(nil, nonce, ct[:n], nil)[:n]...), nil
			},
		}, "Tamper"},
		{"returns its input", badAEAD{
			seal: func(_ stdcipher.AEAD, dst, _, pt, _ []byte) []byte {
				return append(append(dst, pt...), make([]byte, 16)...)
			},
			open: func(_ stdcipher.AEAD, dst, _, ct, _ []byte) ([]byte, error) {
				return append(dst, ct[:len(ct)-16]...), nil
			},
		}, "Sizes"},
		{"writes to the frame", badAEAD{
			seal: func(a stdcipher.AEAD, dst, nonce, pt, ad []byte) []byte {
				out := a.Seal(nil, nonce, pt, ad)
				clear(pt)
				return append(dst, out...)
			},
		}, "Input"},
		{"adds less than it says", badAEAD{
			seal: func(a stdcipher.AEAD, dst, nonce, pt, ad []byte) []byte {
				out := a.Seal(dst, nonce, pt, ad)
				return out[:len(out)-1]
			},
		}, "Sizes"},
		{"panics on short input", badAEAD{
			seal: func(a stdcipher.AEAD, dst, nonce, pt, ad []byte) []byte {
				_ = pt[3]
				return a.Seal(dst, nonce, pt, ad)
			},
		}, "Sizes"},
		{"is not for many goroutines", badAEAD{
			seal: func(a stdcipher.AEAD, dst, nonce, pt, ad []byte) []byte {
				out := a.Seal(nil, nonce, pt, ad)
				shared.Lock() // only the race detector needs it: the buffer is shared all the same
				shared.buf = out
				shared.Unlock()
				letOthers()
				shared.Lock()
				defer shared.Unlock()
				return append(dst, shared.buf...)
			},
		}, "Concurrent"},
		{"cannot work in place", badAEAD{
			seal: func(a stdcipher.AEAD, dst, nonce, pt, ad []byte) []byte {
				whole := dst[:len(dst)+len(pt)+16]
				clear(whole)
				copy(whole, a.Seal(nil, nonce, pt, ad))
				return whole
			},
		}, "InPlace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{}
			ciphertest.TestSuite(r, customSuite(t, c.bad), ciphertest.MayAllocate)
			t.Log("failed:", r)
			if c.want == "none" && len(r.messages) > 0 || c.want != "none" && len(r.messages[c.want]) == 0 {
				t.Errorf("fails %s, want %s", r, c.want)
			}
		})
	}
	t.Run("allocates", func(t *testing.T) {
		if raceflag.Enabled {
			t.Skip("allocations are not counted under -race")
		}
		r := &recorder{}
		ciphertest.TestSuite(r, customSuite(t, badAEAD{
			open: func(a stdcipher.AEAD, dst, nonce, ct, ad []byte) ([]byte, error) {
				out, err := a.Open(nil, nonce, ct, ad)
				return append(dst, out...), err
			},
		}))
		if len(r.messages["Allocs"]) == 0 || len(r.messages["SuiteAllocs"]) == 0 {
			t.Errorf("fails %s, want Allocs and SuiteAllocs", r)
		}
	})
}

func skipWithoutGCM(t *testing.T) {
	t.Helper()
	if _, err := newGCM(make([]byte, 16)); err != nil {
		t.Skip(err)
	}
}

// xorHook combines every frame with a key stream of its header's, which only a toy
// may do.
type xorHook struct {
	key []byte
}

func (h *xorHook) Overhead() int { return 0 }

func (h *xorHook) Seal(dst, frame, aad []byte) ([]byte, error) {
	aead, err := newGCM(h.key)
	if err != nil {
		return dst, err
	}
	// The tag over the header is a nonce, unlike the header's last bytes.
	nonce := aead.Seal(nil, make([]byte, 12), nil, aad)[:12]
	return append(dst, aead.Seal(nil, nonce, frame, nil)[:len(frame)]...), nil
}

func (h *xorHook) Open(dst, sealed, aad []byte) ([]byte, error) { return h.Seal(dst, sealed, aad) }

func hookSuite(t *testing.T, inside *cipher.Suite) *cipher.Suite {
	t.Helper()
	s, err := cipher.NewHook(cipher.Hook{
		ID: 0xF124, Name: "hook", KeySize: 16, Inside: inside,
		New: func(_ cipher.KeyID, key []byte) (cipher.Sealer, cipher.Opener, error) {
			h := &xorHook{key: append([]byte(nil), key...)}
			return h, h, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestHooks examines a hook that authenticates nothing, alone and inside a suite that
// does: alone it passes only with the exemption.
func TestHooks(t *testing.T) {
	skipWithoutGCM(t)
	r := &recorder{}
	ciphertest.TestSuite(r, hookSuite(t, nil), ciphertest.MayAllocate)
	if len(r.messages["Tamper"]) == 0 {
		t.Errorf("a hook without authentication fails %s, want Tamper", r)
	}
	t.Run("alone", func(t *testing.T) {
		ciphertest.TestSuite(t, hookSuite(t, nil), ciphertest.MayAllocate, ciphertest.NoAuth)
	})
	t.Run("inside", func(t *testing.T) {
		ciphertest.TestSuite(t, hookSuite(t, cipher.AES128GCM()), ciphertest.MayAllocate)
	})
}
