package rtpseal_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pion/rtp/codecs"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// TestPacketizersThatKnowCodecs shows what packetizers of codecs do to frames of which
// all or a part is sealed: nothing comes out, or something else, without any error. The
// Packetizer, which looks into no codec, carries every one of them.
func TestPacketizersThatKnowCodecs(t *testing.T) {
	opaque := bytes.Repeat([]byte{0xA7, 0x31, 0x5C}, 500)
	const s3, s4 = "\x00\x00\x01", "\x00\x00\x00\x01"
	h264 := func(p *codecs.H264Payloader, frame []byte) []byte {
		var back []byte
		d := &codecs.H264Packet{}
		for _, part := range p.Payload(1200, frame) {
			b, err := d.Unmarshal(part)
			if err != nil {
				return nil
			}
			back = append(back, b...)
		}
		return back
	}
	for _, c := range []struct {
		name    string
		frame   []byte
		through func(frame []byte) []byte
	}{
		{"VP9, not flexible", opaque, func(f []byte) []byte {
			return bytes.Join((&codecs.VP9Payloader{InitialPictureIDFn: func() uint16 { return 1 }}).Payload(1200, f), nil)
		}},
		{"AV1", opaque, func(f []byte) []byte { return bytes.Join((&codecs.AV1Payloader{}).Payload(1200, f), nil) }},
		{"H.264, start codes of 3 bytes", []byte(s3 + "\x65slice"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
		{"H.264, a delimiter", []byte(s4 + "\x09\xf0" + s4 + "\x65slice"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
		{"H.264, filler", []byte(s4 + "\x65slice" + s4 + "\x0c\xff\xff"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
		{"H.264, PPS before SPS", []byte(s4 + "\x68pps" + s4 + "\x67sps" + s4 + "\x65slice"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
		{"H.264, two PPS", []byte(s4 + "\x67sps" + s4 + "\x68one" + s4 + "\x68two" + s4 + "\x65slice"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
		{"H.264, SEI between SPS and PPS", []byte(s4 + "\x67sps" + s4 + "\x06sei" + s4 + "\x68pps" + s4 + "\x65slice"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
		{"H.264, parameter sets over the MTU", []byte(s4 + "\x67" + strings.Repeat("s", 1300) + s4 + "\x68pps" + s4 + "\x65slice"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
		{"H.264, start codes of 3 bytes, in the form that keeps order", []byte(s3 + "\x67sps" + s3 + "\x65slice"), func(f []byte) []byte { return h264(&codecs.H264Payloader{DisableStapA: true}, f) }},
		{"H.265, start codes of 3 bytes", []byte(s3 + "\x26\x01slice"), func(f []byte) []byte {
			var back []byte
			d := &codecs.H265Depacketizer{}
			for _, part := range (&codecs.H265Payloader{}).Payload(1200, f) {
				b, err := d.Unmarshal(part)
				if err != nil {
					return nil
				}
				back = append(back, b...)
			}
			return back
		}},
		{"AV1, the last OBU without a size", []byte("\x12\x00\x32\x04abcd\x30sealed"), func(f []byte) []byte {
			var back []byte
			d := &codecs.AV1Depacketizer{}
			for _, part := range (&codecs.AV1Payloader{}).Payload(1200, f) {
				b, err := d.Unmarshal(part)
				if err != nil {
					return nil
				}
				back = append(back, b...)
			}
			return back
		}},
		{"H.264, only parameter sets", []byte(s4 + "\x67sps" + s4 + "\x68pps"), func(f []byte) []byte { return h264(&codecs.H264Payloader{}, f) }},
	} {
		if got := c.through(c.frame); bytes.Equal(got, c.frame) {
			t.Errorf("%s: survives the codec's own packetizer, which this is to show it does not", c.name)
		}
		seal, open := pair(t, cipher.AES128GCM())
		var got []byte
		r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: rtpseal.Shared(open), Frame: func(_ *rtpseal.Unit, f []byte) { got = bytes.Clone(f) }})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := seal.Seal(nil, c.frame, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, pkt := range packets(t, packetizer(t, 1, 2, 300), sealed, 9, true, 0) {
			r.Push(pkt, epoch)
		}
		if !bytes.Equal(got, c.frame) {
			t.Errorf("%s: does not survive", c.name)
		}
	}
}
