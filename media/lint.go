package media

import (
	"bytes"
	"io"
	"strings"
)

// Finding is something in a recording that breaks when it is sent live and encrypted.
type Finding struct {
	Track uint64
	Frame int    // of the track, from 0; -1 if it is of the track as a whole
	What  string // what is there
	Why   string // what will break
	Do    string // what to change
}

// lintFrames is how many frames are looked at.
const lintFrames = 20000

const (
	doFrames = "seal whole frames (SFrame): nothing stays readable, and nothing can be rewritten"
	doCanon  = "bring frames into the canonical form before sealing: media.Canonical"
)

// Lint reads a recording and tells what of it breaks in live, encrypted media: what
// packetizers drop or reorder, and what receivers rewrite. Each kind of finding comes
// once a track.
func Lint(r Reader) ([]Finding, error) {
	l := &linter{seen: map[string]bool{}, frames: map[uint64]int{}, codecs: map[uint64]Codec{}, private: map[uint64]bool{}}
	for _, t := range r.Info().Tracks {
		c := codecOf(t.CodecID)
		l.codecs[t.Number] = c
		switch c {
		case VP9:
			l.add(t.Number, -1, "VP9", "packetizers that are not in flexible mode send nothing at all of an encrypted frame, without an error",
				"set the packetizer to flexible mode, or let rtpseal.Packetizer cut the frames")
		case AV1:
			l.add(t.Number, -1, "AV1", "formats that leave a prefix readable are rewritten on the way, and opaque frames are dropped by AV1 packetizers", doFrames)
		}
	}
	raw := r.Info().Format == FormatH264 || r.Info().Format == FormatH265
	var item Item
	for n := 0; n < lintFrames; {
		err := r.Next(&item)
		if err == io.EOF {
			break
		} else if err != nil {
			return l.found, err
		}
		if item.Kind == KindElement {
			l.element(item.Data)
			continue
		}
		n++
		at := l.frames[item.Track]
		l.frames[item.Track]++
		c := l.codecs[item.Track]
		if c != H264 && c != H265 {
			continue
		}
		data := item.Data
		if !raw {
			if len(data) == 0 || data[0]&6 != 0 { // the block's flags; laced video is not looked at
				continue
			}
			var err error
			if data, err = ToAnnexB(nil, data[1:], 4); err != nil {
				continue // the set's own length size, or a block of another shape
			}
		}
		l.unit(item.Track, at, c, data, raw)
	}
	return l.found, nil
}

// LintCovers reports whether [Lint] knows what would break in tracks of a Matroska codec
// ID. Of audio nothing does: packetizers leave its frames as they are.
func LintCovers(codecID string) bool {
	return strings.HasPrefix(codecID, "A_") || codecOf(codecID) != 0
}

func codecOf(id string) Codec {
	switch id {
	case "A_OPUS":
		return Opus
	case "V_VP8":
		return VP8
	case "V_VP9":
		return VP9
	case "V_AV1":
		return AV1
	case "V_MPEG4/ISO/AVC":
		return H264
	case "V_MPEGH/ISO/HEVC":
		return H265
	}
	return 0
}

type linter struct {
	found   []Finding
	seen    map[string]bool
	frames  map[uint64]int
	codecs  map[uint64]Codec
	private map[uint64]bool
}

func (l *linter) add(track uint64, frame int, what, why, do string) {
	key := string(rune(track)) + what
	if !l.seen[key] {
		l.seen[key] = true
		l.found = append(l.found, Finding{track, frame, what, why, do})
	}
}

// element looks for parameter sets in Matroska's CodecPrivate.
func (l *linter) element(b []byte) {
	l.elementH265(b)
	var track uint64
	for n, c := range l.codecs {
		if c == H264 {
			track = n
		}
	}
	if track == 0 {
		return
	}
	for {
		i := bytes.Index(b, []byte{0x63, 0xA2}) // CodecPrivate
		if i < 0 || len(b) < i+12 {
			return
		}
		b = b[i+2:]
		for skip := 1; skip <= 8 && skip+8 < len(b); skip++ { // behind the size
			p := b[skip:]
			if p[0] != 1 || p[4]&0xFC != 0xFC || p[5]&0xE0 != 0xE0 || p[5]&31 == 0 {
				continue
			}
			if n := int(p[6])<<8 | int(p[7]); n > 0 && 8+n <= len(p) && p[8]&31 == h264SPS {
				l.sps(track, -1, p[8:8+n])
				return
			}
		}
	}
}

func (l *linter) sps(track uint64, frame int, nal []byte) {
	s, ok := parseH264SPS(unescape(nil, nal[1:], len(nal)))
	if !ok {
		l.add(track, frame, "a sequence parameter set that cannot be read", "receivers drop what follows", "encode anew")
		return
	}
	if !s.frameMBsOnly {
		l.add(track, frame, "interlaced pictures", "hardware decoders of browsers (Chromium's) refuse such a sequence parameter set (frame_mbs_only_flag 0)", "deinterlace before encoding: -vf bwdif")
	}
	if s.depthLuma > 0 || s.depthChroma > 0 || s.chroma == 2 || s.chroma == 3 && s.profile != 244 {
		l.add(track, frame, "samples of more than 8 bits, or chroma of 4:2:2", "browsers know no such profile of H.264 (High 10, High 4:2:2): calls with them do not negotiate it", "encode with -pix_fmt yuv420p")
	}
	const why = "receivers built on libwebrtc rewrite this parameter set, so that every keyframe whose parameter sets stay readable and authenticated fails"
	switch {
	case s.reorder < 0:
		l.add(track, frame, "a sequence parameter set that does not restrict reordering (VUI bitstream_restriction)", why, "encode without B-frames and with bitstream_restriction, as x264 does with -bf 0; or "+doFrames)
	case s.reorder > 0:
		l.add(track, frame, "frames out of order (B-frames)", why+"; and live players show them late or not at all", "encode without B-frames: -bf 0")
	case s.buffering > int(s.refFrames):
		l.add(track, frame, "a sequence parameter set with more buffering than reference frames", why, "encode with max_dec_frame_buffering at most the reference frames; or "+doFrames)
	}
}

// unit looks at an access unit.
func (l *linter) unit(track uint64, frame int, c Codec, data []byte, raw bool) {
	if raw && len(data) > 3 {
		for i := 0; ; {
			j := bytes.Index(data[i:], startCode)
			if j < 0 {
				break
			}
			if i+j == 0 || data[i+j-1] != 0 {
				l.add(track, frame, "start codes of 3 bytes", "packetizers make them 4 bytes long, and what was authenticated has changed", doCanon)
				break
			}
			i += j + len(startCode)
		}
	}
	slices, pps, sps, vcl := 0, 0, false, false
	for _, nal := range splitNALs(data) {
		typ := nalType(c, nal)
		switch {
		case c == H264 && typ == h264AUD, c == H265 && typ == h265AUD:
			l.add(track, frame, "access unit delimiters", "packetizers drop them, and what was authenticated has changed", "encode without them (x264 and x265: aud=0); or "+doCanon)
		case c == H264 && typ == h264Filler, c == H265 && typ == h265Filler:
			l.add(track, frame, "filler data", "packetizers drop it, and what was authenticated has changed", "encode without it (x264: no nal-hrd=cbr, no filler); or "+doCanon)
		case c == H265 && typ == h265SPS:
			l.h265SPS(track, frame, nal)
		case c == H264 && typ == h264SPS:
			l.sps(track, frame, nal)
			if pps > 0 || vcl {
				l.add(track, frame, "parameter sets out of order", "packetizers reorder them, and what was authenticated has changed", doCanon)
			}
			sps = true
		case c == H264 && typ == h264PPS:
			if pps++; pps > 1 && sps {
				l.add(track, frame, "several picture parameter sets in a frame", "packetizers that join them keep the last only", "encode with one, turn STAP-A off, or "+doFrames)
			}
		case c == H264 && typ >= h264Slice && typ <= h264IDR, c == H265 && typ <= h265VCLLast:
			slices++
			vcl = true
			if c == H264 && typ != h264Slice && typ != h264IDR {
				l.add(track, frame, "data partitions", "formats that leave slice headers readable do not know them, and some send such frames in clear", "encode without them; or "+doFrames)
			}
		}
	}
	if slices == 0 {
		l.add(track, frame, "a frame without a slice", "packetizers hold it back until the next one, and some formats send it in clear", "put parameter sets in front of the keyframe they belong to")
	}
}
