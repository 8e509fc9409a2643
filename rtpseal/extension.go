package rtpseal

import "encoding/binary"

// A stream whose packets had to be cut in pieces has new sequence numbers. Each unit's
// first packet then has the one that its payload came with in a header extension
// (RFC 8285), from which an Opening restores it, whatever was lost on the way. It is as
// much in clear as the sequence number itself.

// SequenceID is the number of that extension's element.
const SequenceID = 14

const (
	oneByteProfile = 0xBEDE
	twoByteProfile = 0x1000 // the low 4 bits are the application's
)

// appendSequence appends a packet's RTP header with the element added. It reports false
// if the header has an extension of another kind.
func appendSequence(dst, head []byte, seq uint16) ([]byte, bool) {
	at := headerMin + 4*int(head[0]&15)
	if head[0]&0x10 == 0 {
		n := len(dst)
		dst = append(dst, head[:at]...)
		dst[n] |= 0x10
		return append(dst, 0xBE, 0xDE, 0, 1, SequenceID<<4|1, byte(seq>>8), byte(seq), 0), true
	}
	profile, words := binary.BigEndian.Uint16(head[at:]), binary.BigEndian.Uint16(head[at+2:])
	if profile != oneByteProfile && profile&0xFFF0 != twoByteProfile || words == 1<<16-1 {
		return dst, false
	}
	n := len(dst)
	dst = append(dst, head...)
	binary.BigEndian.PutUint16(dst[n+at+2:], words+1)
	if profile == oneByteProfile {
		return append(dst, SequenceID<<4|1, byte(seq>>8), byte(seq), 0), true
	}
	return append(dst, SequenceID, 2, byte(seq>>8), byte(seq)), true
}

// cutSequence appends an RTP header to dst without the element that appendSequence put
// at its end, and returns the sequence number; ok is false if there is none, and the
// header is appended as it is.
func cutSequence(dst, head []byte) (out []byte, seq uint16, ok bool) {
	at := headerMin + 4*int(head[0]&15)
	if head[0]&0x10 == 0 || len(head) < at+8 {
		return append(dst, head...), 0, false
	}
	profile, words := binary.BigEndian.Uint16(head[at:]), binary.BigEndian.Uint16(head[at+2:])
	end := head[len(head)-4:]
	switch {
	case profile == oneByteProfile && end[0] == SequenceID<<4|1 && end[3] == 0:
		seq = binary.BigEndian.Uint16(end[1:])
	case profile&0xFFF0 == twoByteProfile && end[0] == SequenceID && end[1] == 2:
		seq = binary.BigEndian.Uint16(end[2:])
	default:
		return append(dst, head...), 0, false
	}
	n := len(dst)
	if words == 1 {
		dst = append(dst, head[:at]...)
		dst[n] &^= 0x10
		return dst, seq, true
	}
	dst = append(dst, head[:len(head)-4]...)
	binary.BigEndian.PutUint16(dst[n+at+2:], words-1)
	return dst, seq, true
}
