package engine

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"testing"

	"golang.org/x/crypto/xts"
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
					f := makeFrame(&g, buf, buf[:n], 0, 0, nonce)
					for b.Loop() {
						f.Seal()
					}
				})
				g.seal(sealed, out, 0, 0, nonce)
				b.Run(fmt.Sprintf("op=open/suite=%s/size=%d/impl=%v", suite, n, tr), func(b *testing.B) {
					b.SetBytes(int64(n))
					f := makeFrame(&g, out, sealed, 0, 0, nonce)
					for b.Loop() {
						if !f.Open() {
							b.Fatal("refused")
						}
					}
				})
			}
		}
	}
}

// BenchmarkGCMBatch seals and opens eight frames a batch, apart; the figure is per frame.
func BenchmarkGCMBatch(b *testing.B) {
	for _, keySize := range []int{16, 32} {
		for _, keys := range []int{1, 8} {
			for _, n := range benchSizes[:2] {
				for _, tr := range tiers()[1:] {
					var seal, open [8]GCMFrame
					var gs [8]GCM
					src, aad := make([]byte, n), make([]byte, 12)
					for i := range seal {
						if err := gs[i].init(bytes.Repeat([]byte{byte(i)}, keySize), tr); err != nil {
							b.Fatal(err)
						}
						sealed := make([]byte, n+64)[:n+TagSize]
						seal[i] = makeFrame(&gs[i%keys], sealed, src, 0, 3, aad)
						open[i] = makeFrame(&gs[i%keys], make([]byte, n+64)[:n], sealed, 0, 3, aad)
					}
					name := fmt.Sprintf("suite=aes-%d-gcm/size=%d/impl=%v/keys=%d", 8*keySize, n, tr, keys)
					b.Run("op=seal-batch8/"+name, func(b *testing.B) {
						b.SetBytes(int64(n))
						for i := 0; i < b.N; i += len(seal) {
							SealBatch(seal[:])
						}
					})
					b.Run("op=open-batch8/"+name, func(b *testing.B) {
						b.SetBytes(int64(n))
						for i := 0; i < b.N; i += len(open) {
							if OpenBatch(open[:]); !open[7].OK {
								b.Fatal("refused")
							}
						}
					})
				}
			}
		}
	}
}

// BenchmarkCTR has crypto/cipher's CTR, made anew for every frame as a nonce
// demands, beside ours.
func BenchmarkCTR(b *testing.B) {
	for _, keySize := range []int{16, 32} {
		key := make([]byte, keySize)
		block, _ := aes.NewCipher(key)
		iv := make([]byte, 16)
		for _, n := range benchSizes {
			buf := make([]byte, n)
			name := func(impl string) string {
				return fmt.Sprintf("op=xor/suite=aes-%d-ctr/size=%d/impl=%s", 8*keySize, n, impl)
			}
			b.Run(name("std"), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					cipher.NewCTR(block, iv).XORKeyStream(buf, buf)
				}
			})
			for _, tr := range tiers() {
				var c CTR
				if err := c.init(key, tr); err != nil {
					b.Fatal(err)
				}
				b.Run(name(tr.String()), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						c.XOR(buf, buf, 0, 0)
					}
				})
			}
		}
	}
}

// BenchmarkXTS has x/crypto/xts beside ours, and a size that needs stealing.
func BenchmarkXTS(b *testing.B) {
	for _, keySize := range []int{16, 32} {
		key := make([]byte, 2*keySize)
		peer, _ := xts.NewCipher(aes.NewCipher, key)
		for _, n := range append(benchSizes, 1205) {
			buf := make([]byte, n)
			name := func(op, impl string) string {
				return fmt.Sprintf("op=%s/suite=aes-%d-xts/size=%d/impl=%s", op, 8*keySize, n, impl)
			}
			if n%16 == 0 {
				b.Run(name("encrypt", "xcrypto"), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						peer.Encrypt(buf, buf, 0)
					}
				})
			}
			for _, tr := range tiers() {
				var x XTS
				if err := x.init(key[:keySize], key[keySize:], tr); err != nil {
					b.Fatal(err)
				}
				b.Run(name("encrypt", tr.String()), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						x.Encrypt(buf, buf, 0, 0)
					}
				})
				b.Run(name("decrypt", tr.String()), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						x.Decrypt(buf, buf, 0, 0)
					}
				})
			}
		}
	}
}

// BenchmarkHMAC has crypto/hmac with one reused object beside ours, over what
// an SFrame suite hashes: 36 bytes of lengths and nonce, a header, the text.
// The batch rows are per frame, eight frames a batch.
func BenchmarkHMAC(b *testing.B) {
	key, head := make([]byte, 32), make([]byte, 39)
	peer := hmac.New(sha256.New, key)
	for _, n := range benchSizes {
		body, out := make([]byte, n), [MACSize]byte{}
		name := func(op, impl string) string {
			return fmt.Sprintf("op=%s/suite=hmac-sha256/size=%d/impl=%s", op, n, impl)
		}
		b.Run(name("sum", "std"), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				peer.Reset()
				peer.Write(head)
				peer.Write(body)
				peer.Sum(out[:0])
			}
		})
		var h HMAC
		h.Init(key)
		b.Run(name("sum", "ours"), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				h.Sum(&out, head[:36], head[36:], body)
			}
		})
		b.Run(name("batch8", "ours"), func(b *testing.B) {
			b.SetBytes(int64(n))
			macs := make([]MAC, 8)
			for i := range macs {
				macs[i] = MAC{Key: &h, A: head[:36], B: head[36:], C: body}
			}
			for i := 0; i < b.N; i += len(macs) {
				SumBatch(macs)
			}
		})
	}
}

// BenchmarkCTRMAC has frames of CTR with HMAC as a suite seals and opens them: 4 bytes
// of header, 12 of AAD, a tag of 10. The batch rows are per frame, eight frames a batch.
func BenchmarkCTRMAC(b *testing.B) {
	var c CTRHMAC
	if err := c.Init(make([]byte, 16), make([]byte, 32), 10); err != nil {
		b.Fatal(err)
	}
	aad := make([]byte, 12)
	for _, n := range benchSizes {
		src, dst := make([]byte, n+10), make([]byte, n+10)
		name := func(op string) string { return fmt.Sprintf("op=%s/suite=aes-128-ctr-hmac-sha256-80/size=%d", op, n) }
		var batch [8]CTRFrame
		set := func(f *CTRFrame, dst, src []byte, lo uint64) {
			f.Key, f.Dst, f.Src, f.AAD, f.HeadLen, f.Lo = &c, dst, src, aad, 4, lo
		}
		b.Run(name("seal"), func(b *testing.B) {
			b.SetBytes(int64(n))
			var f CTRFrame
			for b.Loop() {
				set(&f, dst, src[:n], 7)
				f.Seal()
			}
		})
		b.Run(name("open"), func(b *testing.B) {
			b.SetBytes(int64(n))
			var f CTRFrame
			set(&f, dst, src[:n], 7)
			f.Seal()
			for b.Loop() {
				set(&f, src, dst, 7)
				if !f.Open() {
					b.Fatal("refused")
				}
			}
		})
		b.Run(name("seal-batch8"), func(b *testing.B) {
			b.SetBytes(int64(n))
			for i := 0; i < b.N; i += len(batch) {
				for j := range batch {
					set(&batch[j], dst, src[:n], uint64(j))
				}
				SealCTRBatch(batch[:])
			}
		})
		b.Run(name("open-batch8"), func(b *testing.B) {
			b.SetBytes(int64(n))
			var f CTRFrame
			set(&f, dst, src[:n], 7)
			f.Seal()
			for i := 0; i < b.N; i += len(batch) {
				for j := range batch {
					set(&batch[j], src, dst, 7)
				}
				if OpenCTRBatch(batch[:]); !batch[0].OK {
					b.Fatal("refused")
				}
			}
		})
	}
}
