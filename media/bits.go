package media

// A bitReader reads bits from the most significant on, and the Exp-Golomb codes
// of H.264 and H.265 (9.1 and 9.2 of the standards). Behind the end it reads
// zeros and sets short.
type bitReader struct {
	b     []byte
	pos   int // bits
	short bool
}

// bits reads n bits, 32 at most.
func (r *bitReader) bits(n int) uint32 {
	var v uint32
	for range n {
		v <<= 1
		if i := r.pos >> 3; i < len(r.b) {
			v |= uint32(r.b[i]>>(7-r.pos&7)) & 1
		} else {
			r.short = true
		}
		r.pos++
	}
	return v
}

// flag reads one bit.
func (r *bitReader) flag() bool { return r.bits(1) == 1 }

// skip passes n bits.
func (r *bitReader) skip(n int) {
	r.pos += n
	if r.pos > 8*len(r.b) {
		r.short = true
		r.pos = 8 * len(r.b)
	}
}

// ue reads an unsigned Exp-Golomb code, below 2^32-1.
func (r *bitReader) ue() uint32 {
	zeros := 0
	for !r.flag() {
		if zeros++; zeros > 31 || r.short {
			r.short = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}

// se reads a signed Exp-Golomb code.
func (r *bitReader) se() int32 {
	v := r.ue()
	if v&1 == 1 {
		return int32(v>>1) + 1
	}
	return -int32(v >> 1)
}

// left reports how many bits have not been read.
func (r *bitReader) left() int { return 8*len(r.b) - r.pos }
