package rtpseal

import (
	"encoding/binary"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// OpeningOptions of [NewOpening].
type OpeningOptions struct {
	Opener StreamOpener
	Limits Limits
	// Frames makes packets of whole frames (T=0); nil refuses them.
	Frames FrameCutter
	// Waits is that of [ReceiverOptions].
	Waits func(kid cipher.KeyID, err error) bool
	// Refused, which may be nil, is told of units that did not open.
	Refused func(u *Unit, err error)
	// Dropped, which may be nil, is told of what was given up; a keyframe is needed.
	Dropped func(Drop)
}

// FrameCutter cuts a frame into the RTP packets of its codec, and appends them to out.
type FrameCutter interface {
	Cut(u *Unit, frame []byte, out *Packets) error
}

// Opening is the other half of a [Sealing]. What does not authenticate does not leave.
// It is for one goroutine.
type Opening struct {
	o    OpeningOptions
	rx   *Receiver
	out  *Packets
	from int
}

// NewOpening makes an Opening.
func NewOpening(o OpeningOptions) (*Opening, error) {
	if o.Refused == nil {
		o.Refused = func(*Unit, error) {}
	}
	p := &Opening{o: o}
	rx, err := NewReceiver(ReceiverOptions{Opener: o.Opener, Limits: o.Limits, Frame: p.frame, Waits: o.Waits, Refused: o.Refused, Dropped: o.Dropped})
	if err != nil {
		return nil, err
	}
	rx.place, rx.placed = p.place, p.placed
	p.rx = rx
	return p, nil
}

// Push opens a packet and appends what leaves to out: nothing, if its unit is not
// complete or does not open; several packets, if others waited for the same key.
func (p *Opening) Push(pkt []byte, now time.Time, out *Packets) error {
	p.out = out
	err := p.rx.Push(pkt, now)
	p.out = nil
	return err
}

// Sweep is [Receiver.Sweep].
func (p *Opening) Sweep(now time.Time, out *Packets) {
	p.out = out
	p.rx.Sweep(now)
	p.out = nil
}

// Retry is [Receiver.Retry].
func (p *Opening) Retry(now time.Time, out *Packets) {
	p.out = out
	p.rx.Retry(now)
	p.out = nil
}

// Leave is [Receiver.Leave].
func (p *Opening) Leave(ssrc uint32) { p.rx.Leave(ssrc) }

// LeaveSender is [Receiver.LeaveSender].
func (p *Opening) LeaveSender(gone func(cipher.KeyID) bool) { p.rx.LeaveSender(gone) }

// Close is [Receiver.Close].
func (p *Opening) Close() { p.rx.Close() }

// Kept is how many bytes are held.
func (p *Opening) Kept() int { return p.rx.Kept() }

// place writes the RTP header of a packet that was sealed by itself; its payload is
// opened right behind.
func (p *Opening) place(u *Unit) []byte {
	if u.Kind&PerPacket == 0 {
		return nil
	}
	p.out.room(len(u.Head) + len(u.Sealed))
	dst := p.out.begin()
	p.from = len(dst)
	dst, seq, ok := cutSequence(dst, u.Head)
	b := dst[p.from:]
	if ok {
		binary.BigEndian.PutUint16(b[2:], seq)
	}
	b[0] &^= 0x20 // padding: it went with the sealed payload
	b[1] &^= 0x80
	if u.Marker {
		b[1] |= 0x80
	}
	return dst
}

func (p *Opening) placed(whole []byte) {
	p.out.buf = whole
	p.out.done()
}

func (p *Opening) frame(u *Unit, frame []byte) {
	err := ErrNoCodec
	if p.o.Frames != nil {
		err = p.o.Frames.Cut(u, frame, p.out)
	}
	if err != nil {
		p.o.Refused(u, err)
	}
}
