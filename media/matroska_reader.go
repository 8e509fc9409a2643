package media

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"

	"github.com/chanseal/chanseal/media/ebml"
)

// mkvReader reads Matroska and WebM (RFC 9559).
//
// The EBML header and the children of the Segment outside Clusters become
// KindElement items, byte for byte. A child of a Cluster that is neither a block
// nor bookkeeping becomes a KindElement item that holds a Cluster with this
// one child. SeekHead, Cues, Void, Position, PrevSize and the CRC-32 of a Cluster are
// left out: they describe the file, not the recording, and a Writer makes them anew.
//
// A CRC-32 that does not match makes the recording damaged. Whatever follows the
// Segment, be it a second one, is refused: nothing of a file is dropped unsaid.
type mkvReader struct {
	e     *ebml.Reader
	info  Info
	known map[uint64]*knownTrack // by track number
	err   error                  // sticky

	early []byte // elements read for Info, one behind the other, not yet handed out
	split int64  // bytes that are left in early of an element whose first pieces were handed out
	next  ebml.Header
	held  bool // next was read and waits to be dealt with

	inCluster      bool
	unknownCluster bool
	hasTime        bool
	firstInCluster bool
	clusterTime    int64
	clusterAt      int64 // offset of the Cluster
	clusterBody    int64 // and of what is inside
	clusterCRC     uint32
	summing        bool

	element elementState
	piece   []byte

	extras, data []byte
	refs         []int64
}

// elementState is where the reader is in an element that it hands out in pieces.
type elementState struct {
	open      bool
	at        int64
	summing   bool // it begins with a CRC-32, which says want
	want, sum uint32
}

func newMatroskaReader(src io.Reader) (*mkvReader, error) {
	r := &mkvReader{e: ebml.NewReader(src, 0), info: Info{Format: FormatMatroska}, known: make(map[uint64]*knownTrack)}
	if err := r.readHead(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *mkvReader) Info() *Info { return &r.info }

// readHead reads up to where Info and Tracks are both known.
func (r *mkvReader) readHead() error {
	h, err := r.e.Next()
	if err != nil {
		return r.noEOF(err)
	}
	if h.ID != ebml.IDHeader {
		return damaged(FormatMatroska, h.Offset, "no EBML header")
	}
	b, err := r.keep(h)
	if err != nil {
		return err
	}
	if err := parseEBMLHeader(b, h.Offset+int64(h.Len())); err != nil {
		return err
	}
	for {
		if h, err = r.e.Next(); err != nil {
			return r.noEOF(err)
		}
		if h.ID == idSegment {
			break
		}
		if h.ID != ebml.IDVoid {
			return damaged(FormatMatroska, h.Offset, "element %#x where the Segment should be", uint32(h.ID))
		}
	}
	if err := r.e.Enter(); err != nil {
		return fromEBML(err, 0)
	}
	hasInfo, hasTracks := false, false
	for !hasInfo || !hasTracks {
		if h, err = r.e.Next(); err != nil {
			if err == io.EOF {
				return damaged(FormatMatroska, r.e.Offset(), "Segment without Info and Tracks")
			}
			return fromEBML(err, 0)
		}
		switch h.ID {
		case idSeekHead, idCues, ebml.IDVoid, ebml.IDCRC32:
			continue
		case idCluster:
			return damaged(FormatMatroska, h.Offset, "Cluster in front of Info and Tracks")
		case idSegment, ebml.IDHeader:
			return unsupported(h.Offset, "more than one Segment")
		}
		b, err := r.keep(h)
		if err != nil {
			return err
		}
		base := h.Offset + int64(h.Len())
		switch {
		case h.ID == idInfo && !hasInfo:
			hasInfo = true
			err = parseInfo(&r.info, b, base)
		case h.ID == idTracks && !hasTracks:
			hasTracks = true
			err = r.parseTracks(b, base)
		case isMaster(h.ID):
			err = fromEBML(ebml.CheckCRC(b), base)
		}
		if err != nil {
			return err
		}
	}
	if len(r.info.Tracks) == 0 {
		return damaged(FormatMatroska, r.e.Offset(), "recording without tracks")
	}
	return nil
}

// keep reads the current element into early and returns its body there, valid
// until the next call.
func (r *mkvReader) keep(h ebml.Header) ([]byte, error) {
	if int64(len(r.early))+int64(h.Len())+max(h.Size, 0) > maxHead {
		return nil, tooLarge(FormatMatroska, h.Offset, "elements of more than %d bytes in front of Info and Tracks", maxHead)
	}
	r.early = append(r.early, r.e.HeaderBytes()...)
	b, err := r.e.Bytes(maxHead)
	if err != nil {
		return nil, fromEBML(err, 0)
	}
	r.early = append(r.early, b...)
	return r.early[len(r.early)-len(b):], nil
}

// earlyPiece fills item with the next piece of what keep kept.
func (r *mkvReader) earlyPiece(item *Item) {
	if r.split == 0 {
		h, _ := ebml.ParseHeader(r.early) // it was parsed before
		r.split = int64(h.Len()) + h.Size
	}
	n := min(r.split, maxPiece)
	*item = Item{Kind: KindElement, Duration: NoDuration, Data: r.early[:n:n]}
	r.split -= n
	if r.early = r.early[n:]; len(r.early) == 0 {
		r.early = nil
	}
}

// Next fills item with the next element or frame.
func (r *mkvReader) Next(item *Item) error {
	if r.err == nil {
		r.err = r.advance(item)
	}
	return r.err
}

func (r *mkvReader) advance(item *Item) error {
	if len(r.early) > 0 {
		r.earlyPiece(item)
		return nil
	}
	if r.element.open {
		if done, err := r.nextPiece(item, nil); !done || err != nil {
			return err
		}
	}
	for {
		h, err := r.header()
		switch {
		case err == io.EOF && r.inCluster:
			if err := r.leaveCluster(); err != nil {
				return err
			}
		case err == io.EOF:
			return r.finish()
		case err != nil:
			return fromEBML(err, 0)
		case r.inCluster && r.unknownCluster && endsCluster(h.ID):
			r.next, r.held = h, true
			if err := r.leaveCluster(); err != nil {
				return err
			}
		case r.inCluster:
			if done, err := r.clusterChild(item, h); done || err != nil {
				return err
			}
		default:
			if done, err := r.segmentChild(item, h); done || err != nil {
				return err
			}
		}
	}
}

func (r *mkvReader) header() (ebml.Header, error) {
	if r.held {
		r.held = false
		return r.next, nil
	}
	return r.e.Next()
}

// segmentChild deals with a child of the Segment; done says that item is filled.
func (r *mkvReader) segmentChild(item *Item, h ebml.Header) (done bool, err error) {
	switch h.ID {
	case idSeekHead, idCues, ebml.IDVoid, ebml.IDCRC32:
		return false, nil
	case idSegment, ebml.IDHeader:
		return false, unsupported(h.Offset, "more than one Segment")
	case idCluster:
		if err := r.e.Enter(); err != nil {
			return false, fromEBML(err, 0)
		}
		r.inCluster, r.unknownCluster = true, h.Size < 0
		r.hasTime, r.firstInCluster = false, true
		r.clusterAt, r.clusterBody = h.Offset, r.e.Offset()
		return false, nil
	case idSimpleBlock, idBlockGroup, idEncryptedBlock:
		return false, damaged(FormatMatroska, h.Offset, "block outside of a Cluster")
	}
	if h.Size < 0 {
		return false, damaged(FormatMatroska, h.Offset, "element %#x of unknown size", uint32(h.ID))
	}
	r.element = elementState{open: true, at: h.Offset}
	done, err = r.nextPiece(item, &h)
	return !done, err
}

// nextPiece fills item with the next piece of the open element; first is its
// header if none was handed out yet. done says that there was nothing left.
func (r *mkvReader) nextPiece(item *Item, first *ebml.Header) (done bool, err error) {
	if r.piece == nil {
		r.piece = make([]byte, 0, 4096)
	}
	p := r.piece[:0]
	if first != nil {
		p = append(p, r.e.HeaderBytes()...)
	}
	head := len(p)
	for len(p) < maxPiece {
		if len(p) == cap(p) { // grows with what arrives, not with what is announced
			p = append(p, 0)[:len(p)]
		}
		n, err := r.e.Read(p[len(p):min(cap(p), maxPiece)])
		p = p[:len(p)+n]
		if err == io.EOF {
			r.element.open = false
			break
		}
		if err != nil {
			return false, fromEBML(err, 0)
		}
	}
	r.piece = p
	if err := r.sumPiece(first, p[head:]); err != nil {
		return false, err
	}
	if len(p) == 0 {
		return true, nil
	}
	*item = Item{Kind: KindElement, Duration: NoDuration, Data: p}
	return false, nil
}

// sumPiece checks an element against the CRC-32 at its start, piece by piece, so
// that of a damaged one the last piece is not handed out.
func (r *mkvReader) sumPiece(first *ebml.Header, body []byte) error {
	e := &r.element
	if first != nil && isMaster(first.ID) && len(body) >= 6 && body[0] == byte(ebml.IDCRC32) && body[1] == 0x84 {
		e.summing, e.want = true, binary.LittleEndian.Uint32(body[2:])
		body = body[6:]
	}
	e.sum = crc32.Update(e.sum, crc32.IEEETable, body)
	if e.summing && !e.open && e.sum != e.want {
		return damaged(FormatMatroska, e.at, "CRC-32 does not match the element")
	}
	return nil
}

// clusterChild deals with a child of a Cluster; done says that item is filled.
func (r *mkvReader) clusterChild(item *Item, h ebml.Header) (done bool, err error) {
	body := h.Offset + int64(h.Len())
	switch h.ID {
	case idSimpleBlock:
		b, err := r.e.Bytes(MaxFrame)
		if err != nil {
			return false, fromEBML(err, 0)
		}
		item.Duration, item.DiscardPadding, item.References = NoDuration, 0, nil
		return true, r.simpleBlock(item, b, body)
	case idBlockGroup:
		b, err := r.e.Bytes(MaxFrame)
		if err != nil {
			return false, fromEBML(err, 0)
		}
		item.References = nil
		return true, r.blockGroup(item, b, body)
	case idTimestamp:
		b, err := r.e.Bytes(8)
		if err != nil {
			return false, fromEBML(err, 0)
		}
		t, _ := ebml.Uint(b)
		if r.hasTime || t > math.MaxInt64+math.MinInt16 {
			return false, damaged(FormatMatroska, h.Offset, "Cluster with a second Timestamp or one out of range")
		}
		r.clusterTime, r.hasTime = int64(t), true
		return false, nil
	case ebml.IDCRC32:
		if h.Offset != r.clusterBody || h.Size != 4 || r.unknownCluster {
			return false, nil // only the first child of a Cluster covers it, and only if its end is known
		}
		b, err := r.e.Bytes(4)
		if err != nil {
			return false, fromEBML(err, 0)
		}
		r.clusterCRC, r.summing = binary.LittleEndian.Uint32(b), true
		r.e.StartCRC()
		return false, nil
	case idPosition, idPrevSize, ebml.IDVoid:
		return false, nil
	case idEncryptedBlock:
		return false, unsupported(h.Offset, "EncryptedBlock")
	}
	if endsCluster(h.ID) || h.Size < 0 {
		return false, damaged(FormatMatroska, h.Offset, "element %#x, of %d bytes, inside a Cluster", uint32(h.ID), h.Size)
	}
	b, err := r.e.Bytes(maxClusterElt - 2*ebml.MaxHeader)
	if err != nil {
		return false, fromEBML(err, 0)
	}
	head := r.e.HeaderBytes()
	r.data = ebml.AppendHeader(r.data[:0], idCluster, int64(len(head)+len(b)))
	r.data = append(append(r.data, head...), b...)
	*item = Item{Kind: KindElement, Duration: NoDuration, Data: r.data}
	return true, nil
}

func (r *mkvReader) leaveCluster() error {
	if r.summing {
		r.summing = false
		if r.e.StopCRC() != r.clusterCRC {
			return damaged(FormatMatroska, r.clusterAt, "CRC-32 does not match the Cluster")
		}
	}
	r.inCluster = false
	return fromEBML(r.e.Leave(), 0)
}

// finish sees to it that nothing follows the Segment and returns io.EOF then.
func (r *mkvReader) finish() error {
	if err := fromEBML(r.e.Leave(), 0); err != nil {
		return err
	}
	for {
		h, err := r.e.Next()
		if err == io.EOF {
			return io.EOF
		}
		var malformed *ebml.Error
		switch {
		case errors.As(err, &malformed):
			return damaged(FormatMatroska, malformed.Offset, "bytes that are no element behind the Segment")
		case err != nil:
			return err
		case h.ID == idSegment || h.ID == ebml.IDHeader:
			return unsupported(h.Offset, "more than one Segment")
		case h.ID != ebml.IDVoid:
			return damaged(FormatMatroska, h.Offset, "element %#x behind the Segment", uint32(h.ID))
		}
	}
}

// noEOF makes the end of the stream in front of the first frame the error it is.
func (r *mkvReader) noEOF(err error) error {
	if err == io.EOF {
		return cut(FormatMatroska, r.e.Offset())
	}
	return fromEBML(err, 0)
}
