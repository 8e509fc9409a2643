package cipher

import "encoding/binary"

// MaxHeader is the longest SFrame header in bytes: the config byte, eight bytes of
// KID and eight of CTR (RFC 9605, Section 4.3).
const MaxHeader = 17

// Header is what a sealed frame shows to everybody.
type Header struct {
	KID KeyID
	CTR uint64
}

// The config byte (RFC 9605, Section 4.3):
//
//	 0 1 2 3 4 5 6 7
//	+-+-+-+-+-+-+-+-+
//	|X|  K  |Y|  C  |
//	+-+-+-+-+-+-+-+-+
//
// X and Y say that K and C are not the value itself but its length less one.
const (
	kidExtended = 0x80
	ctrExtended = 0x08
)

// ParseHeader reads the header of a sealed frame. It needs no key, and what it
// returns is not authenticated. size is the header's length in bytes.
//
// Only the shortest form of each field is accepted, as RFC 9605, Section 4.3
// obliges senders to write: two spellings of one header would be two frames to
// anything that compares bytes. The errors are [ErrShort] and [ErrMalformed].
func ParseHeader(sealed []byte) (h Header, size int, err error) {
	if len(sealed) == 0 {
		return Header{}, 0, ErrShort
	}
	config := sealed[0]
	size = 1
	kid, n := uint64(config>>4&7), 0
	if config&kidExtended != 0 {
		n = int(kid) + 1
	}
	ctr, m := uint64(config&7), 0
	if config&ctrExtended != 0 {
		m = int(ctr) + 1
	}
	if len(sealed) < 1+n+m {
		return Header{}, 0, ErrShort
	}
	if n > 0 {
		if kid = bigEndian(sealed[1 : 1+n]); extendedSize(kid) != n {
			return Header{}, 0, ErrMalformed
		}
	}
	if m > 0 {
		if ctr = bigEndian(sealed[1+n : 1+n+m]); extendedSize(ctr) != m {
			return Header{}, 0, ErrMalformed
		}
	}
	return Header{KID: KeyID(kid), CTR: ctr}, 1 + n + m, nil
}

// AppendHeader appends the shortest encoding of h, 1 to [MaxHeader] bytes.
func AppendHeader(dst []byte, h Header) []byte {
	t := newHeaderTemplate(h.KID)
	var b [MaxHeader]byte
	return append(dst, b[:t.put(b[:], h.CTR)]...)
}

// extendedSize is the number of bytes that v takes behind the config byte: 0 when
// it fits into the config byte itself.
func extendedSize(v uint64) int {
	switch {
	case v < 8:
		return 0
	case v < 1<<8:
		return 1
	case v < 1<<16:
		return 2
	case v < 1<<24:
		return 3
	case v < 1<<32:
		return 4
	case v < 1<<40:
		return 5
	case v < 1<<48:
		return 6
	case v < 1<<56:
		return 7
	}
	return 8
}

func bigEndian(b []byte) uint64 {
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// headerTemplate is the part of the header that all frames of a key share: the
// upper half of the config byte and the KID.
type headerTemplate struct {
	size  int // 1 to 9
	bytes [9]byte
}

func newHeaderTemplate(kid KeyID) headerTemplate {
	var t headerTemplate
	n := extendedSize(uint64(kid))
	if n == 0 {
		t.bytes[0] = byte(kid) << 4
	} else {
		t.bytes[0] = kidExtended | byte(n-1)<<4
		for i := range n {
			t.bytes[1+i] = byte(kid >> (8 * (n - 1 - i)))
		}
	}
	t.size = 1 + n
	return t
}

// putApart is put for a dst whose first 17 bytes are free to be written, header or
// not, which spares it copying a few bytes at a time. Others it leaves to put.
func (t *headerTemplate) putApart(dst []byte, ctr uint64) {
	m := extendedSize(ctr)
	if len(dst) < MaxHeader || m == 0 {
		t.put(dst, ctr)
		return
	}
	dst = dst[:MaxHeader]
	*(*[9]byte)(dst) = t.bytes
	dst[0] |= ctrExtended | byte(m-1)
	binary.BigEndian.PutUint64(dst[t.size:t.size+8], ctr<<(64-8*m))
}

// len is the length of the header with this counter.
func (t *headerTemplate) len(ctr uint64) int { return t.size + extendedSize(ctr) }

// put writes the header with this counter to dst, which has room for it, and
// returns its length.
func (t *headerTemplate) put(dst []byte, ctr uint64) int {
	copy(dst, t.bytes[:t.size])
	m := extendedSize(ctr)
	if m == 0 {
		dst[0] |= byte(ctr)
		return t.size
	}
	dst[0] |= ctrExtended | byte(m-1)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], ctr)
	copy(dst[t.size:t.size+m], b[8-m:])
	return t.size + m
}
