package rtpseal_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// unpadded is a packet without its padding, as it comes out of the other gateway.
func unpadded(pkt []byte) []byte {
	_, payload, err := rtpseal.ParsePacket(pkt)
	if err != nil {
		return nil
	}
	end := len(pkt)
	if pkt[0]&0x20 != 0 {
		end -= int(pkt[end-1])
	}
	out := bytes.Clone(pkt[:end])
	out[0] &^= 0x20
	if !bytes.HasSuffix(out, payload) {
		return nil
	}
	return out
}

// FuzzThroughBoth: whatever packet a program sends comes out of the far gateway as it
// went in, or does not leave the near one. Every other packet is one of the same stream
// that needs several pieces, so that numbers change.
func FuzzThroughBoth(f *testing.F) {
	f.Add([]byte{14, 0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xC0, 1})
	f.Add([]byte{24, 0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xBE, 0xDE, 0, 2, 0xE1, 1, 2, 0, 0xE1, 5, 6, 0, 9, 9})
	f.Add([]byte{26, 0x91, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 7, 7, 7, 7, 0x10, 0, 0, 2, 14, 2, 1, 2, 14, 2, 3, 4})
	f.Add([]byte{16, 0xA0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 400 {
			return
		}
		seal, open := pair(t, cipher.AES128GCM())
		s := sealing(t, seal, 300)
		o := opening(t, open, func(_ *rtpseal.Unit, err error) { t.Fatalf("refused: %v", err) })
		var out, back rtpseal.Packets
		through := func(pkt []byte) {
			out.Reset()
			back.Reset()
			if err := s.Push(pkt, &out); err != nil {
				if out.Len() > 0 {
					t.Fatalf("%v, and %d packets leave", err, out.Len())
				}
				return
			}
			for i := range out.Len() {
				if err := o.Push(out.At(i), epoch, &back); err != nil {
					t.Fatal(err)
				}
			}
			if want := unpadded(pkt); back.Len() != 1 || !bytes.Equal(back.At(0), want) {
				t.Fatalf("%x comes out as %d packets, the first\n%x", pkt, back.Len(), back.At(0))
			}
		}
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			pkt := b[1 : 1+n]
			b = b[1+n:]
			through(pkt)
			if len(pkt) >= 12 && pkt[0]>>6 == 2 {
				long := append(bytes.Clone(pkt[:12]), make([]byte, 500)...)
				long[0] &= 0xC0
				through(long)
			}
		}
	})
}

// FuzzFrameJoiner: packets that are not of the codec, or not in order, leave nothing
// behind, and what frames they make can be cut or is refused.
func FuzzFrameJoiner(f *testing.F) {
	names := []string{"opus", "vp8", "vp9", "h264", "h265", "av1"}
	for i := range names {
		f.Add(byte(i), []byte{20, 0x80, 224, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x7C, 0x85, 1, 2, 3, 4, 5, 20, 0x80, 224, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0x7C, 0x45, 1, 2, 3, 4, 5})
		f.Add(byte(i), []byte{20, 0x80, 224, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x18, 0x0A, 1, 2, 3, 4, 5, 18, 0x80, 224, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x90, 0x80, 0x81, 2})
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		if len(b) > 600 {
			return
		}
		codec, err := rtpseal.LookupCodec(names[int(which)%len(names)])
		if err != nil {
			t.Fatal(err)
		}
		cutter, err := rtpseal.NewCutter(codec, 200)
		if err != nil {
			t.Fatal(err)
		}
		var out rtpseal.Packets
		j, err := rtpseal.NewFrameJoiner(codec, func(h rtpseal.Header, frame []byte) error {
			u := rtpseal.Unit{Header: h}
			cutter.Cut(&u, frame, &out)
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			j.Push(b[1:1+n], now)
			now = now.Add(time.Millisecond)
			b = b[1+n:]
		}
		for i := range out.Len() {
			if len(out.At(i)) > 200 && codec.Name != "opus" { // which cannot be cut
				t.Fatalf("a packet of %d bytes", len(out.At(i)))
			}
		}
		j.Sweep(now.Add(2 * rtpseal.MaxAge))
		if j.Kept() != 0 {
			t.Fatalf("%d bytes are kept", j.Kept())
		}
	})
}
