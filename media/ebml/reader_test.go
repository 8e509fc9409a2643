package ebml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/chanseal/chanseal/internal/raceflag"
	"pgregory.net/rapid"
)

const (
	idMaster ID = 0x18538067
	idInner  ID = 0x1F43B675
	idLeaf   ID = 0xA3
)

// walk writes down what a Reader finds, masters by their ID, leaves in full.
func walk(r *Reader, out *strings.Builder, unknownEnds map[ID]bool) error {
	var pending *Header
	for {
		h, err := r.Next()
		for err == io.EOF && r.Depth() > 0 {
			fmt.Fprint(out, ")")
			if err = r.Leave(); err == nil {
				h, err = r.Next()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for pending = &h; unknownEnds[h.ID] && r.Depth() > 1; {
			fmt.Fprint(out, ")")
			if err := r.Leave(); err != nil {
				return err
			}
		}
		switch pending.ID {
		case idMaster, idInner:
			fmt.Fprintf(out, "%x(", uint32(h.ID))
			if err := r.Enter(); err != nil {
				return err
			}
		default:
			b, err := r.Bytes(1 << 20)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%x=%x ", uint32(h.ID), b)
		}
	}
}

func TestReaderKnownAndUnknownSizes(t *testing.T) {
	leaf := AppendBytes(nil, idLeaf, []byte("abc"))
	inner := append(bytes.Clone(leaf), leaf...)
	known := AppendBytes(nil, idMaster, append(AppendBytes(nil, idInner, inner), AppendBytes(nil, idInner, leaf)...))
	unknown := AppendUnknownSize(AppendID(nil, idMaster), 8)
	unknown = append(AppendUnknownSize(AppendID(unknown, idInner), 1), inner...)
	unknown = append(AppendUnknownSize(AppendID(unknown, idInner), 8), leaf...)
	want := "18538067(1f43b675(a3=616263 a3=616263 )1f43b675(a3=616263 ))"
	for name, doc := range map[string][]byte{"known": known, "unknown": unknown} {
		for _, size := range []int{0, 1} {
			var out strings.Builder
			r := NewReader(iotest.OneByteReader(bytes.NewReader(doc)), size)
			if err := walk(r, &out, map[ID]bool{idInner: name == "unknown"}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if out.String() != want {
				t.Errorf("%s:\n got %s\nwant %s", name, out.String(), want)
			}
			if r.Offset() != int64(len(doc)) {
				t.Errorf("%s: offset %d of %d", name, r.Offset(), len(doc))
			}
		}
	}
}

// Every cut of a document with sizes is an unexpected end, nowhere a proper one.
func TestReaderCut(t *testing.T) {
	doc := AppendBytes(nil, idMaster, AppendBytes(AppendUint(nil, 0xE7, 0), idLeaf, make([]byte, 100)))
	for n := 1; n < len(doc); n++ {
		var out strings.Builder
		err := walk(NewReader(bytes.NewReader(doc[:n]), 0), &out, nil)
		var e *Error
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &e) || e.Offset != int64(n) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestReaderLeaveSkipsTheRest(t *testing.T) {
	// The inner master ends where the outer one does: its end must still count as its own.
	doc := AppendBytes(nil, idMaster, AppendBytes(nil, idInner, AppendBytes(AppendUint(nil, 0xE7, 1), idLeaf, make([]byte, 1000))))
	doc = AppendUint(doc, 0x81, 9)
	r := NewReader(bytes.NewReader(doc), 64)
	for range 2 {
		must(t, r)
		if err := r.Enter(); err != nil {
			t.Fatal(err)
		}
	}
	must(t, r)
	for range 2 {
		if err := r.Leave(); err != nil {
			t.Fatal(err)
		}
	}
	if h := must(t, r); h.ID != 0x81 {
		t.Fatalf("got %#x", uint32(h.ID))
	}
}

func must(t *testing.T, r *Reader) Header {
	t.Helper()
	h, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestReaderRefusesChildBeyondParent(t *testing.T) {
	for name, child := range map[string][]byte{
		"body":   {0xA3, 0x85, 0, 0, 0},
		"header": {0xA3},
		"huge":   {0xA3, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE},
	} {
		doc := AppendBytes(nil, idMaster, child)
		doc = append(doc, make([]byte, 100)...)
		r := NewReader(bytes.NewReader(doc), 0)
		must(t, r)
		if err := r.Enter(); err != nil {
			t.Fatal(err)
		}
		if h, err := r.Next(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

func TestReaderDepth(t *testing.T) {
	doc := bytes.Repeat(AppendUnknownSize(AppendID(nil, idMaster), 1), MaxDepth+1)
	r := NewReader(bytes.NewReader(doc), 0)
	var err error
	for range MaxDepth + 1 {
		if _, err = r.Next(); err != nil {
			t.Fatal(err)
		}
		err = r.Enter()
	}
	if !errors.Is(err, ErrMalformed) {
		t.Fatalf("nested %d deep: %v", MaxDepth+1, err)
	}
}

// A header may state any size: nothing is allocated before the bytes are there.
func TestReaderAllocatesWhatArrives(t *testing.T) {
	doc := AppendSize(AppendID(nil, idLeaf), 30<<20, 8)
	doc = append(doc, make([]byte, 1000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := NewReader(bytes.NewReader(doc), 64)
	must(t, r)
	_, err := r.Bytes(32 << 20)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
		t.Errorf("%d bytes allocated for %d that arrived", got, len(doc))
	}
	r = NewReader(bytes.NewReader(doc), 64)
	must(t, r)
	if _, err := r.Bytes(30<<20 - 1); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "31457279") {
		t.Errorf("over the limit: %v", err)
	}
}

func TestReaderDoesNotAllocatePerElement(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("the race detector allocates")
	}
	doc := bytes.Repeat(AppendBytes(nil, idLeaf, make([]byte, 300)), 2000)
	r := NewReader(bytes.NewReader(doc), 0)
	allocs := testing.AllocsPerRun(1000, func() {
		must(t, r)
		if _, err := r.Bytes(1 << 20); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations an element", allocs)
	}
}

// A live source that gives an element and then is silent: the element is read
// without waiting for a byte more.
func TestReaderDoesNotReadAhead(t *testing.T) {
	silent := errors.New("asked for more than the element")
	doc := AppendBytes(nil, idLeaf, []byte{1})
	r := NewReader(io.MultiReader(bytes.NewReader(doc), iotest.ErrReader(silent)), 0)
	must(t, r)
	if b, err := r.Bytes(10); err != nil || len(b) != 1 {
		t.Fatal(b, err)
	}
	if _, err := r.Next(); err != silent {
		t.Fatalf("error of the source lost: %v", err)
	}
}

func TestReaderReadEqualsBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "body")
		size := rapid.IntRange(64, 1000).Draw(t, "buffer")
		doc := AppendUint(AppendBytes(nil, idLeaf, body), 0xE7, 5)
		r := NewReader(bytes.NewReader(doc), size)
		r.Next()
		if rapid.Bool().Draw(t, "stream") {
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("Read: %d of %d bytes, %v", len(got), len(body), err)
			}
		} else if got, err := r.Bytes(len(body)); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("Bytes: %d of %d bytes, %v", len(got), len(body), err)
		}
		if h, err := r.Next(); err != nil || h.ID != 0xE7 {
			t.Fatalf("%+v, %v", h, err)
		}
	})
}

func TestReaderCRC(t *testing.T) {
	doc := AppendMasterCRC(nil, idMaster, AppendBytes(nil, idLeaf, make([]byte, 5000)))
	sum := func(doc []byte) (want uint32, got uint32) {
		r := NewReader(bytes.NewReader(doc), 64)
		must(t, r)
		r.Enter()
		must(t, r)
		b, _ := r.Bytes(4)
		want = uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		r.StartCRC()
		must(t, r)
		if b, err := r.Bytes(5000); err == nil {
			b[7] = 1 // the caller may write to it: the sum is of what was read
		}
		return want, r.StopCRC()
	}
	if want, got := sum(doc); want != got {
		t.Errorf("sum %08x, stated %08x", got, want)
	}
	doc[len(doc)-1] ^= 1
	if want, got := sum(doc); want == got {
		t.Error("a flipped bit went unseen")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendBytes(nil, idMaster, AppendBytes(nil, idInner, AppendBytes(nil, idLeaf, []byte("x")))))
	f.Add(AppendUnknownSize(AppendID(AppendUnknownSize(AppendID(nil, idMaster), 8), idInner), 1))
	f.Add([]byte{0xA3, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE})
	f.Add([]byte{0x18, 0x53, 0x80, 0x67, 0x80, 0xA3, 0x80})
	f.Fuzz(func(t *testing.T, doc []byte) {
		var out strings.Builder
		r := NewReader(bytes.NewReader(doc), 64)
		if err := walk(r, &out, nil); err == nil && r.Offset() != int64(len(doc)) {
			t.Fatalf("no error, but %d of %d bytes read", r.Offset(), len(doc))
		}
		if r.win.Cap() > 2*len(doc)+4096+64 {
			t.Fatalf("buffer of %d bytes for %d", r.win.Cap(), len(doc))
		}
		for rest := doc; len(rest) > 0; {
			h, body, next, err := Split(rest)
			if err != nil {
				break
			}
			if h.Canonical() && !bytes.Equal(AppendBytes(nil, h.ID, body), rest[:len(rest)-len(next)]) {
				t.Fatal("a canonical element does not write back as it was")
			}
			rest = next
		}
	})
}
