package rtpseal

import (
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Limits bound what a [Depacketizer] and a [Receiver] keep. The zero value of a field
// stands for its default.
type Limits struct {
	Packets int           // of a stream, default 2048, at most 32768; a power of 2 or rounded up to one
	Bytes   int           // of all streams, default 16 MiB
	Age     time.Duration // how long a packet waits for the others of its unit, default 2 s, at most MaxAge
	Streams int           // of which something is kept, default 1024
	Held    int           // units that wait for their key, default 1024; in bytes at most Bytes/4
}

// MaxAge is the longest that anything of a frame is held.
const MaxAge = 10 * time.Second

const (
	minSlots       = 64
	defaultPackets = 1 << 11
	maxPackets     = 1 << 15
	// untrusted is how many streams that never authenticated anything are kept, and
	// the share of the bytes that they may have.
	untrusted      = 64
	untrustedShare = 4
)

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Packets, defaultPackets)
	def(&l.Bytes, 16<<20)
	def(&l.Streams, 1024)
	def(&l.Held, 1024)
	if l.Age <= 0 {
		l.Age = 2 * time.Second
	}
	l.Age = min(l.Age, MaxAge)
	n := minSlots
	for n < l.Packets && n < maxPackets {
		n *= 2
	}
	l.Packets = n
	return l
}

// Unit is a sealed unit with its place in the stream. It is valid until the next call.
type Unit struct {
	Header            // of the first packet; Marker is the last packet's
	Head       []byte // the first packet's RTP header
	Kind       Descriptor
	Packets    int
	Sealed     []byte
	FirstHeard time.Time // when the first of its packets came
}

// Drop says what was given up.
type Drop struct {
	SSRC    uint32
	Packets int
	Why     string // "age", "room", "streams", "left" or "clash"; of a [FrameJoiner] "missing" or "late", too
}

// Depacketizer puts sealed units together from RTP packets, which may come in any
// order and more than once. It is for one goroutine. What it keeps is bounded, and of
// streams that never authenticated anything ([Depacketizer.Confirm]) the bound is
// narrow: a flood of forged packets does not push out those of others.
type Depacketizer struct {
	limits  Limits
	dropped func(Drop)
	streams map[uint32]*fragments
	strange int // streams that were not confirmed
	bytes   int
	loose   int // bytes of those streams
	sweep   time.Time
	spare   [][]byte
	idle    []*fragments // for the next streams
	unit    Unit
	joined  []byte
	head    []byte
}

// fragments are the packets of a stream whose units are not complete.
type fragments struct {
	ssrc      uint32
	confirmed bool
	kept      int
	last      time.Time
	slots     []fragment // by sequence number
	reach     uint16     // the highest sequence number that was heard
}

type fragment struct {
	data []byte // the packet without padding; nil: none
	head int
	h    Header
	d    Descriptor
	at   time.Time
}

// NewDepacketizer makes a Depacketizer. dropped, which may be nil, is told of
// everything that is given up before it was complete: a keyframe is needed then.
func NewDepacketizer(l Limits, dropped func(Drop)) *Depacketizer {
	if dropped == nil {
		dropped = func(Drop) {}
	}
	return &Depacketizer{limits: l.withDefaults(), dropped: dropped, streams: map[uint32]*fragments{}}
}

// Push takes a packet in and returns the unit that it completes, or nil.
func (d *Depacketizer) Push(pkt []byte, now time.Time) (*Unit, error) {
	h, payload, err := ParsePacket(pkt)
	if err != nil {
		return nil, err
	}
	desc, rest, err := ParseDescriptor(payload)
	if err != nil {
		return nil, err
	}
	if !now.Before(d.sweep) {
		d.Sweep(now)
	}
	if desc&(First|Last) == First|Last {
		d.unit = Unit{Header: h, Head: pkt[:h.Size], Kind: desc & PerPacket, Packets: 1, Sealed: rest, FirstHeard: now}
		return &d.unit, nil
	}
	if len(rest) == 0 {
		return nil, ErrDescriptor // a fragment of nothing
	}
	s := d.stream(h.SSRC, now)
	if s == nil || !d.keep(s, fragment{data: pkt[:h.Size+len(payload)], head: h.Size, h: h, d: desc, at: now}) {
		return nil, nil
	}
	return d.complete(s, h.Sequence), nil
}

// stream returns a stream's fragments; nil if there is no room for another stream.
func (d *Depacketizer) stream(ssrc uint32, now time.Time) *fragments {
	s := d.streams[ssrc]
	if s == nil {
		if d.strange >= untrusted {
			d.evict(func(s *fragments) bool { return !s.confirmed })
		}
		if len(d.streams) >= d.limits.Streams {
			d.evict(func(*fragments) bool { return true })
		}
		if n := len(d.idle); n > 0 {
			s, d.idle = d.idle[n-1], d.idle[:n-1]
			*s = fragments{ssrc: ssrc, slots: s.slots}
		} else {
			s = &fragments{ssrc: ssrc, slots: make([]fragment, minSlots)}
		}
		d.streams[ssrc] = s
		d.strange++
	}
	s.last = now
	return s
}

// evict drops the stream that was silent for longest.
func (d *Depacketizer) evict(of func(*fragments) bool) {
	var oldest *fragments
	for _, s := range d.streams {
		if of(s) && (oldest == nil || s.last.Before(oldest.last) || s.last.Equal(oldest.last) && s.ssrc < oldest.ssrc) {
			oldest = s
		}
	}
	if oldest != nil {
		d.leave(oldest, "streams")
	}
}

// Confirm says that a unit of the stream authenticated.
func (d *Depacketizer) Confirm(ssrc uint32) {
	if s := d.streams[ssrc]; s != nil && !s.confirmed {
		s.confirmed = true
		d.strange--
		for i := range s.slots {
			d.loose -= len(s.slots[i].data)
		}
	}
}

// Leave drops and wipes all that is kept of a stream.
func (d *Depacketizer) Leave(ssrc uint32) {
	if s := d.streams[ssrc]; s != nil {
		d.leave(s, "left")
	}
}

// leaveSender drops and wipes all streams of which a unit's beginning is kept with a key
// ID for which gone reports true.
func (d *Depacketizer) leaveSender(gone func(cipher.KeyID) bool) {
	for _, s := range d.streams {
		for i := range s.slots {
			f := &s.slots[i]
			if f.data == nil || f.d&First == 0 {
				continue
			}
			if h, _, err := cipher.ParseHeader(f.data[f.head+1:]); err == nil && gone(h.KID) {
				d.leave(s, "left")
				break
			}
		}
	}
}

func (d *Depacketizer) close() {
	for _, s := range d.streams {
		d.leave(s, "left")
	}
}

func (d *Depacketizer) leave(s *fragments, why string) {
	n, ssrc := s.kept, s.ssrc
	for i := range s.slots {
		d.free(s, &s.slots[i])
	}
	d.forget(s)
	if n > 0 {
		d.dropped(Drop{ssrc, n, why})
	}
}

// forget takes out a stream of which nothing is kept.
func (d *Depacketizer) forget(s *fragments) {
	delete(d.streams, s.ssrc)
	if !s.confirmed {
		d.strange--
	}
	if len(s.slots) == minSlots && len(d.idle) < untrusted {
		d.idle = append(d.idle, s)
	}
}

// keep copies a fragment into its slot. It reports false for a duplicate and for what
// there is no room for.
func (d *Depacketizer) keep(s *fragments, f fragment) bool {
	if s.kept == 0 || before(s.reach, f.h.Sequence) {
		s.reach = f.h.Sequence
	}
	d.grow(s, f.h.Sequence)
	slot := &s.slots[int(f.h.Sequence)&(len(s.slots)-1)]
	if slot.data != nil {
		if slot.h.Sequence == f.h.Sequence {
			return false
		}
		if before(f.h.Sequence, slot.h.Sequence) {
			return false // older than all that is kept
		}
		d.free(s, slot)
		d.dropped(Drop{s.ssrc, 1, "room"})
	}
	if d.bytes+len(f.data) > d.limits.Bytes || !s.confirmed && d.loose+len(f.data) > d.limits.Bytes/untrustedShare {
		d.dropped(Drop{s.ssrc, s.kept + 1, "room"})
		for i := range s.slots {
			d.free(s, &s.slots[i])
		}
		return false
	}
	var buf []byte
	if n := len(d.spare); n > 0 && cap(d.spare[n-1]) >= len(f.data) {
		buf, d.spare = d.spare[n-1][:0], d.spare[:n-1]
	} else {
		buf = make([]byte, 0, max(len(f.data), 1536))
	}
	f.data = append(buf, f.data...)
	*slot = f
	s.kept++
	d.bytes += len(f.data)
	if !s.confirmed {
		d.loose += len(f.data)
	}
	return true
}

// grow doubles the slots while the one for seq is taken by a packet that may still
// be needed.
func (d *Depacketizer) grow(s *fragments, seq uint16) {
	for len(s.slots) < d.limits.Packets {
		at := &s.slots[int(seq)&(len(s.slots)-1)]
		if at.data == nil || at.h.Sequence == seq {
			return
		}
		next := make([]fragment, 2*len(s.slots))
		for _, f := range s.slots {
			if f.data != nil {
				next[int(f.h.Sequence)&(len(next)-1)] = f
			}
		}
		s.slots = next
	}
}

// How many buffers are kept for the next packets, and how many when there are none.
const (
	maxSpare  = 256
	idleSpare = 8
)

func (d *Depacketizer) free(s *fragments, f *fragment) {
	if f.data == nil {
		return
	}
	d.bytes -= len(f.data)
	if !s.confirmed {
		d.loose -= len(f.data)
	}
	s.kept--
	clear(f.data)
	if len(d.spare) < maxSpare && cap(f.data) <= 2048 {
		d.spare = append(d.spare, f.data)
	}
	*f = fragment{}
}

// complete looks for the shortest run of packets from S to E that holds seq. It goes
// forward first: as long as packets come in order, that ends at once.
func (d *Depacketizer) complete(s *fragments, seq uint16) *Unit {
	mask := len(s.slots) - 1
	at := func(q uint16) *fragment {
		f := &s.slots[int(q)&mask]
		if f.data == nil || f.h.Sequence != q {
			return nil
		}
		return f
	}
	this := at(seq)
	fits := func(f *fragment) bool {
		return f != nil && f.h.Timestamp == this.h.Timestamp && f.h.PayloadType == this.h.PayloadType && f.d&PerPacket == this.d&PerPacket
	}
	last, first := seq, seq
	for n := 0; at(last).d&Last == 0; n++ {
		next := at(last + 1)
		if n > mask || !fits(next) || next.d&First != 0 {
			return nil
		}
		last++
	}
	for n := 0; at(first).d&First == 0; n++ {
		next := at(first - 1)
		if n > mask || !fits(next) || next.d&Last != 0 {
			return nil
		}
		first--
	}
	begin, end := at(first), at(last)
	d.joined = d.joined[:0]
	d.head = append(d.head[:0], begin.data[:begin.head]...)
	heard := begin.at
	for q := first; ; q++ {
		f := at(q)
		d.joined = append(d.joined, f.data[f.head+1:]...)
		if f.at.Before(heard) {
			heard = f.at
		}
		if q == last {
			break
		}
	}
	d.unit = Unit{Header: begin.h, Head: d.head, Kind: this.d & PerPacket, Packets: int(last-first) + 1, Sealed: d.joined, FirstHeard: heard}
	d.unit.Marker = end.h.Marker
	for q := first; ; q++ {
		d.free(s, at(q))
		if q == last {
			break
		}
	}
	return &d.unit
}

// Sweep drops and wipes what is older than the limit, and forgets streams that are
// silent. Push does so by itself; call it when nothing comes.
func (d *Depacketizer) Sweep(now time.Time) {
	d.sweep = now.Add(d.limits.Age / 4)
	for _, s := range d.streams {
		n := 0
		for i := range s.slots {
			if f := &s.slots[i]; f.data != nil && now.Sub(f.at) > d.limits.Age*3/4 {
				d.free(s, f)
				n++
			}
		}
		if n > 0 {
			d.dropped(Drop{s.ssrc, n, "age"})
		}
		if s.kept == 0 && now.Sub(s.last) > 4*d.limits.Age {
			d.forget(s)
		}
	}
	if d.bytes > 0 {
		return
	}
	if cap(d.joined) > 1<<20 {
		d.joined = nil
	}
	if len(d.spare) > idleSpare { // of a flood nothing stays
		clear(d.spare[idleSpare:])
		d.spare = d.spare[:idleSpare]
	}
}

// Kept is how many bytes of packets are kept.
func (d *Depacketizer) Kept() int { return d.bytes }
