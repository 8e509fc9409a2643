//go:build !amd64 || purego

package ciphertest_test

import "github.com/chanseal/chanseal/cipher/ciphertest"

// chacha is what the ChaCha20-Poly1305 suite is let off: where x/crypto has no
// assembly for it, each frame costs it an allocation of 32 bytes (its one-time key).
const chacha = ciphertest.MayAllocate
