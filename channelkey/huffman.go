package channelkey

import (
	"encoding/binary"
	"math/bits"
)

// The limits of DEFLATE (RFC 1951).
const (
	maxCodeBits  = 15
	fastBits     = 9
	maxLiterals  = 286
	maxDistances = 30
)

// huffman decodes one canonical prefix code (RFC 1951, Section 3.2.2): codes of up to
// fastBits by one look into a table, longer ones bit by bit.
type huffman struct {
	fast    [1 << fastBits]uint16 // symbol<<6 | length; 0: longer, or no code
	count   [maxCodeBits + 1]uint16
	symbols [288]uint16 // in the order of their codes
}

// build makes the code of the given lengths, one for each symbol, 0 for unused. It
// reports false for a code that is over-subscribed, or incomplete other than one
// code of one bit, or none.
func (h *huffman) build(lengths []uint8) bool {
	used := make([]uint16, 0, 288)
	for symbol, size := range lengths {
		if size != 0 {
			used = append(used, uint16(symbol))
		}
	}
	return h.buildUsed(lengths, used)
}

// buildUsed is build for who knows already which symbols have a length.
func (h *huffman) buildUsed(lengths []uint8, used []uint16) bool {
	h.count = [maxCodeBits + 1]uint16{}
	for _, symbol := range used {
		h.count[lengths[symbol]]++
	}
	var offset [maxCodeBits + 2]uint16
	left := 1
	for n := 1; n <= maxCodeBits; n++ {
		left = left<<1 - int(h.count[n])
		if left < 0 {
			return false
		}
		offset[n+1] = offset[n] + h.count[n]
	}
	if left > 0 && !(len(used) == 0 || len(used) == 1 && h.count[1] == 1) {
		return false
	}
	for _, symbol := range used {
		n := lengths[symbol]
		h.symbols[offset[n]] = symbol
		offset[n]++
	}

	// The table grows by doubling: what a code of n bits stands for is written once,
	// and copied to where it is followed by other bits.
	h.fast[0] = 0
	code, index := 0, 0
	for n := 1; n <= fastBits; n++ {
		copy(h.fast[1<<(n-1):1<<n], h.fast[:1<<(n-1)])
		for range h.count[n] {
			reversed := bits.Reverse16(uint16(code)) >> (16 - n)
			h.fast[reversed] = h.symbols[index]<<6 | uint16(n)
			code++
			index++
		}
		code <<= 1
	}
	return true
}

// bitReader takes bits off the front of a stream, the lowest first.
type bitReader struct {
	src []byte
	at  int
	acc uint64
	n   uint // bits in acc
}

// fill takes bytes in as far as there are any, to at least 48 bits.
func (b *bitReader) fill() {
	if len(b.src)-b.at >= 8 {
		b.acc |= binary.LittleEndian.Uint64(b.src[b.at:]) << b.n
		whole := (64 - b.n) / 8
		b.at += int(whole)
		b.n += 8 * whole
		if b.n < 64 {
			b.acc &= 1<<b.n - 1 // of the next byte nothing is taken yet
		}
		return
	}
	for b.n <= 56 && b.at < len(b.src) {
		b.acc |= uint64(b.src[b.at]) << b.n
		b.at++
		b.n += 8
	}
}

// take returns k bits, at most 16; false at the end of the stream.
func (b *bitReader) take(k uint) (int, bool) {
	if b.n < k {
		if b.fill(); b.n < k {
			return 0, false
		}
	}
	v := int(b.acc & (1<<k - 1))
	b.acc >>= k
	b.n -= k
	return v, true
}

// align gives whole bytes back and drops the rest of the current one.
func (b *bitReader) align() {
	b.at -= int(b.n / 8)
	b.acc, b.n = 0, 0
}

// symbol decodes one symbol; false at the end of the stream and at bits that are no
// code.
func (b *bitReader) symbol(h *huffman) (int, bool) {
	if b.n < maxCodeBits {
		b.fill()
	}
	if e := h.fast[b.acc&(1<<fastBits-1)]; e != 0 {
		n := uint(e & 63)
		if n > b.n {
			return 0, false
		}
		b.acc >>= n
		b.n -= n
		return int(e >> 6), true
	}
	code, first, index := 0, 0, 0
	for n := uint(1); n <= maxCodeBits && n <= b.n; n++ {
		code |= int(b.acc>>(n-1)) & 1
		count := int(h.count[n])
		if code-first < count {
			b.acc >>= n
			b.n -= n
			return int(h.symbols[index+code-first]), true
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, false
}

// fixedLiterals and fixedDistances are the codes of Section 3.2.6. The last two of
// the distances have a code but no meaning.
var fixedLiterals, fixedDistances = func() (l, d *huffman) {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	l, d = new(huffman), new(huffman)
	l.build(lengths[:])
	for i := range 32 {
		lengths[i] = 5
	}
	d.build(lengths[:32])
	return l, d
}()
