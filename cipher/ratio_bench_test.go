package cipher_test

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/xts"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// The sizes in bytes of the table that the engines are held to: an audio frame, a
// packet, a video frame and a key frame.
var ratioSizes = []int{96, 1200, 16384, 100000}

// ratioAAD is the additional data of an RTP header, which comes on top of the SFrame
// header.
const ratioAAD = 12

// BenchmarkAgainstStd measures the full frame path (counter, header, nonce, engine,
// tag, replay window) and the standard library's bare primitive in turns, a window
// of each, so that both meet the same clock and the same neighbours. Besides ns/op,
// the median of our windows, a row has the standard library's median as std-ns/op and
// the two as a ratio, x-std. The number of pairs of windows is -benchtime's: use
// something like -benchtime=200x.
func BenchmarkAgainstStd(b *testing.B) {
	for _, s := range []*cipher.Suite{cipher.AES128GCM(), cipher.AES256GCM(), cipher.AES128CTRHMAC80(), cipher.AES256CTRHMAC80()} {
		for _, size := range ratioSizes {
			name := fmt.Sprintf("suite=%s/size=%d", s.Name(), size)
			b.Run("op=seal/"+name, func(b *testing.B) { duel(b, newSealDuel(b, s, size, 1)) })
			b.Run("op=open/"+name, func(b *testing.B) { duel(b, newOpenDuel(b, s, size, 1)) })
			if size <= 16384 {
				b.Run("op=seal-batch8/"+name, func(b *testing.B) { duel(b, newSealDuel(b, s, size, 8)) })
				b.Run("op=open-batch8/"+name, func(b *testing.B) { duel(b, newOpenDuel(b, s, size, 8)) })
			}
		}
	}
	for _, size := range ratioSizes {
		b.Run(fmt.Sprintf("op=encrypt/suite=aes-128-xts/size=%d", size), func(b *testing.B) { duel(b, newXTSDuel(b, size)) })
	}
}

// contest is one row: prepare makes ready for one window, which is not timed; ours and
// std then do the same frames.
type contest struct {
	frames    int // of one window
	size      int
	prepare   func()
	ours, std func()
}

// framesFor makes a window some 20 µs to 200 µs long and keeps its frames in the
// second level cache.
func framesFor(size int) int { return max(8, min(256, 400_000/size)) &^ 7 }

func duel(b *testing.B, c contest) {
	b.SetBytes(int64(c.size))
	for range 3 {
		c.pair()
	}
	var ours, std []float64
	for b.Loop() {
		o, s := c.pair()
		ours, std = append(ours, o), append(std, s)
	}
	o, s := median(ours), median(std)
	b.ReportMetric(o, "ns/op")
	b.ReportMetric(float64(c.size)/o*1e3, "MB/s")
	b.ReportMetric(s, "std-ns/op")
	b.ReportMetric(s/o, "x-std")
}

// pair times one window of each, per frame.
func (c contest) pair() (ours, std float64) {
	window := func(f func()) float64 {
		begin := time.Now()
		f()
		return float64(time.Since(begin)) / float64(c.frames)
	}
	c.prepare()
	std = window(c.std)
	return window(c.ours), std
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// stdFrame is the bare primitive for one frame, with a prepared key. AES-CTR must be
// made for each nonce; HMAC is reset.
type stdFrame struct {
	seal func(dst, nonce, frame, aad []byte) []byte
	open func(dst, nonce, sealed, aad []byte) []byte
}

func newStdFrame(b testing.TB, s *cipher.Suite) stdFrame {
	if s == cipher.AES128GCM() || s == cipher.AES256GCM() {
		aead, err := gcm(make([]byte, s.KeySize()))
		if err != nil {
			b.Skip(err)
		}
		return stdFrame{
			seal: aead.Seal,
			open: func(dst, nonce, sealed, aad []byte) []byte {
				out, err := aead.Open(dst, nonce, sealed, aad)
				if err != nil {
					b.Fatal(err)
				}
				return out
			},
		}
	}
	newHash := sha256.New
	if s.BaseKeySize() == sha512.Size {
		newHash = sha512.New
	}
	mac, most := hmac.New(newHash, make([]byte, s.BaseKeySize())), s.Overhead()
	block, err := aes.NewCipher(make([]byte, s.KeySize()-s.BaseKeySize()))
	if err != nil {
		b.Fatal(err)
	}
	var head [24]byte
	var iv [16]byte
	var sum [sha512.Size]byte
	tag := func(nonce, aad, ct []byte) []byte {
		mac.Reset()
		mac.Write(head[:])
		mac.Write(nonce)
		mac.Write(aad)
		mac.Write(ct)
		return mac.Sum(sum[:0])[:most]
	}
	xor := func(dst, nonce, src []byte) {
		copy(iv[:], nonce)
		stdcipher.NewCTR(block, iv[:]).XORKeyStream(dst, src)
	}
	return stdFrame{
		seal: func(dst, nonce, frame, aad []byte) []byte {
			n := len(frame)
			dst = dst[:n+most]
			xor(dst[:n], nonce, frame)
			copy(dst[n:], tag(nonce, aad, dst[:n]))
			return dst
		},
		open: func(dst, nonce, sealed, aad []byte) []byte {
			n := len(sealed) - most
			dst = dst[:n]
			if !hmac.Equal(tag(nonce, aad, sealed[:n]), sealed[n:]) {
				b.Fatal("refused")
			}
			xor(dst, nonce, sealed[:n])
			return dst
		},
	}
}

func newSealDuel(b testing.TB, s *cipher.Suite, size, batch int) contest {
	std, n := newStdFrame(b, s), framesFor(size)
	k := must(s.NewSealKey(1, random(1, s.BaseKeySize()), cipher.FreshKey))
	frame, aad, nonce := random(size, size), random(1, ratioAAD), make([]byte, 12)
	stdDst := make([]byte, 0, size+64)
	c := contest{frames: n, size: size, prepare: func() {}}
	c.std = func() {
		for range n {
			nonce[11]++
			std.seal(stdDst, nonce, frame, aad)
		}
	}
	if batch == 1 {
		dst := make([]byte, 0, size+64)
		c.ours = func() {
			for range n {
				if _, err := k.Seal(dst, frame, aad); err != nil {
					b.Fatal(err)
				}
			}
		}
		return c
	}
	frames := make([]cipher.Frame, batch)
	for i := range frames {
		frames[i].Dst, frames[i].Src, frames[i].AAD = make([]byte, 0, size+64), frame, aad
	}
	c.ours = func() { // as a sender does that fills the same buffers again: their Dst is emptied
		for range n / batch {
			for i := range frames {
				frames[i].Dst = frames[i].Dst[:0]
			}
			if k.SealBatch(frames) > 0 {
				b.Fatal(frames[0].Err)
			}
		}
	}
	return c
}

func newOpenDuel(b testing.TB, s *cipher.Suite, size, batch int) contest {
	std, n := newStdFrame(b, s), framesFor(size)
	base := random(1, s.BaseKeySize())
	seal, open := must(s.NewSealKey(1, base, cipher.FreshKey)), must(s.NewOpenKey(1, base))
	frame, aad, nonce := random(size, size), random(1, ratioAAD), make([]byte, 12)
	sealed, stdSealed := make([][]byte, n), make([][]byte, n)
	for i := range sealed {
		sealed[i] = make([]byte, 0, size+64)
		stdSealed[i] = std.seal(make([]byte, 0, size+64), nonce, frame, aad)
	}
	dst := make([]byte, 0, size+64)
	c := contest{frames: n, size: size}
	c.prepare = func() {
		for i := range sealed {
			var err error
			if sealed[i], err = seal.Seal(sealed[i][:0], frame, aad); err != nil {
				b.Fatal(err)
			}
		}
	}
	c.std = func() {
		for _, f := range stdSealed {
			std.open(dst, nonce, f, aad)
		}
	}
	if batch == 1 {
		c.ours = func() {
			for _, f := range sealed {
				if _, err := open.Open(dst, f, aad); err != nil {
					b.Fatal(err)
				}
			}
		}
		return c
	}
	frames := make([]cipher.Frame, batch)
	for i := range frames {
		frames[i].Dst, frames[i].AAD = make([]byte, 0, size+64), aad
	}
	c.ours = func() {
		for at := 0; at < n; at += batch {
			for i := range frames {
				frames[i].Dst, frames[i].Src = frames[i].Dst[:0], sealed[at+i]
			}
			if open.OpenBatch(frames) > 0 {
				b.Fatal(frames[0].Err)
			}
		}
	}
	return c
}

// newXTSDuel has the bare cores of both: x/crypto's takes whole blocks only.
func newXTSDuel(b *testing.B, size int) contest {
	key := random(1, 32)
	peer, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		b.Fatal(err)
	}
	var x engine.XTS
	if err := x.Init(key[:16], key[16:]); err != nil {
		b.Fatal(err)
	}
	// As many as of other suites: in a window of a few hundred nanoseconds of ours the
	// clock's own calls would count.
	n := framesFor(size)
	src, dst := random(size, size), make([]byte, size)
	return contest{
		frames: n, size: size, prepare: func() {},
		ours: func() {
			for i := range n {
				x.Encrypt(dst, src, 0, uint64(i))
			}
		},
		std: func() {
			for i := range n {
				peer.Encrypt(dst, src, uint64(i))
			}
		},
	}
}
