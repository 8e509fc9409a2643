package media

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReaderKnowsTheContainer(t *testing.T) {
	want := map[string]Format{".mkv": FormatMatroska, ".webm": FormatMatroska, ".mka": FormatMatroska, ".ivf": FormatIVF,
		".ogg": FormatOgg, ".h264": FormatH264, ".h265": FormatH265}
	for _, path := range clips(t, "*.*") {
		f, ok := want[filepath.Ext(path)]
		if !ok {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(iotest.HalfReader(bytes.NewReader(b)))
		if err != nil || r.Info().Format != f {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What is not read here is named, with the command that helps.
func TestReaderNamesForeignContainers(t *testing.T) {
	ts := make([]byte, 600)
	ts[0], ts[188], ts[376] = 'G', 'G', 'G'
	m2ts := make([]byte, 600)
	m2ts[4], m2ts[196], m2ts[388] = 'G', 'G', 'G'
	for b, name := range map[string]string{
		"\x00\x00\x00\x20ftypisom": "MP4", "\x00\x00\x00\x08wide": "QuickTime", "RIFF....AVI LIST": "AVI", "RIFF....WAVEfmt ": "WAV",
		"FLV\x01": "Flash", "fLaC": "FLAC", "ID3\x03": "MP3", "\xFF\xFB\x90\x00": "MP3", "\xFF\xF1\x50\x80": "AAC", "\x00\x00\x01\xBA\x44": "program stream",
		"\x00\x00\x01\xB3\x16": "MPEG-1", "YUV4MPEG2 W320": "YUV4MPEG2", "FORM....AIFF": "AIFF", "#!AMR\n": "AMR", "\x06\x0e\x2b\x34": "MXF",
		"\x0B\x77\x00": "AC-3", ".snd": "AU", "\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF", string(ts): "transport stream", string(m2ts): "transport stream",
	} {
		_, err := NewReader(strings.NewReader(b))
		var u *UnsupportedError
		if !errors.As(err, &u) || !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), name) || u.Hint != remux || !strings.Contains(err.Error(), u.Hint) {
			t.Errorf("%.20q: %v", b, err)
		}
	}
	for _, b := range []string{"", "x", "plain text, nothing else", "\x00\x00\x00\x00\x00\x00", "\x7fELF", "\x00\x00\x01", "\x01\x00\x00\x01\x67"} {
		_, err := NewReader(strings.NewReader(b))
		var u *UnsupportedError
		if !errors.As(err, &u) || u.Hint != "" {
			t.Errorf("%q: %v", b, err)
		}
	}
	broken := errors.New("broken")
	if _, err := NewReader(iotest.ErrReader(broken)); err != broken {
		t.Errorf("error of the source: %v", err)
	}
}

func TestWriterKnowsTheContainer(t *testing.T) {
	for _, c := range []struct {
		info Format
		want Format
		ok   bool
	}{{FormatMatroska, 0, true}, {FormatMatroska, FormatMatroska, true}, {FormatMatroska, FormatOgg, false}, {FormatOgg, FormatIVF, false}, {0, 0, false}, {9, 0, false}} {
		_, err := NewWriter(new(bytes.Buffer), &Info{Format: c.info}, Options{Format: c.want})
		if (err == nil) != c.ok {
			t.Errorf("%v as %v: %v", c.info, c.want, err)
		}
	}
}
