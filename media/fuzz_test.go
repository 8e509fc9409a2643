package media

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// fuzzReader is the body of every fuzz target: a file from outside may be refused,
// but it must not panic and not cost more memory than its length explains; and
// what is read must come back when it is written and read again.
func fuzzReader(t *testing.T, doc []byte) {
	var info *Info
	var items []Item
	var err error
	cost := allocated(func() { info, err = drain(bytes.NewReader(doc)) })
	if cost > allocationBound(doc) {
		t.Fatalf("%d bytes allocated for a file of %d", cost, len(doc))
	}
	if err != nil {
		return
	}
	if info, items, err = readAll(bytes.NewReader(doc)); err != nil {
		t.Fatalf("second reading: %v", err)
	}
	var out memFile
	if err := writeAll(&out, info, items, Options{}); err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	if info.Format != FormatMatroska {
		if !bytes.Equal(out.b, doc) {
			t.Fatal("not the same bytes")
		}
		var converted memFile
		if err := writeAll(&converted, info, items, Options{Format: FormatMatroska}); err == nil {
			if _, _, err := readAll(bytes.NewReader(converted.b)); err != nil {
				t.Fatalf("what was converted cannot be read: %v", err)
			}
		}
		return
	}
	_, again, err := readAll(bytes.NewReader(out.b))
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	for n := range items { // a Cluster may have to be split: see mkvWriter
		items[n].Flags &^= FlagCluster
	}
	for n := range again {
		again[n].Flags &^= FlagCluster
	}
	sameItems(t, again, items)
}

// h265Seed is the beginning of a real H.265 stream: its parameter sets. The seeds are
// short, since the time of a short run would else go into making them shorter.
func h265Seed() []byte {
	b, err := os.ReadFile(filepath.Join("..", "testdata", "media", "h265.h265"))
	if err != nil {
		return nil
	}
	return b[:min(len(b), 110)]
}

// allocationBound is what reading a file may allocate: buffers, and so much for
// each of its bytes.
func allocationBound(doc []byte) uint64 { return uint64(1<<20 + 100*len(doc)) }

// drain reads a recording and keeps nothing.
func drain(r io.Reader) (*Info, error) {
	m, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	var i Item
	for err == nil {
		err = m.Next(&i)
	}
	if err == io.EOF {
		err = nil
	}
	return m.Info(), err
}

func FuzzMatroska(f *testing.F) {
	f.Add(mkv(cluster(0, simple(1, 0, 0x80, 1, 2, 3), el(idBlockGroup, el(idBlock, blockBody(2, 3, 0, 9)), num(idBlockDuration, 5), num(0xFA, 1))), el(idTags, []byte("x"))))
	f.Add(cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks, unknown(idCluster, 1, num(idTimestamp, 7), simple(1, -3, 0x06, 1, 0x81, 1, 2, 3)), num(0x4FFE, 1))))
	f.Add(mkv(el(idCluster, num(0x4FFE, 1), num(idTimestamp, 1), num(0x4FFE, 2), simple(1, 0, 0, 1), num(0x4FFE, 3)), summed(idTags, []byte("tags"))))
	f.Add(cat(mkvHeader, el(idSegment, mkvInfo, mkvTracks, unknown(idCluster, 1, num(idTimestamp, 7)))))
	f.Fuzz(func(t *testing.T, doc []byte) {
		fuzzReader(t, append([]byte("\x1a\x45\xdf\xa3"), bytes.TrimPrefix(doc, []byte("\x1a\x45\xdf\xa3"))...))
	})
}

func FuzzIVF(f *testing.F) {
	f.Add(ivfFile("VP80", 30, 1, 32, ivfFrame(0, 1, 2, 3), ivfFrame(1)))
	f.Add(ivfFile("AV01", 90000, 1, 40, ivfFrame(5, 0x12, 0)))
	f.Fuzz(func(t *testing.T, doc []byte) {
		fuzzReader(t, append([]byte("DKIF"), bytes.TrimPrefix(doc, []byte("DKIF"))...))
	})
}

// FuzzOgg makes pages from its input, with the right CRC: raw bytes would never get
// past it. A page is flags, granule position, serial number, number of segments, a byte
// each; then its segment table and its body.
func FuzzOgg(f *testing.F) {
	head := opusHeadPacket(2, 312)
	pages := cat([]byte{oggBegin, 0, 1, 1, byte(len(head))}, head, []byte{0, 0, 1, 1, 8}, opusTagsPacket[:8])
	f.Add(cat(pages, []byte{oggEnd, 9, 1, 3, 2, 0, 1, 248, 1, 248}))
	f.Add(cat(pages, []byte{0, 255, 1, 1, 255}, make([]byte, 255), []byte{oggContinue, 9, 1, 2, 0, 1, 248}, []byte{0, 0, 1, 0}, pages))
	f.Fuzz(func(t *testing.T, in []byte) {
		var doc []byte
		take := func(n int) []byte {
			b := make([]byte, n)
			in = in[copy(b, in):]
			return b
		}
		for number := uint32(0); len(in) > 0 && number < 100; number++ {
			h := take(4)
			table := take(int(h[3]))
			size := 0
			for _, n := range table {
				size += int(n)
			}
			doc = append(doc, rawPage(h[0], int64(int8(h[1])), uint32(h[2]), number, table, take(size))...)
		}
		fuzzReader(t, doc)
	})
}

func FuzzAnnexB(f *testing.F) {
	f.Add(h265Seed())
	p := avcSlice{header: 0x41, frame: 1, lsb: 2}
	f.Add(start4(avcSPS(0), avcPPS(0, 0), avcSlice{header: 0x65}.nal(), p.nal(), []byte{6, 6, 1, 0xC0}, p.nal()))
	f.Fuzz(fuzzReader)
}
