package onecall

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClips: of every clip that package media reads the packets of RTP make the same
// frames again, so that a call can send it; or it is said why not.
func TestClips(t *testing.T) {
	clips, err := filepath.Glob("../../../testdata/media/*.*")
	if err != nil || len(clips) == 0 {
		t.Fatal(err, "no clips")
	}
	sent := 0
	for _, name := range clips {
		if strings.HasSuffix(name, ".md") {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c, err := ReadClip(f)
			if err != nil {
				t.Skip(err)
			}
			packets, err := c.Packets(2)
			if err != nil {
				t.Fatal(err)
			}
			var raw [][]byte
			for _, p := range packets {
				raw = append(raw, p.Data)
			}
			got, err := c.Join(raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range c.Streams {
				if err := s.Same(got[s.SSRC], 2); err != nil {
					t.Error(err)
				}
				// And the comparison bites.
				got[s.SSRC][1][0] ^= 0x40
				if s.Same(got[s.SSRC], 2) == nil || s.Same(got[s.SSRC][1:], 2) == nil {
					t.Error("another frame passes for it")
				}
			}
			sent++
		})
	}
	if sent < 10 {
		t.Errorf("%d clips can be sent", sent)
	}
}
