package window

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// Whatever is asked for in whatever steps, what is taken is the stream.
func TestWindowIsTheStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "stream")
		var src io.Reader = bytes.NewReader(stream)
		switch rapid.IntRange(0, 2).Draw(t, "source") {
		case 1:
			src = iotest.OneByteReader(src)
		case 2:
			src = iotest.DataErrReader(src)
		}
		w := New(src, 0)
		var got []byte
		for {
			n := rapid.IntRange(1, 300).Draw(t, "n")
			err := w.Fill(n)
			if err == io.EOF {
				if len(w.Bytes()) >= n {
					t.Fatal("end of the stream with enough in the window")
				}
				got = append(got, w.Take(len(w.Bytes()))...)
				break
			}
			if err != nil || len(w.Bytes()) < n {
				t.Fatalf("%d of %d bytes, %v", len(w.Bytes()), n, err)
			}
			got = append(got, w.Take(rapid.IntRange(0, n).Draw(t, "take"))...)
			if w.Offset() != int64(len(got)) {
				t.Fatalf("offset %d after %d bytes", w.Offset(), len(got))
			}
		}
		if !bytes.Equal(got, stream) {
			t.Fatal("what was taken is not the stream")
		}
	})
}

func TestWindowGrowsWithWhatArrives(t *testing.T) {
	w := New(bytes.NewReader(make([]byte, 1000)), 0)
	if err := w.Fill(1 << 30); err != io.EOF || len(w.Bytes()) != 1000 {
		t.Fatalf("%d bytes, %v", len(w.Bytes()), err)
	}
	if w.Cap() > 4096+2*1000 {
		t.Errorf("buffer of %d bytes for 1000", w.Cap())
	}
}

// A parser that does not know how much it needs gets there in few steps.
func TestMoreDoubles(t *testing.T) {
	w := New(bytes.NewReader(make([]byte, 1<<20)), 0)
	sizes := map[int]bool{}
	for w.More() == nil {
		sizes[w.Cap()] = true
	}
	if len(sizes) > 20 || w.Cap() > 2<<20 {
		t.Errorf("grew %d times to %d bytes", len(sizes), w.Cap())
	}
}

func TestWindowErrors(t *testing.T) {
	broken := errors.New("broken")
	w := New(io.MultiReader(bytes.NewReader([]byte{1, 2}), iotest.ErrReader(broken)), 0)
	if err := w.Fill(2); err != nil {
		t.Fatalf("an error that comes later: %v", err)
	}
	if err := w.More(); err != broken || len(w.Bytes()) != 2 {
		t.Fatalf("%d bytes, %v", len(w.Bytes()), err)
	}
	w = New(idle{}, 0)
	if err := w.Fill(1); err != io.ErrNoProgress {
		t.Fatalf("source that gives nothing: %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }
