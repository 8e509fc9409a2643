package rtpseal

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// BenchmarkPush: what sealing and opening a packet of 1,200 bytes costs, without any
// socket; "key" is the cipher by itself.
func BenchmarkPush(b *testing.B) {
	base := bytes.Repeat([]byte{7}, 32)
	suite := cipher.AES128GCM()
	newSeal := func() *cipher.SealKey {
		k, err := suite.NewSealKey(0x77, base, cipher.FreshKey)
		if err != nil {
			b.Fatal(err)
		}
		return k
	}
	const batch = 32
	in := make([]byte, batch*1200)
	for i := range batch {
		in[i*1200], in[i*1200+1] = 0x80, 96
		binary.BigEndian.PutUint16(in[i*1200+2:], uint16(i))
	}
	b.Run("what=key", func(b *testing.B) {
		k := newSeal()
		out := make([]byte, 0, batch*1300)
		for b.Loop() {
			o := out
			for i := range batch {
				o, _ = k.Seal(o, in[i*1200+12:][:1188], nil)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/packet")
	})
	b.Run("what=seal", func(b *testing.B) {
		s, _ := NewSealing(SealingOptions{Sealer: SharedSealer(newSeal()), MTU: 1400})
		var out Packets
		for b.Loop() {
			out.Reset()
			for i := range batch {
				if err := s.Push(in[i*1200:][:1200], &out); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/packet")
	})
	open := func(b *testing.B, through bool) {
		s, _ := NewSealing(SealingOptions{Sealer: SharedSealer(newSeal()), MTU: 1400})
		k, _ := suite.NewOpenKeyWindow(0x77, base, cipher.PacketWindow)
		o, _ := NewOpening(OpeningOptions{Opener: Shared(k)})
		var sealed, out Packets
		var spent time.Duration
		for b.Loop() {
			sealed.Reset()
			for i := range batch {
				s.Push(in[i*1200:][:1200], &sealed)
			}
			out.Reset()
			begun := time.Now()
			for i := range batch {
				if through {
					if err := o.Push(sealed.At(i), begun, &out); err != nil {
						b.Fatal(err)
					}
				} else if _, err := k.Open(out.buf[:0], sealed.At(i)[13:], nil); err != nil {
					b.Fatal(err)
				}
			}
			spent += time.Since(begun)
			if !through {
				out.buf = make([]byte, 1300)
			}
		}
		b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*batch), "ns/packet")
	}
	b.Run("what=openkey", func(b *testing.B) { open(b, false) })
	b.Run("what=open", func(b *testing.B) { open(b, true) })
}
