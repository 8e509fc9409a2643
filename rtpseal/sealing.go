package rtpseal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Reasons for which a packet does not go on, beside those of package cipher.
var (
	// ErrExtension says that a packet has to be cut in pieces, and that its header has
	// an extension beside which the sequence number cannot stand, or would not be found.
	ErrExtension = errors.New("rtpseal: a header extension of a kind that leaves no room for the sequence number")
	// ErrNoCodec says that whole frames came in and no codec was named to cut them up.
	ErrNoCodec = errors.New("rtpseal: a whole frame, and no codec is set that makes packets of it")
)

// SealingOptions of [NewSealing].
type SealingOptions struct {
	Sealer StreamSealer
	MTU    int // bytes of an RTP packet, 0 for DefaultMTU
}

// Sealing seals RTP packets one by one (T=1). Header, CSRCs and extensions stay as they
// are; padding goes. A sealed unit that is over the MTU leaves as several packets, and
// from then on the stream has sequence numbers of its own. It is for one goroutine.
type Sealing struct {
	o          SealingOptions
	renumbered map[uint32]*renumbered
	scratch    []byte
	head       []byte
}

// renumbered is a stream with sequence numbers of its own.
type renumbered struct {
	in   uint16 // the highest that came
	next uint16 // the next that leaves
}

// NewSealing makes a Sealing.
func NewSealing(o SealingOptions) (*Sealing, error) {
	if o.Sealer == nil {
		return nil, errors.New("rtpseal: a Sealing needs a Sealer")
	}
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if o.MTU < MinMTU || o.MTU > MaxMTU {
		return nil, fmt.Errorf("rtpseal: an MTU of %d bytes, want %d to %d", o.MTU, MinMTU, MaxMTU)
	}
	return &Sealing{o: o, renumbered: map[uint32]*renumbered{}}, nil
}

// Push seals a packet and appends what leaves to out. On an error nothing leaves.
func (s *Sealing) Push(pkt []byte, out *Packets) error {
	h, payload, err := ParsePacket(pkt)
	if err != nil {
		return err
	}
	dst := append(out.begin(), pkt[:h.Size]...)
	begin := len(dst) - h.Size
	dst[begin] &^= 0x20 // padding
	dst = append(dst, byte(First|Last|PerPacket))
	sealed, err := s.o.Sealer.SealStream(h.SSRC, dst, payload)
	if err != nil {
		return err
	}
	if len(sealed)-begin <= s.o.MTU && (len(s.renumbered) == 0 || s.renumbered[h.SSRC] == nil) && !looksNumbered(pkt[:h.Size]) {
		out.buf = sealed
		out.done()
		return nil
	}
	s.scratch = append(s.scratch[:0], sealed[len(dst):]...)
	return s.pieces(h, pkt[:h.Size], out)
}

// looksNumbered reports that a header has an element of its own which the other side
// would take for the sequence number: it gets the real one behind it.
func looksNumbered(head []byte) bool {
	if head[0]&0x10 == 0 {
		return false
	}
	at, _ := findSequence(head)
	return at != 0
}

// pieces sends a unit of a stream that has sequence numbers of its own.
func (s *Sealing) pieces(h Header, head []byte, out *Packets) error {
	var ok bool
	if s.head, ok = appendSequence(s.head[:0], head, h.Sequence); !ok || !appended(s.head) {
		return ErrExtension
	}
	plain := headerMin + 4*int(head[0]&15)
	room := s.o.MTU - len(s.head) - 1
	later := s.o.MTU - plain - 1
	if room < 1 || later < 1 {
		return ErrExtension
	}
	n := 1
	if rest := len(s.scratch) - room; rest > 0 {
		n += (rest + later - 1) / later
	}
	if n > maxSplit {
		return ErrTooLong
	}
	// All pieces have one size, the last by padding of a few bytes (RFC 3550, Section
	// 5.1): the kernel takes rows of packets of one size, and a short one ends a row.
	size := max((len(s.head)+1+(n-1)*(plain+1)+len(s.scratch)+n-1)/n, len(s.head)+2)
	if rest := len(s.scratch) - (size - len(s.head) - 1); rest > 0 {
		n = 1 + (rest+size-plain-2)/(size-plain-1)
	}
	seq := s.number(h, n)
	unit, d := s.scratch, PerPacket|First
	for i := range n {
		dst := out.begin()
		begin := len(dst)
		if i == 0 {
			dst = append(dst, s.head...)
		} else {
			dst = append(dst, head[:plain]...)
			dst[begin] &^= 0x10
		}
		dst[begin] &^= 0x20
		dst[begin+1] &^= 0x80
		if i == n-1 {
			d |= Last
			if h.Marker {
				dst[begin+1] |= 0x80
			}
		}
		binary.BigEndian.PutUint16(dst[begin+2:], seq+uint16(i))
		dst = append(dst, byte(d))
		take := min(size-(len(dst)-begin), len(unit))
		dst = append(dst, unit[:take]...)
		if pad := size - (len(dst) - begin); pad > 0 && pad < 256 && n > 1 {
			dst[begin] |= 0x20
			dst = append(dst, make([]byte, pad)...)
			dst[len(dst)-1] = byte(pad)
		}
		out.buf = dst
		out.done()
		unit, d = unit[take:], d&^First
	}
	return nil
}

// number gives a unit of n packets its first sequence number. A gap in what came stays
// one in what leaves; what comes late leaves when it comes.
func (s *Sealing) number(h Header, n int) uint16 {
	r := s.renumbered[h.SSRC]
	if r == nil {
		if len(s.renumbered) >= MaxStreams {
			clear(s.renumbered)
		}
		s.renumbered[h.SSRC] = &renumbered{in: h.Sequence, next: h.Sequence + uint16(n)}
		return h.Sequence
	}
	seq := r.next
	if before(r.in, h.Sequence) {
		seq += h.Sequence - r.in - 1
		r.in = h.Sequence
	}
	r.next = seq + uint16(n)
	return seq
}
