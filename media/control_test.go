package media

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The tests of this package rest on a few comparisons. Here each is given a
// recording that a careless implementation would make, and has to find out.

// failing is a test that notes its failure.
type failing struct{ text string }

func (f *failing) Helper() {}
func (f *failing) Fatalf(format string, args ...any) {
	if f.text == "" {
		f.text = fmt.Sprintf(format, args...)
	}
}

func TestRoundTripCatchesALossyWriter(t *testing.T) {
	for name, lossy := range map[string]func(*Item){
		"references dropped":      func(i *Item) { i.References, i.Flags = nil, i.Flags|FlagKey },
		"durations dropped":       func(i *Item) { i.Duration = NoDuration },
		"padding dropped":         func(i *Item) { i.DiscardPadding = 0 },
		"times moved":             func(i *Item) { i.Timestamp++ },
		"key frames not marked":   func(i *Item) { i.Flags &^= FlagKey },
		"discardable not marked":  func(i *Item) { i.Flags &^= FlagDiscardable },
		"invisible shown":         func(i *Item) { i.Flags &^= FlagInvisible },
		"block additions dropped": func(i *Item) { _, _, p, _ := splitData(i.Data); i.Data = cat([]byte{0}, p) },
		"groups made simple":      func(i *Item) { i.Flags, i.Duration, i.DiscardPadding = i.Flags&^FlagGroup, NoDuration, 0 },
	} {
		group := el(idBlockGroup, el(idBlock, blockBody(1, 5, 0x08, 'a')), num(0xFA, 1), num(idBlockDuration, 20),
			ebmlInt(idDiscardPadding, 77), ebmlInt(idReferenceBlock, -5))
		plain := el(idBlockGroup, el(idBlock, blockBody(2, 6, 0, 'b')))
		doc := mkv(cluster(0, simple(1, 0, 0x81, 'k'), group, plain))
		info, items, err := readAll(bytes.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		caught := false
		broken := make([]Item, len(items))
		for n := range items {
			if broken[n] = clone(&items[n]); broken[n].Kind == KindFrame {
				lossy(&broken[n])
			}
		}
		var out memFile
		if err := writeAll(&out, info, broken, Options{}); err != nil {
			caught = true // the Writer itself found the contradiction
		} else {
			_, again, err := readAll(bytes.NewReader(out.b))
			if err != nil {
				t.Fatal(err)
			}
			var f failing
			sameItems(&f, again, items)
			caught = f.text != ""
		}
		if !caught {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}

// A reader that trusts a size would be caught by the bound of the fuzz targets.
func TestAllocationBoundCatchesATrustingReader(t *testing.T) {
	doc := sized(idSimpleBlock, 16<<20, 0x81)
	var kept []byte
	cost := allocated(func() { kept = make([]byte, 16<<20) })
	if cost <= allocationBound(doc) || len(kept) == 0 {
		t.Errorf("%d bytes allocated for %d passes", cost, len(doc))
	}
}

// A Writer that drops Ogg's page layout, as packet readers do, would be caught.
func TestByteComparisonCatchesANewLayout(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "testdata", "media", "speech.ogg"))
	if err != nil {
		t.Fatal(err)
	}
	info, items, err := readAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for n := range items { // one page a packet
		if i := &items[n]; i.Kind == KindFrame {
			_, packet, _ := splitOgg(i.Data)
			table, _ := lace(packet)
			record := append(make([]byte, oggRecord-1), byte(len(table)))
			i.Data = cat([]byte{0x81}, record, packet)
		}
	}
	var out bytes.Buffer
	if err := writeAll(&out, info, items, Options{}); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(out.Bytes(), b) {
		t.Error("another page layout gives the same file")
	}
}
