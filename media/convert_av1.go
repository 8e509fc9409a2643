package media

// av1Frames are AV1 temporal units: in Matroska without temporal delimiters, and
// with the sequence header in CodecPrivate (AV1 Codec Mapping in Matroska).
type av1Frames struct {
	config []byte
	data   []byte
}

func (a *av1Frames) element([]byte) error          { return nil }
func (a *av1Frames) flush(func(*Item) error) error { return nil }

func (a *av1Frames) private() ([]byte, error) {
	if a.config == nil {
		return nil, unconvertible(FormatIVF, "AV1 without a sequence header in its first temporal unit")
	}
	return a.config, nil
}

func (a *av1Frames) frame(item *Item, emit func(*Item) error) error {
	if len(item.Data) < ivfTimestamp {
		return errNotOurs(FormatIVF)
	}
	a.data = a.data[:0]
	for b := item.Data[ivfTimestamp:]; len(b) > 0; {
		obu, body, rest, ok := splitOBU(b)
		if !ok {
			return unconvertible(FormatIVF, "AV1 temporal unit that does not consist of OBUs")
		}
		switch typ := obu[0] >> 3 & 15; {
		case typ == 2: // OBU_TEMPORAL_DELIMITER
			b = rest
			continue
		case typ == 1 && a.config == nil:
			if a.config = av1Config(body); a.config == nil {
				return unconvertible(FormatIVF, "AV1 sequence header that cannot be read")
			}
			a.config = appendOBU(a.config, obu, body)
		}
		a.data = appendOBU(a.data, obu, body)
		b = rest
	}
	i := *item
	i.Data = a.data
	return emit(&i)
}

// splitOBU takes the first OBU off b; obu is all of it, body what is behind its
// header and size.
func splitOBU(b []byte) (obu, body, rest []byte, ok bool) {
	head := 1
	if b[0]&4 != 0 { // obu_extension_flag
		head = 2
	}
	if len(b) < head {
		return nil, nil, nil, false
	}
	if b[0]&2 == 0 { // no obu_has_size_field: the last one
		return b, b[head:], nil, true
	}
	n, width := leb128(b[head:])
	if width == 0 || n > uint64(len(b)-head-width) {
		return nil, nil, nil, false
	}
	end := head + width + int(n)
	return b[:end], b[head+width : end], b[end:], true
}

// appendOBU appends an OBU, with a size field in any case.
func appendOBU(b, obu, body []byte) []byte {
	b = append(b, obu[0]|2)
	if obu[0]&4 != 0 {
		b = append(b, obu[1])
	}
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(append(b, byte(n)), body...)
}

// av1Config returns the AV1CodecConfigurationRecord of a sequence header without
// its OBUs (AV1 Codec ISO Media File Format Binding, Section 2.3.3), nil if the
// header cannot be read (AV1 bitstream specification, Section 5.5).
func av1Config(body []byte) []byte {
	r := bitReader{b: body}
	profile := r.bits(3)
	r.bits(1)
	reduced := r.flag()
	level, tier := uint32(0), uint32(0)
	if reduced {
		level = r.bits(5)
	} else {
		level, tier = av1OperatingPoints(&r)
	}
	w, h := int(r.bits(4))+1, int(r.bits(4))+1
	r.skip(w + h)
	if !reduced && r.flag() { // frame_id_numbers_present_flag
		r.skip(7)
	}
	r.skip(3)
	if !reduced {
		r.skip(4)
		order := r.flag() // enable_order_hint
		if order {
			r.skip(2)
		}
		screen := true
		if !r.flag() { // seq_choose_screen_content_tools
			screen = r.flag()
		}
		if screen && !r.flag() { // seq_choose_integer_mv
			r.skip(1)
		}
		if order {
			r.skip(3)
		}
	}
	r.skip(3)
	c := av1Color(&r, profile)
	if r.short {
		return nil
	}
	return []byte{0x81, byte(profile<<5 | level), byte(tier<<7) | c, 0}
}

// av1OperatingPoints reads up to the operating points and returns the level and
// tier of the first.
func av1OperatingPoints(r *bitReader) (level, tier uint32) {
	model, delay := false, 0
	if r.flag() { // timing_info_present_flag
		r.skip(64)
		if r.flag() { // equal_picture_interval
			r.ue()
		}
		if model = r.flag(); model { // decoder_model_info_present_flag
			delay = int(r.bits(5)) + 1
			r.skip(42)
		}
	}
	display := r.flag() // initial_display_delay_present_flag
	points := r.bits(5) + 1
	for i := range points {
		r.skip(12)
		l, t := r.bits(5), uint32(0)
		if l > 7 {
			t = r.bits(1)
		}
		if i == 0 {
			level, tier = l, t
		}
		if model && r.flag() {
			r.skip(2*delay + 1)
		}
		if display && r.flag() {
			r.skip(4)
		}
	}
	return level, tier
}

// av1Color reads color_config and returns it as the configuration record has it:
// high_bitdepth, twelve_bit, monochrome, chroma_subsampling_x and y,
// chroma_sample_position (2 bits), from bit 6 on.
func av1Color(r *bitReader, profile uint32) byte {
	high, twelve, mono := r.bits(1), uint32(0), uint32(0)
	if profile == 2 && high == 1 {
		twelve = r.bits(1)
	}
	if profile != 1 {
		mono = r.bits(1)
	}
	primaries, transfer, matrix := uint32(2), uint32(2), uint32(2)
	if r.flag() { // color_description_present_flag
		primaries, transfer, matrix = r.bits(8), r.bits(8), r.bits(8)
	}
	x, y, position := uint32(1), uint32(1), uint32(0)
	switch {
	case mono == 1:
		r.skip(1)
	case primaries == 1 && transfer == 13 && matrix == 0: // sRGB
		x, y = 0, 0
	default:
		r.skip(1)
		switch {
		case profile == 1:
			x, y = 0, 0
		case profile == 2 && twelve == 0:
			y = 0
		case profile == 2:
			if x = r.bits(1); x == 1 {
				y = r.bits(1)
			} else {
				y = 0
			}
		}
		if x == 1 && y == 1 {
			position = r.bits(2)
		}
	}
	return byte(high<<6 | twelve<<5 | mono<<4 | x<<3 | y<<2 | position)
}
