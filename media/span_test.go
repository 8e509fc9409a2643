package media

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// TestSpans: heads of frames as the formats' documents have them.
func TestSpans(t *testing.T) {
	flac := append([]byte("fLaC\x80\x00\x00\x22"), make([]byte, 34)...)
	copy(flac[18:], "\x0a\xc4\x40\xf0") // 44100 Hz
	for _, c := range []struct {
		name, codec   string
		rate          float64
		private       []byte
		frame         string // hex
		samples, perS float64
	}{
		{"Opus, 20 ms", "A_OPUS", 48000, nil, "780011", 960, 48000},
		{"Opus, three of 60 ms, too long", "A_OPUS", 48000, nil, "1b03", 0, 1},
		{"Opus, empty", "A_OPUS", 48000, nil, "", 0, 1},
		{"AAC LC", "A_AAC", 48000, []byte{0x11, 0x90}, "21", 1024, 48000},
		{"AAC of 960 samples", "A_AAC", 48000, []byte{0x11, 0x94}, "21", 960, 48000},
		{"HE-AAC, core of 24 kHz", "A_AAC", 24000, []byte{0x2b, 0x11, 0x88, 0x00}, "21", 1024, 24000},
		{"AAC, rate written out", "A_AAC", 44056, []byte{0x17, 0x80, 0x56, 0x0c, 0x08}, "21", 1024, 44056},
		{"AAC without configuration", "A_AAC", 48000, nil, "21", 0, 1},
		{"MP3", "A_MPEG/L3", 44100, nil, "fffb9064", 1152, 44100},
		{"MP3, MPEG-2", "A_MPEG/L3", 22050, nil, "fff38064", 576, 22050},
		{"MP3, MPEG-2.5", "A_MPEG/L3", 8000, nil, "ffe34864", 576, 8000},
		{"MP2, MPEG-2", "A_MPEG/L2", 22050, nil, "fff58064", 1152, 22050},
		{"MP3, cut", "A_MPEG/L3", 44100, nil, "fffb90", 0, 1},
		{"MP3, rate reserved", "A_MPEG/L3", 44100, nil, "fffb9c64", 0, 1},
		{"AC-3", "A_AC3", 44100, nil, "0b77", 1536, 44100},
		{"E-AC-3, 6 blocks", "A_EAC3", 48000, nil, "0b7700bf34", 1536, 48000},
		{"E-AC-3, 1 block", "A_EAC3", 48000, nil, "0b7700bf04", 256, 48000},
		{"E-AC-3, 24 kHz", "A_EAC3", 24000, nil, "0b7700bfc4", 1536, 24000},
		{"FLAC, 4096", "A_FLAC", 44100, flac, "fff8c9a800", 4096, 44100},
		{"FLAC, 576", "A_FLAC", 44100, flac, "fff829a800", 576, 44100},
		{"FLAC, 192", "A_FLAC", 44100, flac, "fff819a800", 192, 44100},
		{"FLAC, 8 bits", "A_FLAC", 44100, flac, "fff869a8006300", 100, 44100},
		{"FLAC, 16 bits behind a number of two bytes", "A_FLAC", 44100, flac, "fff879a8c28003e700", 1000, 44100},
		{"FLAC, cut", "A_FLAC", 44100, flac, "fff879a8c28003", 0, 1},
		{"PCM", "A_PCM/INT/LIT", 8000, nil, "00112233445566778899", 5, 8000},
		{"another codec", "A_TRUEHD", 48000, nil, "00", 0, 1},
	} {
		track := &Track{Type: TrackAudio, CodecID: c.codec, SampleRate: c.rate, Channels: 1, BitDepth: 16}
		frame, err := hex.DecodeString(c.frame)
		if err != nil {
			t.Fatal(err)
		}
		got := int64(0)
		if s := newSpanner(track, c.private); s != nil {
			got = s(frame)
		}
		if want := int64(c.samples / c.perS * 1e9); got != want {
			t.Errorf("%s: %d ns, want %d", c.name, got, want)
		}
	}
}

// TestSpansOfClips holds the Span of every frame of real encoders against ffprobe's
// opinion, where frames are not laced.
func TestSpansOfClips(t *testing.T) {
	if _, err := exec.LookPath("ffprobe"); err != nil {
		t.Skip("ffprobe is not installed")
	}
	path := filepath.Join("..", "testdata", "media", "sounds.mka")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, items, err := readAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Fields([]byte(tool(t, "ffprobe", "-v", "error", "-show_entries", "packet=duration", "-select_streams", "0", "-of", "csv=p=0", path)))
	for _, i := range items { // Vorbis: two lengths of blocks
		if i.Kind != KindFrame || i.Track != info.Tracks[0].Number {
			continue
		}
		if len(want) == 0 {
			t.Fatal("more frames than ffprobe lists")
		}
		if got := fmt.Sprint(i.Span / int64(info.TimestampScale)); got != string(want[0]) {
			t.Fatalf("a frame at %d plays %s ms, want %s", i.Timestamp, got, want[0])
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Fatalf("%d frames missing", len(want))
	}
}

// TestHostileSpans: nothing that a codec's headers say reaches a panic, or a length
// that would overflow where a block's are added up.
func TestHostileSpans(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "testdata", "media", "sounds.mka"))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("\x01vorbis"))
	end := bytes.Index(b, []byte("A_FLAC"))
	real := b[at-3 : end] // 0x02, two sizes, the headers, and more
	rapid.Check(t, func(t *rapid.T) {
		codec := rapid.SampledFrom([]string{"A_OPUS", "A_VORBIS", "A_AAC", "A_MPEG/L3", "A_MPEG/L2", "A_AC3", "A_EAC3", "A_FLAC", "A_PCM/INT/LIT"}).Draw(t, "codec")
		private := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "private")
		if codec == "A_VORBIS" {
			private = bytes.Clone(real[:rapid.IntRange(0, len(real)).Draw(t, "cut")])
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				if len(private) > 0 {
					private[rapid.IntRange(0, len(private)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
				}
			}
		}
		track := &Track{
			Type: TrackAudio, CodecID: codec, SampleRate: rapid.Float64Min(0).Draw(t, "rate"),
			Channels: rapid.Uint64().Draw(t, "channels"), BitDepth: rapid.Uint64().Draw(t, "depth"),
		}
		if track.UsualSpan() > 1<<62 {
			t.Fatalf("usually %d ns", track.UsualSpan())
		}
		s := newSpanner(track, private)
		if s == nil {
			return
		}
		for range 3 {
			if ns := s(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "frame")); ns < 0 || ns > 1<<54 {
				t.Fatalf("%d ns", ns)
			}
		}
	})
}

// TestUsualSpan: what a track says itself comes first.
func TestUsualSpan(t *testing.T) {
	for _, c := range []struct {
		track Track
		want  uint64
	}{
		{Track{Type: TrackAudio, CodecID: "A_OPUS", SampleRate: 48000}, 20_000_000},
		{Track{Type: TrackAudio, CodecID: "A_OPUS", DefaultDuration: 60_000_000}, 60_000_000},
		{Track{Type: TrackAudio, CodecID: "A_AAC", SampleRate: 48000}, 21_333_333},
		{Track{Type: TrackAudio, CodecID: "A_AAC"}, 0},
		{Track{Type: TrackAudio, CodecID: "A_MPEG/L3", SampleRate: 48000}, 24_000_000},
		{Track{Type: TrackAudio, CodecID: "A_MPEG/L3", SampleRate: 24000}, 24_000_000},
		{Track{Type: TrackAudio, CodecID: "A_FLAC", SampleRate: 48000}, 0},
		{Track{Type: TrackVideo, CodecID: "V_VP8"}, 0},
		{Track{Type: TrackVideo, CodecID: "V_VP8", DefaultDuration: 40_000_000}, 40_000_000},
	} {
		if got := c.track.UsualSpan(); got != c.want {
			t.Errorf("%s: %d, want %d", c.track.CodecID, got, c.want)
		}
	}
}
