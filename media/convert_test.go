package media

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/media/ebml"
)

// convert reads a clip and writes it as Matroska; it returns the file's path and items.
func convert(t *testing.T, path string) (string, *Info, []Item) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, items, err := readAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), filepath.Base(path)+".mkv")
	writeFile(t, out, info, items, Options{Format: FormatMatroska})
	return out, info, items
}

// The converted file decodes to the pictures and samples of the original.
func TestConvertedClipsDecodeTheSame(t *testing.T) {
	for _, path := range clips(t, "*.ivf", "*.h264", "*.h265", "speech.ogg", "opus-*.ogg") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			out, _, items := convert(t, path)
			f, err := os.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			_, converted, err := readAll(f)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := len(keepFrames(converted)), len(keepFrames(items)); got != want {
				t.Errorf("%d frames, want %d", got, want)
			}
			if got, want := decoded(t, out), decoded(t, path); got != want {
				t.Errorf("decodes differently:\n%s", firstDifference(got, want))
			}
		})
	}
}

func keepFrames(items []Item) (frames []Item) {
	for _, i := range items {
		if i.Kind == KindFrame {
			frames = append(frames, i)
		}
	}
	return frames
}

// decoded returns the checksums of what a file decodes to, in order, without times.
func decoded(t *testing.T, path string) string {
	t.Helper()
	var sums []string
	for _, line := range strings.Split(tool(t, "ffmpeg", "-nostdin", "-v", "fatal", "-i", path, "-map", "0", "-vsync", "passthrough", "-f", "framemd5", "-"), "\n") {
		if fields := strings.Split(line, ","); len(fields) == 6 {
			sums = append(sums, strings.TrimSpace(fields[5]))
		}
	}
	return strings.Join(sums, "\n")
}

// The times of an Ogg file are those of the Matroska file made of it, to 0.1 ms,
// and the packets are the same.
func TestConvertedOggHasTheSameTimes(t *testing.T) {
	for _, path := range clips(t, "speech.ogg", "opus-*.ogg") {
		out, _, _ := convert(t, path)
		read := func(path string, rate int) (times []float64, sizes []int) {
			listing := tool(t, "ffprobe", "-v", "error", "-show_entries", "packet=pts,size", "-of", "csv=p=0", path)
			for _, line := range strings.Fields(listing) {
				var pts, size int
				if n, _ := fmt.Sscanf(line, "%d,%d", &pts, &size); n == 2 {
					times, sizes = append(times, float64(pts)/float64(rate)), append(sizes, size)
				}
			}
			return times, sizes
		}
		got, gotSizes := read(out, 10_000)
		want, wantSizes := read(path, 48_000)
		if fmt.Sprint(gotSizes) != fmt.Sprint(wantSizes) || len(want) == 0 {
			t.Fatalf("%s: %d packets, want %d, or of other sizes", path, len(gotSizes), len(wantSizes))
		}
		for n := range want {
			if d := got[n] - want[n]; d < -0.0001 || d > 0.0001 {
				t.Fatalf("%s: packet %d at %v s, want %v", path, n, got[n], want[n])
			}
		}
	}
}

// The times of presentation are one frame apart and each is given once, and a B-frame
// comes before the frame it was coded behind.
func TestConvertedVideoIsInOrder(t *testing.T) {
	for _, path := range clips(t, "*.h264", "*.h265") {
		out, info, _ := convert(t, path)
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int64]bool{}
		items := frames(t, b)
		last, backwards := int64(-1), false
		for _, i := range items {
			n := int64((uint64(i.Timestamp)*fineScale + info.Tracks[0].DefaultDuration/2) / info.Tracks[0].DefaultDuration)
			if seen[n] {
				t.Fatalf("%s: two frames at %d", path, n)
			}
			seen[n] = true
			backwards = backwards || i.Timestamp < last
			last = i.Timestamp
		}
		for n := range items {
			if !seen[int64(n)] {
				t.Fatalf("%s: no frame at %d", path, n)
			}
		}
		// ffmpeg's decoder puts out pictures in the order that the stream codes: the times
		// we gave must rise in it.
		before := int64(-1)
		for _, field := range strings.Fields(tool(t, "ffprobe", "-v", "fatal", "-show_entries", "frame=pts", "-of", "csv=p=0", out)) {
			var pts int64
			if _, err := fmt.Sscanf(field, "%d", &pts); err != nil || pts <= before {
				t.Fatalf("%s: picture at %q presented behind one at %d", path, field, before)
			}
			before = pts
		}
		if filepath.Dir(path) != os.Getenv("CHANSEAL_CLIPS") && !backwards {
			t.Errorf("%s has B-frames, and its times never go back", path)
		}
	}
}

// An IVF made of a Matroska file's AV1 becomes that Matroska file's AV1 again:
// frames without temporal delimiters, and the same CodecPrivate.
func TestConvertedAV1(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "testdata", "media", "av1-opus.mkv"))
	if err != nil {
		t.Fatal(err)
	}
	_, items, err := readAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	ivf := ivfFile("AV01", 25, 1, 32)
	var want []Item
	for _, i := range items {
		if i.Kind == KindFrame && i.Track == 1 {
			ivf = append(ivf, ivfFrame(uint64(len(want)), cat([]byte{0x12, 0}, i.Data[1:])...)...)
			want = append(want, i)
		}
	}
	info, items, err := readAll(bytes.NewReader(ivf))
	if err != nil {
		t.Fatal(err)
	}
	var out memFile
	if err := writeAll(&out, info, items, Options{Format: FormatMatroska}); err != nil {
		t.Fatal(err)
	}
	got := frames(t, out.b)
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for n := range got {
		if !bytes.Equal(got[n].Data, want[n].Data) || got[n].Timestamp != int64(n) || (got[n].Flags^want[n].Flags)&FlagKey != 0 {
			t.Fatalf("frame %d differs, at %d, flags %d and %d", n, got[n].Timestamp, got[n].Flags, want[n].Flags)
		}
	}
	if got, want := codecPrivate(t, out.b), codecPrivate(t, b); !bytes.Equal(got, want) {
		t.Errorf("CodecPrivate\n got % x\nwant % x", got, want)
	}
}

// codecPrivate returns the CodecPrivate of a file's first track.
func codecPrivate(t *testing.T, doc []byte) (private []byte) {
	t.Helper()
	_, items, err := readAll(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if h, err := ebml.ParseHeader(i.Data); i.Kind == KindElement && err == nil && h.ID == idTracks {
			each(t, i.Data[h.Len():], func(id ebml.ID, entry []byte) {
				if id == idTrackEntry && private == nil {
					each(t, entry, func(id ebml.ID, b []byte) {
						if id == idCodecPrivate {
							private = b
						}
					})
				}
			})
		}
	}
	return private
}
