package cipher

import (
	"encoding/binary"
	"math/bits"
)

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
	if v < 8 {
		return 0
	}
	return (bits.Len64(v) + 7) / 8
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
	size           int // 1 to 9
	bytes          [9]byte
	lo, hi         uint64 // the same as a packedHeader has it
	extended       uint64 // lo as it is with a counter of 0 bytes behind the config byte
	maskLo, maskHi uint64 // ones where it is fixed
	maskExtended   uint64 // maskLo, and the bit that says that a counter follows
	// The counter is turned left by 8·size bits: what is then under spill lies in the
	// upper word.
	turn  int
	spill uint64
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
	t.lo, t.hi = binary.LittleEndian.Uint64(t.bytes[:]), uint64(t.bytes[8])
	t.maskLo, t.maskHi = firstBytes(t.size)
	t.maskLo &^= 0x0f // the counter's half of the config byte
	t.maskExtended = t.maskLo | ctrExtended
	t.extended = t.lo + ctrExtended - 1
	t.turn, t.spill = 8*t.size, 1<<(8*t.size)-1
	return t
}

// firstBytes has ones in the first n of 16 bytes, in a packedHeader's order.
func firstBytes(n int) (lo, hi uint64) { return 1<<(8*n) - 1, 1<<(8*max(n-8, 0)) - 1 }

// packedHeader is a header of at most 16 bytes in two words: its first byte is the
// lowest of lo, and what is behind it is 0. The engine takes it so, without a way
// through memory.
type packedHeader struct {
	lo, hi uint64
	size   int
}

// packable is the longest header that a packedHeader can hold.
const packable = 16

// pack is the header with this counter. If its size is over packable, the words lack
// the last byte.
func (t *headerTemplate) pack(ctr uint64) packedHeader {
	if ctr < 8 {
		return packedHeader{t.lo | ctr, t.hi, t.size}
	}
	m := (bits.Len64(ctr) + 7) / 8
	c := bits.RotateLeft64(bits.ReverseBytes64(ctr)>>(-8*m&63), t.turn)
	return packedHeader{t.extended + uint64(m) + c&^t.spill, t.hi | c&t.spill, t.size + m}
}

// put writes the header to dst, whose first 16 bytes are free to be written.
func (h packedHeader) put(dst []byte) {
	dst = dst[:packable]
	binary.LittleEndian.PutUint64(dst, h.lo)
	binary.LittleEndian.PutUint64(dst[8:], h.hi)
}

// unpack reads the header of a frame under the template's KID. It takes what it can
// take quickly; what it does not take, ParseHeader must judge.
func (t *headerTemplate) unpack(sealed []byte) (h packedHeader, ctr uint64, ok bool) {
	if len(sealed) < packable {
		return h, 0, false
	}
	lo, hi := binary.LittleEndian.Uint64(sealed), binary.LittleEndian.Uint64(sealed[8:])
	h.size = t.size
	if ctr = lo & 7; lo&ctrExtended != 0 {
		m := ctr + 1
		h.size += int(m)
		c := bits.RotateLeft64(lo&^t.spill|hi&t.spill, -t.turn)
		if ctr = bits.ReverseBytes64(c) >> ((64 - 8*m) & 63); ctr < leastIn[m&15] {
			return h, 0, false
		}
	}
	if (lo^t.lo)&t.maskLo|(hi^t.hi)&t.maskHi != 0 || h.size > packable {
		return h, 0, false
	}
	mask := &firstMasks[h.size&31]
	h.lo, h.hi = lo&mask[0], hi&mask[1]
	return h, ctr, true
}

// counter is unpack of size and counter alone, of what most headers are: with a counter
// behind the config byte, in front of a tag of 16 bytes. For others size is 0: ParseHeader must
// judge. A frame that it takes has at least header and tag.
func (t *headerTemplate) counter(sealed []byte) (size int, ctr uint64) {
	if len(sealed) < MaxHeader+16 {
		return 0, 0
	}
	lo, hi := binary.LittleEndian.Uint64(sealed), binary.LittleEndian.Uint64(sealed[8:])
	m := lo&7 + 1
	ctr = bits.ReverseBytes64(bits.RotateLeft64(lo&^t.spill|hi&t.spill, -t.turn)) >> ((64 - 8*m) & 63)
	size = t.size + int(m)
	if (lo^t.lo^ctrExtended)&t.maskExtended|(hi^t.hi)&t.maskHi != 0 || ctr < leastIn[m&15] || size > packable {
		return 0, 0
	}
	return size, ctr
}

// leastIn is the least counter that takes so many bytes behind the config byte.
var leastIn = [16]uint64{1: 8, 2: 1 << 8, 3: 1 << 16, 4: 1 << 24, 5: 1 << 32, 6: 1 << 40, 7: 1 << 48, 8: 1 << 56}

// firstMasks is firstBytes as a table.
var firstMasks = func() (m [32][2]uint64) {
	for n := range packable + 1 {
		m[n][0], m[n][1] = firstBytes(n)
	}
	return m
}()

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
