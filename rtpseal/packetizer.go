package rtpseal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of an MTU: bytes of an RTP packet, header included.
const (
	DefaultMTU = 1200
	MinMTU     = 128
	MaxMTU     = 65507 - 28
)

// ErrTooLong says that a sealed unit would take more packets than a [Depacketizer] puts
// together by default: 1920, which is 2.2 MB at the default MTU.
var ErrTooLong = errors.New("rtpseal: the unit is too long for the MTU")

// PacketizerOptions of [NewPacketizer].
type PacketizerOptions struct {
	SSRC        uint32
	PayloadType uint8
	Sequence    uint16 // of the first packet; take a random one
	MTU         int    // bytes of a packet, 0 for DefaultMTU
}

// Packetizer cuts sealed units of one stream into RTP packets. It is for one goroutine.
type Packetizer struct {
	o   PacketizerOptions
	buf []byte
}

// NewPacketizer makes a Packetizer.
func NewPacketizer(o PacketizerOptions) (*Packetizer, error) {
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if o.MTU < MinMTU || o.MTU > MaxMTU {
		return nil, fmt.Errorf("rtpseal: an MTU of %d bytes, want %d to %d", o.MTU, MinMTU, MaxMTU)
	}
	if o.PayloadType > 127 {
		return nil, fmt.Errorf("rtpseal: a payload type of %d, want at most 127", o.PayloadType)
	}
	return &Packetizer{o: o, buf: make([]byte, o.MTU)}, nil
}

// Packetize hands the packets of a sealed unit to emit, in order. Each is valid until
// emit returns. kind is 0 for a frame and PerPacket for the payload of a packet; marker
// is the RTP marker of the unit: it goes on the last packet only. An error of emit ends
// the unit; the sequence numbers of its packets are spent.
func (p *Packetizer) Packetize(sealed []byte, timestamp uint32, marker bool, kind Descriptor, emit func(pkt []byte) error) error {
	room := p.o.MTU - headerMin - 1
	if (len(sealed)+room-1)/room > maxSplit {
		return ErrTooLong
	}
	d := kind&PerPacket | First
	for {
		n := min(room, len(sealed))
		if n == len(sealed) {
			d |= Last
		}
		pkt := p.buf[:headerMin+1+n]
		pkt[0], pkt[1] = 0x80, p.o.PayloadType
		if marker && d&Last != 0 {
			pkt[1] |= 0x80
		}
		binary.BigEndian.PutUint16(pkt[2:], p.o.Sequence)
		binary.BigEndian.PutUint32(pkt[4:], timestamp)
		binary.BigEndian.PutUint32(pkt[8:], p.o.SSRC)
		pkt[headerMin] = byte(d)
		copy(pkt[headerMin+1:], sealed[:n])
		p.o.Sequence++
		if err := emit(pkt); err != nil {
			return err
		}
		if d&Last != 0 {
			return nil
		}
		sealed, d = sealed[n:], d&^First
	}
}
