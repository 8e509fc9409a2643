package media

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	other "github.com/at-wat/ebml-go"
	"github.com/at-wat/ebml-go/webm"
)

// A second opinion on what we read and write: ebml-go, an independent reader. It
// keeps less than we do, so that only what it does keep is compared.
func TestMatroskaClipsAgainstEBMLGo(t *testing.T) {
	for _, path := range clips(t, "vp8-opus.webm", "vp9-opus.webm", "h264-opus.mkv", "av1-opus.mkv", "demo.webm") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			original, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			info, items, err := readAll(bytes.NewReader(original))
			if err != nil {
				t.Fatal(err)
			}
			var copied memFile
			if err := writeAll(&copied, info, items, Options{}); err != nil {
				t.Fatal(err)
			}
			for name, doc := range map[string][]byte{"original": original, "copy": copied.b} {
				compareEBMLGo(t, name, doc, info, items)
			}
		})
	}
}

func compareEBMLGo(t *testing.T, name string, doc []byte, info *Info, items []Item) {
	var file struct {
		Header  webm.EBMLHeader `ebml:"EBML"`
		Segment webm.Segment    `ebml:"Segment"`
	}
	if err := other.Unmarshal(bytes.NewReader(doc), &file, other.WithIgnoreUnknown(true)); err != nil {
		t.Fatalf("%s: ebml-go: %v", name, err)
	}
	s := &file.Segment
	if s.Info.TimecodeScale != info.TimestampScale || s.Info.Duration != info.Duration || len(s.Tracks.TrackEntry) != len(info.Tracks) {
		t.Errorf("%s: ebml-go reads Info %+v", name, s.Info)
	}
	for n, e := range s.Tracks.TrackEntry {
		ours := &info.Tracks[n]
		if e.TrackNumber != ours.Number || e.CodecID != ours.CodecID || e.TrackType != uint64(ours.Type) || e.CodecDelay != ours.CodecDelay ||
			e.Video != nil && (e.Video.PixelWidth != ours.Width || e.Video.PixelHeight != ours.Height) ||
			e.Audio != nil && (e.Audio.SamplingFrequency != ours.SampleRate || e.Audio.Channels != ours.Channels) {
			t.Errorf("%s: track %d: ebml-go reads %+v, we %+v", name, n, e, ours)
		}
	}
	// ebml-go sorts a Cluster's children by kind: ours are compared kind by kind.
	var simples, groups []*Item
	for n := range items {
		switch i := &items[n]; {
		case i.Kind != KindFrame:
		case i.Flags&FlagGroup == 0:
			simples = append(simples, i)
		default:
			groups = append(groups, i)
		}
	}
	compare := func(i *Item, b *other.Block, ts uint64) {
		t.Helper()
		_, _, payload, ok := splitData(i.Data)
		if !ok || b.TrackNumber != i.Track || int64(ts)+int64(b.Timecode) != i.Timestamp || b.Invisible != (i.Flags&FlagInvisible != 0) ||
			len(b.Data) != 1 || !bytes.Equal(b.Data[0], payload) {
			t.Fatalf("%s: frame at %d of track %d: ebml-go reads another one", name, i.Timestamp, i.Track)
		}
	}
	for _, c := range s.Cluster {
		for n := range c.SimpleBlock {
			b := &c.SimpleBlock[n]
			if len(simples) == 0 || b.Keyframe != (simples[0].Flags&FlagKey != 0) || b.Discardable != (simples[0].Flags&FlagDiscardable != 0) {
				t.Fatalf("%s: SimpleBlock %d of the Cluster at %d differs", name, n, c.Timecode)
			}
			compare(simples[0], b, c.Timecode)
			simples = simples[1:]
		}
		for n := range c.BlockGroup {
			g := &c.BlockGroup[n]
			if len(groups) == 0 || int64(g.BlockDuration) != max(0, groups[0].Duration) {
				t.Fatalf("%s: BlockGroup %d of the Cluster at %d differs", name, n, c.Timecode)
			}
			compare(groups[0], &g.Block, c.Timecode)
			groups = groups[1:]
		}
	}
	if len(simples)+len(groups) > 0 {
		t.Errorf("%s: ebml-go does not see the last %d frames", name, len(simples)+len(groups))
	}
}
