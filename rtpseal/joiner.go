package rtpseal

import (
	"bytes"
	"errors"
	"time"
)

// Bounds of a [FrameJoiner]: it waits for packets that are late as long as no more
// than lateMost others came, and no longer than lateAge. Of missMost, a multiple of 64,
// behind the one that is waited for it knows which are late, and which are duplicates.
const (
	lateMost = 64
	lateAge  = 200 * time.Millisecond
	missMost = 1024
	maxFrame = 32 << 20 // bytes
	maxJoin  = 64 << 20 // bytes, of all streams
)

// FrameJoiner puts the frames of plain RTP packets together, in the order of their
// sequence numbers, whatever the order the packets come in. Frames that are not complete
// are dropped. It is for one goroutine.
type FrameJoiner struct {
	codec   Codec
	frame   func(h Header, frame []byte) error
	dropped func(Drop)
	left    func(ssrc uint32)
	streams map[uint32]*joining
	kept    int
}

// joining is a stream whose frames are put together.
type joining struct {
	ssrc uint32
	join joiner

	begun   bool
	next    uint16                // the sequence number that is waited for
	missed  [missMost / 64]uint64 // bits of those behind it that were not taken in
	far     bool                  // a packet came that is far behind
	anew    uint16                // the number behind it
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

// NewFrameJoiner makes a FrameJoiner. frame is called for every frame, with the header
// of its last packet; the frame is valid until it returns. dropped, which may be nil, is
// told of frames that are given up ("clash"), of packets that are not there in their turn
// ("missing"), and of those that come behind it ("late"): a keyframe is needed then.
func NewFrameJoiner(c Codec, frame func(h Header, frame []byte) error, dropped func(Drop)) (*FrameJoiner, error) {
	if c.join == nil || frame == nil {
		return nil, errors.New("rtpseal: a FrameJoiner needs a codec, and somebody to give frames to")
	}
	if dropped == nil {
		dropped = func(Drop) {}
	}
	return &FrameJoiner{codec: c, frame: frame, dropped: dropped, left: func(uint32) {}, streams: map[uint32]*joining{}}, nil
}

// Push takes a packet in; pkt may be used again afterwards.
func (f *FrameJoiner) Push(pkt []byte, now time.Time) error {
	h, _, err := ParsePacket(pkt)
	if err != nil {
		return err
	}
	j := f.streams[h.SSRC]
	if j == nil {
		if len(f.streams) >= MaxStreams {
			for ssrc, old := range f.streams {
				if now.Sub(old.heard) > MaxAge {
					f.Leave(ssrc)
				}
			}
			if len(f.streams) >= MaxStreams {
				return ErrTooLong
			}
		}
		j = &joining{ssrc: h.SSRC, join: f.codec.join(), waiting: map[uint16]waiting{}, next: h.Sequence}
		j.miss(missMost)
		f.streams[h.SSRC] = j
	}
	j.heard = now
	if before(h.Sequence, j.next) {
		if j.again(h.Sequence) {
			if n := len(j.waiting); n > 0 {
				f.dropped(Drop{j.ssrc, n, "clash"})
			}
			f.wipe(j)
			return f.Push(pkt, now)
		}
		if j.begun || uint16(j.next-h.Sequence) > lateMost {
			if j.late(h.Sequence) {
				f.dropped(Drop{j.ssrc, 1, "late"})
			}
			return nil // that, or a duplicate
		}
		j.next = h.Sequence
	}
	if _, ok := j.waiting[h.Sequence]; ok {
		return nil
	}
	if f.kept+len(pkt) > maxJoin {
		return ErrTooLong
	}
	j.waiting[h.Sequence] = waiting{bytes.Clone(pkt), now}
	f.kept += len(pkt)
	return f.advance(j, now)
}

// advance takes in the packets whose turn it is.
func (f *FrameJoiner) advance(j *joining, now time.Time) (err error) {
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
			n := first - j.next
			f.dropped(Drop{j.ssrc, int(n), "missing"})
			j.next = first
			j.miss(n)
			continue
		}
		delete(j.waiting, j.next)
		f.kept -= len(w.pkt)
		j.begun, j.far = true, false
		j.next++
		j.late(j.next - 1) // it is a duplicate from now on
		if e := f.take(j, w.pkt); e != nil {
			err = e
		}
	}
	return err
}

// miss notes that the last n packets were not taken in.
func (j *joining) miss(n uint16) {
	for i := range min(n, missMost) {
		seq := (j.next - 1 - i) % missMost
		j.missed[seq/64] |= 1 << (seq % 64)
	}
}

// late reports whether a packet of before was not taken in: it was given up, or is older
// than the first. From then on it is a duplicate.
func (j *joining) late(seq uint16) bool {
	if uint16(j.next-seq) > missMost {
		return true // nobody knows any more
	}
	word, bit := &j.missed[seq%missMost/64], uint64(1)<<(seq%64)
	was := *word&bit != 0
	*word &^= bit
	return was
}

// again reports whether a packet is the second in a row that is far behind: the sender
// has begun anew with other numbers (as RFC 3550, Appendix A.1, has it).
func (j *joining) again(seq uint16) bool {
	if uint16(j.next-seq) <= missMost {
		return false
	}
	second := j.far && seq == j.anew
	j.far, j.anew = true, seq+1
	return second
}

// take takes in a packet in its turn.
func (f *FrameJoiner) take(j *joining, pkt []byte) error {
	h, payload, err := ParsePacket(pkt)
	if err != nil {
		return err
	}
	if h.Timestamp != j.ts && !f.codec.every && (len(j.frame) > 0 || j.broken) {
		if len(j.frame) > 0 { // its marker did not come
			f.dropped(Drop{j.ssrc, 1, "clash"})
		}
		f.reset(j)
	}
	j.ts = h.Timestamp
	if len(payload) > 0 {
		part, err := protected(func() ([]byte, error) { return j.join.Unmarshal(payload) })
		if err == nil && (len(j.frame)+len(part) > maxFrame || f.kept+len(part) > maxJoin) {
			part, err = nil, ErrTooLong
		}
		if err != nil {
			j.broken = true
		}
		f.kept += len(part)
		j.frame = append(j.frame, part...)
		if err != nil && !h.Marker {
			return err
		}
	}
	if !f.codec.every && !h.Marker {
		return nil
	}
	defer f.reset(j)
	if j.broken && !f.codec.every {
		f.dropped(Drop{j.ssrc, 1, "clash"})
		return nil
	}
	return f.frame(h, j.frame)
}

func (f *FrameJoiner) reset(j *joining) {
	f.kept -= len(j.frame)
	clear(j.frame)
	j.frame, j.broken = j.frame[:0], false
}

// Sweep gives up waiting for what is late.
func (f *FrameJoiner) Sweep(now time.Time) {
	for ssrc, j := range f.streams {
		f.advance(j, now)
		if now.Sub(j.heard) > MaxAge/2 {
			f.Leave(ssrc)
		}
	}
}

// Leave drops and wipes what is kept of a stream.
func (f *FrameJoiner) Leave(ssrc uint32) {
	if j := f.streams[ssrc]; j != nil {
		f.wipe(j)
		f.left(ssrc)
	}
}

func (f *FrameJoiner) wipe(j *joining) {
	f.reset(j)
	for _, w := range j.waiting {
		f.kept -= len(w.pkt)
		clear(w.pkt)
	}
	delete(f.streams, j.ssrc)
}

// Kept is how many bytes are held.
func (f *FrameJoiner) Kept() int { return f.kept }
