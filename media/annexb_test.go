package media

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A bitWriter writes what a bitReader reads.
type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) u(n int, v uint64) *bitWriter {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
	return w
}

func (w *bitWriter) ue(vs ...uint64) *bitWriter {
	for _, v := range vs {
		n := 0
		for (v+1)>>(n+1) > 0 {
			n++
		}
		w.u(n, 0).u(n+1, v+1)
	}
	return w
}

// end adds the stop bit and returns the bytes behind a NAL header, escaped.
func (w *bitWriter) end(header ...byte) []byte {
	w.u(1, 1)
	out, zeros := header, 0
	for _, c := range w.b {
		if zeros >= 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if zeros++; c != 0 {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

// avcSPS is a baseline set: 4 bits of frame_num, 4 of pic_order_cnt_lsb (type 0), fields allowed.
func avcSPS(id uint64) []byte {
	w := new(bitWriter).u(24, 66<<16|30).ue(id, 0, 0, 0, 4).u(1, 0).ue(19, 7).u(1, 0).u(1, 0).u(1, 1).u(1, 1).ue(0, 0, 0, 4)
	return w.u(1, 1).u(4, 0).u(1, 1).u(32, 1001).u(32, 60000).u(1, 1).u(4, 0).end(0x67)
}

func avcPPS(id, sps uint64) []byte {
	return new(bitWriter).ue(id, sps).u(1, 0).u(1, 1).ue(0, 0, 0).u(3, 0).ue(0, 0, 0).u(2, 0).u(1, 1).end(0x68)
}

type avcSlice struct {
	header                        byte
	first, pps, frame, idr, lsb   uint64
	field, bottom                 bool
	deltaBottom, redundant, extra uint64
}

func (s avcSlice) nal() []byte {
	w := new(bitWriter).ue(s.first, 7, s.pps).u(4, s.frame)
	if w.u(1, bit(s.field)); s.field {
		w.u(1, bit(s.bottom))
	}
	if s.header&31 == h264IDR {
		w.ue(s.idr)
	}
	if w.u(4, s.lsb); !s.field {
		w.ue(s.deltaBottom)
	}
	return w.ue(s.redundant).u(16, s.extra).end(s.header)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func start3(nals ...[]byte) []byte { return byteStream([]byte{0, 0, 1}, nals) }
func start4(nals ...[]byte) []byte { return byteStream([]byte{0, 0, 0, 1}, nals) }

func byteStream(code []byte, nals [][]byte) []byte {
	var b []byte
	for _, n := range nals {
		b = append(append(b, code...), n...)
	}
	return b
}

// accessUnits reads a byte stream whose access units are given, and checks that
// these are the ones found.
func accessUnits(t *testing.T, name string, want ...[]byte) []Item {
	t.Helper()
	_, items, err := readAll(bytes.NewReader(cat(want...)))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	for n := range min(len(items), len(want)) {
		if !bytes.Equal(items[n].Data, want[n]) {
			t.Errorf("%s: access unit %d is ...% x, want ...% x", name, n, tail(items[n].Data), tail(want[n]))
			return nil
		}
	}
	if len(items) != len(want) {
		t.Errorf("%s: %d access units, want %d", name, len(items), len(want))
	}
	return items
}

func tail(b []byte) []byte { return b[max(0, len(b)-24):] }

// The borders between H.264 access units, condition by condition (7.4.1.2.3, 7.4.1.2.4).
func TestH264AccessUnits(t *testing.T) {
	idr := avcSlice{header: 0x65}
	p := avcSlice{header: 0x41, frame: 1, lsb: 2}
	sets := start4(avcSPS(0), avcPPS(0, 0), avcPPS(1, 0))
	first := cat(sets, start3(idr.nal()))
	with := func(s avcSlice, f func(*avcSlice)) []byte { f(&s); return start3(s.nal()) }

	for name, f := range map[string]func(*avcSlice){
		"frame_num":              func(s *avcSlice) { s.frame = 2 },
		"pic_parameter_set_id":   func(s *avcSlice) { s.pps = 1 },
		"field_pic_flag":         func(s *avcSlice) { s.field = true },
		"nal_ref_idc":            func(s *avcSlice) { s.header = 0x01 },
		"pic_order_cnt_lsb":      func(s *avcSlice) { s.lsb = 3 },
		"delta_pic_order_cnt":    func(s *avcSlice) { s.deltaBottom = 1 },
		"IdrPicFlag, idr_pic_id": func(s *avcSlice) { s.header = 0x65 },
	} {
		accessUnits(t, name, first, start3(p.nal()), with(p, f))
	}
	top := p
	top.field = true
	accessUnits(t, "bottom_field_flag", first, start3(top.nal()), with(top, func(s *avcSlice) { s.bottom = true }))
	accessUnits(t, "idr_pic_id", first, with(idr, func(s *avcSlice) { s.idr = 1 }))

	more := with(p, func(s *avcSlice) { s.first = 40; s.extra = 7 })
	accessUnits(t, "slices of one picture", first, cat(start3(p.nal()), more, more))
	accessUnits(t, "nal_ref_idc of 1 and 2", first, cat(start3(p.nal()), with(p, func(s *avcSlice) { s.header = 0x21 })))
	accessUnits(t, "redundant picture", first, cat(start3(p.nal()), with(p, func(s *avcSlice) { s.redundant = 1; s.lsb = 9 })))
	accessUnits(t, "zeros and filler", cat([]byte{0, 0, 0}, first), cat(start3(p.nal()), []byte{0, 0, 0}, start3([]byte{12, 255, 128}), []byte{0, 0, 0, 0}))

	p2 := with(p, func(s *avcSlice) { s.lsb = 4; s.frame = 2 })
	for name, nal := range map[string][]byte{"AUD": {9, 0xF0}, "SEI": {6, 5, 1, 0, 0x80}, "SPS": avcSPS(0), "PPS": avcPPS(1, 0), "prefix": {0x6E, 1}, "subset SPS": {0x6F, 1, 2}} {
		accessUnits(t, name+" begins", first, start3(p.nal()), cat(start3(nal), p2))
		accessUnits(t, name+" begins, 4 byte start code", first, start4(p.nal()), cat(start4(nal), p2))
	}
	for name, nal := range map[string][]byte{"end of sequence": {10}, "end of stream": {11}, "filler": {12, 255}, "auxiliary slice": {19, 1}, "empty": {}} {
		accessUnits(t, name+" does not begin", first, cat(start3(p.nal()), start3(nal)), p2)
	}
	prefix := start3([]byte{0x6E, 1, 2, 3})
	accessUnits(t, "prefix in front of each slice", cat(sets, prefix, start3(idr.nal())),
		cat(prefix, start3(p.nal()), prefix, more), cat(prefix, start3([]byte{9, 0xF0}), p2))

	// Without the parameter sets in use, a slice with the first macroblock begins.
	lost := avcSlice{header: 0x41, pps: 9}
	accessUnits(t, "unknown PPS", first, start3(lost.nal()), cat(start3(lost.nal()), with(lost, func(s *avcSlice) { s.first = 3 })))

	items := accessUnits(t, "keys", first, start3(p.nal()), cat(start3([]byte{6, 6, 1, 0xC0, 0x80}), p2), with(idr, func(s *avcSlice) { s.idr = 3 }))
	var keys []bool
	for _, i := range items {
		keys = append(keys, i.Flags == FlagKey)
	}
	if fmt.Sprint(keys) != "[true false true true]" {
		t.Errorf("key frames: %v", keys)
	}
}

func TestH264Info(t *testing.T) {
	p := avcSlice{header: 0x41, frame: 1, lsb: 2}
	field := avcSlice{header: 0x41, frame: 2, lsb: 4, field: true}
	bottom := field
	bottom.bottom = true
	last := avcSlice{header: 0x41, frame: 3, lsb: 6}
	doc := start4(avcSPS(0), avcPPS(0, 0), avcSlice{header: 0x65}.nal(), p.nal(), field.nal(), bottom.nal(), last.nal())
	info, items, err := readAll(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	// 16*20 by 16*8*2 less 4 cropped units of 4 lines; 60000 fields in 1001 seconds.
	track := info.Tracks[0]
	if track.Width != 320 || track.Height != 240 || track.DefaultDuration != 33_366_667 || track.CodecID != "V_MPEG4/ISO/AVC" {
		t.Errorf("%+v", track)
	}
	var times []int64
	for _, i := range items {
		times = append(times, i.Timestamp)
	}
	if fmt.Sprint(times) != "[0 334 667 834 1001]" { // a field is half a frame
		t.Errorf("times %v", times)
	}
}

// The borders between H.265 access units (7.4.2.4.4).
func TestH265AccessUnits(t *testing.T) {
	doc, err := firstUnit(t)
	if err != nil {
		t.Fatal(err)
	}
	p := []byte{0x02, 0x01, 0x80, 1, 2, 3}
	more := []byte{0x02, 0x01, 0x40, 1, 2, 3}
	layer := []byte{0x02, 0x09, 0x80, 1, 2, 3}
	for name, nal := range map[string][]byte{"VPS": {0x40, 1, 1}, "PPS": {0x44, 1, 0xC0}, "AUD": {0x46, 1, 0x50}, "prefix SEI": {0x4E, 1, 1, 0x80}, "reserved 41": {82, 1, 1}, "unspecified 48": {96, 1, 1}} {
		accessUnits(t, name+" begins", doc, start3(p, more), cat(start4(nal), start3(p)))
	}
	for name, nal := range map[string][]byte{"suffix SEI": {80, 1, 1, 0x80}, "end of sequence": {72, 1}, "filler": {76, 1, 255}, "another layer": layer, "another layer's AUD": {0x46, 9, 0x50}, "unspecified 56": {112, 1, 1}, "too short": {0x46, 1}} {
		accessUnits(t, name+" does not begin", doc, start3(p, more, nal), start3(p))
	}
	items := accessUnits(t, "keys", doc, start3(p), start3([]byte{21 << 1, 1, 0x80, 9}))
	if len(items) == 3 && (items[0].Flags != FlagKey || items[1].Flags != 0 || items[2].Flags != FlagKey) {
		t.Error("key frames")
	}
}

// firstUnit is the first access unit of a real H.265 stream, with its parameter sets.
func firstUnit(t *testing.T) ([]byte, error) {
	f, err := openClip(t, "h265.h265")
	if err != nil {
		return nil, err
	}
	r, err := NewReader(f)
	if err != nil {
		return nil, err
	}
	var i Item
	err = r.Next(&i)
	return bytes.Clone(i.Data), err
}

// Whatever lies behind the start codes, the access units together are the file.
func TestAnnexBComesBack(t *testing.T) {
	sps := start4(avcSPS(0), avcPPS(0, 0))
	rapid.Check(t, func(t *rapid.T) {
		doc := bytes.Clone(sps)
		for range rapid.IntRange(0, 30).Draw(t, "units") {
			doc = append(doc, rapid.SampledFrom([]string{"", "\x00", "\x00\x00\x00"}).Draw(t, "zeros")...)
			doc = append(doc, 0, 0, 1)
			doc = append(doc, rapid.SampledFrom([]byte{0x65, 0x41, 0x01, 0x09, 0x06, 0x67, 0x68, 0x6E, 0x0C, 0x0A, 0x00, 0x9F}).Draw(t, "header"))
			doc = append(doc, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")...)
		}
		info, items, err := readAll(bytes.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := writeAll(&out, info, items, Options{}); err != nil || !bytes.Equal(out.Bytes(), doc) {
			t.Fatalf("%d bytes, want %d, %v", out.Len(), len(doc), err)
		}
	})
}

func TestAnnexBRefuses(t *testing.T) {
	slice := start3(avcSlice{header: 0x65}.nal())
	if _, _, err := readAll(bytes.NewReader(slice)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "parameter set") {
		t.Errorf("no SPS: %v", err)
	}
	late := bytes.Repeat(slice, maxBeforeSPS/len(slice)+2)
	if _, _, err := readAll(bytes.NewReader(cat(late, start3(avcSPS(0))))); !errors.Is(err, ErrDamaged) {
		t.Errorf("SPS behind %d bytes: %v", len(late), err)
	}
	doc := cat(start4(avcSPS(0), avcPPS(0, 0)), start3([]byte{0x65}))
	r, err := NewReader(io.MultiReader(bytes.NewReader(doc), &ones{MaxFrame + 10}))
	if err != nil {
		t.Fatal(err)
	}
	var i Item
	if err := r.Next(&i); !errors.Is(err, ErrTooLarge) {
		t.Errorf("NAL unit over the limit: %v", err)
	}
	if err := writeAll(io.Discard, &Info{Format: FormatH264}, []Item{{Kind: KindElement}}, Options{}); err == nil {
		t.Error("an element was written")
	}
}

// ones is n bytes of 1 that take no memory.
type ones struct{ n int }

func (o *ones) Read(p []byte) (int, error) {
	if o.n == 0 {
		return 0, io.EOF
	}
	n := min(len(p), o.n)
	o.n -= n
	for i := range p[:n] {
		p[i] = 1
	}
	return n, nil
}
