package media

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/chanseal/chanseal/media/internal/window"
)

// IVF is a header of 32 bytes or more, then frames, each behind 4 bytes of
// length and 8 of timestamp, all little endian. The header is the KindElement
// item. A frame's Data is its timestamp as it stands in the file (8 bytes), then
// the frame itself.
const (
	ivfHeader      = 32
	ivfFrameHeader = 12
	ivfTimestamp   = 8
	ivfMaxHeader   = 1<<16 - 1
)

// fineScale is the TimestampScale, in nanoseconds, of recordings whose own ticks
// would be too fine for Matroska's Clusters: 0.1 ms, of which every Opus frame
// lasts a whole number.
const fineScale = 100_000

type ivfReader struct {
	win    *window.Window
	info   Info
	key    func(frame []byte) Flags
	num    uint64 // nanoseconds a timestamp unit = num / den
	den    uint64
	exact  bool // a tick is a timestamp unit
	header []byte
	err    error
}

// ivfCodecs are the codecs that an IVF file can hold here, by FourCC.
var ivfCodecs = map[string]struct {
	id    string
	flags func([]byte) Flags
}{
	"VP80": {"V_VP8", vp8Flags},
	"VP90": {"V_VP9", vp9Flags},
	"AV01": {"V_AV1", av1Flags},
}

func newIVFReader(src io.Reader) (*ivfReader, error) {
	r := &ivfReader{win: window.New(src, 1<<18)}
	if err := r.fill(ivfHeader); err != nil {
		return nil, err
	}
	h := r.win.Bytes()
	length := max(ivfHeader, int(binary.LittleEndian.Uint16(h[6:])))
	if err := r.fill(length); err != nil {
		return nil, err
	}
	h = append([]byte(nil), r.win.Take(length)...)
	codec, ok := ivfCodecs[string(h[8:12])]
	if !ok {
		return nil, &UnsupportedError{What: fmt.Sprintf("IVF with codec %q", h[8:12]), Hint: remux}
	}
	rate, scale := uint64(binary.LittleEndian.Uint32(h[16:])), uint64(binary.LittleEndian.Uint32(h[20:]))
	if rate == 0 || scale == 0 {
		return nil, damaged(FormatIVF, 16, "time base of %d/%d", scale, rate)
	}
	r.header, r.key = h, codec.flags
	r.num, r.den = scale*1e9, rate
	track := Track{Number: 1, Type: TrackVideo, CodecID: codec.id,
		Width: uint64(binary.LittleEndian.Uint16(h[12:])), Height: uint64(binary.LittleEndian.Uint16(h[14:]))}
	r.info = Info{Format: FormatIVF, TimestampScale: fineScale}
	if tick := (r.num + r.den/2) / r.den; tick >= 1e6 {
		r.info.TimestampScale, r.exact = tick, true
		if tick >= 4e6 { // at a coarse time base a unit is a frame, not a clock's tick
			track.DefaultDuration = tick
		}
	}
	r.info.Tracks = []Track{track}
	return r, nil
}

func (r *ivfReader) Info() *Info { return &r.info }

// fill brings n bytes into the window; the end before that is a cut.
func (r *ivfReader) fill(n int) error {
	err := r.win.Fill(n)
	if err == io.EOF {
		return cut(FormatIVF, r.win.Offset()+int64(len(r.win.Bytes())))
	}
	return err
}

// Next fills item with the header or the next frame.
func (r *ivfReader) Next(item *Item) error {
	if r.err == nil {
		r.err = r.advance(item)
	}
	return r.err
}

func (r *ivfReader) advance(item *Item) error {
	if r.header != nil {
		*item = Item{Kind: KindElement, Duration: NoDuration, Data: r.header}
		r.header = nil
		return nil
	}
	if err := r.win.Fill(1); err != nil {
		return err // io.EOF between frames is the end
	}
	if err := r.fill(ivfFrameHeader); err != nil {
		return err
	}
	at := r.win.Offset()
	size := binary.LittleEndian.Uint32(r.win.Bytes())
	if size > MaxFrame-ivfTimestamp {
		return tooLarge(FormatIVF, at, "frame of %d bytes, over the limit of %d,", size, MaxFrame-ivfTimestamp)
	}
	if err := r.fill(ivfFrameHeader + int(size)); err != nil {
		return err
	}
	b := r.win.Take(ivfFrameHeader + int(size))
	ts, ok := r.ticks(binary.LittleEndian.Uint64(b[4:]))
	if !ok {
		return damaged(FormatIVF, at, "timestamp out of range")
	}
	*item = Item{Kind: KindFrame, Track: 1, Timestamp: ts, Duration: NoDuration,
		Flags: r.key(b[ivfFrameHeader:]), Data: b[4:]}
	return nil
}

// ticks returns a timestamp in ticks, rounded; ok says that there is room for it.
func (r *ivfReader) ticks(pts uint64) (ticks int64, ok bool) {
	if !r.exact {
		den := r.den * fineScale // below 2^49
		hi, lo := bits.Mul64(pts, r.num)
		lo, carry := bits.Add64(lo, den/2, 0)
		hi += carry
		if hi >= den {
			return 0, false
		}
		pts, _ = bits.Div64(hi, lo, den)
	}
	return int64(pts), pts <= math.MaxInt64>>1
}

type ivfWriter struct {
	out     *output
	live    bool
	started bool
	err     error
}

// Write writes one item.
func (w *ivfWriter) Write(item *Item) error {
	if w.err != nil {
		return w.err
	}
	switch {
	case item.Kind == KindElement && !w.started && len(item.Data) >= ivfHeader:
		w.started = true
		w.out.write(item.Data)
	case item.Kind == KindFrame && w.started && len(item.Data) >= ivfTimestamp && len(item.Data) <= MaxFrame:
		var size [4]byte
		binary.LittleEndian.PutUint32(size[:], uint32(len(item.Data)-ivfTimestamp))
		w.out.write(size[:])
		w.out.write(item.Data)
	default:
		w.err = errNotOurs(FormatIVF)
		return w.err
	}
	w.err = w.out.done(w.live)
	return w.err
}

// Close writes what is left in the buffer.
func (w *ivfWriter) Close() error { return closeOutput(w.out, &w.err) }
