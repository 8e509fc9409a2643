package media

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.SampledFrom([]byte{0, 0, 0, 1, 2, 3, 4, 255})).Draw(t, "payload")
		zeros := rapid.IntRange(0, 2).Draw(t, "zeros")
		e := Escape(nil, b, zeros)
		whole := append(make([]byte, zeros), e...)
		for i := 2; i < len(whole); i++ {
			if whole[i-2] == 0 && whole[i-1] == 0 && whole[i] < 3 && i >= zeros {
				t.Fatalf("%x escaped to %x", b, e)
			}
		}
		if got := Unescape(nil, e, zeros); !bytes.Equal(got, b) {
			t.Fatalf("%x came back as %x", b, got)
		}
	})
	// Unseeded, a payload behind two zeros may form a start code: that is what the seed is for.
	if got := Escape(nil, []byte{1}, 0); !bytes.Equal(got, []byte{1}) {
		t.Errorf("unseeded: %x", got)
	}
	if got := Escape(nil, []byte{1}, 2); !bytes.Equal(got, []byte{3, 1}) {
		t.Errorf("seeded: %x", got)
	}
}

func TestCanonical(t *testing.T) {
	const s3, s4 = "\x00\x00\x01", "\x00\x00\x00\x01"
	for _, c := range []struct {
		codec    Codec
		in, want string
	}{
		{H264, s3 + "\x09\xf0" + s3 + "\x68b" + s4 + "\x67a" + s3 + "\x0c\xff" + s3 + "\x65c", s4 + "\x67a" + s4 + "\x68b" + s4 + "\x65c"},
		{H264, s4 + "\x67a" + s4 + "\x06s" + s4 + "\x68b" + s4 + "\x65c", s4 + "\x67a" + s4 + "\x68b" + s4 + "\x06s" + s4 + "\x65c"},
		{H265, s3 + "\x46\x01" + s3 + "\x44\x01p" + s3 + "\x42\x01s" + s3 + "\x40\x01v" + s3 + "\x26\x01i", s4 + "\x40\x01v" + s4 + "\x42\x01s" + s4 + "\x44\x01p" + s4 + "\x26\x01i"},
	} {
		got, err := Canonical(c.codec, nil, []byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%q became %q, %v", c.in, got, err)
		}
		again, err := Canonical(c.codec, nil, got)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%q is not canonical", got)
		}
		avcc := FromAnnexB(nil, got)
		if back, err := ToAnnexB(nil, avcc, 4); err != nil || !bytes.Equal(back, got) {
			t.Errorf("%x came back as %x, %v", avcc, back, err)
		}
		if _, err := ToAnnexB(nil, avcc[:len(avcc)-1], 4); err == nil {
			t.Error("a unit that is cut off passes")
		}
	}
	if _, err := Canonical(H264, nil, []byte("\x00\x00\x00\x05hello")); err == nil {
		t.Error("lengths pass as start codes")
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		codec Codec
		frame string
		want  FrameKind
	}{
		{Opus, "\xf8\xff\xfe", FrameKey}, {VP8, "\x10\x02\x00\x9d\x01\x2a", FrameKey}, {VP8, "\x31\x02\x00", FrameDelta}, {VP8, "\x31", FrameUnknown},
		{VP9, "\x82\x49\x83\x42", FrameKey}, {VP9, "\x86\x00", FrameDelta}, {VP9, "", FrameUnknown},
		{H264, "\x00\x00\x01\x67a\x00\x00\x01\x65b", FrameKey}, {H264, "\x00\x00\x01\x41b", FrameDelta}, {H264, "\x00\x00\x01\x67a", FrameUnknown},
		{H265, "\x00\x00\x01\x26\x01b", FrameKey}, {H265, "\x00\x00\x01\x02\x01b", FrameDelta},
	} {
		if got := KindOf(c.codec, []byte(c.frame)); got != c.want {
			t.Errorf("codec %d, %x: %d, want %d", c.codec, c.frame, got, c.want)
		}
	}
}

func TestLint(t *testing.T) {
	for name, want := range map[string]int{"vp8.ivf": 0, "vp8-opus.webm": 0, "vp9-opus.webm": 1, "av1-opus.mkv": 1, "speech.ogg": 0} {
		f, err := os.Open("../testdata/media/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		found, err := Lint(r)
		if err != nil || len(found) != want {
			t.Errorf("%s: %v, %+v", name, err, found)
		}
	}
	for _, name := range []string{"h264.h264", "h264-opus.mkv", "h265.h265", "h265-opus.mkv"} {
		f, err := os.Open("../testdata/media/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		found, err := Lint(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range found {
			t.Logf("%s: %+v", name, x)
		}
		reordered := false
		for _, x := range found {
			reordered = reordered || x.What == "frames out of order (B-frames)"
			if x.What == "a frame without a slice" {
				t.Errorf("%s: %+v", name, x)
			}
		}
		if !reordered {
			t.Errorf("%s: B-frames are not found", name)
		}
	}
}

// TestLintSPS: what browsers do not take shows in the sequence parameter sets of x264.
func TestLintSPS(t *testing.T) {
	const (
		reordered = "frames out of order (B-frames)"
		fields    = "interlaced pictures"
		samples   = "samples of more than 8 bits, or chroma of 4:2:2"
	)
	for _, c := range []struct {
		name, sps string
		want      []string
	}{
		{"-tune zerolatency", "6764000dacb20283f60220000003002000000651e28549", nil},
		{"B-frames", "6764000dacd94141fb011000000300100000030320f1429960", []string{reordered}},
		{"-flags +ilme+ildct", "67640015acd941410fcb808800000300080000030190f8a14cb0", []string{fields, reordered}},
		{"-pix_fmt yuv420p10le", "676e000da6cd94141fb011000003000100000300320f142996", []string{samples, reordered}},
		{"-pix_fmt yuv422p", "677a000dbcd94141fb011000000300100000030320f1429960", []string{samples, reordered}},
	} {
		nal, err := hex.DecodeString(c.sps)
		if err != nil {
			t.Fatal(err)
		}
		l := &linter{seen: map[string]bool{}}
		l.sps(1, 0, nal)
		var got []string
		for _, f := range l.found {
			got = append(got, f.What)
			if f.Why == "" || f.Do == "" {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestHvccSPS: a decoder configuration record is read to its first sequence parameter
// set, and one that is cut off or says more than it has is none.
func TestHvccSPS(t *testing.T) {
	record := append(make([]byte, 23), 33|0x80, 0, 1, 0, 4, 0x42, 1, 0xAA, 0xBB)
	record[0], record[13], record[15], record[16], record[22] = 1, 0xF0, 0xFC, 0xFC, 2
	vps := append(append(bytes.Clone(record[:23]), 32|0x80, 0, 1, 0, 2, 0x40, 1), record[23:]...)
	for _, b := range [][]byte{record, vps} {
		if got := hvccSPS(b); !bytes.Equal(got, []byte{0x42, 1, 0xAA, 0xBB}) {
			t.Errorf("%x: %x", b, got)
		}
		for n := range b {
			if got := hvccSPS(b[:n:n]); got != nil {
				t.Errorf("%d bytes of %d: %x", n, len(b), got)
			}
		}
	}
}
