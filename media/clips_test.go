package media

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestMatroskaClips(t *testing.T) {
	for _, path := range clips(t, "*.mkv", "*.webm", "*.mka") {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			original, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			info, items, err := readAll(bytes.NewReader(original))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			file, stream := filepath.Join(dir, name), filepath.Join(dir, "live-"+name)
			writeFile(t, file, info, items, Options{})
			writeFile(t, stream, info, items, Options{Live: true})
			for _, copied := range []string{file, stream} {
				b, err := os.ReadFile(copied)
				if err != nil {
					t.Fatal(err)
				}
				_, again, err := readAll(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				sameItems(t, again, items)
			}
			if got, want := framemd5(t, file), framemd5(t, path); got != want {
				t.Errorf("framemd5 differs:\n%s", firstDifference(got, want))
			}
			if got, want := packets(t, file), packets(t, path); got != want {
				t.Errorf("packets differ:\n%s", firstDifference(got, want))
			}
			if got, want := packets(t, stream), packets(t, path); got != want {
				t.Errorf("packets of the live copy differ:\n%s", firstDifference(got, want))
			}
		})
	}
}
