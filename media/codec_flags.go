package media

// What the first bytes of a frame say about it, for containers that do not say it
// themselves. Frames too short to tell have no flags.

// vp8Flags reads a VP8 frame tag (RFC 6386, Section 9.1).
func vp8Flags(b []byte) Flags {
	if len(b) < 3 {
		return 0
	}
	var f Flags
	if b[0]&1 == 0 {
		f |= FlagKey
	}
	if b[0]&0x10 == 0 { // show_frame
		f |= FlagInvisible
	}
	return f
}

// vp9Flags reads the uncompressed header of a VP9 frame, of a superframe the
// first one's (VP9 bitstream specification, Section 6.2).
func vp9Flags(b []byte) Flags {
	r := bitReader{b: b}
	if r.bits(2) != 2 { // frame_marker
		return 0
	}
	if profile := r.bits(1) | r.bits(1)<<1; profile == 3 {
		r.bits(1)
	}
	if r.bits(1) == 1 { // show_existing_frame
		return 0
	}
	if r.bits(1) == 0 && !r.short { // frame_type
		return FlagKey
	}
	return 0
}

// av1Flags walks the OBUs of an AV1 temporal unit up to the first frame header
// (AV1 bitstream specification, Section 5.3 and 5.9). A key frame is one that comes
// with a sequence header, so that decoding can begin there.
func av1Flags(b []byte) Flags {
	sequence, still := false, false
	for len(b) > 0 {
		typ := b[0] >> 3 & 15
		head := 1
		if b[0]&4 != 0 { // obu_extension_flag
			head = 2
		}
		if len(b) < head {
			return 0
		}
		body := b[head:]
		if b[0]&2 != 0 { // obu_has_size_field
			n, width := leb128(body)
			if width == 0 || n > uint64(len(body)-width) {
				return 0
			}
			b = body[width+int(n):]
			body = body[width : width+int(n)]
		} else {
			b = nil
		}
		r := bitReader{b: body}
		switch typ {
		case 1: // OBU_SEQUENCE_HEADER: seq_profile, still_picture, reduced_still_picture_header
			sequence, still = true, r.bits(5)&1 == 1
		case 3, 6: // OBU_FRAME_HEADER, OBU_FRAME: show_existing_frame, frame_type
			if sequence && (still || r.bits(3) == 0) && !r.short {
				return FlagKey
			}
			return 0
		}
	}
	return 0
}

// leb128 reads AV1's variable length integer; width 0 says that there is none.
func leb128(b []byte) (v uint64, width int) {
	for i := 0; i < 8 && i < len(b); i++ {
		v |= uint64(b[i]&0x7F) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
