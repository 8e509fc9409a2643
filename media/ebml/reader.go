package ebml

import (
	"fmt"
	"hash/crc32"
	"io"
	"math"
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
	src    io.Reader
	buf    []byte
	r, w   int   // unread bytes are buf[r:w]
	off    int64 // stream offset of buf[r]
	srcErr error

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
	return &Reader{src: src, buf: make([]byte, max(size, 64))}
}

// Offset returns how many bytes of the stream have been read.
func (r *Reader) Offset() int64 { return r.off }

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
	if r.off == end {
		return Header{}, io.EOF
	}
	h, err := r.header()
	if err != nil {
		return Header{}, err
	}
	h.Offset = r.off
	n := h.Len()
	if int64(n) > end-r.off || h.Size > end-r.off-int64(n) {
		return Header{}, malformed(r.off, "element %#x of %d bytes reaches past its parent's end (byte %d)", uint32(h.ID), h.Size, end)
	}
	r.headLen = copy(r.head[:], r.buf[r.r:r.r+n])
	r.consume(n)
	r.cur, r.left = h, h.Size
	return h, nil
}

// header parses the header that comes next without taking it from the buffer.
// It asks the source for no byte behind it: on a live stream that byte may be
// long in coming.
func (r *Reader) header() (Header, error) {
	for need := 2; ; need++ {
		switch err := r.fill(need); {
		case err == nil:
		case err != io.EOF:
			return Header{}, err
		case r.w == r.r && r.end() == noEnd:
			return Header{}, io.EOF
		default:
			return Header{}, cut(r.off + int64(r.w-r.r))
		}
		h, err := ParseHeader(r.buf[r.r:r.w])
		if e, ok := err.(*Error); ok && e.Err == ErrMalformed {
			e.Offset += r.off
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
		return malformed(r.off, "element %#x entered after its body was read", uint32(r.cur.ID))
	}
	m := master{end: r.end(), known: r.left >= 0}
	if m.known {
		m.end = r.off + r.left // cannot overflow: off counts bytes that were really read, left is below 2^56
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
		r.left = m.end - r.off
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
	if err := r.fill(n); err != nil {
		return nil, r.short(err)
	}
	b := r.buf[r.r : r.r+n : r.r+n]
	r.consume(n)
	r.left = 0
	return b, nil
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
	if err := r.fill(1); err != nil {
		return 0, r.short(err)
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.buf[r.r:r.w])
	r.consume(n)
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
		if err := r.fill(1); err != nil {
			return r.short(err)
		}
		n := int(min(r.left, int64(r.w-r.r)))
		r.consume(n)
		r.left -= int64(n)
	}
	return nil
}

// consume moves n buffered bytes from unread to read.
func (r *Reader) consume(n int) {
	if r.summing {
		r.sum = crc32.Update(r.sum, crc32.IEEETable, r.buf[r.r:r.r+n])
	}
	r.r += n
	r.off += int64(n)
}

// fill sees to it that n unread bytes are in the buffer. It returns io.EOF if the
// stream ends before; what there is of them is in the buffer then.
func (r *Reader) fill(n int) error {
	if r.w-r.r >= n {
		return nil
	}
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for idle := 0; r.w < n; {
		if r.srcErr != nil {
			return r.srcErr
		}
		if r.w == len(r.buf) { // full of bytes that did arrive
			bigger := make([]byte, min(2*len(r.buf), max(n, len(r.buf)+4096)))
			copy(bigger, r.buf)
			r.buf = bigger
		}
		m, err := r.src.Read(r.buf[r.w:])
		r.w += m
		r.srcErr = err
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			r.srcErr = io.ErrNoProgress
		}
	}
	return nil
}

// short turns the end of the stream inside of a body into the error it is.
func (r *Reader) short(err error) error {
	if err == io.EOF {
		return cut(r.off + int64(r.w-r.r))
	}
	return err
}
