package media

// vorbisSpanner knows the lengths of Vorbis packets (Vorbis I specification, Section
// 4.3.8): a quarter of the two blocks that overlap, of which each is long or short by
// the packet's mode. private holds the three headers, laced (RFC 9559, Section 5.1.4.1.22,
// and the codec mappings). It returns nil if they make no sense.
func vorbisSpanner(private []byte) spanner {
	ident, setup, ok := vorbisHeaders(private)
	if !ok {
		return nil
	}
	long := vorbisModes(setup)
	if len(long) == 0 {
		return nil
	}
	rate := float64(uint32(ident[12]) | uint32(ident[13])<<8 | uint32(ident[14])<<16 | uint32(ident[15])<<24)
	blocks := map[bool]float64{false: float64(int(1) << (ident[28] & 15)), true: float64(int(1) << (ident[28] >> 4))}
	width := 0 // of a mode number, in bits
	for 1<<width < len(long) {
		width++
	}
	before := blocks[long[0]]
	return func(packet []byte) int64 {
		if len(packet) == 0 || packet[0]&1 != 0 {
			return 0 // a header, or nothing
		}
		mode := int(packet[0]>>1) & (1<<width - 1)
		if mode >= len(long) {
			return 0
		}
		if long[mode] { // says itself what came before
			before = blocks[packet[0]>>(1+width)&1 != 0]
		}
		samples := (before + blocks[long[mode]]) / 4
		before = blocks[long[mode]]
		return span(samples, rate)
	}
}

// vorbisHeaders takes the identification and the setup header out of a CodecPrivate.
func vorbisHeaders(private []byte) (ident, setup []byte, ok bool) {
	if len(private) == 0 || private[0] != 2 || checkLacing(private, blockLacingXiph) != "" {
		return nil, nil, false
	}
	n := 0
	eachLaced(private, blockLacingXiph, func(header []byte) {
		switch n++; n {
		case 1:
			ident = header
		case 3:
			setup = header
		}
	})
	ok = len(ident) >= 30 && string(ident[:7]) == "\x01vorbis" && len(setup) > 7 && string(setup[:7]) == "\x05vorbis"
	return ident, setup, ok
}

// vorbisModes tells which modes have the long block. They end the setup header: a count
// less one in 6 bits, then 41 bits a mode, of which the first is the answer, 32 are zero
// and 8 name a mapping, of 64 at most; then a bit that is set. What is in front of them
// is long to read, so that they are read from the end, until a count fits.
func vorbisModes(setup []byte) (long []bool) {
	at := 8*len(setup) - 1
	bit := func(i int) int { return int(setup[i>>3]>>(i&7)) & 1 } // least significant first
	number := func(from, n int) (v int) {
		for i := range n {
			v |= bit(from+i) << i
		}
		return v
	}
	const header, mode = 7 * 8, 41
	for at >= header && bit(at) == 0 {
		at--
	}
	found := 0
	for n := 1; n <= 64; n++ {
		from := at - n*mode
		if from < header+6 || number(from+1, 32) != 0 || number(from+33, 8) > 63 {
			break
		}
		if number(from-6, 6)+1 == n {
			found = n // the longest that fits
		}
	}
	for i := range found {
		long = append(long, bit(at-(found-i)*mode) == 1)
	}
	return long
}
