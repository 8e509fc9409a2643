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

// findSequence finds the last element that may be a sequence number: where its content
// is in head, and of how many bytes of the element that is the first. In a header that is
// not well formed that can only be the last word.
func findSequence(head []byte) (at, front int) {
	begin := headerMin + 4*int(head[0]&15)
	if head[0]&0x10 == 0 || len(head) < begin+8 {
		return 0, 0
	}
	profile := binary.BigEndian.Uint16(head[begin:])
	one := profile == oneByteProfile
	if !one && profile&0xFFF0 != twoByteProfile {
		return 0, 0
	}
	i := begin + 4
	for i < len(head) {
		if head[i] == 0 { // padding
			i++
			continue
		}
		id, n, lead := head[i]>>4, int(head[i]&15)+1, 1
		if !one {
			if i+1 == len(head) {
				break
			}
			id, n, lead = head[i], int(head[i+1]), 2
		} else if id == 15 || id == 0 { // what follows is not to be read
			break
		}
		if id == SequenceID && n == 2 {
			at, front = i+lead, lead
		}
		i += lead + n
	}
	if i == len(head) {
		return at, front
	}
	end := head[len(head)-4:]
	switch {
	case one && end[0] == SequenceID<<4|1 && end[3] == 0:
		return len(head) - 3, 1
	case !one && end[0] == SequenceID && end[1] == 2:
		return len(head) - 2, 2
	}
	return 0, 0
}

// appended reports that the element that appendSequence put into a header is the one that
// is found: what stands before it may not be well formed, and swallow it.
func appended(head []byte) bool {
	at, front := findSequence(head)
	return at != 0 && at-front == len(head)-4
}

// cutSequence appends an RTP header to dst without the element that appendSequence put
// into it, and returns the sequence number; ok is false if there is none, and the header
// is appended as it is. Where others moved the element, padding takes its place.
func cutSequence(dst, head []byte) (out []byte, seq uint16, ok bool) {
	found, front := findSequence(head)
	if found == 0 {
		return append(dst, head...), 0, false
	}
	at := headerMin + 4*int(head[0]&15)
	words := binary.BigEndian.Uint16(head[at+2:])
	seq = binary.BigEndian.Uint16(head[found:])
	n := len(dst)
	own := found-front == len(head)-4 // in the last word, alone
	if front == 1 {
		own = own && head[len(head)-1] == 0
	}
	switch {
	case own && words == 1:
		dst = append(dst, head[:at]...)
		dst[n] &^= 0x10
	case own:
		dst = append(dst, head[:len(head)-4]...)
		binary.BigEndian.PutUint16(dst[n+at+2:], words-1)
	default:
		dst = append(dst, head...)
		clear(dst[n+found-front : n+found+2])
	}
	return dst, seq, true
}
