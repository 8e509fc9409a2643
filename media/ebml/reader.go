package ebml

import (
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/chanseal/chanseal/media/internal/window"
)

// MaxDepth is how many masters a Reader can be inside of at a time. Matroska
// needs 8.
const MaxDepth = 16

// DefaultBuffer is a Reader's buffer, in bytes, if none is asked for.
const DefaultBuffer = 256 << 10

const noEnd = math.MaxInt64

// A master is one the Reader is inside of.
type master struct {
	end   int64 // offset that nothing inside may pass, noEnd if nothing says
	known bool  // its own size says so, not that of one around it
}

// A Reader reads the elements of a stream in order. Next moves to the next
// element; then the caller reads the body (Bytes, Read), goes inside (Enter), or
// leaves it unread: the following Next skips it.
//
// The buffer grows to hold what Bytes returns, but only as the bytes arrive:
// a size field alone makes nothing grow.
type Reader struct {
	win *window.Window

	head    [MaxHeader]byte
	headLen int
	cur     Header
	left    int64 // unread bytes of cur's body; -1 if its size is unknown and it was not entered

	open  [MaxDepth]master // the masters we are inside of, outermost first
	depth int

	summing bool
	sum     uint32
}

// NewReader returns a Reader of src with a buffer of size bytes, DefaultBuffer if
// size is 0.
func NewReader(src io.Reader, size int) *Reader {
	if size == 0 {
		size = DefaultBuffer
	}
	return &Reader{win: window.New(src, size)}
}

// Offset returns how many bytes of the stream have been read.
func (r *Reader) Offset() int64 { return r.win.Offset() }

// Depth returns how many masters the Reader is inside of.
func (r *Reader) Depth() int { return r.depth }

// HeaderBytes returns the current element's header as it stands in the stream,
// valid until the next call of Next.
func (r *Reader) HeaderBytes() []byte { return r.head[:r.headLen] }

// end returns the offset that nothing read now may pass.
func (r *Reader) end() int64 {
	if r.depth == 0 {
		return noEnd
	}
	return r.open[r.depth-1].end
}

// Next skips what is unread of the current element and reads the next header
// inside the innermost master. It returns io.EOF at that master's end; where the
// end is not known or outside of any master, at the end of the stream. A stream
// that ends anywhere else is an Error that wraps io.ErrUnexpectedEOF.
func (r *Reader) Next() (Header, error) {
	if r.left < 0 {
		return Header{}, malformed(r.cur.Offset, "element %#x of unknown size", uint32(r.cur.ID))
	}
	if err := r.skip(); err != nil {
		return Header{}, err
	}
	end := r.end()
	if r.Offset() == end {
		return Header{}, io.EOF
	}
	h, err := r.header()
	if err != nil {
		return Header{}, err
	}
	h.Offset = r.Offset()
	n := h.Len()
	if int64(n) > end-h.Offset || h.Size > end-h.Offset-int64(n) {
		return Header{}, malformed(h.Offset, "element %#x of %d bytes reaches past its parent's end (byte %d)", uint32(h.ID), h.Size, end)
	}
	r.headLen = copy(r.head[:], r.take(n))
	r.cur, r.left = h, h.Size
	return h, nil
}

// header parses the header that comes next without taking it from the buffer.
// It asks the source for no byte behind it: on a live stream that byte may be
// long in coming.
func (r *Reader) header() (Header, error) {
	for need := 2; ; need++ {
		switch err := r.win.Fill(need); {
		case err == nil:
		case err != io.EOF:
			return Header{}, err
		case len(r.win.Bytes()) == 0 && r.end() == noEnd:
			return Header{}, io.EOF
		default:
			return Header{}, cut(r.Offset() + int64(len(r.win.Bytes())))
		}
		h, err := ParseHeader(r.win.Bytes())
		if e, ok := err.(*Error); ok && e.Err == ErrMalformed {
			e.Offset += r.Offset()
			return Header{}, e
		}
		if err == nil {
			return h, nil
		}
	}
}

// Enter goes inside the current element: Next then returns its children. It
// fails beyond MaxDepth and if part of the body has been read already.
func (r *Reader) Enter() error {
	if r.depth == MaxDepth {
		return malformed(r.cur.Offset, "elements nested more than %d deep", MaxDepth)
	}
	if r.left != r.cur.Size {
		return malformed(r.Offset(), "element %#x entered after its body was read", uint32(r.cur.ID))
	}
	m := master{end: r.end(), known: r.left >= 0}
	if m.known {
		m.end = r.Offset() + r.left // cannot overflow: off counts bytes that were really read, left is below 2^56
	}
	r.open[r.depth] = m
	r.depth++
	r.left = 0
	return nil
}

// Leave goes back out of the innermost master. If its size is known the rest of
// it is skipped. If not, the current element, which the caller found to be no
// child of it, is the current element of the master around it.
func (r *Reader) Leave() error {
	if r.depth == 0 {
		panic("ebml: Leave outside of any master")
	}
	if m := r.open[r.depth-1]; m.known {
		r.left = m.end - r.Offset()
		if err := r.skip(); err != nil {
			return err
		}
	}
	r.depth--
	return nil
}

// Bytes reads the rest of the current element's body, at most limit bytes. The
// slice is the Reader's buffer: it is valid until the next call of a method, and
// the caller may write to it.
func (r *Reader) Bytes(limit int) ([]byte, error) {
	if r.left < 0 {
		return nil, malformed(r.cur.Offset, "element %#x of unknown size", uint32(r.cur.ID))
	}
	if r.left > int64(limit) {
		return nil, &Error{Offset: r.cur.Offset, What: fmt.Sprintf("element %#x of %d bytes, over the limit of %d,", uint32(r.cur.ID), r.cur.Size, limit), Err: ErrTooLarge}
	}
	n := int(r.left)
	if err := r.win.Fill(n); err != nil {
		return nil, r.short(err)
	}
	r.left = 0
	return r.take(n), nil
}

// Read reads from the current element's body and returns io.EOF at its end.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, malformed(r.cur.Offset, "element %#x of unknown size", uint32(r.cur.ID))
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.win.Fill(1); err != nil {
		return 0, r.short(err)
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.win.Bytes())
	r.take(n)
	r.left -= int64(n)
	return n, nil
}

// StartCRC begins a CRC-32 (IEEE) over all bytes read from here on.
func (r *Reader) StartCRC() { r.summing, r.sum = true, 0 }

// StopCRC ends what StartCRC began and returns the sum.
func (r *Reader) StopCRC() uint32 {
	r.summing = false
	return r.sum
}

func (r *Reader) skip() error {
	for r.left > 0 {
		if err := r.win.Fill(1); err != nil {
			return r.short(err)
		}
		n := int(min(r.left, int64(len(r.win.Bytes()))))
		r.take(n)
		r.left -= int64(n)
	}
	return nil
}

// take passes n bytes that are in the window.
func (r *Reader) take(n int) []byte {
	b := r.win.Take(n)
	if r.summing {
		r.sum = crc32.Update(r.sum, crc32.IEEETable, b)
	}
	return b
}

// short turns the end of the stream inside of a body into the error it is.
func (r *Reader) short(err error) error {
	if err == io.EOF {
		return cut(r.Offset() + int64(len(r.win.Bytes())))
	}
	return err
}
