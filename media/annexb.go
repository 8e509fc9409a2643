package media

import (
	"bytes"
	"io"
	"math/bits"

	"github.com/chanseal/chanseal/media/internal/window"
)

// A byte stream of H.264 or H.265 (Annex B of both standards) has no times and no
// frame marks: NAL units follow each other behind start codes. The reader cuts
// it into access units by the rules of the standards. Their Data, one behind
// the other, is the file: start codes of either length, zeros, delimiters, SEI and
// filler are where they were. There are no KindElement items.
//
// Timestamps count access units in decoding order at the rate that the first
// sequence parameter set states, or 25 a second, as ffmpeg has it.
type annexBReader struct {
	win   *window.Window
	info  Info
	codec nalCodec
	err   error

	rateNum, rateDen uint64 // frames a second
	halves           uint64 // half frames so far: a field is one, a frame two

	nal   int  // where in the window the start code of the NAL unit at hand is
	vcl   bool // the access unit has slices
	maybe int  // where the next one begins if the next slice is not of this picture; -1 if nowhere
}

// A nalCodec knows the NAL units of a codec. It keeps parameter sets and what it
// needs of the picture at hand.
type nalCodec interface {
	// place says where a NAL unit belongs that comes when the access unit has slices.
	place(nal []byte) nalPlace
	// add takes the NAL unit in; it says whether it is a slice.
	add(nal []byte) (slice bool)
	// picture describes the access unit, and forgets what is not for the next one.
	picture() picture
}

type nalPlace uint8

const (
	nalSame  nalPlace = iota // belongs to the access unit at hand
	nalMaybe                 // to that of the next slice
	nalNext                  // begins an access unit
)

// A picture is what an access unit shows.
type picture struct {
	key   bool
	field bool
}

// maxBeforeSPS is how far into a byte stream its first sequence parameter set may
// be, in bytes.
const maxBeforeSPS = 4 << 20

// annexBRate is the rate of a stream that states none between 1 and annexBMaxRate: of
// what is beyond it is the clock that is stated, not the frames.
const (
	annexBRate    = 25
	annexBMaxRate = 300
)

func newAnnexBReader(src io.Reader, format Format) (*annexBReader, error) {
	r := &annexBReader{win: window.New(src, 1<<18), maybe: -1}
	track := Track{Number: 1, Type: TrackVideo}
	r.rateNum, r.rateDen = annexBRate, 1
	for at := 0; ; {
		nal, next, err := r.find(at)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if v, ok := firstSPS(format, nal); ok {
			track.Width, track.Height = v.width, v.height
			if v.rateDen != 0 && v.rateNum >= v.rateDen && v.rateNum <= annexBMaxRate*v.rateDen {
				r.rateNum, r.rateDen = v.rateNum, v.rateDen
			}
			break
		}
		if at = next; err == io.EOF || at > maxBeforeSPS {
			return nil, damaged(format, r.win.Offset(), "no sequence parameter set in the first %d bytes", at)
		}
	}
	switch format {
	case FormatH264:
		r.codec, track.CodecID = newH264(), "V_MPEG4/ISO/AVC"
	case FormatH265:
		r.codec, track.CodecID = newH265(), "V_MPEGH/ISO/HEVC"
	}
	track.DefaultDuration = (r.rateDen*1e9 + r.rateNum/2) / r.rateNum
	r.info = Info{Format: format, TimestampScale: fineScale, Tracks: []Track{track}}
	return r, nil
}

// video is what the first sequence parameter set says for Info.
type video struct {
	width, height    uint64
	rateNum, rateDen uint64 // 0 if not stated
}

func firstSPS(format Format, nal []byte) (video, bool) {
	if format == FormatH264 {
		if len(nal) == 0 || nal[0]&31 != h264SPS {
			return video{}, false
		}
		s, ok := parseH264SPS(unescape(nil, nal[1:], len(nal)))
		return s.video, ok
	}
	if len(nal) < 2 || nal[0]>>1&63 != h265SPS {
		return video{}, false
	}
	s, ok := parseH265SPS(unescape(nil, nal[2:], len(nal)))
	return s.video, ok
}

func (r *annexBReader) Info() *Info { return &r.info }

var startCode = []byte{0, 0, 1}

// find returns the NAL unit behind the first start code at or behind from in the
// window, and where it ends; io.EOF says that it is the last.
func (r *annexBReader) find(from int) (nal []byte, end int, err error) {
	body := -1
	for at := from; ; {
		b := r.win.Bytes()
		if i := bytes.Index(b[at:], startCode); i >= 0 {
			at += i
			if body >= 0 {
				return b[body:at], at, nil
			}
			at += len(startCode)
			body = at
			continue
		}
		at = max(at, len(b)-len(startCode)+1)
		if len(b)-from > MaxFrame {
			return nil, 0, tooLarge(r.info.Format, r.win.Offset(), "NAL unit of more than %d bytes", MaxFrame)
		}
		if err := r.win.More(); err != nil {
			if err != io.EOF {
				return nil, 0, err
			}
			if body < 0 {
				return nil, len(b), io.EOF
			}
			return b[body:], len(b), io.EOF
		}
	}
}

// Next fills item with the next access unit.
func (r *annexBReader) Next(item *Item) error {
	if r.err == nil {
		r.err = r.advance(item)
	}
	return r.err
}

func (r *annexBReader) advance(item *Item) error {
	for {
		if r.win.Fill(1) == io.EOF {
			return io.EOF
		}
		nal, end, err := r.find(r.nal)
		if err != nil && err != io.EOF {
			return err
		}
		last := err == io.EOF
		if r.vcl {
			border := -1
			switch r.codec.place(nal) {
			case nalNext:
				if border = r.maybe; border < 0 {
					border = r.start()
				}
			case nalMaybe:
				if r.maybe < 0 {
					r.maybe = r.start()
				}
			}
			if border > 0 {
				return r.emit(item, border)
			}
		}
		if r.codec.add(nal) {
			r.vcl, r.maybe = true, -1
		}
		r.nal = end
		if last {
			return r.emit(item, end)
		}
		if end > MaxFrame {
			return tooLarge(r.info.Format, r.win.Offset(), "access unit of more than %d bytes", MaxFrame)
		}
	}
}

// start returns where the byte stream NAL unit at hand begins: at its start code,
// or at the zero in front of it that makes it one of 4 bytes (B.1.1). Further zeros
// belong to the NAL unit before.
func (r *annexBReader) start() int {
	b := r.win.Bytes()
	if r.nal > 0 && b[r.nal-1] == 0 {
		return r.nal - 1
	}
	return r.nal
}

// emit fills item with the access unit that ends at end in the window.
func (r *annexBReader) emit(item *Item, end int) error {
	p := r.codec.picture()
	r.vcl, r.maybe = false, -1
	*item = Item{Kind: KindFrame, Track: 1, Duration: NoDuration, Timestamp: r.ticks(r.halves), Data: r.win.Take(end)}
	r.nal -= end
	if r.halves += 2; p.field {
		r.halves--
	}
	if p.key {
		item.Flags = FlagKey
	}
	return nil
}

// ticks returns where a number of half frames is in time, in ticks of fineScale.
func (r *annexBReader) ticks(halves uint64) int64 {
	return int64(scale(halves, r.rateDen*1e9, 2*fineScale*r.rateNum))
}

// scale returns v*mul/div, rounded; what does not fit is the largest time.
func scale(v, mul, div uint64) uint64 {
	hi, lo := bits.Mul64(v, mul)
	lo, carry := bits.Add64(lo, div/2, 0)
	if hi += carry; hi >= div {
		return 1 << 62
	}
	v, _ = bits.Div64(hi, lo, div)
	return min(v, 1<<62)
}

// unescape appends to dst the first n bytes of a NAL unit's payload without its
// emulation prevention bytes (7.3.1 of H.264, 7.3.1.1 of H.265).
func unescape(dst, b []byte, n int) []byte {
	zeros := 0
	for _, c := range b {
		if len(dst) >= n {
			break
		}
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if zeros++; c != 0 {
			zeros = 0
		}
		dst = append(dst, c)
	}
	return dst
}

type annexBWriter struct {
	format Format
	out    *output
	live   bool
	err    error
}

// Write writes one access unit.
func (w *annexBWriter) Write(item *Item) error {
	if w.err != nil {
		return w.err
	}
	if item.Kind != KindFrame {
		w.err = errNotOurs(w.format)
		return w.err
	}
	w.out.write(item.Data)
	w.err = w.out.done(w.live)
	return w.err
}

// Close writes what is left in the buffer.
func (w *annexBWriter) Close() error { return closeOutput(w.out, &w.err) }
