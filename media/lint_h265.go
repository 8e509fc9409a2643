package media

import (
	"bytes"
	"encoding/binary"
)

// elementH265 looks for H.265 parameter sets in Matroska's CodecPrivate.
func (l *linter) elementH265(b []byte) {
	var track uint64
	for n, c := range l.codecs {
		if c == H265 {
			track = n
		}
	}
	if track == 0 {
		return
	}
	for {
		i := bytes.Index(b, []byte{0x63, 0xA2}) // CodecPrivate
		if i < 0 {
			return
		}
		b = b[i+2:]
		for skip := 1; skip <= 8 && skip < len(b); skip++ { // behind the size
			if nal := hvccSPS(b[skip:]); nal != nil {
				l.h265SPS(track, -1, nal)
				return
			}
		}
	}
}

// hvccSPS finds the first sequence parameter set in a decoder configuration record
// (ISO/IEC 14496-15, 8.3.3.1); nil if b does not begin with one.
func hvccSPS(b []byte) []byte {
	if len(b) < 23 || b[0] != 1 || b[13]&0xF0 != 0xF0 || b[15]&0xFC != 0xFC || b[16]&0xFC != 0xFC {
		return nil
	}
	arrays := int(b[22])
	for b = b[23:]; arrays > 0 && len(b) >= 3; arrays-- {
		typ, n := b[0]&0x3F, int(binary.BigEndian.Uint16(b[1:]))
		for b = b[3:]; n > 0; n-- {
			if len(b) < 2 {
				return nil
			}
			size := int(binary.BigEndian.Uint16(b))
			if size == 0 || len(b) < 2+size {
				return nil
			}
			if typ == h265SPS {
				return b[2 : 2+size]
			}
			b = b[2+size:]
		}
	}
	return nil
}

// h265SPS looks at a sequence parameter set: nobody rewrites those of H.265, but live
// players have no time for frames out of order.
func (l *linter) h265SPS(track uint64, frame int, nal []byte) {
	if len(nal) < 3 {
		return
	}
	s, ok := parseH265SPS(unescape(nil, nal[2:], len(nal)))
	switch {
	case !ok:
		l.add(track, frame, "a sequence parameter set that cannot be read", "receivers drop what follows", "encode anew")
	case s.reorder > 0:
		l.add(track, frame, "frames out of order (B-frames)", "live players show them late or not at all", "encode without B-frames: -x265-params bframes=0")
	}
}
