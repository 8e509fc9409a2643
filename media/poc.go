package media

// h264POC works out picture order counts (H.264, 8.2.1).
type h264POC struct {
	msb, lsb         int64 // of the previous reference picture
	frameNum, offset int64 // of the previous picture
}

func (p *h264POC) next(h *h264Header) place {
	idr := h.nalType == h264IDR
	if idr {
		*p = h264POC{}
	}
	s := h.sps
	if s.pocType == 0 {
		size := int64(1) << s.pocLSBBits
		lsb, msb := int64(h.pocLSB), p.msb
		switch {
		case lsb < p.lsb && p.lsb-lsb >= size/2:
			msb += size
		case lsb > p.lsb && lsb-p.lsb > size/2:
			msb -= size
		}
		if h.refIDC != 0 {
			p.msb, p.lsb = msb, lsb
		}
		return place{idr, msb + lsb + min(0, int64(h.deltaBottom))}
	}
	if !idr && p.frameNum > int64(h.frameNum) {
		p.offset += 1 << s.frameNumBits
	}
	p.frameNum = int64(h.frameNum)
	num := p.offset + p.frameNum
	if s.pocType == 2 {
		if h.refIDC == 0 {
			return place{idr, 2*num - 1}
		}
		return place{idr, 2 * num}
	}
	return place{idr, h264POCType1(h, num)}
}

// h264POCType1 is 8.2.1.2.
func h264POCType1(h *h264Header, num int64) int64 {
	s := h.sps
	if len(s.offsets) == 0 {
		num = 0
	}
	if h.refIDC == 0 && num > 0 {
		num--
	}
	poc := int64(0)
	if n := int64(len(s.offsets)); num > 0 {
		for _, o := range s.offsets {
			poc += int64(o)
		}
		poc *= (num - 1) / n
		for _, o := range s.offsets[:(num-1)%n+1] {
			poc += int64(o)
		}
	}
	if h.refIDC == 0 {
		poc += int64(s.offsetNonRef)
	}
	top := poc + int64(h.delta[0])
	return min(top, top+int64(s.offsetTopBottom)+int64(h.delta[1]))
}

// h265POC works out picture order counts (H.265, 8.3.1).
type h265POC struct {
	sps      [16]*h265SPSet
	pps      [64]*h265PPSet
	msb, lsb int64 // of the previous picture of the lowest temporal sub-layer that others may use
	ended    bool  // an end of sequence came before
	begun    bool
	found    bool // the access unit's first slice was read
	at       place
}

// An h265PPSet is a picture parameter set (7.3.2.3), as far as it is needed.
type h265PPSet struct {
	sps           uint32
	outputPresent bool
	extraBits     int
}

// begin begins an access unit.
func (p *h265POC) begin() { p.found = false }

func (p *h265POC) add(nal []byte) {
	typ, layer := h265Header(nal)
	if layer != 0 {
		return
	}
	switch {
	case typ == h265SPS:
		if s, ok := parseH265SPS(unescape(nil, nal[2:], len(nal))); ok {
			p.sps[s.id] = &s
		}
	case typ == h265PPS:
		r := bitReader{b: unescape(nil, nal[2:], 32)}
		id, s := r.ue(), h265PPSet{sps: r.ue()}
		r.skip(1)
		s.outputPresent, s.extraBits = r.flag(), int(r.bits(3))
		if id < 64 && s.sps < 16 && !r.short {
			p.pps[id] = &s
		}
	case typ == 36, typ == 37: // end of sequence, end of bitstream
		p.ended = true
	case typ <= h265VCLLast && !p.found:
		p.slice(nal, typ)
	}
}

// slice reads a slice segment header up to slice_pic_order_cnt_lsb (7.3.6.1).
func (p *h265POC) slice(nal []byte, typ uint8) {
	r := bitReader{b: unescape(nil, nal[2:], 64)}
	irap := typ >= h265BLA && typ <= h265IRAPLast
	if !r.flag() { // first_slice_segment_in_pic_flag
		return
	}
	if irap {
		r.skip(1)
	}
	id := r.ue()
	if id > 63 || p.pps[id] == nil || p.sps[p.pps[id].sps] == nil {
		return
	}
	pps := p.pps[id]
	sps := p.sps[pps.sps]
	r.skip(pps.extraBits)
	r.ue()
	if pps.outputPresent {
		r.skip(1)
	}
	if sps.separatePlanes {
		r.skip(2)
	}
	lsb := int64(0)
	if typ != h265IDR && typ != h265IDRNLP {
		lsb = int64(r.bits(sps.pocLSBBits))
	}
	if r.short {
		return
	}
	// A picture that nothing before it matters to begins a sequence: IDR, BLA, and
	// CRA at the start or behind an end of sequence (8.1.3).
	first := irap && (typ != h265CRA || p.ended || !p.begun)
	msb := int64(0)
	if !first {
		size := int64(1) << sps.pocLSBBits
		switch msb = p.msb; {
		case lsb < p.lsb && p.lsb-lsb >= size/2:
			msb += size
		case lsb > p.lsb && lsb-p.lsb > size/2:
			msb -= size
		}
	}
	p.ended, p.begun, p.found = false, true, true
	p.at = place{first, msb + lsb}
	leading := typ >= 6 && typ <= 9         // RADL, RASL
	unreferenced := typ <= 14 && typ&1 == 0 // sub-layer non-reference pictures
	if nal[1]&7 == 1 && !leading && !unreferenced {
		p.msb, p.lsb = msb, lsb
	}
}
