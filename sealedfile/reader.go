package sealedfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
)

// Head is what a sealed file says of the key that it wants. It is not authenticated.
type Head struct {
	Suite     cipher.SuiteID
	SuiteName string
	KID       cipher.KeyID // of the first record
}

// Unlock finds the Opener for a file. Its errors reach the caller of NewReader as
// they are.
type Unlock func(Head) (cipher.Opener, error)

// Reader opens a sealed file. It is a [media.Reader]: every item that it returns has
// authenticated, and stands where it stood in the recording. It is for one goroutine.
type Reader struct {
	scan   *scanner
	opener cipher.Opener
	info   *media.Info

	kid   cipher.KeyID
	next  uint64 // the counter that has to come
	ended bool

	queue      [][]byte // elements of the header record
	plain, aad []byte
	counts     map[uint64]uint64
	summary    Summary
	err        error // sticky
}

// NewReader begins to open a sealed file. The file is authenticated up to its header
// when it returns. An [Error] says what is wrong with the file.
func NewReader(r io.Reader, unlock Unlock) (*Reader, error) {
	s, first, err := newScanner(r)
	if err != nil {
		return nil, err
	}
	h, err := s.sfHeader(&first)
	if err != nil {
		return nil, err
	}
	opener, err := unlock(Head{Suite: s.clear.suite, SuiteName: s.clear.name, KID: h.KID})
	if err != nil {
		return nil, err
	}
	fr := &Reader{scan: s, opener: opener, kid: h.KID, next: h.CTR + 1, counts: make(map[uint64]uint64)}
	hash := s.prologue.hash()
	fr.aad = appendAAD(nil, &s.clear.id, recordHeader, &place{})
	fr.aad = append(appendClearHeader(fr.aad, &s.clear), hash[:]...)
	content, err := opener.Open(nil, first.sealed, fr.aad)
	if err != nil {
		return nil, s.fail(ErrKey, "", err)
	}
	if err := fr.readHeader(content); err != nil {
		return nil, err
	}
	return fr, nil
}

func (r *Reader) readHeader(content []byte) error {
	d := decoder{b: content}
	info, err := d.info()
	if err != nil {
		return r.scan.fail(ErrAltered, "the header record makes no sense", nil)
	}
	for len(d.b) > 0 && !d.bad {
		r.queue = append(r.queue, d.bytes(d.uvarint()))
	}
	if d.bad {
		return r.scan.fail(ErrAltered, "the header record makes no sense", nil)
	}
	r.info = info
	for i := range info.Tracks {
		r.counts[info.Tracks[i].Number] = 0
	}
	return nil
}

// Info describes the recording, by the sealed header.
func (r *Reader) Info() *media.Info { return r.info }

// Suite is the name of the suite that the file is sealed with.
func (r *Reader) Suite() string { return r.scan.clear.name }

// Summary tells what was read so far.
func (r *Reader) Summary() Summary {
	s := r.summary
	s.File = uint64(r.scan.r.Offset())
	return s
}

// Next returns the next item; io.EOF only behind the end record of a whole file. Any
// other error is an [Error], or one of the file underneath.
func (r *Reader) Next(item *media.Item) error {
	if r.err != nil {
		return r.err
	}
	if len(r.queue) > 0 {
		*item = media.Item{Kind: media.KindElement, Duration: media.NoDuration, Data: r.queue[0]}
		r.queue = r.queue[1:]
		return nil
	}
	r.err = r.read(item)
	return r.err
}

func (r *Reader) read(item *media.Item) error {
	for {
		p, err := r.scan.next()
		switch {
		case err == io.EOF && r.ended:
			return io.EOF
		case err == io.EOF:
			return r.scan.ended()
		case err != nil:
			return err
		case r.ended:
			return r.scan.fail(ErrAltered, "something follows the end record", nil)
		}
		if err := r.inOrder(&p); err != nil {
			return err
		}
		content, err := r.open(&p)
		if err != nil {
			return err
		}
		switch p.kind {
		case recordFrame:
			return r.frame(&p, content, item)
		case recordElement:
			*item = media.Item{Kind: media.KindElement, Duration: media.NoDuration, Data: content}
			return nil
		case recordEnd:
			if err := r.end(content); err != nil {
				return err
			}
		}
	}
}

// inOrder checks key ID and counter, before anything is opened: they tell what
// happened to a file where authentication alone only says no.
func (r *Reader) inOrder(p *piece) error {
	h, err := r.scan.sfHeader(p)
	if err != nil {
		return err
	}
	switch {
	case p.kind == recordHeader:
		return r.scan.fail(ErrMoved, "a second header record", nil)
	case p.kind == recordSegment && h.KID != r.kid:
		return nil // a new count begins; its content has to fit the old one
	case h.KID != r.kid:
		return r.scan.fail(ErrForeign, fmt.Sprintf("key ID %#x in a file of %#x", uint64(h.KID), uint64(r.kid)), nil)
	case h.CTR > r.next:
		return r.scan.fail(ErrMissing, fmt.Sprintf("%d of them, counters %d to %d", h.CTR-r.next, r.next, h.CTR-1), nil)
	case h.CTR < r.next:
		return r.scan.fail(ErrMoved, fmt.Sprintf("counter %d comes after %d", h.CTR, r.next-1), nil)
	}
	r.next++
	return nil
}

func (r *Reader) open(p *piece) ([]byte, error) {
	r.aad = appendAAD(r.aad[:0], &r.scan.clear.id, p.kind, &p.place)
	plain, err := r.opener.Open(r.plain[:0], p.sealed, r.aad)
	if err != nil {
		return nil, r.scan.fail(ErrAltered, "", err)
	}
	r.plain = plain
	if p.kind == recordSegment {
		return plain, r.turnOver(p, plain)
	}
	return plain, nil
}

// turnOver goes over to the key of a segment record.
func (r *Reader) turnOver(p *piece, content []byte) error {
	h, err := r.scan.sfHeader(p)
	if err != nil {
		return err
	}
	last, ok := parseSegmentRecord(content)
	switch {
	case !ok || h.KID == r.kid || last.kid != r.kid:
		return r.scan.fail(ErrForeign, "a segment record that continues another file", nil)
	case last.last != r.next-1:
		return r.scan.fail(ErrMissing, fmt.Sprintf("counters %d to %d, before the key turnover", r.next, last.last), nil)
	}
	r.kid, r.next = h.KID, h.CTR+1
	return nil
}

func (r *Reader) frame(p *piece, content []byte, item *media.Item) error {
	count, known := r.counts[p.place.track]
	if !known || !p.place.fill(item, content) {
		return r.scan.fail(ErrAltered, "a frame makes no sense", nil)
	}
	r.counts[p.place.track] = count + 1
	r.scan.frames++
	r.summary.Frames++
	r.summary.Payload += uint64(len(item.Data))
	r.summary.Overhead += uint64(len(p.sealed) - len(item.Data))
	return nil
}

// end compares the end record with what was read.
func (r *Reader) end(content []byte) error {
	want := endRecord{last: r.next - 1, duration: r.clearDuration()}
	for _, t := range r.info.Tracks {
		want.frames = append(want.frames, r.counts[t.Number])
	}
	if !want.matches(content) {
		return r.scan.fail(ErrAltered, "the end record tells of other frames or another duration", nil)
	}
	r.ended = true
	return nil
}

// clearDuration is the Duration as it stands in the prologue, bit for bit.
func (r *Reader) clearDuration() float64 {
	at := r.scan.prologue.durationAt
	if at == 0 {
		return 0
	}
	return math.Float64frombits(binary.BigEndian.Uint64(r.scan.prologue.bytes[at:]))
}
