package rtpseal

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"
)

// FrameSealing puts the frames of plain RTP packets together and seals each as a whole
// (T=0). Frames that are not complete do not leave. It is for one goroutine.
type FrameSealing struct {
	o       SealingOptions
	join    *FrameJoiner
	packets map[uint32]*Packetizer
	out     *Packets
	sealed  []byte
}

// NewFrameSealing makes a FrameSealing. dropped, which may be nil, is told of frames
// that are given up.
func NewFrameSealing(c Codec, o SealingOptions, dropped func(Drop)) (*FrameSealing, error) {
	seal, err := NewSealing(o)
	if err != nil {
		return nil, err
	}
	s := &FrameSealing{o: seal.o, packets: map[uint32]*Packetizer{}}
	if s.join, err = NewFrameJoiner(c, s.send, dropped); err != nil {
		return nil, err
	}
	s.join.left = func(ssrc uint32) { delete(s.packets, ssrc) }
	return s, nil
}

// Push takes a packet in and appends what leaves to out.
func (s *FrameSealing) Push(pkt []byte, now time.Time, out *Packets) error {
	s.out = out
	err := s.join.Push(pkt, now)
	s.out = nil
	return err
}

// Sweep gives up waiting for what is late.
func (s *FrameSealing) Sweep(now time.Time, out *Packets) {
	s.out = out
	s.join.Sweep(now)
	s.out = nil
}

// Leave drops and wipes what is kept of a stream.
func (s *FrameSealing) Leave(ssrc uint32) { s.join.Leave(ssrc) }

// Kept is how many bytes are held.
func (s *FrameSealing) Kept() int { return s.join.Kept() }

func (s *FrameSealing) send(h Header, frame []byte) error {
	packets := s.packets[h.SSRC]
	if packets == nil || packets.o.PayloadType != h.PayloadType {
		seq := uint16(rand.Uint32())
		if packets != nil {
			seq = packets.o.Sequence
		}
		p, err := NewPacketizer(PacketizerOptions{SSRC: h.SSRC, PayloadType: h.PayloadType, Sequence: seq, MTU: s.o.MTU})
		if err != nil {
			return err
		}
		packets = p
		s.packets[h.SSRC] = p
	}
	sealed, err := s.o.Sealer.SealStream(h.SSRC, s.sealed[:0], frame)
	if err != nil {
		return err
	}
	s.sealed = sealed
	return packets.Packetize(sealed, h.Timestamp, h.Marker, 0, func(pkt []byte) error {
		s.out.Add(pkt)
		return nil
	})
}

// NewCutter makes what cuts frames of a codec into RTP packets of at most mtu bytes,
// for [OpeningOptions]. A frame of Opus is one packet, however long.
func NewCutter(c Codec, mtu int) (FrameCutter, error) {
	if mtu == 0 {
		mtu = DefaultMTU
	}
	if c.cut == nil || mtu < MinMTU || mtu > 1<<16-1 {
		return nil, errors.New("rtpseal: a cutter needs a codec, and an MTU below 65536")
	}
	return &frameCutter{codec: c, mtu: mtu, streams: map[uint32]*cutting{}}, nil
}

type frameCutter struct {
	codec   Codec
	mtu     int
	streams map[uint32]*cutting
}

type cutting struct {
	cut cutter
	seq uint16
}

func (c *frameCutter) Cut(u *Unit, frame []byte, out *Packets) error {
	s := c.streams[u.SSRC]
	if s == nil {
		if len(c.streams) >= MaxStreams {
			clear(c.streams)
		}
		s = &cutting{cut: c.codec.cut(), seq: uint16(rand.Uint32())}
		c.streams[u.SSRC] = s
	}
	parts, err := protected(func() ([][]byte, error) { return s.cut.Payload(uint16(c.mtu-headerMin), frame), nil })
	if err != nil || len(parts) == 0 && len(frame) > 0 {
		return ErrCodec
	}
	if len(frame) == 0 {
		parts = [][]byte{nil}
	}
	for i, part := range parts {
		dst := out.begin()
		begin := len(dst)
		dst = append(dst, make([]byte, headerMin)...)
		b := dst[begin:]
		b[0], b[1] = 0x80, u.PayloadType
		if i == len(parts)-1 && u.Marker {
			b[1] |= 0x80
		}
		binary.BigEndian.PutUint16(b[2:], s.seq)
		binary.BigEndian.PutUint32(b[4:], u.Timestamp)
		binary.BigEndian.PutUint32(b[8:], u.SSRC)
		s.seq++
		out.buf = append(dst, part...)
		out.done()
	}
	return nil
}
