package media

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
			want := packets(t, path)
			for _, copied := range []string{file, stream} {
				if got := packets(t, copied); got != want {
					t.Errorf("packets of %s differ:\n%s", copied, firstDifference(got, want))
				}
			}
		})
	}
}

// IVF, Ogg and byte streams come back to the byte, also where every item is
// written at once.
func TestByteExactClips(t *testing.T) {
	for _, path := range clips(t, "*.ivf", "*.ogg", "*.h264", "*.h265") {
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

// The access units of a byte stream are the packets that ffprobe sees in it.
func TestAnnexBClipsAgainstFFprobe(t *testing.T) {
	for _, path := range clips(t, "*.h264", "*.h265") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, items, err := readAll(f)
			if err != nil {
				t.Fatal(err)
			}
			want := tool(t, "ffprobe", "-v", "error", "-show_entries", "packet=size,flags", "-of", "compact", path)
			var total, theirs int
			for n, line := range strings.Split(strings.TrimSpace(want), "\n") {
				var size int
				var flags string
				if _, err := fmt.Sscanf(line, "packet|size=%d|flags=%s", &size, &flags); err != nil {
					t.Fatal(err)
				}
				if n >= len(items) {
					t.Fatalf("%d access units, and more packets", len(items))
				}
				theirs += size
				total += len(items[n].Data)
				ours := total
				// ffmpeg's parser of H.265 leaves the first zero of a start code of 4
				// bytes (B.1.1: zero_byte) to the packet before.
				if info.Format == FormatH265 && n < len(items)-1 && bytes.HasPrefix(items[n+1].Data, []byte{0, 0, 0, 1}) {
					ours++
				}
				if ours != theirs || strings.HasPrefix(flags, "K") != (items[n].Flags&FlagKey != 0) {
					t.Fatalf("access unit %d ends at byte %d, flags %d; packet at %d, flags %s", n, ours, items[n].Flags, theirs, flags)
				}
			}
			size := fmt.Sprintf("stream|width=%d|height=%d\n", info.Tracks[0].Width, info.Tracks[0].Height)
			want = tool(t, "ffprobe", "-v", "error", "-show_entries", "stream=width,height", "-of", "compact", path)
			if size != want {
				t.Errorf("%s, want %s", size, want)
			}
		})
	}
}
