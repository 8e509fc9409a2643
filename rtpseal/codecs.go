package rtpseal

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pion/rtp/codecs"
)

// ErrCodec says that packets are not of the codec that was named, or that a frame
// cannot be put into packets of it.
var ErrCodec = errors.New("rtpseal: not of the codec that was named")

// Codec is the RTP payload format of a codec. It is needed only where whole frames are
// sealed for programs that speak plain RTP.
type Codec struct {
	Name  string
	every bool // every packet is a frame
	join  func() joiner
	cut   func() cutter
}

// joiner takes the content out of a packet of a frame.
type joiner interface {
	Unmarshal(payload []byte) ([]byte, error)
}

type cutter interface {
	Payload(mtu uint16, frame []byte) [][]byte
}

var codecTable = []Codec{
	{"opus", true, func() joiner { return &codecs.OpusPacket{} }, func() cutter { return &codecs.OpusPayloader{} }},
	{"vp8", false, func() joiner { return &codecs.VP8Packet{} }, func() cutter { return &codecs.VP8Payloader{EnablePictureID: true} }},
	{"vp9", false, func() joiner { return &codecs.VP9Packet{} }, func() cutter { return &codecs.VP9Payloader{FlexibleMode: true} }},
	{"h264", false, func() joiner { return &codecs.H264Packet{} }, func() cutter { return h264Cutter{} }},
	{"h265", false, func() joiner { return &codecs.H265Depacketizer{} }, func() cutter { return &codecs.H265Payloader{SkipAggregation: true} }},
	{"av1", false, func() joiner { return &codecs.AV1Depacketizer{} }, func() cutter { return &codecs.AV1Payloader{} }},
}

// LookupCodec finds a codec by its name.
func LookupCodec(name string) (Codec, error) {
	names := make([]string, len(codecTable))
	for i, c := range codecTable {
		if strings.EqualFold(c.Name, name) || strings.EqualFold(c.Name, strings.ReplaceAll(name, ".", "")) {
			return c, nil
		}
		names[i] = c.Name
	}
	return Codec{}, fmt.Errorf("rtpseal: no codec %q: known are %s", name, strings.Join(names, ", "))
}

// protected keeps what a foreign parser does wrong to itself.
func protected[T any](f func() (T, error)) (out T, err error) {
	defer func() {
		if recover() != nil {
			err = ErrCodec
		}
	}()
	if out, err = f(); err != nil {
		err = ErrCodec
	}
	return out, err
}
