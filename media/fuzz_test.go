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
	if limit := uint64(1<<20 + 100*len(doc)); cost > limit {
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

// addClips adds the beginnings of real recordings as seeds.
func addClips(f *testing.F, patterns ...string) {
	for _, p := range patterns {
		paths, _ := filepath.Glob(filepath.Join("..", "testdata", "media", p))
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b[:min(len(b), 6000)])
		}
	}
}

func FuzzMatroska(f *testing.F) {
	addClips(f, "live.webm", "*.mka")
	f.Add(mkv(cluster(0, simple(1, 0, 0x80, 1, 2, 3), el(idBlockGroup, el(idBlock, blockBody(2, 3, 0, 9)), num(idBlockDuration, 5), num(0xFA, 1))), el(idTags, []byte("x"))))
	f.Add(cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks, unknown(idCluster, 1, num(idTimestamp, 7), simple(1, -3, 0x06, 1, 0x81, 1, 2, 3)), num(0x4FFE, 1))))
	f.Add(mkv(el(idCluster, num(0x4FFE, 1), num(idTimestamp, 1), num(0x4FFE, 2), simple(1, 0, 0, 1), num(0x4FFE, 3)), summed(idTags, []byte("tags"))))
	f.Add(cat(mkvHeader, el(idSegment, mkvInfo, mkvTracks, unknown(idCluster, 1, num(idTimestamp, 7)))))
	f.Fuzz(func(t *testing.T, doc []byte) {
		fuzzReader(t, append([]byte("\x1a\x45\xdf\xa3"), bytes.TrimPrefix(doc, []byte("\x1a\x45\xdf\xa3"))...))
	})
}

func FuzzIVF(f *testing.F) {
	addClips(f, "*.ivf")
	f.Add(ivfFile("VP80", 30, 1, 32, ivfFrame(0, 1, 2, 3), ivfFrame(1)))
	f.Add(ivfFile("AV01", 90000, 1, 40, ivfFrame(5, 0x12, 0)))
	f.Fuzz(func(t *testing.T, doc []byte) {
		fuzzReader(t, append([]byte("DKIF"), bytes.TrimPrefix(doc, []byte("DKIF"))...))
	})
}

// FuzzOgg sets the CRC of every page right first: else nothing but pages with
// wrong ones would be tried.
func FuzzOgg(f *testing.F) {
	addClips(f, "speech.ogg", "opus-60ms.ogg")
	p := opusPacket(300)
	f.Add(cat(oggHead(1), page(0, 960, 1, 2, p), rawPage(0, -1, 1, 3, []byte{255}, p[:255]), rawPage(1, 5, 1, 4, []byte{45, 9}, make([]byte, 54)), oggHead(2)))
	f.Fuzz(func(t *testing.T, doc []byte) {
		doc = bytes.Clone(doc)
		for at := 0; ; {
			i := bytes.Index(doc[at:], []byte("OggS"))
			if i < 0 || len(doc)-at-i < oggHeader {
				break
			}
			at += i
			end := at + oggHeader + int(doc[at+26])
			for n := at + oggHeader; n < min(end, len(doc)) && n < at+oggHeader+int(doc[at+26]); n++ {
				end += int(doc[n])
			}
			if end > len(doc) {
				break
			}
			clear(doc[at+22 : at+26])
			sum := oggSum(doc[at:end])
			doc[at+22], doc[at+23], doc[at+24], doc[at+25] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
			at = end
		}
		fuzzReader(t, doc)
	})
}

func FuzzAnnexB(f *testing.F) {
	addClips(f, "*.h264", "*.h265")
	p := avcSlice{header: 0x41, frame: 1, lsb: 2}
	f.Add(start4(avcSPS(0), avcPPS(0, 0), avcSlice{header: 0x65}.nal(), p.nal(), []byte{6, 6, 1, 0xC0}, p.nal()))
	f.Fuzz(fuzzReader)
}
