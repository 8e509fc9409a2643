package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Codec names a codec by its bitstream.
type Codec uint8

// The codecs of live media.
const (
	Opus Codec = 1 + iota
	VP8
	VP9
	H264
	H265
	AV1
)

// FrameKind is what a frame is to a decoder, by its bitstream.
type FrameKind uint8

// The kinds of frames.
const (
	FrameUnknown FrameKind = iota // too short, or of no kind that decodes by itself or not
	FrameKey                      // decoding can begin here
	FrameDelta                    // needs others
)

// KindOf tells a frame's kind from its bitstream, never from what a container says. H.264
// and H.265 are taken as byte streams (Annex B); convert others with [ToAnnexB].
func KindOf(c Codec, frame []byte) FrameKind {
	kind := func(f Flags, least int) FrameKind {
		switch {
		case f&FlagKey != 0:
			return FrameKey
		case len(frame) < least:
			return FrameUnknown
		}
		return FrameDelta
	}
	switch c {
	case Opus:
		return kind(FlagKey, 0)
	case VP8:
		return kind(vp8Flags(frame), 3)
	case VP9:
		if len(frame) == 0 || frame[0]>>6 != 2 {
			return FrameUnknown
		}
		return kind(vp9Flags(frame), 1)
	case AV1:
		return kind(av1Flags(frame), 2)
	case H264, H265:
		found := FrameUnknown
		for _, nal := range splitNALs(frame) {
			switch typ := nalType(c, nal); {
			case c == H264 && typ == h264IDR, c == H265 && typ >= h265BLA && typ <= h265IRAPLast:
				return FrameKey
			case c == H264 && (typ == h264Slice || typ == h264PartA), c == H265 && typ <= h265VCLLast:
				found = FrameDelta
			}
		}
		return found
	}
	return FrameUnknown
}

func nalType(c Codec, nal []byte) uint8 {
	if c == H264 {
		return nal[0] & 31
	}
	return nal[0] >> 1 & 63
}

// errNAL is the class of what cannot be taken apart here.
var errNAL = errors.New("media: not NAL units of this form")

const (
	h264Filler = 12
	h265Filler = 38
)

// Canonical appends an access unit of H.264 or H.265 to dst in the one form that
// packetizers pass unchanged: start codes of 4 bytes, no delimiters and no filler, and
// the parameter sets in front, in the order VPS, SPS, PPS. A frame of which parts stay
// readable has to be in this form before it is sealed.
func Canonical(c Codec, dst, frame []byte) ([]byte, error) {
	if c != H264 && c != H265 {
		return dst, fmt.Errorf("%w: only H.264 and H.265 have them", errNAL)
	}
	if !bytes.HasPrefix(bytes.TrimLeft(frame, "\x00"), []byte{1}) || !bytes.HasPrefix(frame, []byte{0, 0}) {
		return dst, fmt.Errorf("%w: no start code at the beginning", errNAL)
	}
	nals := splitNALs(frame)
	nals = slices.DeleteFunc(nals, func(nal []byte) bool {
		typ := nalType(c, nal)
		return c == H264 && (typ == h264AUD || typ == h264Filler) || c == H265 && (typ == h265AUD || typ == h265Filler)
	})
	rank := func(nal []byte) int {
		typ := nalType(c, nal)
		switch {
		case c == H264 && typ == h264SPS, c == H265 && typ == h265VPS:
			return 0
		case c == H264 && typ == h264PPS, c == H265 && typ == h265SPS:
			return 1
		case c == H265 && typ == h265PPS:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(nals, func(a, b []byte) int { return rank(a) - rank(b) })
	for _, nal := range nals {
		dst = append(append(dst, 0, 0, 0, 1), nal...)
	}
	return dst, nil
}

// ToAnnexB appends an access unit whose NAL units have their length in front (AVCC,
// HVCC) to dst as a byte stream. size is the length's own, 1, 2 or 4 bytes.
func ToAnnexB(dst, frame []byte, size int) ([]byte, error) {
	if size != 1 && size != 2 && size != 4 {
		return dst, fmt.Errorf("%w: lengths of %d bytes", errNAL, size)
	}
	begin := len(dst)
	for len(frame) > 0 {
		if len(frame) < size {
			return dst[:begin], fmt.Errorf("%w: a length is cut off", errNAL)
		}
		n := uint64(0)
		for _, b := range frame[:size] {
			n = n<<8 | uint64(b)
		}
		if frame = frame[size:]; n == 0 || n > uint64(len(frame)) {
			return dst[:begin], fmt.Errorf("%w: a unit of %d bytes, where %d are left", errNAL, n, len(frame))
		}
		dst = append(append(dst, 0, 0, 0, 1), frame[:n]...)
		frame = frame[n:]
	}
	return dst, nil
}

// FromAnnexB appends a byte stream's access unit to dst with lengths of 4 bytes.
func FromAnnexB(dst, frame []byte) []byte {
	for _, nal := range splitNALs(frame) {
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(nal))), nal...)
	}
	return dst
}

// Escape appends payload to dst with emulation prevention bytes (H.264, 7.4.1; H.265,
// 7.4.2), so that nothing in it looks like a start code. zeros is how many zero bytes, up
// to 2, stand right in front of it: 0 is the unseeded form that begins anew.
func Escape(dst, payload []byte, zeros int) []byte {
	for _, b := range payload {
		if zeros >= 2 && b <= 3 {
			dst = append(dst, 3)
			zeros = 0
		}
		dst = append(dst, b)
		if b == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return dst
}

// Unescape undoes Escape, with the same zeros.
func Unescape(dst, escaped []byte, zeros int) []byte {
	for _, b := range escaped {
		if zeros >= 2 && b == 3 {
			zeros = 0
			continue
		}
		dst = append(dst, b)
		if b == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return dst
}
