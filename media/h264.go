package media

// NAL unit types of H.264 (Table 7-1).
const (
	h264Slice     = 1
	h264PartA     = 2
	h264IDR       = 5
	h264SEI       = 6
	h264SPS       = 7
	h264PPS       = 8
	h264AUD       = 9
	h264Prefix    = 14
	h264Reserved  = 18
	h264SliceHead = 96 // bytes that hold every slice header field read here
)

// An h264SPSet is a sequence parameter set (7.3.2.1.1), as far as it is needed.
type h264SPSet struct {
	video
	profile, compat, level uint8
	chroma                 uint32 // chroma_format_idc
	depthLuma, depthChroma uint32 // bits less 8
	separatePlanes         bool
	frameNumBits           int
	pocType                uint32
	pocLSBBits             int
	deltaAlwaysZero        bool
	offsetNonRef           int32
	offsetTopBottom        int32
	offsets                []int32
	refFrames              uint32
	frameMBsOnly           bool
	reorder                int // max_num_reorder_frames, -1 if not stated
	buffering              int // max_dec_frame_buffering, -1 if not stated
	mbs                    uint32
}

// An h264PPSet is a picture parameter set (7.3.2.2), as far as it is needed.
type h264PPSet struct {
	sps          uint32
	bottomPOC    bool // bottom_field_pic_order_in_frame_present_flag
	redundantCnt bool
}

// An h264Header is what tells the slices of one picture from those of another
// (7.4.1.2.4), and orders pictures (8.2.1).
type h264Header struct {
	refIDC, nalType       uint8
	pps, frameNum, idrID  uint32
	field, bottom         bool
	pocLSB                uint32
	deltaBottom           int32
	delta                 [2]int32
	pocType               uint32
	known                 bool // the parameter sets were there
	first, sliceType, red uint32
	sps                   *h264SPSet
}

type h264 struct {
	sps     [32]*h264SPSet
	pps     [256]*h264PPSet
	cur     h264Header
	hasCur  bool
	key     bool
	scratch []byte
}

func newH264() *h264 { return &h264{} }

func (c *h264) place(nal []byte) nalPlace {
	if len(nal) == 0 {
		return nalSame
	}
	switch t := nal[0] & 31; {
	case t == h264Slice, t == h264PartA, t == h264IDR:
		if h := c.header(nal); h.red == 0 && c.differs(&h) {
			return nalNext
		}
	case t >= h264SEI && t <= h264AUD:
		return nalNext
	case t >= h264Prefix && t <= h264Reserved:
		return nalMaybe // a prefix NAL unit stands in front of every slice of its picture
	}
	return nalSame
}

func (c *h264) add(nal []byte) bool {
	if len(nal) == 0 {
		return false
	}
	switch nal[0] & 31 {
	case h264Slice, h264PartA, h264IDR:
		h := c.header(nal)
		if !c.hasCur {
			c.cur, c.hasCur = h, true
		}
		if h.nalType == h264IDR {
			c.key = true
		}
		return true
	case h264SPS:
		c.scratch = unescape(c.scratch[:0], nal[1:], len(nal))
		if s, ok := parseH264SPS(c.scratch); ok {
			c.sps[s.id] = &s.h264SPSet
		}
	case h264PPS:
		c.scratch = unescape(c.scratch[:0], nal[1:], len(nal))
		if id, p, ok := parseH264PPS(c.scratch); ok {
			c.pps[id] = &p
		}
	case h264SEI:
		c.scratch = unescape(c.scratch[:0], nal[1:], len(nal))
		if hasRecoveryPoint(c.scratch) {
			c.key = true
		}
	}
	return false
}

func (c *h264) picture() picture {
	p := picture{key: c.key && c.hasCur, field: c.hasCur && c.cur.field}
	c.hasCur, c.key = false, false
	return p
}

// header reads a slice header up to redundant_pic_cnt (7.3.3).
func (c *h264) header(nal []byte) h264Header {
	h := h264Header{refIDC: nal[0] >> 5 & 3, nalType: nal[0] & 31}
	c.scratch = unescape(c.scratch[:0], nal[1:], h264SliceHead)
	r := bitReader{b: c.scratch}
	h.first, h.sliceType, h.pps = r.ue(), r.ue(), r.ue()
	if h.pps > 255 || c.pps[h.pps] == nil || c.sps[c.pps[h.pps].sps] == nil {
		return h
	}
	pps := c.pps[h.pps]
	sps := c.sps[pps.sps]
	h.known, h.sps, h.pocType = true, sps, sps.pocType
	if sps.separatePlanes {
		r.bits(2)
	}
	h.frameNum = r.bits(sps.frameNumBits)
	if !sps.frameMBsOnly {
		if h.field = r.flag(); h.field {
			h.bottom = r.flag()
		}
	}
	if h.nalType == h264IDR {
		h.idrID = r.ue()
	}
	switch {
	case sps.pocType == 0:
		h.pocLSB = r.bits(sps.pocLSBBits)
		if pps.bottomPOC && !h.field {
			h.deltaBottom = r.se()
		}
	case sps.pocType == 1 && !sps.deltaAlwaysZero:
		h.delta[0] = r.se()
		if pps.bottomPOC && !h.field {
			h.delta[1] = r.se()
		}
	}
	if pps.redundantCnt {
		h.red = r.ue()
	}
	h.known = !r.short
	return h
}

// differs reports that a slice is of another primary coded picture than the one
// at hand (7.4.1.2.4).
func (c *h264) differs(h *h264Header) bool {
	p := &c.cur
	if !c.hasCur || !p.known || !h.known {
		return h.first == 0 // without parameter sets all that is left to go by
	}
	return p.frameNum != h.frameNum || p.pps != h.pps || p.field != h.field || p.bottom != h.bottom ||
		p.refIDC != h.refIDC && (p.refIDC == 0 || h.refIDC == 0) ||
		p.pocType != h.pocType || p.pocLSB != h.pocLSB || p.deltaBottom != h.deltaBottom || p.delta != h.delta ||
		(p.nalType == h264IDR) != (h.nalType == h264IDR) || p.idrID != h.idrID
}

// hasRecoveryPoint reports that an SEI NAL unit's payload holds a recovery point
// message, type 6 (D.1.8): decoding can begin here, as it can at an IDR picture.
func hasRecoveryPoint(b []byte) bool {
	for len(b) >= 2 {
		var typ, size int
		for _, v := range []*int{&typ, &size} {
			for len(b) > 0 && b[0] == 255 {
				*v += 255
				b = b[1:]
			}
			if len(b) == 0 {
				return false
			}
			*v += int(b[0])
			b = b[1:]
		}
		if typ == 6 {
			return true
		}
		if size > len(b) {
			return false
		}
		b = b[size:]
	}
	return false
}
