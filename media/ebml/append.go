package ebml

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
)

// SizeLen returns the bytes of the shortest size field that can state n bytes,
// 1 to 8. A size of all ones means unknown and so needs one byte more.
func SizeLen(n int64) int {
	w := 1
	for w < 8 && uint64(n) >= 1<<(7*w)-1 {
		w++
	}
	return w
}

// AppendID appends an ID as it stands in the file.
func AppendID(b []byte, id ID) []byte {
	for i := id.Len() - 1; i >= 0; i-- {
		b = append(b, byte(id>>(8*i)))
	}
	return b
}

// AppendSize appends a size field of width bytes, or the shortest if width is 0.
// It panics if n is negative, above MaxSize or does not fit.
func AppendSize(b []byte, n int64, width int) []byte {
	if width == 0 {
		width = SizeLen(n)
	}
	if n < 0 || n > MaxSize || width < SizeLen(n) || width > 8 {
		panic("ebml: size does not fit its field")
	}
	return appendVint(b, uint64(n), width)
}

// AppendUnknownSize appends a size field of width bytes, 1 to 8, that says that
// the size is unknown.
func AppendUnknownSize(b []byte, width int) []byte {
	if width < 1 || width > 8 {
		panic("ebml: size field of impossible width")
	}
	return appendVint(b, 1<<(7*width)-1, width)
}

func appendVint(b []byte, v uint64, width int) []byte {
	v |= 1 << (7 * width)
	for i := width - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// AppendVint appends v as a variable size integer in the shortest form that is
// not all ones. It panics above MaxSize.
func AppendVint(b []byte, v uint64) []byte {
	if v > MaxSize {
		panic("ebml: value does not fit a variable size integer")
	}
	return appendVint(b, v, SizeLen(int64(v)))
}

// AppendHeader appends the header of an element with size bytes of body.
func AppendHeader(b []byte, id ID, size int64) []byte {
	return AppendSize(AppendID(b, id), size, 0)
}

// AppendBytes appends a binary element, or a master whose body is written already.
func AppendBytes(b []byte, id ID, body []byte) []byte {
	return append(AppendHeader(b, id, int64(len(body))), body...)
}

// AppendString appends a string element.
func AppendString(b []byte, id ID, s string) []byte {
	return append(AppendHeader(b, id, int64(len(s))), s...)
}

// AppendUint appends an unsigned integer element in the fewest bytes, 1 to 8.
func AppendUint(b []byte, id ID, v uint64) []byte {
	n := max(1, (bits.Len64(v)+7)/8)
	b = AppendHeader(b, id, int64(n))
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// AppendInt appends a signed integer element in the fewest bytes, 1 to 8.
func AppendInt(b []byte, id ID, v int64) []byte {
	n := bits.Len64(uint64(v^v>>63))/8 + 1 // magnitude and sign bit
	b = AppendHeader(b, id, int64(n))
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// AppendFloat appends a float element of 8 bytes.
func AppendFloat(b []byte, id ID, v float64) []byte {
	return binary.BigEndian.AppendUint64(AppendHeader(b, id, 8), math.Float64bits(v))
}

// AppendVoid appends a Void element that takes total bytes, header included. It
// panics if total is below 2.
func AppendVoid(b []byte, total int) []byte {
	if total < 2 {
		panic("ebml: a Void element takes 2 bytes at least")
	}
	width := 1
	if total > 2+126 {
		width = 8
	}
	b = AppendSize(AppendID(b, IDVoid), int64(total-1-width), width)
	return append(b, make([]byte, total-1-width)...)
}

// AppendMasterCRC appends a master with a CRC-32 element in front of its body.
func AppendMasterCRC(b []byte, id ID, body []byte) []byte {
	b = AppendHeader(b, id, int64(len(body)+6))
	b = AppendHeader(b, IDCRC32, 4)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(body))
	return append(b, body...)
}
