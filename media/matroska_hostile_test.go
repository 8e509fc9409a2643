package media

import (
	"bytes"
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/media/ebml"
)

// Files that nobody sane writes: each is refused with the right class of error.
func TestMatroskaHostile(t *testing.T) {
	huge := []byte{0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE} // 2^56-2
	segment := func(children ...[]byte) []byte { return cat(mkvHeader, el(idSegment, children...)) }
	track := func(children ...[]byte) []byte { return segment(mkvInfo, el(idTracks, el(idTrackEntry, children...))) }
	group := func(children ...[]byte) []byte { return mkv(cluster(0, el(idBlockGroup, children...))) }
	block := el(idBlock, blockBody(1, 0, 0, 'x'))
	lace := func(flags byte, payload ...byte) []byte { return mkv(cluster(0, simple(2, 0, flags, payload...))) }
	badCRC := func(id ebml.ID, body []byte) []byte {
		b := summed(id, body)
		b[len(b)-1] ^= 1
		return b
	}
	for _, c := range []struct {
		name string
		doc  []byte
		want error
		text string
	}{
		{"DocType", docType("chanseal"), ErrUnsupported, "chanseal"},
		{"no DocType", el(ebml.IDHeader, num(idEBMLVersion, 1)), ErrUnsupported, "type"},
		{"IDs of 5 bytes", el(ebml.IDHeader, str(idDocType, "webm"), num(idEBMLMaxIDLength, 5)), ErrUnsupported, "5 bytes"},
		{"sizes of 9 bytes", el(ebml.IDHeader, str(idDocType, "webm"), num(idEBMLMaxSizeLength, 9)), ErrUnsupported, "9 bytes"},
		{"EBML version", el(ebml.IDHeader, str(idDocType, "webm"), num(idEBMLReadVersion, 2)), ErrUnsupported, "version 2"},
		{"header alone", mkvHeader, io.ErrUnexpectedEOF, "cut off"},
		{"header of unknown size", unknown(ebml.IDHeader, 1, str(idDocType, "webm")), ErrDamaged, "unknown size"},
		{"header of 2^56-2 bytes", append(ebml.AppendID(nil, ebml.IDHeader), huge...), ErrTooLarge, "16777216"},
		{"no Segment", cat(mkvHeader, mkvInfo), ErrDamaged, "Segment"},
		{"empty Segment", segment(), ErrDamaged, "without Info and Tracks"},
		{"Segment without Tracks", segment(mkvInfo), ErrDamaged, "without Info and Tracks"},
		{"Cluster first", segment(cluster(0)), ErrDamaged, "in front of Info"},
		{"Tracks without tracks", segment(mkvInfo, el(idTracks)), ErrDamaged, "without tracks"},
		{"TimestampScale of 0", segment(el(idInfo, num(idTimestampScale, 0)), mkvTracks), ErrDamaged, "TimestampScale"},
		{"TimestampScale of 9 bytes", segment(el(idInfo, sized(idTimestampScale, 9, make([]byte, 9)...)), mkvTracks), ErrDamaged, "9 bytes"},
		{"Duration not a number", segment(el(idInfo, ebml.AppendFloat(nil, idDuration, math.NaN())), mkvTracks), ErrDamaged, "range"},
		{"track without a number", track(num(idTrackType, 1)), ErrDamaged, "number"},
		{"track number 0", track(num(idTrackNumber, 0), num(idTrackType, 1)), ErrDamaged, "number"},
		{"track number over 2^56", track(num(idTrackNumber, math.MaxUint64), num(idTrackType, 1)), ErrDamaged, "number"},
		{"track type 0", track(num(idTrackNumber, 1)), ErrDamaged, "type 0"},
		{"track twice", segment(mkvInfo, el(idTracks, videoTrack(1), videoTrack(1))), ErrDamaged, "second track"},
		{"too many tracks", segment(mkvInfo, el(idTracks, manyTracks(maxTracks+1))), ErrTooLarge, "1024"},
		{"CodecID", track(num(idTrackNumber, 1), num(idTrackType, 1), str(idCodecID, strings.Repeat("x", 256))), ErrTooLarge, "255"},
		{"TrackTimestampScale", track(num(idTrackNumber, 1), num(idTrackType, 1), ebml.AppendFloat(nil, idTrackTimestampScale, 2)), ErrUnsupported, "TrackTimestampScale"},
		{"child beyond its parent", track(num(idTrackNumber, 1), sized(idTrackType, 9, 1)), ErrDamaged, "left"},
		{"CRC of Info", segment(badCRC(idInfo, num(idTimestampScale, 5)), mkvTracks), ErrDamaged, "CRC-32"},
		{"CRC of Tags", mkv(badCRC(idTags, []byte("tags"))), ErrDamaged, "CRC-32"},
		{"CRC of long Tags", mkv(badCRC(idTags, make([]byte, maxPiece+9))), ErrDamaged, "CRC-32"},
		{"CRC of a Cluster", mkv(badCRC(idCluster, cat(num(idTimestamp, 0), simple(1, 0, 0, 'x')))), ErrDamaged, "CRC-32"},
		{"CRC of a BlockGroup", mkv(cluster(0, badCRC(idBlockGroup, block))), ErrDamaged, "CRC-32"},
		{"elements of 17 MiB in front of Tracks", segment(mkvInfo, el(idTags, make([]byte, 9<<20)), el(idTags, make([]byte, 9<<20)), mkvTracks), ErrTooLarge, "16777216"},

		{"Segment cut off", mkv(cluster(0, simple(1, 0, 0, 'x')))[:90], io.ErrUnexpectedEOF, "byte 90"},
		{"live file cut in a block", cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks, unknown(idCluster, 8, num(idTimestamp, 0), sized(idSimpleBlock, 50, 0x81)))), io.ErrUnexpectedEOF, "cut off"},
		{"second Segment", cat(mkv(), mkv()), ErrUnsupported, "more than one Segment"},
		{"second Segment of a live file", cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks), mkv()), ErrUnsupported, "more than one Segment"},
		{"second Segment behind a live Cluster", cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks, unknown(idCluster, 8, num(idTimestamp, 0))), mkv()), ErrUnsupported, "more than one Segment"},
		{"garbage behind the Segment", cat(mkv(), []byte("garbage")), ErrDamaged, "behind the Segment"},
		{"zeros behind the Segment", cat(mkv(), make([]byte, 9)), ErrDamaged, "behind the Segment"},
		{"block outside of a Cluster", mkv(simple(1, 0, 0, 'x')), ErrDamaged, "outside of a Cluster"},
		{"Tags of unknown size", mkv(unknown(idTags, 1)), ErrDamaged, "unknown size"},
		{"Tags beyond the Segment", mkv(append(ebml.AppendID(nil, idTags), huge...)), ErrDamaged, "past its parent"},

		{"Cluster of 2^56-2 bytes", mkv(append(ebml.AppendID(nil, idCluster), huge...)), ErrDamaged, "past its parent"},
		{"Cluster in a Cluster", mkv(cluster(0, cluster(0))), ErrDamaged, "inside a Cluster"},
		{"Tags in a Cluster", mkv(cluster(0, el(idTags))), ErrDamaged, "inside a Cluster"},
		{"unknown size in a Cluster", mkv(cluster(0, unknown(0x4FFE, 1))), ErrDamaged, "inside a Cluster"},
		{"block of unknown size", mkv(cluster(0, unknown(idSimpleBlock, 1))), ErrDamaged, "unknown size"},
		{"2 MiB of an unknown child", mkv(cluster(0, el(0x4FFE, make([]byte, 2<<20)))), ErrTooLarge, "over the limit"},
		{"block without a Timestamp", mkv(el(idCluster, simple(1, 0, 0, 'x'))), ErrDamaged, "without a Timestamp"},
		{"Timestamp twice", mkv(cluster(0, num(idTimestamp, 0))), ErrDamaged, "second Timestamp"},
		{"Timestamp of 2^63-1", mkv(cluster(math.MaxInt64)), ErrDamaged, "out of range"},
		{"Timestamp of 2^64-1", mkv(cluster(math.MaxUint64)), ErrDamaged, "out of range"},
		{"Timestamp of 9 bytes", mkv(el(idCluster, sized(idTimestamp, 9, make([]byte, 9)...))), ErrTooLarge, "limit of 8"},
		{"EncryptedBlock", mkv(cluster(0, el(idEncryptedBlock, []byte{0x81, 0, 0, 0}))), ErrUnsupported, "EncryptedBlock"},
		{"block of 33 MiB", mkv(cluster(0, el(idSimpleBlock, make([]byte, 33<<20)))), ErrTooLarge, "33554432"},
		{"empty block", mkv(cluster(0, el(idSimpleBlock))), ErrDamaged, "shorter than its header"},
		{"block of 3 bytes", mkv(cluster(0, el(idSimpleBlock, []byte{0x81, 0, 0}))), ErrDamaged, "shorter than its header"},
		{"block with a track number of 9 bytes", mkv(cluster(0, el(idSimpleBlock, make([]byte, 12)))), ErrDamaged, "shorter than its header"},
		{"block of an unknown track", mkv(cluster(0, simple(9, 0, 0, 'x'))), ErrDamaged, "track 9"},
		{"Xiph lacing without a header", lace(0x02), ErrDamaged, "lacing"},
		{"Xiph lacing cut off", lace(0x02, 2, 255, 255), ErrDamaged, "Xiph"},
		{"Xiph lacing too long", lace(0x02, 1, 9, 'x'), ErrDamaged, "past its end"},
		{"fixed lacing of 3 bytes in 2", lace(0x04, 1, 'a', 'b', 'c'), ErrDamaged, "unequal"},
		{"EBML lacing cut off", lace(0x06, 1), ErrDamaged, "EBML lacing"},
		{"EBML lacing too long", lace(0x06, 1, 0x89, 'x'), ErrDamaged, "past its end"},
		{"EBML lacing below 0", lace(0x06, 2, 0x81, 0x80, 'x', 'y', 'z'), ErrDamaged, "impossible"},
		{"EBML lacing of 2^56", lace(0x06, 1, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF), ErrDamaged, "impossible"},

		{"BlockGroup without a Block", group(num(idBlockDuration, 1)), ErrDamaged, "without a Block"},
		{"empty BlockGroup", group(), ErrDamaged, "without a Block"},
		{"two Blocks", group(block, block), ErrDamaged, "second Block"},
		{"two durations", group(block, num(idBlockDuration, 1), num(idBlockDuration, 1)), ErrDamaged, "BlockDuration"},
		{"duration of 2^63", group(block, num(idBlockDuration, 1<<63)), ErrDamaged, "BlockDuration"},
		{"two DiscardPaddings", group(block, num(idDiscardPadding, 1), num(idDiscardPadding, 1)), ErrDamaged, "DiscardPadding"},
		{"ReferenceBlock of 9 bytes", group(block, sized(idReferenceBlock, 9, make([]byte, 9)...)), ErrDamaged, "9 bytes"},
		{"too many references", group(block, bytes.Repeat(num(idReferenceBlock, 1), maxReferences+1)), ErrTooLarge, "256"},
		{"child of unknown size", group(block, unknown(0x75A1, 1)), ErrDamaged, "unknown size"},
		{"child beyond its group", group(block, sized(0x75A1, 9)), ErrDamaged, "left"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readAll(bytes.NewReader(c.doc))
			var e *Error
			if !errors.Is(err, c.want) || !errors.As(err, &e) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v, want %v that says %q", err, c.want, c.text)
			}
			if e.Offset < 0 || e.Offset > int64(len(c.doc)) {
				t.Errorf("offset %d in %d bytes", e.Offset, len(c.doc))
			}
		})
	}
}

func manyTracks(n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, videoTrack(uint64(i+1))...)
	}
	return b
}

// A cut is told from an end at every byte, where sizes are known.
func TestMatroskaEveryCut(t *testing.T) {
	doc := mkv(cluster(0, simple(1, 0, 0x80, 'a'), simple(2, 0, 0x80, 'b')), cluster(30, simple(1, 0, 0, 'c')), el(idTags, []byte("tags")))
	for n := 1; n < len(doc); n++ {
		_, _, err := readAll(bytes.NewReader(doc[:n]))
		var unknown *UnsupportedError
		if n < 4 && errors.As(err, &unknown) { // not enough to know that it is Matroska
			continue
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", n, len(doc), err)
		}
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// zeros is n zero bytes that take no memory.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.n)
	z.n -= n
	clear(p[:n])
	return int(n), nil
}

// An attachment of any size passes through in pieces.
func TestMatroskaAttachmentIsNotHeldInMemory(t *testing.T) {
	const size = 200 << 20
	src := io.MultiReader(
		bytes.NewReader(cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks), ebml.AppendHeader(nil, idAttachments, size))),
		&zeros{size},
		bytes.NewReader(cluster(0, simple(1, 0, 0x80, 'x'))))
	var bytesOut, framesOut int
	got := allocated(func() {
		r, err := NewReader(src)
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(io.Discard, r.Info(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var i Item
		for err = r.Next(&i); err == nil; err = r.Next(&i) {
			bytesOut += len(i.Data)
			if i.Kind == KindFrame {
				framesOut++
			}
			if err := w.Write(&i); err != nil {
				t.Fatal(err)
			}
		}
		if err != io.EOF || w.Close() != nil {
			t.Fatal(err)
		}
	})
	if bytesOut < size || framesOut != 1 {
		t.Errorf("%d bytes and %d frames", bytesOut, framesOut)
	}
	if got > 6<<20 {
		t.Errorf("%d bytes allocated for an attachment of %d", got, size)
	}
}

// Sizes that are only claimed cost nothing.
func TestMatroskaAllocatesWhatArrives(t *testing.T) {
	for name, doc := range map[string][]byte{
		"SimpleBlock": cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks, unknown(idCluster, 8, num(idTimestamp, 0), sized(idSimpleBlock, MaxFrame, 0x81, 0, 0, 0)))),
		"BlockGroup":  cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks, unknown(idCluster, 8, num(idTimestamp, 0), sized(idBlockGroup, MaxFrame, 0xA1)))),
		"Tracks":      cat(mkvHeader, unknown(idSegment, 8, mkvInfo, sized(idTracks, 15<<20, 0xAE))),
		"Tags":        cat(mkvHeader, unknown(idSegment, 8, mkvInfo, mkvTracks, sized(idTags, 1<<50, 1))),
	} {
		got := allocated(func() {
			if _, _, err := readAll(bytes.NewReader(doc)); err == nil {
				t.Errorf("%s: no error", name)
			}
		})
		if got > 600<<10 {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, got, len(doc))
		}
	}
}

// A million empty elements in front of Tracks take the room of their bytes.
func TestMatroskaManySmallElements(t *testing.T) {
	small := bytes.Repeat([]byte{0x42, 0x00, 0x80}, 1_000_000)
	doc := cat(mkvHeader, el(idSegment, small, mkvInfo, mkvTracks, cluster(0, simple(1, 0, 0x80, 1))))
	count := 0
	cost := allocated(func() {
		r, err := NewReader(bytes.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(&memFile{b: make([]byte, 0, 2*len(doc))}, r.Info(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var i Item
		for r.Next(&i) == nil {
			if err := w.Write(&i); err != nil {
				t.Fatal(err)
			}
			count++
		}
	})
	if count != 1_000_004 || cost > 10*uint64(len(doc)) {
		t.Errorf("%d items, %d bytes allocated for a file of %d", count, cost, len(doc))
	}
}

// A Writer refuses what it cannot write, and panics at nothing.
func TestMatroskaWriterRefuses(t *testing.T) {
	info := &Info{Format: FormatMatroska, TimestampScale: 1, Tracks: []Track{{Number: 1, Type: TrackVideo}}}
	head := []Item{{Kind: KindElement, Data: mkvHeader}, {Kind: KindElement, Data: mkvInfo}, {Kind: KindElement, Data: mkvTracks}}
	frame := func(change func(*Item)) []Item {
		i := Item{Kind: KindFrame, Track: 1, Duration: NoDuration, Data: []byte{0, 1}}
		change(&i)
		return append(head[:3:3], i)
	}
	element := func(b []byte) []Item { return append(head[:3:3], Item{Kind: KindElement, Data: b}) }
	for name, items := range map[string][]Item{
		"nothing":                 nil,
		"no header":               {{Kind: KindElement, Data: mkvInfo}},
		"empty element":           {{Kind: KindElement}},
		"second header":           element(mkvHeader),
		"element cut off":         element(mkvInfo[:len(mkvInfo)-1]),
		"element too long":        element(append(bytes.Clone(mkvInfo), 0)),
		"element of unknown size": element(unknown(idTags, 1)),
		"SeekHead":                element(el(idSeekHead)),
		"Void":                    element(void(9)),
		"block as an element":     element(simple(1, 0, 0, 1)),
		"Cluster of two":          element(el(idCluster, num(0x4FFE, 1), num(0x4FFE, 1))),
		"Cluster of a block":      element(el(idCluster, simple(1, 0, 0, 1))),
		"empty Cluster":           element(el(idCluster)),
		"unknown kind":            frame(func(i *Item) { i.Kind = 9 }),
		"unknown track":           frame(func(i *Item) { i.Track = 2 }),
		"no data":                 frame(func(i *Item) { i.Data = nil }),
		"extras cut off":          frame(func(i *Item) { i.Data = []byte{0x08, 0x89, 1} }),
		"extras of nothing":       frame(func(i *Item) { i.Data = []byte{0x08, 0x80}; i.Flags = FlagGroup | FlagKey }),
		"extras with a Block":     frame(func(i *Item) { i.Data = []byte{0x08, 0x82, 0xA1, 0x80}; i.Flags = FlagGroup | FlagKey }),
		"duration in SimpleBlock": frame(func(i *Item) { i.Duration = 1 }),
		"references and key":      frame(func(i *Item) { i.Flags = FlagGroup | FlagKey; i.References = []int64{1} }),
		"no references, no key":   frame(func(i *Item) { i.Flags = FlagGroup }),
		"discardable group":       frame(func(i *Item) { i.Flags = FlagGroup | FlagKey | FlagDiscardable }),
		"duration below -1":       frame(func(i *Item) { i.Flags = FlagGroup | FlagKey; i.Duration = -2 }),
		"timestamp too small":     frame(func(i *Item) { i.Timestamp = math.MinInt16 - 1 }),
		"timestamp too large":     frame(func(i *Item) { i.Timestamp = math.MaxInt64 }),
	} {
		if err := writeAll(io.Discard, info, items, Options{}); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if err := writeAll(io.Discard, info, head, Options{}); err != nil {
		t.Errorf("the items that all this is built on: %v", err)
	}
}
