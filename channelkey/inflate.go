package channelkey

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"slices"
	"sync"
)

// The payload of a 007 is a zlib stream (RFC 1950) that comes from outside, is short,
// and is read at every entry. compress/zlib reads streams of any length through an
// io.Reader; here the whole stream and its bounds are known, which makes reading it
// two to three times as fast and tells exactly where it ends.

var (
	errStream = errors.New("zlib stream is cut or damaged")
	errHeader = errors.New("no zlib stream")
	errTooBig = errors.New("zlib stream inflates to more than is allowed")
)

// inflater is the scratch memory of one decompression.
type inflater struct {
	bits                bitReader
	out                 []byte
	start, max          int // of the stream in out
	literals, distances huffman
	lengths             [maxLiterals + maxDistances]uint8      // of codes, as far as they are used
	used                [maxLiterals + maxDistances + 1]uint16 // the symbols that have a code
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// inflate appends what a zlib stream holds to dst, at most max bytes, and returns
// how many bytes of src the stream takes. The stream must be complete, with the
// right checksum at its end.
func inflate(dst, src []byte, max int) (out []byte, n int, err error) {
	if len(src) < 2 || src[0]&15 != 8 || src[0]>>4 > 7 || binary.BigEndian.Uint16(src)%31 != 0 || src[1]&0x20 != 0 {
		return dst, 0, errHeader // not DEFLATE, or with a dictionary
	}
	f := inflaters.Get().(*inflater)
	f.bits, f.out = bitReader{src: src, at: 2}, dst
	f.start, f.max = len(dst), len(dst)+max
	for last := false; err == nil && !last; {
		last, err = f.block()
	}
	f.bits.align()
	out, n = f.out, f.bits.at
	f.bits, f.out = bitReader{}, nil
	inflaters.Put(f)
	switch {
	case err != nil:
		return out, n, err
	case len(src)-n < 4:
		return out, len(src), errStream
	case binary.BigEndian.Uint32(src[n:]) != adler32.Checksum(out[len(dst):]):
		return out, n, errStream
	}
	return out, n + 4, nil
}

// block reads one block (RFC 1951, Section 3.2.3).
func (f *inflater) block() (last bool, err error) {
	head, ok := f.bits.take(3)
	if !ok {
		return false, errStream
	}
	last = head&1 == 1
	switch head >> 1 {
	case 0:
		return last, f.stored()
	case 1:
		return last, f.compressed(fixedLiterals, fixedDistances)
	case 2:
		if !f.codes() {
			return false, errStream
		}
		return last, f.compressed(&f.literals, &f.distances)
	}
	return false, errStream
}

// stored copies a block that is not compressed (Section 3.2.4).
func (f *inflater) stored() error {
	f.bits.align()
	b := f.bits.src[f.bits.at:]
	if len(b) < 4 {
		return errStream
	}
	n := int(binary.LittleEndian.Uint16(b))
	switch {
	case n != int(^binary.LittleEndian.Uint16(b[2:])) || len(b) < 4+n:
		return errStream
	case len(f.out)+n > f.max:
		return errTooBig
	}
	f.out = append(f.out, b[4:4+n]...)
	f.bits.at += 4 + n
	return nil
}

// codeOrder is the order in which the lengths of the code for lengths come.
var codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// codes reads the codes of a block that brings its own (Section 3.2.7).
func (f *inflater) codes() bool {
	head, ok := f.bits.take(14)
	literals, distances, n := head&31+257, head>>5&31+1, head>>10+4
	if !ok || literals > maxLiterals || distances > maxDistances {
		return false
	}
	var first [19]uint8
	for _, symbol := range codeOrder[:n] {
		v, ok := f.bits.take(3)
		if !ok {
			return false
		}
		first[symbol] = uint8(v)
	}
	m := 0
	for symbol, size := range first {
		if f.used[m] = uint16(symbol); size != 0 {
			m++
		}
	}
	if !f.literals.buildUsed(first[:], f.used[:m]) {
		return false
	}
	used, literalsUsed := 0, -1 // how many lengths are not 0, in all and of literals
	acc, have := f.bits.acc, f.bits.n
	table := &f.literals.fast
	before := uint16(0) // the length before
	for i := 0; i < literals+distances; {
		// A code for lengths has at most 7 bits, so the table holds all of it, and at
		// most 7 more follow.
		if have < 16 {
			f.bits.acc, f.bits.n = acc, have
			f.bits.fill()
			acc, have = f.bits.acc, f.bits.n
		}
		e := table[acc&(1<<fastBits-1)]
		symbol, size := e>>6, uint(e&63)
		if size == 0 || size > have {
			return false
		}
		acc >>= size
		have -= size
		if i >= literals && literalsUsed < 0 {
			literalsUsed = used
		}
		if symbol < 16 {
			f.lengths[i] = uint8(symbol)
			if f.used[used] = uint16(i); symbol != 0 {
				used++
			}
			before = symbol
			i++
			continue
		}
		value, base, extra := uint16(0), 3, uint(3) // a value of at most 15
		switch symbol {
		case 16:
			if i == 0 {
				return false
			}
			value, extra = before, 2
		case 18:
			base, extra = 11, 7
		}
		repeat := base + int(acc&(1<<extra-1))
		if extra > have || i+repeat > literals+distances {
			return false
		}
		acc >>= extra
		have -= extra
		if before = value; value == 0 {
			i += repeat
			continue
		}
		for range repeat {
			if i == literals && literalsUsed < 0 {
				literalsUsed = used
			}
			f.lengths[i], f.used[used] = uint8(value), uint16(i)
			used++
			i++
		}
	}
	f.bits.acc, f.bits.n = acc, have
	if literalsUsed < 0 { // no distance has a length
		literalsUsed = used
	}
	for n := range f.used[literalsUsed:used] {
		f.used[literalsUsed+n] -= uint16(literals)
	}
	_, ends := slices.BinarySearch(f.used[:literalsUsed], 256)
	return ends && // without an end it would never end
		f.literals.buildUsed(f.lengths[:literals], f.used[:literalsUsed]) &&
		f.distances.buildUsed(f.lengths[literals:literals+distances], f.used[literalsUsed:used])
}

// What a length or distance symbol stands for (Section 3.2.5).
var (
	lengthBase    = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra   = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase  = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// maxCopy is the longest copy of DEFLATE, in bytes.
const maxCopy = 258

// isLiteral reports that an entry of a table is there and its symbol is below 256.
func isLiteral(e uint16) bool { return e-1 < 256<<6-1 }

// fast reads symbols with the bits in registers, as long as the next eight bytes of the
// stream are there, the longest copy fits, and codes are short. It stops before anything
// else, which it leaves to compressed, and reports whether the block has ended.
func (f *inflater) fast(literals, distances *huffman) (end bool) {
	const mask = 1<<fastBits - 1
	src, at, acc, n := f.bits.src, f.bits.at, f.bits.acc, f.bits.n
	out, pos := f.out[:cap(f.out)], len(f.out)
	limit := min(len(out)-8, f.max) - maxCopy - 2 // two literals before the copy
	for pos <= limit && len(src)-at >= 8 {
		if n < 56 { // the bits above n may be there already: they are the same
			acc |= binary.LittleEndian.Uint64(src[at:]) << n
			at += int((63 - n) >> 3)
			n |= 56
		}
		// Two literals of at most 9 bits leave enough for a copy.
		e := literals.fast[acc&mask]
		if isLiteral(e) {
			out[pos] = byte(e >> 6)
			pos++
			acc >>= e & 63
			n -= uint(e & 63)
			if e = literals.fast[acc&mask]; isLiteral(e) {
				out[pos] = byte(e >> 6)
				pos++
				acc >>= e & 63
				n -= uint(e & 63)
				if e = literals.fast[acc&mask]; isLiteral(e) {
					out[pos] = byte(e >> 6)
					pos++
					acc >>= e & 63
					n -= uint(e & 63)
					continue
				}
			}
		}
		// A copy takes at most 9+5+9+13 bits.
		a, left := acc>>(e&63), n-uint(e&63)
		symbol := int(e>>6) - 257
		if e == 0 || symbol >= len(lengthBase) {
			break
		}
		if symbol < 0 {
			acc, n, end = a, left, true
			break
		}
		extra := uint(lengthExtra[symbol])
		length := int(lengthBase[symbol]) + int(a&(1<<extra-1))
		a >>= extra
		left -= extra
		d := distances.fast[a&mask]
		a >>= d & 63
		left -= uint(d & 63)
		if d == 0 || int(d>>6) >= len(distanceBase) {
			break
		}
		extra = uint(distanceExtra[d>>6])
		distance := int(distanceBase[d>>6]) + int(a&(1<<extra-1))
		a >>= extra
		left -= extra
		from := pos - distance
		if from < f.start {
			break
		}
		if distance >= 8 { // by eights, the last of which may be too many
			for i := 0; i < length; i += 8 {
				binary.LittleEndian.PutUint64(out[pos+i:], binary.LittleEndian.Uint64(out[from+i:]))
			}
		} else {
			for i := range length {
				out[pos+i] = out[from+i]
			}
		}
		pos += length
		acc, n = a, left
	}
	f.bits.at, f.bits.n, f.bits.acc = at, n, acc
	if n < 64 {
		f.bits.acc &= 1<<n - 1
	}
	f.out = out[:pos]
	return end
}

// compressed reads literals and copies up to the end of the block.
func (f *inflater) compressed(literals, distances *huffman) error {
	for {
		// 1. As long as nothing can go wrong on the way.
		if f.fast(literals, distances) {
			return nil
		}

		// 2. One symbol with all checks.
		symbol, ok := f.bits.symbol(literals)
		switch {
		case !ok:
			return errStream
		case symbol < 256:
			if len(f.out) >= f.max {
				return errTooBig
			}
			f.out = append(f.out, byte(symbol))
			continue
		case symbol == 256:
			return nil
		case symbol-257 >= len(lengthBase):
			return errStream
		}
		extra, ok := f.bits.take(uint(lengthExtra[symbol-257]))
		length := int(lengthBase[symbol-257]) + extra
		if !ok {
			return errStream
		}
		if symbol, ok = f.bits.symbol(distances); !ok || symbol >= len(distanceBase) {
			return errStream
		}
		extra, ok = f.bits.take(uint(distanceExtra[symbol]))
		distance := int(distanceBase[symbol]) + extra
		from := len(f.out) - distance
		switch {
		case !ok || from < f.start:
			return errStream
		case len(f.out)+length > f.max:
			return errTooBig
		}
		for length > 0 { // the copy may run into what it writes
			n := min(length, distance)
			f.out = append(f.out, f.out[from:from+n]...)
			from += n
			length -= n
		}
	}
}

// inflate007 puts the payload of a 007 into w.plain. It stops at MaxPayload, and
// refuses a stream without its end and checksum, and bytes behind it.
func (w *work) inflate007(token string) error {
	if err := w.decode64(V007, token, len(prefix007)); err != nil {
		return err
	}
	var n int
	var err error
	w.plain, n, err = inflate(slices.Grow(w.plain[:0], 1024), w.payload, MaxPayload)
	at := min(len(prefix007)+n/3*4, len(token)) // to the group of four characters
	switch {
	case err == errHeader:
		return malformed(V007, at, "what it holds is not zlib")
	case err == errTooBig:
		return malformedPayload(V007, MaxPayload, "it inflates to more than 64 KiB")
	case err != nil:
		return malformed(V007, at, "the zlib stream is cut or damaged")
	case n < len(w.payload):
		return malformed(V007, at, "there are bytes behind the zlib stream")
	}
	return nil
}

// payload007 returns the payload of a 007.
func payload007(token string) (string, error) {
	var w work
	err := w.inflate007(token)
	return string(w.plain), err
}

// deflater is a zlib writer that is used again and again: a new one takes most of
// a megabyte.
type deflater struct {
	z   *zlib.Writer
	out bytes.Buffer
}

var deflaters = sync.Pool{New: func() any { return &deflater{z: zlib.NewWriter(nil)} }}

// deflate returns the parts, one after the other, as a zlib stream.
func deflate(parts ...[]byte) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out.Reset()
	d.z.Reset(&d.out)
	for _, p := range parts {
		d.z.Write(p) // a bytes.Buffer takes everything
	}
	d.z.Close()
	return bytes.Clone(d.out.Bytes())
}
