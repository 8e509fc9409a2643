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

// IVF, Ogg and byte streams come back to the byte, also where every item is
// written at once.
func TestByteExactClips(t *testing.T) {
	for _, path := range clips(t, "*.ivf", "*.ogg") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			original, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			info, items, err := readAll(bytes.NewReader(original))
			if err != nil {
				t.Fatal(err)
			}
			for _, opt := range []Options{{}, {Live: true}} {
				var out bytes.Buffer
				if err := writeAll(&out, info, items, opt); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(out.Bytes(), original) {
					t.Fatalf("%+v: %d bytes, want %d, or other ones", opt, out.Len(), len(original))
				}
			}
		})
	}
}
