package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// TestCall makes the call with each codec and both ways to seal.
func TestCall(t *testing.T) {
	for _, c := range []struct {
		name, clip string
		packets    bool
	}{
		{"frames of VP8 and Opus", "vp8-opus.webm", false},
		{"frames of H.264 and Opus", "h264-opus.mkv", false},
		{"frames of AV1 and Opus", "av1-opus.mkv", false},
		{"packets of VP8 and Opus", "vp8-opus.webm", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			defer cancel()
			var out bytes.Buffer
			if err := run(ctx, &out, "../../testdata/media/"+c.clip, c.packets); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if strings.Count(out.String(), "bit for bit") != 2 || !strings.Contains(out.String(), " 0 of which showed") {
				t.Errorf("%s", out.String())
			}
		})
	}
}

// TestLook: what the SFU would see of a call that is not sealed is found.
func TestLook(t *testing.T) {
	tracks, err := readTracks("../../testdata/media/vp8-opus.webm")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSFU(tracks)
	if err != nil {
		t.Fatal(err)
	}
	defer s.from.Close()
	defer s.to.Close()
	for _, track := range tracks {
		before := s.seen
		for _, f := range track.frames {
			s.look(f)
		}
		if s.seen == before {
			t.Errorf("%s: frames in clear are not seen", track.mime)
		}
	}
}
