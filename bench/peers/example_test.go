package main

import (
	stdcipher "crypto/cipher"
	"testing"

	"github.com/emmansun/gmsm/sm4"

	"github.com/chanseal/chanseal/bench"
	"github.com/chanseal/chanseal/cipher"
)

// sm4gcm is SM4-GCM (RFC 8998) of github.com/emmansun/gmsm as a suite.
func sm4gcm() (*cipher.Suite, error) {
	return cipher.NewSuite(cipher.Spec{ID: 0xF140, Name: "sm4-gcm", KeySize: 16, Overhead: 16, New: func(key []byte) (cipher.AEAD, error) {
		block, err := sm4.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return stdcipher.NewGCM(block)
	}})
}

// A cipher of one's own is measured by three lines.
func BenchmarkSM4GCM(b *testing.B) {
	suite, err := sm4gcm()
	if err != nil {
		b.Fatal(err)
	}
	bench.Run(b, bench.Suite(suite))
}
