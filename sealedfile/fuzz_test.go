package sealedfile

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
)

// openAll is a cipher that lets everything through, so that the fuzzer reaches what
// lies behind authentication: a member of the channel may be hostile too.
type openAll struct{}

func (openAll) Open(dst, sealed, _ []byte) ([]byte, error) {
	_, size, err := cipher.ParseHeader(sealed)
	if err != nil || len(sealed) < size+10 {
		return dst, cipher.ErrShort
	}
	return append(dst, sealed[size:len(sealed)-10]...), nil
}

func FuzzReader(f *testing.F) {
	keys := newTestKeys(f, anySuite(), "room")
	f.Add(sealItems(f, keys, testInfo(), testItems(), false))
	f.Add(sealItems(f, keys, testInfo(), testItems(), true))
	f.Add(ebmlHeader)
	f.Add(readable(f))
	f.Fuzz(func(t *testing.T, in []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		Inspect(bytes.NewReader(in))
		r, err := NewReader(bytes.NewReader(in), func(Head) (cipher.Opener, error) { return openAll{}, nil })
		if err == nil {
			var item media.Item
			for err == nil {
				err = r.Next(&item)
			}
		}
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+64*len(in)); got > limit {
			t.Errorf("%d bytes allocated for an input of %d", got, len(in))
		}
	})
}

// readable is a sealed file whose content openAll can read.
func readable(t testing.TB) []byte {
	keys := newTestKeys(t, anySuite(), "room")
	sealed := sealItems(t, keys, testInfo(), testItems(), true)
	s, p, err := newScanner(bytes.NewReader(sealed))
	if err != nil {
		t.Fatal(err)
	}
	opener, _ := keys.unlock(Head{})
	var pieces []piece
	for ; err == nil; p, err = s.next() {
		aad := appendAAD(nil, &s.clear.id, p.kind, &p.place)
		if p.kind == recordHeader {
			hash := s.prologue.hash()
			aad = append(appendClearHeader(aad, &s.clear), hash[:]...)
		}
		_, size, _ := cipher.ParseHeader(p.sealed)
		plain, err := opener.Open(append([]byte(nil), p.sealed[:size]...), p.sealed, aad)
		if err != nil {
			t.Fatal(err)
		}
		p.sealed = append(plain, "0123456789"...)
		p.place.references = append([]int64(nil), p.place.references...)
		pieces = append(pieces, p)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return rebuildFrom(s, pieces)
}
