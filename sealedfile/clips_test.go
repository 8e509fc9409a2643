package sealedfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chanseal/chanseal/media"
)

// readItems takes a recording apart.
func readItems(t *testing.T, recording []byte) (items []media.Item, info *media.Info) {
	t.Helper()
	r, err := media.NewReader(bytes.NewReader(recording))
	if err != nil {
		t.Fatal(err)
	}
	for {
		var item media.Item
		switch err := r.Next(&item); {
		case err == io.EOF:
			return items, r.Info()
		case err != nil:
			t.Fatal(err)
		}
		item.Data = bytes.Clone(item.Data)
		item.References = append([]int64(nil), item.References...)
		items = append(items, item)
	}
}

// TestClips seals and opens real encoders' output.
func TestClips(t *testing.T) {
	clips, err := filepath.Glob("../testdata/media/*.*")
	if err != nil || len(clips) < 10 {
		t.Fatalf("%d clips, %v", len(clips), err)
	}
	keys := newTestKeys(t, anySuite(), "room")
	for _, clip := range clips {
		if filepath.Ext(clip) == ".md" {
			continue
		}
		t.Run(filepath.Base(clip), func(t *testing.T) {
			recording, err := os.ReadFile(clip)
			if err != nil {
				t.Fatal(err)
			}
			items, info := readItems(t, recording)
			keys.turn(t)
			bothWays(t, func(t *testing.T, stream bool) {
				got, gotInfo, err := openItems(sealItems(t, keys, info, items, stream), keys.unlock)
				if err != nil {
					t.Fatal(err)
				}
				sameItems(t, got, items)
				if gotInfo.Format != info.Format || len(gotInfo.Tracks) != len(info.Tracks) {
					t.Errorf("info %+v, want %+v", gotInfo, info)
				}
				keys.turn(t)
			})
		})
	}
}

// listing is ffprobe's list of packets, a track's together: when each plays, for how
// long, and whether it is a keyframe.
func listing(t *testing.T, path string) map[int][]string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-of", "json", "-show_entries",
		"packet=stream_index,pts_time,duration_time,flags", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Packets []struct {
			Stream   int    `json:"stream_index"`
			PTS      string `json:"pts_time"`
			Duration string `json:"duration_time"`
			Flags    string
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	tracks := make(map[int][]string)
	for _, p := range list.Packets {
		tracks[p.Stream] = append(tracks[p.Stream], fmt.Sprintf("%s for %s, %.1s", p.PTS, p.Duration, p.Flags))
	}
	return tracks
}

// TestListing: whoever lists the packets of a sealed file sees the times, durations and
// keyframes that the recording's own listing shows, though the codecs are hidden.
func TestListing(t *testing.T) {
	if _, err := exec.LookPath("ffprobe"); err != nil {
		t.Skip("ffprobe is not installed")
	}
	keys := newTestKeys(t, anySuite(), "room")
	// Not those with laced sound, of which a sealed file shows a block as one packet.
	for _, clip := range []string{
		"vp8-opus.webm", "vp9-opus.webm", "vp9-alpha-opus.webm", "h264-opus.mkv", "h265-opus.mkv", "av1-opus.mkv",
		"live.webm", "live-gst.webm", "demo.webm", "sounds.mka", "vp8.ivf", "opus-2.5ms.ogg", "opus-60ms.ogg",
	} {
		t.Run(clip, func(t *testing.T) {
			path := filepath.Join("../testdata/media", clip)
			recording, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			items, info := readItems(t, recording)
			keys.turn(t)
			sealed := filepath.Join(t.TempDir(), "sealed.mkv")
			if err := os.WriteFile(sealed, sealItems(t, keys, info, items, false), 0o600); err != nil {
				t.Fatal(err)
			}
			got, want := listing(t, sealed), listing(t, path)
			if len(want) == 0 || len(got) != len(want) {
				t.Fatalf("%d tracks, want %d", len(got), len(want))
			}
			for track := range want {
				for i := range max(len(got[track]), len(want[track])) {
					if i >= len(got[track]) || i >= len(want[track]) {
						t.Fatalf("track %d: %d packets, want %d", track, len(got[track]), len(want[track]))
					}
					if got[track][i] != want[track][i] {
						t.Fatalf("track %d, packet %d: %s, want %s", track, i, got[track][i], want[track][i])
					}
				}
			}
		})
	}
}
