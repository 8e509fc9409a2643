package sealedfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/media/ebml"
)

// Limits on the prologue's elements, in bytes. 127 tracks take less than half of them.
const (
	maxInfo          = 4 << 10
	maxTracksElement = 64 << 10
)

// maxBlock bounds a block in bytes: the largest frame, and room for what sealing adds.
const maxBlock = media.MaxFrame + 64<<10

// piece is one sealed piece of a file: a record or a frame.
type piece struct {
	kind   recordType
	place  place // of a frame
	sealed []byte
	offset int64 // of its element
}

// scanner takes a sealed file apart, without any key. It accepts elements in the form
// in which the Writer writes them, and no other: what it parsed it writes again, and
// the bytes have to be the same.
type scanner struct {
	r      *ebml.Reader
	marked bool // the beginning bears our codec IDs: what is wrong now was changed

	begun    bool // the header record was read
	prologue prologue
	visible  media.Info
	clear    clearHeader

	inCluster bool
	cluster   int64 // its timestamp
	blocks    int   // in it
	offset    int64 // of the present element
	frames    uint64
	refs      [maxReferences]int64
	head      []byte // of an element, written again
}

// mark is found near the beginning of every sealed file.
var mark = []byte("_CHANSEAL")

const markWithin = 1024

func newScanner(r io.Reader) (*scanner, piece, error) {
	start := make([]byte, markWithin)
	n, err := io.ReadFull(r, start)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, piece{}, err
	}
	start = start[:n]
	s := &scanner{marked: bytes.Contains(start, mark)}
	s.r = ebml.NewReader(io.MultiReader(bytes.NewReader(start), r), 0)
	first, err := s.begin()
	if err != nil {
		return nil, piece{}, err
	}
	return s, first, nil
}

// fail makes the error of a file that is not as the Writer left it.
func (s *scanner) fail(reason error, detail string, wrapped error) error {
	if reason == ErrAltered && !s.marked {
		reason = ErrNotSealed
	}
	return &Error{Reason: reason, Offset: s.offset, Frames: s.frames, Detail: detail, Wrapped: wrapped}
}

// broken is fail for an error of the reader underneath.
func (s *scanner) broken(err error) error {
	var e *ebml.Error
	switch {
	case errors.As(err, &e):
		s.offset = e.Offset
		if errors.Is(err, io.ErrUnexpectedEOF) && s.marked {
			return s.fail(ErrCut, "", nil)
		}
		return s.fail(ErrAltered, e.What, nil)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return s.ended()
	}
	return err // of the file itself
}

// ended is for a file that is over too early.
func (s *scanner) ended() error {
	s.offset = s.r.Offset()
	if !s.marked {
		return s.fail(ErrNotSealed, "", nil)
	}
	return s.fail(ErrCut, "", nil)
}

// begin reads the prologue and the header record.
func (s *scanner) begin() (piece, error) {
	raw, err := s.element(ebml.IDHeader, maxInfo)
	if err != nil {
		return piece{}, err
	}
	if !bytes.Equal(raw, ebmlHeader) {
		return piece{}, s.fail(ErrAltered, "the EBML header is another", nil)
	}
	b := append([]byte(nil), raw...)
	h, err := s.r.Next()
	if err != nil {
		return piece{}, s.broken(err)
	}
	s.offset = h.Offset
	if h.ID != idSegment || h.SizeWidth != sizeWidth {
		return piece{}, s.fail(ErrAltered, "no Segment where it should be", nil)
	}
	b = append(b, s.r.HeaderBytes()...)
	s.prologue.segment = len(b) - sizeWidth
	if err := s.r.Enter(); err != nil {
		return piece{}, s.broken(err)
	}
	if raw, err = s.element(idInfo, maxInfo); err != nil {
		return piece{}, err
	}
	if err := s.readInfo(raw, len(b)); err != nil {
		return piece{}, err
	}
	b = append(b, raw...)
	if raw, err = s.element(idTracks, maxTracksElement); err != nil {
		return piece{}, err
	}
	if s.visible.Tracks, err = readTracks(raw); err != nil {
		return piece{}, s.fail(ErrAltered, "the tracks make no sense", nil)
	}
	s.prologue.bytes = append(b, raw...)

	p, err := s.next()
	if err == io.EOF {
		return piece{}, s.ended()
	}
	if err != nil {
		return piece{}, err
	}
	if p.kind != recordHeader {
		return piece{}, s.fail(ErrAltered, "no header record where it should be", nil)
	}
	// A file of ours beyond doubt.
	s.marked, s.begun = true, true
	return p, nil
}

// element reads the next element, which has to be this one, and returns all its bytes
// until the next call.
func (s *scanner) element(id ebml.ID, limit int) ([]byte, error) {
	h, err := s.r.Next()
	if err != nil {
		return nil, s.broken(err)
	}
	s.offset = h.Offset
	if h.ID != id || !h.Canonical() {
		return nil, s.fail(ErrAltered, fmt.Sprintf("element %#x where %#x should be", uint32(h.ID), uint32(id)), nil)
	}
	body, err := s.r.Bytes(limit)
	if err != nil {
		return nil, s.broken(err)
	}
	s.head = append(append(s.head[:0], s.r.HeaderBytes()...), body...)
	return s.head, nil
}

// readInfo finds what is needed of Info, an element that begins at that offset.
func (s *scanner) readInfo(raw []byte, offset int) error {
	_, rest, _, err := ebml.Split(raw)
	for err == nil && len(rest) > 0 {
		var h ebml.Header
		var body []byte
		at := len(raw) - len(rest)
		if h, body, rest, err = ebml.Split(rest); err != nil {
			break
		}
		switch h.ID {
		case idTimestampScale:
			s.visible.TimestampScale, err = ebml.Uint(body)
		case idDuration:
			if len(body) != 8 {
				return s.fail(ErrAltered, "the duration has another form", nil)
			}
			s.visible.Duration, err = ebml.Float(body)
			s.prologue.durationAt = offset + at + h.Len()
		}
	}
	if err != nil || s.visible.TimestampScale == 0 {
		return s.fail(ErrAltered, "the Info element makes no sense", nil)
	}
	return nil
}

// next returns the next record or frame; its slices are valid until the next call.
// At the end of the file it returns io.EOF.
func (s *scanner) next() (piece, error) {
	for {
		h, err := s.r.Next()
		switch {
		case err == io.EOF && s.inCluster:
			if err := s.leaveCluster(); err != nil {
				return piece{}, err
			}
			continue
		case err == io.EOF:
			return piece{}, s.atEnd()
		case err != nil:
			return piece{}, s.broken(err)
		}
		s.offset = h.Offset
		if !h.Canonical() {
			return piece{}, s.fail(ErrAltered, fmt.Sprintf("the size of element %#x has another form", uint32(h.ID)), nil)
		}
		switch {
		case s.inCluster:
			return s.block(h)
		case h.ID == idTags:
			return s.record()
		case h.ID == idCluster:
			if err := s.enterCluster(); err != nil {
				return piece{}, err
			}
		default:
			return piece{}, s.fail(ErrAltered, fmt.Sprintf("element %#x does not belong here", uint32(h.ID)), nil)
		}
	}
}

// atEnd is called where the Segment or the stream ends. Behind the Segment nothing may
// follow.
func (s *scanner) atEnd() error {
	if s.r.Depth() == 0 {
		return io.EOF
	}
	if err := s.r.Leave(); err != nil {
		return s.broken(err)
	}
	switch h, err := s.r.Next(); {
	case err == io.EOF:
		return io.EOF
	case err != nil:
		return s.broken(err)
	default:
		s.offset = h.Offset
		return s.fail(ErrAltered, "something follows the end", nil)
	}
}

func (s *scanner) enterCluster() error {
	if err := s.r.Enter(); err != nil {
		return s.broken(err)
	}
	raw, err := s.element(idTimestamp, 8)
	if err != nil {
		return err
	}
	_, body, _, _ := ebml.Split(raw)
	ts, err := ebml.Uint(body)
	if err != nil || ts > 1<<62 || !bytes.Equal(raw, ebml.AppendUint(nil, idTimestamp, ts)) {
		return s.fail(ErrAltered, "the cluster's timestamp has another form", nil)
	}
	s.inCluster, s.cluster, s.blocks = true, int64(ts), 0
	return nil
}

func (s *scanner) leaveCluster() error {
	s.inCluster = false
	if s.blocks == 0 {
		return s.fail(ErrAltered, "a cluster is empty", nil)
	}
	if err := s.r.Leave(); err != nil {
		return s.broken(err)
	}
	return nil
}

// record reads the Tags element that a record is in.
func (s *scanner) record() (piece, error) {
	body, err := s.r.Bytes(maxRecord)
	if err != nil {
		return piece{}, s.broken(err)
	}
	record := tagBinary(body)
	s.head = appendRecordPrefix(s.head[:0], len(record))
	if len(record) < 2 || !sameBytes(s.head, s.r.HeaderBytes(), body[:len(body)-len(record)]) {
		return piece{}, s.fail(ErrAltered, "the Tags element is none of ours", nil)
	}
	switch {
	case record[0] == version:
	case s.begun:
		return piece{}, s.fail(ErrAltered, "a record of another version than the first", nil)
	default:
		return piece{}, s.fail(ErrVersion, fmt.Sprintf("version %d", record[0]), nil)
	}
	p := piece{kind: recordType(record[1]), sealed: record[2:], offset: s.offset}
	switch p.kind {
	case recordHeader:
		var ok bool
		if s.clear, p.sealed, ok = parseClearHeader(record); !ok {
			return piece{}, s.fail(ErrAltered, "the header record is too short", nil)
		}
	case recordElement, recordSegment, recordEnd:
	default:
		return piece{}, s.fail(ErrAltered, fmt.Sprintf("record of unknown type %d", p.kind), nil)
	}
	return p, nil
}

// tagBinary returns the record inside the body of a Tags element; nil if there is
// none. It lies at the end of body.
func tagBinary(body []byte) []byte {
	for _, id := range [...]ebml.ID{idTag, idSimpleTag, idTagBinary} {
		for {
			h, inner, rest, err := ebml.Split(body)
			if err != nil {
				return nil
			}
			if h.ID != id {
				body = rest
				continue
			}
			if len(rest) > 0 {
				return nil
			}
			body = inner
			break
		}
	}
	return body
}

// sameBytes reports whether want is a followed by b.
func sameBytes(want, a, b []byte) bool {
	return len(want) == len(a)+len(b) && bytes.Equal(want[:len(a)], a) && bytes.Equal(want[len(a):], b)
}

// block reads a SimpleBlock or BlockGroup.
func (s *scanner) block(h ebml.Header) (piece, error) {
	if h.ID != idSimpleBlock && h.ID != idBlockGroup {
		return piece{}, s.fail(ErrAltered, fmt.Sprintf("element %#x does not belong into a cluster", uint32(h.ID)), nil)
	}
	body, err := s.r.Bytes(maxBlock)
	if err != nil {
		return piece{}, s.broken(err)
	}
	p := piece{kind: recordFrame, offset: s.offset, place: place{duration: media.NoDuration}}
	block, tail := body, []byte(nil)
	if h.ID == idBlockGroup {
		p.place.group = true
		var inner ebml.Header
		if inner, block, tail, err = ebml.Split(body); err != nil || inner.ID != idBlock || !s.groupTail(&p.place, tail) {
			return piece{}, s.fail(ErrAltered, "the block group has another form", nil)
		}
	}
	if !s.blockHead(&p, block) {
		return piece{}, s.fail(ErrAltered, "the block has another form", nil)
	}
	s.head = appendBlockHead(s.head[:0], &p.place, s.cluster, len(p.sealed))
	if !sameBytes(s.head, s.r.HeaderBytes(), body[:len(body)-len(p.sealed)-len(tail)]) {
		return piece{}, s.fail(ErrAltered, "the block has another form", nil)
	}
	if s.head = appendBlockTail(s.head[:0], &p.place); !bytes.Equal(s.head, tail) {
		return piece{}, s.fail(ErrAltered, "the block group has another form", nil)
	}
	s.blocks++
	return p, nil
}

// blockHead reads what a block begins with (RFC 9559, Section 10).
func (s *scanner) blockHead(p *piece, block []byte) bool {
	track, n, err := ebml.ParseVint(block)
	if err != nil || len(block) < n+3 {
		return false
	}
	pl := &p.place
	pl.track = track
	pl.timestamp = s.cluster + int64(int16(uint16(block[n])<<8|uint16(block[n+1])))
	flags := block[n+2]
	pl.invisible = flags&blockInvisible != 0
	if pl.group {
		pl.key = len(pl.references) == 0
	} else {
		pl.key, pl.discardable = flags&blockKey != 0, flags&blockDiscardable != 0
	}
	p.sealed = block[n+3:]
	return true
}

// groupTail reads what follows the Block in its BlockGroup.
func (s *scanner) groupTail(p *place, tail []byte) bool {
	for len(tail) > 0 {
		h, body, rest, err := ebml.Split(tail)
		if err != nil {
			return false
		}
		tail = rest
		switch h.ID {
		case idBlockDuration:
			d, err := ebml.Uint(body)
			if err != nil || d > 1<<62 {
				return false
			}
			p.duration = int64(d)
		case idReference:
			if len(p.references) == maxReferences {
				return false
			}
			v, err := ebml.Int(body)
			if err != nil {
				return false
			}
			s.refs[len(p.references)] = v
			p.references = s.refs[:len(p.references)+1]
		case idDiscardPadding:
			if p.padding, err = ebml.Int(body); err != nil {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// sfHeader reads the SFrame header of a sealed piece.
func (s *scanner) sfHeader(p *piece) (cipher.Header, error) {
	h, _, err := cipher.ParseHeader(p.sealed)
	if err != nil {
		return h, s.fail(ErrAltered, "not an SFrame ciphertext", nil)
	}
	return h, nil
}
