package rtpseal

import (
	"encoding/binary"
	"errors"
)

// What is wrong with a packet. They are made once: a flood of such packets allocates
// nothing.
var (
	// ErrNotRTP says that a packet is not one of RTP, version 2 (RFC 3550, Section 5.1).
	ErrNotRTP = errors.New("rtpseal: not an RTP packet")
	// ErrDescriptor says that a payload does not begin with a descriptor: it is empty,
	// or reserved bits are set.
	ErrDescriptor = errors.New("rtpseal: no SFrame descriptor")
)

const (
	headerMin = 12 // bytes of an RTP header without CSRCs and extension
	// maxSplit is how many packets a unit may have: what a Depacketizer keeps of a stream by
	// default, less some that come early or late.
	maxSplit = defaultPackets - 128
)

// Header is what an RTP header says, as far as it matters here.
type Header struct {
	PayloadType uint8
	Marker      bool
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
	Size        int // bytes, with CSRCs and extension
}

// ParsePacket reads an RTP packet. The payload is a part of pkt, without padding.
func ParsePacket(pkt []byte) (h Header, payload []byte, err error) {
	if len(pkt) < headerMin || pkt[0]>>6 != 2 {
		return Header{}, nil, ErrNotRTP
	}
	h = Header{
		PayloadType: pkt[1] & 0x7F, Marker: pkt[1]&0x80 != 0,
		Sequence: binary.BigEndian.Uint16(pkt[2:]), Timestamp: binary.BigEndian.Uint32(pkt[4:]), SSRC: binary.BigEndian.Uint32(pkt[8:]),
		Size: headerMin + 4*int(pkt[0]&15),
	}
	if pkt[0]&0x10 != 0 { // X
		if len(pkt) < h.Size+4 {
			return Header{}, nil, ErrNotRTP
		}
		h.Size += 4 + 4*int(binary.BigEndian.Uint16(pkt[h.Size+2:]))
	}
	end := len(pkt)
	if pkt[0]&0x20 != 0 && end > 0 { // P
		pad := int(pkt[end-1])
		if pad == 0 || pad > end-h.Size {
			return Header{}, nil, ErrNotRTP
		}
		end -= pad
	}
	if end < h.Size {
		return Header{}, nil, ErrNotRTP
	}
	return h, pkt[h.Size:end], nil
}

// isRTCP tells RTCP from RTP on one port (RFC 5761, Section 4).
func isRTCP(pkt []byte) bool {
	return len(pkt) >= 8 && pkt[0]>>6 == 2 && pkt[1] >= 192 && pkt[1] <= 223
}

// before reports that sequence number a comes before b, in the shorter way round.
func before(a, b uint16) bool { return int16(a-b) < 0 }
