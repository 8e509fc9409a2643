package media

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// nalFrames are the access units of a byte stream: in Matroska every NAL unit has
// its length in front instead of a start code, the parameter sets are in
// CodecPrivate (and, where they were in the stream, there too), and a timestamp is
// the time of presentation, which has to be worked out.
type nalFrames struct {
	format Format
	codec  nalConverter
	order  orderer
}

// A nalConverter knows a codec's parameter sets and its order of presentation.
type nalConverter interface {
	// unit takes in an access unit, NAL unit by NAL unit, and returns its place in
	// the order of presentation.
	unit(nals [][]byte) (place, error)
	// config returns the CodecPrivate.
	config() ([]byte, error)
}

// A place orders pictures: by picture order count within a coded video sequence.
type place struct {
	first bool // begins a sequence: everything before is presented before
	poc   int64
}

func newNALFrames(info *Info, codec nalConverter) *nalFrames {
	return &nalFrames{format: info.Format, codec: codec, order: orderer{format: info.Format, step: info.Tracks[0].DefaultDuration}}
}

func (n *nalFrames) element([]byte) error { return errNotOurs(n.format) }

func (n *nalFrames) private() ([]byte, error) { return n.codec.config() }

func (n *nalFrames) frame(item *Item, emit func(*Item) error) error {
	nals := splitNALs(item.Data)
	p, err := n.codec.unit(nals)
	if err != nil {
		return err
	}
	size := 0
	for _, nal := range nals {
		size += 4 + len(nal)
	}
	data := make([]byte, 0, size)
	for _, nal := range nals {
		data = binary.BigEndian.AppendUint32(data, uint32(len(nal)))
		data = append(data, nal...)
	}
	return n.order.add(p, Item{Kind: KindFrame, Track: 1, Duration: NoDuration, Flags: item.Flags, Data: data}, emit)
}

func (n *nalFrames) flush(emit func(*Item) error) error { return n.order.flush(emit) }

// splitNALs returns the NAL units of a byte stream without the zeros behind them.
// They share the stream's memory.
func splitNALs(b []byte) [][]byte {
	var nals [][]byte
	for {
		i := bytes.Index(b, startCode)
		if i < 0 {
			return nals
		}
		b = b[i+len(startCode):]
		nal := b
		if end := bytes.Index(b, startCode); end >= 0 {
			nal = b[:end]
		}
		if nal = bytes.TrimRight(nal, "\x00"); len(nal) > 0 {
			nals = append(nals, nal)
		}
	}
}

// parameterSets keeps the parameter sets of the first access unit, by type.
type parameterSets struct {
	sets   map[uint8][][]byte
	closed bool
}

func (p *parameterSets) add(typ uint8, nal []byte) {
	if p.sets == nil {
		p.sets = make(map[uint8][][]byte)
	}
	if !p.closed && !slices.ContainsFunc(p.sets[typ], func(s []byte) bool { return bytes.Equal(s, nal) }) {
		p.sets[typ] = append(p.sets[typ], bytes.Clone(nal))
	}
}

// fits reports that there are sets of every type, and no more or longer ones than
// a configuration record can hold.
func (p *parameterSets) fits(limits map[uint8]int) bool {
	for typ, limit := range limits {
		if len(p.sets[typ]) == 0 || len(p.sets[typ]) > limit {
			return false
		}
		for _, s := range p.sets[typ] {
			if len(s) > 0xFFFF {
				return false
			}
		}
	}
	return true
}

func appendSets(b []byte, sets [][]byte) []byte {
	for _, s := range sets {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}

// avc converts H.264.
type avc struct {
	*h264
	parameterSets
	poc h264POC
}

func (a *avc) unit(nals [][]byte) (place, error) {
	for _, nal := range nals {
		if t := nal[0] & 31; t == h264SPS || t == h264PPS {
			a.parameterSets.add(t, nal)
		}
		a.h264.add(nal)
	}
	h, ok := a.cur, a.hasCur && a.cur.known
	a.picture()
	a.closed = true
	switch {
	case !ok:
		return place{}, unconvertible(FormatH264, "access unit without a slice that its parameter sets explain")
	case h.field:
		return place{}, &UnsupportedError{What: "H.264 coded in fields, as Matroska,", Hint: orderHint}
	}
	return a.poc.next(&h), nil
}

// config returns an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1.2).
func (a *avc) config() ([]byte, error) {
	if !a.fits(map[uint8]int{h264SPS: 31, h264PPS: 255}) {
		return nil, unconvertible(FormatH264, "parameter sets missing from the first access unit, or too many")
	}
	s, ok := parseH264SPS(unescape(nil, a.sets[h264SPS][0][1:], 1<<16))
	if !ok {
		return nil, unconvertible(FormatH264, "sequence parameter set that cannot be read")
	}
	b := []byte{1, s.profile, s.compat, s.level, 0xFC | 3, 0xE0 | byte(len(a.sets[h264SPS]))}
	b = appendSets(b, a.sets[h264SPS])
	b = appendSets(append(b, byte(len(a.sets[h264PPS]))), a.sets[h264PPS])
	switch s.profile {
	case 66, 77, 88:
		return b, nil
	}
	return append(b, 0xFC|byte(s.chroma), 0xF8|byte(s.depthLuma), 0xF8|byte(s.depthChroma), 0), nil
}

// hevc converts H.265.
type hevc struct {
	parameterSets
	h265POC
}

func (v *hevc) unit(nals [][]byte) (place, error) {
	v.begin()
	for _, nal := range nals {
		if len(nal) < 3 {
			continue
		}
		typ, layer := h265Header(nal)
		if layer == 0 && typ >= h265VPS && typ <= h265PPS {
			v.parameterSets.add(typ, nal)
		}
		v.h265POC.add(nal)
	}
	v.closed = true
	if !v.found {
		return place{}, unconvertible(FormatH265, "access unit without a slice that its parameter sets explain")
	}
	return v.at, nil
}

// config returns an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1.2).
func (v *hevc) config() ([]byte, error) {
	if !v.fits(map[uint8]int{h265VPS: 16, h265SPS: 16, h265PPS: 64}) {
		return nil, unconvertible(FormatH265, "parameter sets missing from the first access unit, or too many")
	}
	s, ok := parseH265SPS(unescape(nil, v.sets[h265SPS][0][2:], 1<<16))
	if !ok {
		return nil, unconvertible(FormatH265, "sequence parameter set that cannot be read")
	}
	nested := byte(0)
	if s.nesting {
		nested = 4
	}
	b := append([]byte{1}, s.general[:]...)
	b = append(b, 0xF0, 0, 0xFC, 0xFC|byte(s.chroma), 0xF8|byte(s.depthLuma), 0xF8|byte(s.depthChroma), 0, 0,
		(s.subLayers+1)<<3|nested|3, 3)
	for _, typ := range []uint8{h265VPS, h265SPS, h265PPS} {
		b = append(b, typ) // not complete: there may be others in the stream
		b = binary.BigEndian.AppendUint16(b, uint16(len(v.sets[typ])))
		b = appendSets(b, v.sets[typ])
	}
	return b, nil
}
