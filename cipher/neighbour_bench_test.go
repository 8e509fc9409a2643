package cipher_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// BenchmarkStdAfterOurs measures the standard library's own code, GCM of 16 KiB or CTR
// with HMAC-SHA256 of 1200 bytes, right after a Seal of ours and right after one of its own, in turns. The figure is
// the median of the former; alone-ns/op is that of the latter, and slower the two as a
// ratio: a kernel that left the upper halves of vector registers dirty would make it 2
// and more.
func BenchmarkStdAfterOurs(b *testing.B) {
	for _, row := range []struct {
		std  *cipher.Suite
		size int
	}{{cipher.AES128GCM(), 16384}, {cipher.AES128CTRHMAC80(), 1200}} {
		for _, ours := range []*cipher.Suite{cipher.AES128GCM(), cipher.AES128CTRHMAC80(), cipher.AES128XTSHMAC()} {
			for _, before := range []int{32, 96, 1200, 100000} {
				b.Run(fmt.Sprintf("op=seal/suite=raw-%s/size=%d/after=%s-%d", row.std, row.size, ours, before), func(b *testing.B) {
					stdAfterOurs(b, newStdFrame(b, row.std), row.size, must(ours.NewSealKey(1, make([]byte, 32), cipher.FreshKey)), before)
				})
			}
		}
	}
}

func stdAfterOurs(b *testing.B, std stdFrame, size int, k *cipher.SealKey, before int) {
	frame, small, nonce := random(size, size), random(before, before), make([]byte, 12)
	dst, dst2 := make([]byte, 0, size+64), make([]byte, 0, before+64)
	timed := func() float64 {
		begin := time.Now()
		std.seal(dst, nonce, frame, nil)
		return float64(time.Since(begin))
	}
	var after, alone []float64
	for b.Loop() {
		std.seal(dst2, nonce, small, nil)
		alone = append(alone, timed())
		if _, err := k.Seal(dst2, small, nil); err != nil {
			b.Fatal(err)
		}
		after = append(after, timed())
	}
	a, o := median(alone), median(after)
	b.ReportMetric(o, "ns/op")
	b.ReportMetric(a, "alone-ns/op")
	b.ReportMetric(o/a, "slower")
}

// BenchmarkTwoCores has two goroutines seal with a key each, and with one key that they
// share, and one goroutine alone, in turns. The figure is the time of a frame with two
// of them; x-one is how many times the frames of one they make, the median of all windows.
func BenchmarkTwoCores(b *testing.B) {
	if runtime.GOMAXPROCS(0) < 2 {
		b.Skip("needs two processors")
	}
	for _, size := range ratioSizes {
		for _, keys := range []int{2, 1} {
			b.Run(fmt.Sprintf("op=seal/suite=aes-128-gcm/size=%d/keys=%d", size, keys), func(b *testing.B) {
				// Windows of some milliseconds, which waking a processor up does not count in.
				s, n := cipher.AES128GCM(), 3_000_000/(50+size/20)
				var ks [2]*cipher.SealKey
				var dsts [2][]byte
				for i := range ks {
					ks[i] = must(s.NewSealKey(1, random(i, s.BaseKeySize()), cipher.FreshKey))
					dsts[i] = make([]byte, 0, size+128)
				}
				frame := random(size, size)
				window := func(i int) float64 {
					begin := time.Now()
					for range n {
						if _, err := ks[i%keys].Seal(dsts[i], frame, nil); err != nil {
							b.Error(err)
							break
						}
					}
					return float64(time.Since(begin))
				}
				var one, two []float64
				for b.Loop() {
					one = append(one, window(0))
					var arrived atomic.Int32
					var took [2]float64
					var done sync.WaitGroup
					for i := range took {
						done.Go(func() {
							// Neither begins before the other runs, on the other processor.
							for arrived.Add(1); arrived.Load() < 2; {
							}
							took[i] = window(i)
						})
					}
					done.Wait()
					two = append(two, max(took[0], took[1]))
				}
				o, w := median(one), median(two)
				b.ReportMetric(w/float64(2*n), "ns/op")
				b.ReportMetric(2*o/w, "x-one")
			})
		}
	}
}
