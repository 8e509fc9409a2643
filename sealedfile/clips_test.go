package sealedfile

import (
	"bytes"
	"io"
	"os"
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
