package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"
)

var benchSizes = []int{96, 1200, 16384, 100000}

// BenchmarkGCM has the standard library's rows beside ours: aad is 12 bytes,
// in place, one prepared key.
func BenchmarkGCM(b *testing.B) {
	for _, keySize := range []int{16, 32} {
		key := make([]byte, keySize)
		block, _ := aes.NewCipher(key)
		std, _ := cipher.NewGCM(block)
		suite := fmt.Sprintf("aes-%d-gcm", 8*keySize)
		nonce := make([]byte, 12)
		for _, n := range benchSizes {
			buf := make([]byte, n+TagSize)
			b.Run(fmt.Sprintf("op=seal/suite=%s/size=%d/impl=std", suite, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					std.Seal(buf[:0], nonce, buf[:n], nonce)
				}
			})
			sealed := std.Seal(nil, nonce, buf[:n], nonce)
			out := make([]byte, n)
			b.Run(fmt.Sprintf("op=open/suite=%s/size=%d/impl=std", suite, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					std.Open(out[:0], nonce, sealed, nonce)
				}
			})
			for _, tr := range tiers()[1:] {
				var g GCM
				if err := g.init(key, tr); err != nil {
					b.Fatal(err)
				}
				b.Run(fmt.Sprintf("op=seal/suite=%s/size=%d/impl=%v", suite, n, tr), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						g.Seal(buf, buf[:n], 0, 0, nonce)
					}
				})
				g.Seal(sealed, out, 0, 0, nonce)
				b.Run(fmt.Sprintf("op=open/suite=%s/size=%d/impl=%v", suite, n, tr), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						if !g.Open(out, sealed, 0, 0, nonce) {
							b.Fatal("refused")
						}
					}
				})
			}
		}
	}
}
