package media

// An h264SPSID is a sequence parameter set and its number.
type h264SPSID struct {
	h264SPSet
	id uint32
}

// parseH264SPS reads a sequence parameter set (7.3.2.1.1) from its payload without
// emulation prevention bytes.
func parseH264SPS(b []byte) (s h264SPSID, ok bool) {
	r := bitReader{b: b}
	s.profile, s.compat, s.level = uint8(r.bits(8)), uint8(r.bits(8)), uint8(r.bits(8))
	s.id = r.ue()
	s.chroma = 1
	switch s.profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		if s.chroma = r.ue(); s.chroma == 3 {
			s.separatePlanes = r.flag()
		}
		s.depthLuma, s.depthChroma = r.ue(), r.ue()
		r.bits(1)
		if r.flag() { // seq_scaling_matrix_present_flag
			lists := 8
			if s.chroma == 3 {
				lists = 12
			}
			for i := range lists {
				if r.flag() {
					skipH264ScalingList(&r, i)
				}
			}
		}
	}
	frameNum := r.ue()
	s.pocType = r.ue()
	pocLSB := uint32(0)
	switch s.pocType {
	case 0:
		pocLSB = r.ue()
	case 1:
		s.deltaAlwaysZero = r.flag()
		s.offsetNonRef, s.offsetTopBottom = r.se(), r.se()
		n := r.ue()
		if n > 255 {
			return s, false
		}
		for range n {
			s.offsets = append(s.offsets, r.se())
		}
	}
	s.refFrames = r.ue()
	r.bits(1)
	width, height := uint64(r.ue())+1, uint64(r.ue())+1
	if s.id > 31 || s.chroma > 3 || frameNum > 12 || pocLSB > 12 || s.pocType > 2 || width > 1<<16 || height > 1<<16 {
		return s, false
	}
	s.frameNumBits, s.pocLSBBits = int(frameNum)+4, int(pocLSB)+4
	fields := uint64(1)
	if s.frameMBsOnly = r.flag(); !s.frameMBsOnly {
		fields = 2
		r.bits(1)
	}
	r.bits(1)
	s.width, s.height = 16*width, 16*height*fields
	s.mbs = uint32(width * height * fields)
	if r.flag() { // frame_cropping_flag, in units of chroma samples (7.4.2.1.1)
		x, y := uint64(1), fields
		if s.chroma == 1 || s.chroma == 2 {
			x = 2
		}
		if s.chroma == 1 {
			y *= 2
		}
		s.width = crop(s.width, x*(uint64(r.ue())+uint64(r.ue())))
		s.height = crop(s.height, y*(uint64(r.ue())+uint64(r.ue())))
	}
	s.reorder, s.buffering = -1, -1
	if ok = !r.short; ok && r.flag() {
		s.parseVUI(&r)
	}
	return s, ok
}

// crop returns a size less what is cropped off, the size if nothing would be left.
func crop(size, off uint64) uint64 {
	if off >= size {
		return size
	}
	return size - off
}

// parseVUI reads the timing and the reordering from a VUI (E.1.1); what is cut off
// is not stated.
func (s *h264SPSID) parseVUI(r *bitReader) {
	if r.flag() && r.bits(8) == 255 { // aspect_ratio_idc: Extended_SAR
		r.skip(32)
	}
	if r.flag() { // overscan_info_present_flag
		r.skip(1)
	}
	if r.flag() { // video_signal_type_present_flag
		r.skip(4)
		if r.flag() {
			r.skip(24)
		}
	}
	if r.flag() { // chroma_loc_info_present_flag
		r.ue()
		r.ue()
	}
	if r.flag() { // timing_info_present_flag
		units, scale := r.bits(32), r.bits(32)
		r.skip(1)
		if !r.short && units != 0 && scale != 0 {
			s.rateNum, s.rateDen = uint64(scale), 2*uint64(units) // a tick is a field
		}
	}
	nal := r.flag()
	if nal {
		skipH264HRD(r)
	}
	vcl := r.flag()
	if vcl {
		skipH264HRD(r)
	}
	if nal || vcl {
		r.skip(1)
	}
	r.skip(1)
	if r.flag() { // bitstream_restriction_flag
		r.skip(1)
		for range 4 {
			r.ue()
		}
		reorder, buffering := r.ue(), r.ue()
		if !r.short && reorder <= 16 && buffering <= 16 {
			s.reorder, s.buffering = int(reorder), int(buffering)
		}
	}
}

func skipH264HRD(r *bitReader) {
	n := r.ue()
	r.skip(8)
	for i := uint32(0); i <= n && i < 32; i++ {
		r.ue()
		r.ue()
		r.skip(1)
	}
	r.skip(20)
}

func skipH264ScalingList(r *bitReader, i int) {
	size := 16
	if i >= 6 {
		size = 64
	}
	last, next := int32(8), int32(8)
	for range size {
		if next != 0 {
			next = (last + r.se() + 256) & 255
		}
		if next != 0 {
			last = next
		}
	}
}

// parseH264PPS reads a picture parameter set (7.3.2.2).
func parseH264PPS(b []byte) (id uint32, p h264PPSet, ok bool) {
	r := bitReader{b: b}
	id, p.sps = r.ue(), r.ue()
	r.bits(1)
	p.bottomPOC = r.flag()
	if groups := r.ue(); groups > 0 {
		if groups > 7 {
			return 0, p, false
		}
		switch typ := r.ue(); typ {
		case 0:
			for range groups + 1 {
				r.ue()
			}
		case 2:
			for range 2 * groups {
				r.ue()
			}
		case 3, 4, 5:
			r.bits(1)
			r.ue()
		case 6:
			n := int(r.ue()) + 1
			bits := 3
			if groups+1 <= 2 {
				bits = 1
			} else if groups+1 <= 4 {
				bits = 2
			}
			if n > r.left() {
				return 0, p, false
			}
			r.skip(n * bits)
		}
	}
	r.ue()
	r.ue()
	r.bits(3)
	r.se()
	r.se()
	r.se()
	r.bits(2)
	p.redundantCnt = r.flag()
	return id, p, !r.short && id < 256 && p.sps < 32
}
