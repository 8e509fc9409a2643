package ebml

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// Uint reads the body of an unsigned integer element, 0 to 8 bytes
// (RFC 8794, Section 7.2). No bytes mean 0.
func Uint(body []byte) (uint64, error) {
	if len(body) > 8 {
		return 0, malformed(0, "integer of %d bytes", len(body))
	}
	var v uint64
	for _, c := range body {
		v = v<<8 | uint64(c)
	}
	return v, nil
}

// Int reads the body of a signed integer element, 0 to 8 bytes in two's
// complement (RFC 8794, Section 7.1). No bytes mean 0.
func Int(body []byte) (int64, error) {
	u, err := Uint(body)
	if err != nil || len(body) == 0 {
		return 0, err
	}
	shift := 64 - 8*len(body)
	return int64(u<<shift) >> shift, nil
}

// Float reads the body of a float element, 0, 4 or 8 bytes (RFC 8794, Section
// 7.3). No bytes mean 0.
func Float(body []byte) (float64, error) {
	switch len(body) {
	case 0:
		return 0, nil
	case 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(body))), nil
	case 8:
		return math.Float64frombits(binary.BigEndian.Uint64(body)), nil
	}
	return 0, malformed(0, "float of %d bytes", len(body))
}

// String reads the body of a string element: what stands in front of the first
// zero byte (RFC 8794, Section 7.4).
func String(body []byte) string {
	for i, c := range body {
		if c == 0 {
			return string(body[:i])
		}
	}
	return string(body)
}

// CheckCRC checks the body of a master against the CRC-32 element at its start
// (RFC 8794, Section 11.3.1). A body without one passes. A body that does not
// begin with an element passes too: that is for its parser to say.
func CheckCRC(body []byte) error {
	h, sum, rest, err := Split(body)
	if err != nil || h.ID != IDCRC32 {
		return nil
	}
	if len(sum) != 4 {
		return malformed(0, "CRC-32 element of %d bytes", len(sum))
	}
	if binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(rest) {
		return malformed(0, "CRC-32 does not match the element it is in")
	}
	return nil
}
