//go:build amd64 && !purego

package ciphertest_test

import "github.com/chanseal/chanseal/cipher/ciphertest"

// chacha is what the ChaCha20-Poly1305 suite is let off.
const chacha = ciphertest.Exempt(0)
