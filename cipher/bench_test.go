package cipher_test

import (
	"fmt"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
)

// BenchmarkSuite measures every suite.
func BenchmarkSuite(b *testing.B) {
	for _, s := range cipher.Suites() {
		if _, err := s.NewOpenKey(1, make([]byte, 32)); err != nil {
			b.Logf("%s: %v", s, err)
			continue
		}
		keys := 0
		ciphertest.BenchmarkPair(b, s.Name(), func() (cipher.Sealer, cipher.Opener) {
			keys++
			base := random(keys, s.BaseKeySize())
			return must(s.NewSealKey(1, base, cipher.FreshKey)), must(s.NewOpenKey(1, base))
		})
	}
}

// BenchmarkRaw measures the standard library's GCM by itself, under the same names: no
// header, no counter, no key schedule, no replay window. It is the floor.
func BenchmarkRaw(b *testing.B) {
	for _, bits := range []int{128, 256} {
		aead, err := gcm(make([]byte, bits/8))
		if err != nil {
			b.Skip(err)
		}
		nonce, aad := make([]byte, 12), make([]byte, 14)
		for _, size := range ciphertest.BenchSizes {
			frame := random(size, size)
			sealed := aead.Seal(nil, nonce, frame, aad)
			dst := make([]byte, 0, len(sealed))
			b.Run(fmt.Sprintf("op=seal/suite=raw-aes-%d-gcm/size=%d", bits, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					aead.Seal(dst, nonce, frame, aad)
				}
			})
			b.Run(fmt.Sprintf("op=open/suite=raw-aes-%d-gcm/size=%d", bits, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := aead.Open(dst, nonce, sealed, aad); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
