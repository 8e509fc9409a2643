package media

// NAL unit types of H.265 (Table 7-1).
const (
	h265BLA       = 16 // the first of the types of pictures to begin at
	h265IDR       = 19
	h265IDRNLP    = 20
	h265CRA       = 21
	h265IRAPLast  = 23
	h265VCLLast   = 31
	h265VPS       = 32
	h265SPS       = 33
	h265PPS       = 34
	h265AUD       = 35
	h265PrefixSEI = 39
)

// h265 cuts H.265 into access units (7.4.2.4.4).
type h265 struct {
	key, hasCur bool
}

func newH265() *h265 { return &h265{} }

func (c *h265) place(nal []byte) nalPlace {
	if len(nal) < 3 {
		return nalSame
	}
	typ, layer := h265Header(nal)
	switch {
	case layer != 0:
		return nalSame
	case typ <= h265VCLLast:
		if nal[2]&0x80 != 0 { // first_slice_segment_in_pic_flag
			return nalNext
		}
	case typ >= h265VPS && typ <= h265AUD, typ == h265PrefixSEI, typ >= 41 && typ <= 44, typ >= 48 && typ <= 55:
		return nalNext
	}
	return nalSame
}

// h265Header returns the type and the layer of a NAL unit of 2 bytes or more (7.3.1.2).
func h265Header(nal []byte) (typ, layer uint8) {
	return nal[0] >> 1 & 63, nal[0]&1<<5 | nal[1]>>3
}

func (c *h265) add(nal []byte) bool {
	if len(nal) < 3 {
		return false
	}
	typ, layer := h265Header(nal)
	if layer != 0 || typ > h265VCLLast {
		return false
	}
	c.hasCur = true
	if typ >= h265BLA && typ <= h265IRAPLast {
		c.key = true
	}
	return true
}

func (c *h265) picture() picture {
	p := picture{key: c.key}
	c.key, c.hasCur = false, false
	return p
}
