// Package ebml reads and writes EBML (RFC 8794), the binary notation under
// Matroska, one element at a time and with every size checked before anything
// is allocated.
//
// A [Reader] walks a stream and keeps track of the masters it is inside of; a
// child can never reach past its parent. Small elements that lie in memory
// are taken apart with [Split] and the value functions ([Uint], [Float], ...).
// The Append functions write elements to a byte slice, sizes in the shortest
// form unless a width is asked for.
//
// The package knows the notation only, not Matroska's elements; of the
// elements with a meaning in every document it knows Void and CRC-32.
package ebml

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// An ID is an Element ID as it stands in the file, marker bit included, such as
// 0x1A45DFA3 (RFC 8794, Section 5).
type ID uint32

// The elements that may occur in any EBML document (RFC 8794, Section 11).
const (
	IDHeader ID = 0x1A45DFA3 // the EBML header
	IDVoid   ID = 0xEC
	IDCRC32  ID = 0xBF
)

// UnknownSize is the Size of an element that ends where its parent's next
// element begins (RFC 8794, Section 6.2).
const UnknownSize = -1

// MaxSize is the largest body an 8 byte size field can state, in bytes.
const MaxSize = 1<<56 - 2

// MaxHeader is the longest element header, in bytes: 4 of ID, 8 of size.
const MaxHeader = 12

var (
	// ErrMalformed says that the bytes are not EBML, or contradict themselves.
	ErrMalformed = errors.New("malformed")
	// ErrTooLarge says that an element is larger than the caller's limit.
	ErrTooLarge = errors.New("too large")
)

// An Error says what is wrong with a document and where. It wraps [ErrMalformed],
// [ErrTooLarge], or io.ErrUnexpectedEOF for a document that was cut off.
type Error struct {
	Offset int64 // byte in the stream where the offending element begins, or where the stream ended
	What   string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("ebml: %s at byte %d", e.What, e.Offset) }

// Unwrap returns the class of the error.
func (e *Error) Unwrap() error { return e.Err }

// Len returns the number of bytes the ID takes, 1 to 4.
func (id ID) Len() int { return (bits.Len32(uint32(id)) + 7) / 8 }

// Valid reports that the ID is one RFC 8794, Section 5 allows: the marker bit
// states its length, the value is neither all zeros nor all ones, and no shorter
// ID has the same value.
func (id ID) Valid() bool {
	n := id.Len()
	if n == 0 || id>>(7*n) != 1 {
		return false
	}
	value := uint32(id) &^ (1 << (7 * n))
	ones := uint32(1)<<(7*n) - 1
	if value == 0 || value == ones {
		return false
	}
	return n == 1 || value >= 1<<(7*(n-1))-1 // the all-ones value of the shorter form needs this length
}

// A Header is what stands in front of an element's body.
type Header struct {
	ID        ID
	Size      int64 // bytes of the body, or UnknownSize
	SizeWidth int   // bytes that the size field takes, 1 to 8
	Offset    int64 // of the first byte of the ID in the stream; 0 from Parse
}

// Len returns the number of bytes the header takes.
func (h Header) Len() int { return h.ID.Len() + h.SizeWidth }

// Canonical reports that the size is known and written in the shortest form.
func (h Header) Canonical() bool { return h.Size >= 0 && h.SizeWidth == SizeLen(h.Size) }

// ParseHeader reads the header at the start of b. An error wraps ErrMalformed,
// or io.ErrUnexpectedEOF if b ends inside the header.
func ParseHeader(b []byte) (Header, error) {
	if len(b) == 0 {
		return Header{}, cut(0)
	}
	idLen := bits.LeadingZeros8(b[0]) + 1
	if idLen > 4 {
		return Header{}, malformed(0, "no element ID (first byte %#02x)", b[0])
	}
	if len(b) < idLen {
		return Header{}, cut(int64(len(b)))
	}
	var id ID
	for _, c := range b[:idLen] {
		id = id<<8 | ID(c)
	}
	if !id.Valid() {
		return Header{}, malformed(0, "invalid element ID %#x", uint32(id))
	}
	value, width, err := ParseVint(b[idLen:])
	if err != nil {
		if err == io.ErrUnexpectedEOF {
			return Header{}, cut(int64(len(b)))
		}
		return Header{}, malformed(0, "element %#x with a size field of more than 8 bytes", uint32(id))
	}
	h := Header{ID: id, Size: int64(value), SizeWidth: width}
	if value == 1<<(7*width)-1 {
		h.Size = UnknownSize
	}
	return h, nil
}

// ParseVint reads a variable size integer (RFC 8794, Section 4) at the start of
// b and returns its value without the marker and the 1 to 8 bytes it takes. All
// ones is a value here. The error is ErrMalformed or io.ErrUnexpectedEOF.
func ParseVint(b []byte) (value uint64, width int, err error) {
	if len(b) == 0 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	width = bits.LeadingZeros8(b[0]) + 1
	if width > 8 {
		return 0, 0, ErrMalformed
	}
	if len(b) < width {
		return 0, 0, io.ErrUnexpectedEOF
	}
	value = uint64(b[0]) &^ (0x80 >> (width - 1))
	for _, c := range b[1:width] {
		value = value<<8 | uint64(c)
	}
	return value, width, nil
}

// Split takes the first element off b, which holds elements one behind the
// other. It refuses unknown sizes and elements that reach past the end of b.
// Offsets in its errors count from the start of b.
func Split(b []byte) (h Header, body, rest []byte, err error) {
	h, err = ParseHeader(b)
	if err != nil {
		return Header{}, nil, nil, err
	}
	if h.Size < 0 {
		return Header{}, nil, nil, malformed(0, "element %#x of unknown size", uint32(h.ID))
	}
	n := h.Len()
	if h.Size > int64(len(b)-n) {
		return Header{}, nil, nil, malformed(0, "element %#x of %d bytes in a parent with %d left", uint32(h.ID), h.Size, len(b)-n)
	}
	end := n + int(h.Size)
	return h, b[n:end:end], b[end:], nil
}

func malformed(offset int64, format string, args ...any) error {
	return &Error{Offset: offset, What: fmt.Sprintf(format, args...), Err: ErrMalformed}
}

func cut(offset int64) error {
	return &Error{Offset: offset, What: "data ends inside an element", Err: io.ErrUnexpectedEOF}
}
