package rtpseal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"
)

// Bounds of a [FrameSealing]: it waits for packets that are late as long as no more
// than lateMost others came, and no longer than lateAge.
const (
	lateMost = 64
	lateAge  = 200 * time.Millisecond
	maxFrame = 32 << 20 // bytes
)

// FrameSealing puts the frames of plain RTP packets together and seals each as a whole
// (T=0). Frames that are not complete do not leave. It is for one goroutine.
type FrameSealing struct {
	o       SealingOptions
	codec   Codec
	dropped func(Drop)
	streams map[uint32]*joining
	kept    int
	sealed  []byte
}

// joining is a stream whose frames are put together.
type joining struct {
	ssrc    uint32
	join    joiner
	packets *Packetizer
	pt      uint8

	begun   bool
	next    uint16 // the sequence number that is waited for
	waiting map[uint16]waiting
	frame   []byte
	ts      uint32
	broken  bool // something of the frame is missing
	heard   time.Time
}

type waiting struct {
	pkt []byte
	at  time.Time
}

// NewFrameSealing makes a FrameSealing. dropped, which may be nil, is told of frames
// that are given up.
func NewFrameSealing(c Codec, o SealingOptions, dropped func(Drop)) (*FrameSealing, error) {
	s, err := NewSealing(o)
	if err != nil {
		return nil, err
	}
	if c.join == nil {
		return nil, errors.New("rtpseal: a FrameSealing needs a codec")
	}
	if dropped == nil {
		dropped = func(Drop) {}
	}
	return &FrameSealing{o: s.o, codec: c, dropped: dropped, streams: map[uint32]*joining{}}, nil
}

// Push takes a packet in and appends what leaves to out.
func (s *FrameSealing) Push(pkt []byte, now time.Time, out *Packets) error {
	h, _, err := ParsePacket(pkt)
	if err != nil {
		return err
	}
	j := s.streams[h.SSRC]
	if j == nil {
		if len(s.streams) >= MaxStreams {
			for ssrc, old := range s.streams {
				if now.Sub(old.heard) > MaxAge {
					s.Leave(ssrc)
				}
			}
			if len(s.streams) >= MaxStreams {
				return ErrTooLong
			}
		}
		j = &joining{ssrc: h.SSRC, join: s.codec.join(), waiting: map[uint16]waiting{}, next: h.Sequence}
		s.streams[h.SSRC] = j
	}
	j.heard = now
	if before(h.Sequence, j.next) {
		if j.begun || uint16(j.next-h.Sequence) > lateMost {
			return nil // a duplicate, or too late
		}
		j.next = h.Sequence
	}
	if _, ok := j.waiting[h.Sequence]; ok {
		return nil
	}
	j.waiting[h.Sequence] = waiting{bytes.Clone(pkt), now}
	s.kept += len(pkt)
	return s.advance(j, now, out)
}

// advance takes in the packets whose turn it is.
func (s *FrameSealing) advance(j *joining, now time.Time, out *Packets) (err error) {
	for len(j.waiting) > 0 {
		w, ok := j.waiting[j.next]
		if !ok {
			first, oldest := j.next, now
			found := false
			for seq, w := range j.waiting {
				if !found || before(seq, first) {
					first, found = seq, true
				}
				if w.at.Before(oldest) {
					oldest = w.at
				}
			}
			if len(j.waiting) < lateMost && now.Sub(oldest) < lateAge {
				return err
			}
			j.broken = true
			j.next = first
			continue
		}
		delete(j.waiting, j.next)
		s.kept -= len(w.pkt)
		j.next++
		j.begun = true
		if e := s.take(j, w.pkt, out); e != nil {
			err = e
		}
	}
	return err
}

// take takes in a packet in its turn.
func (s *FrameSealing) take(j *joining, pkt []byte, out *Packets) error {
	h, payload, err := ParsePacket(pkt)
	if err != nil {
		return err
	}
	if h.Timestamp != j.ts && !s.codec.every && (len(j.frame) > 0 || j.broken) {
		if len(j.frame) > 0 { // its marker did not come
			s.dropped(Drop{j.ssrc, 1, "clash"})
		}
		s.reset(j)
	}
	j.ts, j.pt = h.Timestamp, h.PayloadType
	if len(payload) > 0 {
		part, err := protected(func() ([]byte, error) { return j.join.Unmarshal(payload) })
		if err != nil || len(j.frame)+len(part) > maxFrame {
			j.broken = true
			if err == nil {
				err = ErrTooLong
			}
		}
		s.kept += len(part)
		j.frame = append(j.frame, part...)
		if err != nil && !h.Marker {
			return err
		}
	}
	if !s.codec.every && !h.Marker {
		return nil
	}
	defer s.reset(j)
	if j.broken && !s.codec.every {
		s.dropped(Drop{j.ssrc, 1, "clash"})
		return nil
	}
	return s.send(j, h, out)
}

func (s *FrameSealing) reset(j *joining) {
	s.kept -= len(j.frame)
	clear(j.frame)
	j.frame, j.broken = j.frame[:0], false
}

func (s *FrameSealing) send(j *joining, h Header, out *Packets) error {
	if j.packets == nil || j.packets.o.PayloadType != h.PayloadType {
		seq := uint16(rand.Uint32())
		if j.packets != nil {
			seq = j.packets.o.Sequence
		}
		p, err := NewPacketizer(PacketizerOptions{SSRC: h.SSRC, PayloadType: h.PayloadType, Sequence: seq, MTU: s.o.MTU})
		if err != nil {
			return err
		}
		j.packets = p
	}
	sealed, err := s.o.Sealer.SealStream(h.SSRC, s.sealed[:0], j.frame)
	if err != nil {
		return err
	}
	s.sealed = sealed
	return j.packets.Packetize(sealed, h.Timestamp, h.Marker, 0, func(pkt []byte) error {
		out.Add(pkt)
		return nil
	})
}

// Sweep gives up waiting for what is late.
func (s *FrameSealing) Sweep(now time.Time, out *Packets) {
	for ssrc, j := range s.streams {
		s.advance(j, now, out)
		if now.Sub(j.heard) > MaxAge/2 {
			s.Leave(ssrc)
		}
	}
}

// Leave drops and wipes what is kept of a stream.
func (s *FrameSealing) Leave(ssrc uint32) {
	j := s.streams[ssrc]
	if j == nil {
		return
	}
	s.reset(j)
	for _, w := range j.waiting {
		s.kept -= len(w.pkt)
		clear(w.pkt)
	}
	delete(s.streams, ssrc)
}

// Kept is how many bytes are held.
func (s *FrameSealing) Kept() int { return s.kept }

// NewCutter makes what cuts frames of a codec into RTP packets of at most mtu bytes,
// for [OpeningOptions].
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
