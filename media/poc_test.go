package media

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestH264PictureOrderCounts(t *testing.T) {
	order := func(sps h264SPSet, headers ...h264Header) (pocs []int64) {
		var p h264POC
		for _, h := range headers {
			h.sps = &sps
			pocs = append(pocs, p.next(&h).poc)
		}
		return pocs
	}
	idr := h264Header{nalType: h264IDR, refIDC: 3}
	ref := func(frame, lsb uint32) h264Header {
		return h264Header{nalType: 1, refIDC: 2, frameNum: frame, pocLSB: lsb}
	}
	b := func(frame, lsb uint32) h264Header { return h264Header{nalType: 1, frameNum: frame, pocLSB: lsb} }
	for _, c := range []struct {
		name      string
		got, want []int64
	}{
		// 8.2.1.1: the least significant bits wrap, forwards and back.
		{"type 0", order(h264SPSet{pocLSBBits: 4}, idr, ref(1, 6), b(2, 2), b(2, 4), ref(2, 12), ref(3, 2), b(4, 14), idr), []int64{0, 6, 2, 4, 12, 18, 14, 0}},
		// 8.2.1.2: each reference picture is 2 behind the one before, others 1 less, and frame_num wraps.
		{"type 1", order(h264SPSet{pocType: 1, frameNumBits: 2, offsets: []int32{2}, offsetNonRef: -1}, idr, ref(1, 0), b(2, 0), ref(2, 0), ref(3, 0), ref(0, 0)), []int64{0, 2, 1, 4, 6, 8}},
		{"type 1, cycle of 2", order(h264SPSet{pocType: 1, frameNumBits: 8, offsets: []int32{4, 2}}, idr, ref(1, 0), ref(2, 0), ref(3, 0), ref(4, 0)), []int64{0, 4, 6, 10, 12}},
		// 8.2.1.3: decoding order is order of presentation.
		{"type 2", order(h264SPSet{pocType: 2, frameNumBits: 2}, idr, ref(1, 0), b(2, 0), ref(2, 0), ref(3, 0), ref(0, 0)), []int64{0, 2, 3, 4, 6, 8}},
	} {
		if fmt.Sprint(c.got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

// What cannot be put in order is refused with a way out, not written somehow.
func TestConversionRefuses(t *testing.T) {
	sets := start4(avcSPS(0), avcPPS(0, 0))
	idr := start3(avcSlice{header: 0x65}.nal())
	p := func(frame, lsb uint64) []byte { return start3(avcSlice{header: 0x41, frame: frame, lsb: lsb}.nal()) }
	for _, c := range []struct {
		name string
		doc  []byte
		want error
		text string
	}{
		{"fields", cat(sets, idr, start3(avcSlice{header: 0x41, frame: 1, field: true, lsb: 2}.nal())), ErrUnsupported, "fields"},
		{"the same place twice", cat(sets, idr, p(1, 4), p(2, 4)), ErrUnsupported, "genpts"},
		{"back beyond the buffer", cat(sets, idr, p(1, 6), p(2, 4), bytes.Repeat(cat(p(3, 8), p(4, 12), p(5, 0), p(6, 4)), 6), p(1, 4), p(3, 13), p(5, 13)), ErrUnsupported, "genpts"},
		{"no PPS", cat(start4(avcSPS(0)), idr), ErrDamaged, "slice"},
		{"AV1 of no OBUs", ivfFile("AV01", 30, 1, 32, ivfFrame(0, 0x0A, 9)), ErrDamaged, "OBU"},
		{"AV1 without a sequence header", ivfFile("AV01", 30, 1, 32, ivfFrame(0, 0x32, 1, 0x10)), ErrDamaged, "sequence header"},
		{"AV1 with half a sequence header", ivfFile("AV01", 30, 1, 32, ivfFrame(0, 0x0A, 2, 0, 0)), ErrDamaged, "sequence header"},
		{"chained streams of other mappings", cat(oggHead(1), page(0, 960, 1, 2, opusPacket(9)),
			page(oggBegin, 0, 2, 0, append([]byte("OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\xff\x01\x00"), 0)), page(0, 0, 2, 1, opusTagsPacket)), ErrUnsupported, "mapping"},
		{"nothing", ivfFile("VP80", 30, 1, 32), nil, "without a frame"},
	} {
		info, items, err := readAll(bytes.NewReader(c.doc))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		err = writeAll(new(memFile), info, items, Options{Format: FormatMatroska})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
