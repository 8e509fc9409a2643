package media

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is written and changed later in whatever order, the file is what a
// plain byte slice would be.
func TestOutputIsAByteSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "in front")
		f := &memFile{}
		f.Write(prefix)
		o := newOutput(f, false)
		o.buf = make([]byte, 0, 64) // so that it is often full
		var want []byte
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			if len(want) > 8 && rapid.Bool().Draw(t, "patch") {
				at := rapid.IntRange(0, len(want)-8).Draw(t, "at")
				p := rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "p")
				copy(want[at:], p)
				o.patch(int64(at), p)
				continue
			}
			p := rapid.SliceOfN(rapid.Byte(), 0, 150).Draw(t, "p")
			want = append(want, p...)
			o.write(p)
			if o.offset() != int64(len(want)) {
				t.Fatalf("offset %d, want %d", o.offset(), len(want))
			}
		}
		o.flush()
		if o.err != nil || !bytes.Equal(f.b, append(prefix, want...)) {
			t.Fatalf("%d bytes, want %d, %v", len(f.b), len(prefix)+len(want), o.err)
		}
	})
}

// limited takes n bytes and then fails, as a full disk does.
type limited struct{ n int }

var errFull = errors.New("disk is full")

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		n := l.n
		l.n = 0
		return n, errFull
	}
	l.n -= len(p)
	return len(p), nil
}

// A Writer that cannot write says so at Close at the latest, and keeps saying it.
func TestWritersReportAFullDisk(t *testing.T) {
	for _, name := range []string{"demo.webm", "vp8.ivf", "speech.ogg", "h264.h264"} {
		b, err := os.ReadFile(filepath.Join("..", "testdata", "media", name))
		if err != nil {
			t.Fatal(err)
		}
		info, items, err := readAll(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, 1000, len(b) / 2, len(b) - 1000} {
			for _, live := range []bool{false, true} {
				w, err := NewWriter(&limited{n}, info, Options{Live: live})
				if err != nil {
					t.Fatal(err)
				}
				for i := range items {
					w.Write(&items[i])
				}
				if err := w.Close(); !errors.Is(err, errFull) {
					t.Errorf("%s, full after %d bytes: %v", name, n, err)
				}
			}
		}
		w, _ := NewWriter(io.Discard, info, Options{})
		for i := range items {
			if err := w.Write(&items[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := w.Write(&items[0]); err == nil {
			t.Errorf("%s: written after Close", name)
		}
	}
}

// counter counts the bytes that went out.
type counter struct{ n int }

func (c *counter) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }

// Live, nothing is held back: a frame is out when Write returns.
func TestLiveHoldsNothingBack(t *testing.T) {
	for _, name := range []string{"live.webm", "vp8.ivf", "h265.h265"} {
		b, err := os.ReadFile(filepath.Join("..", "testdata", "media", name))
		if err != nil {
			t.Fatal(err)
		}
		info, items, err := readAll(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var c counter
		w, err := NewWriter(&c, info, Options{Live: true})
		if err != nil {
			t.Fatal(err)
		}
		given := 0
		for i := range items {
			if err := w.Write(&items[i]); err != nil {
				t.Fatal(err)
			}
			if given += len(items[i].Data); c.n < given {
				t.Fatalf("%s: %d bytes out of %d given", name, c.n, given)
			}
		}
	}
}
