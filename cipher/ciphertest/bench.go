package ciphertest

import (
	"fmt"

	"github.com/chanseal/chanseal/cipher"
)

// B is what [BenchmarkPair] needs of a *testing.B. T is the type itself.
type B[T any] interface {
	Run(name string, f func(T)) bool
	Loop() bool
	StartTimer()
	StopTimer()
	SetBytes(n int64)
	ReportAllocs()
	Fatal(args ...any)
}

// BenchSizes are the frame sizes in bytes that are measured: audio, a small frame, a
// packet, a video frame and a key frame.
var BenchSizes = []int{80, 320, 1200, 16384, 131072}

// benchMemory bounds, in bytes, how much is sealed ahead to be opened.
const benchMemory = 16 << 20

// BenchmarkPair measures Seal and Open of a pair, as benchmarks that are named
// op=seal/suite=NAME/size=N. The additional data has 12 bytes, as an RTP header has.
func BenchmarkPair[T B[T]](b T, suite string, fresh func() (cipher.Sealer, cipher.Opener)) {
	for _, size := range BenchSizes {
		b.Run(fmt.Sprintf("op=seal/suite=%s/size=%d", suite, size), func(b T) { benchSeal(b, size, fresh) })
	}
	for _, size := range BenchSizes {
		b.Run(fmt.Sprintf("op=open/suite=%s/size=%d", suite, size), func(b T) { benchOpen(b, size, fresh) })
	}
}

func benchSeal[T B[T]](b T, size int, fresh func() (cipher.Sealer, cipher.Opener)) {
	s, _ := fresh()
	frame, aad := random(size, size), random(1, 12)
	dst := make([]byte, 0, size+s.Overhead())
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Seal(dst, frame, aad); err != nil {
			b.Fatal(err)
		}
	}
}

// benchOpen opens each frame once, since an opener takes it only once: they are sealed
// in blocks, under a new key each, while the clock stands.
func benchOpen[T B[T]](b T, size int, fresh func() (cipher.Sealer, cipher.Opener)) {
	frame, aad := random(size, size), random(1, 12)
	s, o := fresh()
	sealed := make([][]byte, min(1<<13, benchMemory/(size+s.Overhead())))
	refill := func() {
		s, o = fresh()
		for i := range sealed {
			var err error
			if sealed[i], err = s.Seal(sealed[i][:0], frame, aad); err != nil {
				b.Fatal(err)
			}
		}
	}
	refill()
	dst := make([]byte, 0, size+s.Overhead()+64)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i == len(sealed) {
			b.StopTimer()
			refill()
			b.StartTimer()
			i = 0
		}
		if _, err := o.Open(dst, sealed[i], aad); err != nil {
			b.Fatal(err)
		}
	}
}
