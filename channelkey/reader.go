package channelkey

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
)

// reader takes the fields of a decoded payload (all integers little-endian) off its
// front. After the first field that does not fit, all others are zero and bad is
// where it began. The strings it returns are parts of the payload.
type reader struct {
	s   string
	at  int
	bad int // -1 while all is well
}

func newReader(s string) reader { return reader{s: s, bad: -1} }

func (r *reader) take(n int) string {
	if r.bad >= 0 || n > len(r.s)-r.at {
		if r.bad < 0 {
			r.bad = r.at
		}
		return ""
	}
	r.at += n
	return r.s[r.at-n : r.at]
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != "" {
		return uint16(b[0]) | uint16(b[1])<<8
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != "" {
		return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	}
	return 0
}

// str takes a text with its length in 16 bits before it.
func (r *reader) str() string { return r.take(int(r.u16())) }

// count takes a number of entries of at least size bytes each, and refuses one that
// the rest of the payload cannot hold.
func (r *reader) count(size int) int {
	start := r.at
	n := int(r.u16())
	if r.bad < 0 && n*size > len(r.s)-r.at {
		r.bad = start
	}
	if r.bad >= 0 {
		return 0
	}
	return n
}

func (r *reader) fail(at int) {
	if r.bad < 0 {
		r.bad = at
	}
}

func (r *reader) rest() string {
	if r.bad >= 0 {
		return ""
	}
	return r.s[r.at:]
}

// end returns the error of what was read: a field that did not fit, or bytes left
// over.
func (r *reader) end(f Format) error {
	switch {
	case r.bad >= 0:
		return malformedPayload(f, r.bad, "a field does not fit")
	case r.at < len(r.s):
		return malformedPayload(f, r.at, "there are bytes behind the end")
	}
	return nil
}

func appendStr(dst []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// base64Strict is the one spelling: RFC 4648 Section 4 with padding, the unused
// bits zero, no line breaks (which encoding/base64 would skip).
var base64Strict = base64.StdEncoding.Strict()

// decode64 decodes the base64 text that follows a prefix of the given length into
// w.payload, by way of w.msg.
func (w *work) decode64(f Format, token string, prefix int) error {
	if len(token) < prefix {
		return malformed(f, len(token), "the text is cut")
	}
	text := token[prefix:]
	for _, c := range [...]byte{'\n', '\r'} {
		if i := strings.IndexByte(text, c); i >= 0 {
			return malformed(f, prefix+i, "there is a line break")
		}
	}
	if len(text) > MaxTokenLen {
		return malformed(f, MaxTokenLen, "the text is too long")
	}
	w.msg = append(w.msg[:0], text...)
	var err error
	w.payload, err = base64Strict.AppendDecode(w.payload[:0], w.msg)
	if err != nil {
		at := 0
		if corrupt, ok := errors.AsType[base64.CorruptInputError](err); ok {
			at = int(corrupt)
		}
		return malformed(f, prefix+at, "the text is not canonical base64")
	}
	return nil
}
