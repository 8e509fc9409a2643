package media

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/media/ebml"
	"pgregory.net/rapid"
)

// frames reads a file and returns its frames, without elements.
func frames(t *testing.T, doc []byte) []Item {
	t.Helper()
	_, items, err := readAll(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(items, func(i Item) bool { return i.Kind != KindFrame })
}

// rewrite writes what was read from doc and reads it again: the same items, from a
// file and from a stream. It returns the file.
func rewrite(t *testing.T, doc []byte) []byte {
	t.Helper()
	info, items, err := readAll(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	var file memFile
	var stream bytes.Buffer
	if err := writeAll(&file, info, items, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := writeAll(&stream, info, items, Options{Live: true}); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{file.b, stream.Bytes()} {
		again, got, err := readAll(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		sameItems(t, got, items)
		if fmt.Sprint(again) != fmt.Sprint(info) {
			t.Fatalf("Info %+v, want %+v", again, info)
		}
	}
	return file.b
}

// memFile is a file in memory.
type memFile struct {
	b  []byte
	at int64
}

func (f *memFile) Write(p []byte) (int, error) {
	f.b = append(f.b, make([]byte, max(0, int(f.at)+len(p)-len(f.b)))...)
	copy(f.b[f.at:], p)
	f.at += int64(len(p))
	return len(p), nil
}

func (f *memFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += int64(len(f.b))
	}
	f.at = offset
	return offset, nil
}

func TestMatroskaBlocks(t *testing.T) {
	extras := cat(el(0x75A1, el(0xA6, num(0xEE, 1), []byte{0xA5, 0x83, 'a', 'b', 'c'})), str(0xA4, "state"), num(0xFA, 3), num(0x4FFF, 77))
	doc := mkv(
		cluster(1000,
			simple(1, 0, 0x80, 'k', 'e', 'y'),
			simple(1, -5, 0x09, 'x'),
			simple(2, math.MaxInt16, 0x80),
			simple(1, math.MinInt16, 0x70, 'r'),
			el(idBlockGroup, el(idBlock, blockBody(2, 3, 0x00, 'g')), num(idBlockDuration, 20), ebml.AppendInt(nil, idDiscardPadding, -6_500_000)),
			el(idBlockGroup, el(idBlock, blockBody(1, 4, 0x08, 'h')), ebml.AppendInt(nil, idReferenceBlock, -40), ebml.AppendInt(nil, idReferenceBlock, 80)),
			el(idBlockGroup, num(idBlockDuration, 0), extras, void(9), el(idBlock, blockBody(1, 5, 0x00, 'a'))),
			summed(idBlockGroup, el(idBlock, blockBody(2, 6, 0x81, 's'))),
		),
		cluster(0, simple(1, -7, 0x80, 'n')),
	)
	got := frames(t, doc)
	want := []Item{
		{Track: 1, Timestamp: 1000, Duration: NoDuration, Flags: FlagKey | FlagCluster, Data: []byte("\x00key")},
		{Track: 1, Timestamp: 995, Duration: NoDuration, Flags: FlagInvisible | FlagDiscardable, Data: []byte("\x00x")},
		{Track: 2, Timestamp: 33767, Duration: NoDuration, Flags: FlagKey, Data: []byte("\x00")},
		{Track: 1, Timestamp: -31768, Duration: NoDuration, Data: []byte("\x70r")},
		{Track: 2, Timestamp: 1003, Duration: 20, DiscardPadding: -6_500_000, Flags: FlagKey | FlagGroup, Data: []byte("\x00g")},
		{Track: 1, Timestamp: 1004, Duration: NoDuration, References: []int64{-40, 80}, Flags: FlagInvisible | FlagGroup, Data: []byte("\x00h")},
		{Track: 1, Timestamp: 1005, Duration: 0, Flags: FlagKey | FlagGroup, Data: cat([]byte{0x08, 0x80 | byte(len(extras))}, extras, []byte("a"))},
		{Track: 2, Timestamp: 1006, Duration: NoDuration, Flags: FlagKey | FlagGroup, Data: []byte("\x81s")},
		{Track: 1, Timestamp: -7, Duration: NoDuration, Flags: FlagKey | FlagCluster, Data: []byte("\x00n")},
	}
	for n := range want {
		want[n].Kind = KindFrame
	}
	sameItems(t, got, want)
	// 33767 lies more than 32767 ticks from -31768, so that a Cluster may have to be
	// split: all but the flag must come back.
	info, items, _ := readAll(bytes.NewReader(doc))
	var out memFile
	if err := writeAll(&out, info, items, Options{}); err != nil {
		t.Fatal(err)
	}
	again := frames(t, out.b)
	for n := range again {
		again[n].Flags &^= FlagCluster
		want[n].Flags &^= FlagCluster
	}
	sameItems(t, again, want)
}

func TestMatroskaLacingIsKept(t *testing.T) {
	for name, payload := range map[string][]byte{
		"\x02": {2, 255, 1, 3, 'x'}, // Xiph; checked below to be too short
		"\x04": {1, 'a', 'b', 'c', 'd'},
		"\x06": {2, 0x82, 0xBF, 'a', 'b', 'c', 'd', 'e'},
	} {
		flags := name[0]
		if flags == 0x02 {
			payload = cat([]byte{2, 255, 1, 3}, bytes.Repeat([]byte{'x'}, 256+3+10))
		}
		doc := mkv(cluster(0, simple(2, 0, 0x80|flags, payload...)))
		got := frames(t, doc)
		if len(got) != 1 || !bytes.Equal(got[0].Data, cat([]byte{flags}, payload)) {
			t.Errorf("lacing %#x: %+v", flags, got)
		}
		rewrite(t, doc)
	}
}

// The elements round the Clusters, known and unknown, come back in their order and to the byte.
func TestMatroskaElements(t *testing.T) {
	odd := append(ebml.AppendSize(ebml.AppendID(nil, 0x4FFE), 3, 8), "odd"...) // unknown, and its size not in the shortest form
	tags := el(idTags, bytes.Repeat([]byte{1}, 300))
	chapters := summed(idChapters, []byte("chapters"))
	attachments := el(idAttachments, bytes.Repeat([]byte("picture"), 400_000))
	doc := cat(mkvHeader, void(30), el(idSegment, void(50), num(idSeekHead, 1), mkvInfo, void(2), chapters, mkvTracks, odd, attachments,
		cluster(0, simple(1, 0, 0x80, 1)), num(idCues, 5), cluster(10, simple(1, 0, 0, 2)), tags), void(7))
	_, items, err := readAll(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	var elements []byte
	for _, i := range items {
		if i.Kind == KindElement {
			if len(i.Data) > maxPiece {
				t.Errorf("piece of %d bytes", len(i.Data))
			}
			elements = append(elements, i.Data...)
		}
	}
	if want := cat(mkvHeader, mkvInfo, chapters, mkvTracks, odd, attachments, tags); !bytes.Equal(elements, want) {
		t.Errorf("elements differ: %d bytes, want %d", len(elements), len(want))
	}
	rewrite(t, doc)
}

// An element that only Clusters have travels as a Cluster with that one child.
func TestMatroskaUnknownClusterChild(t *testing.T) {
	silent := el(0x5854, num(0x58D7, 2))
	doc := mkv(el(idCluster, silent, num(idTimestamp, 3), num(idPosition, 9), num(idPrevSize, 9), simple(1, 0, 0x80, 1), num(0x4FFE, 8)), mkvInfo, cluster(9), cluster(9, simple(1, 0, 0, 2)))
	_, items, err := readAll(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(items, func(i Item) bool { return bytes.Equal(i.Data, el(idCluster, silent)) }) {
		t.Fatal("the unknown child is gone")
	}
	if out := rewrite(t, doc); !bytes.Contains(out, cat(num(idTimestamp, 3), silent)) {
		t.Error("the unknown child is not in front of the frame it stood in front of")
	}
}

func TestMatroskaUnknownSizes(t *testing.T) {
	clusters := func(width int) []byte {
		return cat(unknown(idCluster, width, num(idTimestamp, 0), simple(1, 0, 0x80, 1), simple(2, 3, 0x80, 2)),
			unknown(idCluster, width, num(idTimestamp, 30), simple(1, 0, 0, 3)))
	}
	want := frames(t, mkv(cluster(0, simple(1, 0, 0x80, 1), simple(2, 3, 0x80, 2)), cluster(30, simple(1, 0, 0, 3))))
	for width := 1; width <= 8; width++ {
		live := cat(mkvHeader, unknown(idSegment, width, mkvInfo, mkvTracks, clusters(width)))
		sameItems(t, frames(t, live), want)
		rewrite(t, live)
		// The same, followed by elements that end the last Cluster.
		rewrite(t, cat(live, el(idCues, num(idCuePoint, 1)), el(idTags, []byte("tags"))))
		rewrite(t, cat(mkvHeader, el(idSegment, mkvInfo, mkvTracks, clusters(width), el(idTags, []byte("tags")))))
	}
}

func TestMatroskaInfo(t *testing.T) {
	doc := cat(docType("webm"), el(idSegment,
		el(idInfo, num(idTimestampScale, 22675), ebml.AppendFloat(nil, idDuration, 1234.5), str(0x7BA9, "a title")),
		el(idTracks,
			el(idTrackEntry, num(idTrackNumber, 7), num(idTrackType, 1), str(idCodecID, "V_VP9"), num(idDefaultDuration, 33_366_667),
				el(idVideo, num(idPixelWidth, 1920), num(idPixelHeight, 1080), num(idDisplayWidth, 16), num(idDisplayHeight, 9), num(idDisplayUnit, 3), num(idAlphaMode, 1))),
			el(idTrackEntry, num(idTrackNumber, 300), num(idTrackType, 2), str(idCodecID, "A_OPUS"), num(idCodecDelay, 6_500_000), num(idSeekPreRoll, 80_000_000),
				el(idAudio, ebml.AppendFloat(nil, idOutputSamplingFreq, 96000), num(idBitDepth, 24))),
			el(idTrackEntry, num(idTrackNumber, 2), num(idTrackType, 17), str(idCodecID, "S_TEXT/UTF8\x00pad")))))
	info, _, err := readAll(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	want := &Info{Format: FormatMatroska, TimestampScale: 22675, Duration: 1234.5, Tracks: []Track{
		{Number: 7, Type: TrackVideo, CodecID: "V_VP9", DefaultDuration: 33_366_667, Width: 1920, Height: 1080, DisplayWidth: 16, DisplayHeight: 9, DisplayUnit: 3, AlphaMode: 1},
		{Number: 300, Type: TrackAudio, CodecID: "A_OPUS", CodecDelay: 6_500_000, SeekPreRoll: 80_000_000, SampleRate: 8000, OutputSampleRate: 96000, Channels: 1, BitDepth: 24},
		{Number: 2, Type: TrackSubtitle, CodecID: "S_TEXT/UTF8"},
	}}
	if fmt.Sprintf("%+v", info) != fmt.Sprintf("%+v", want) {
		t.Errorf("\n got %+v\nwant %+v", info, want)
	}
}

// anyFrame draws a frame that Matroska can hold.
func anyFrame(t *rapid.T) Item {
	i := Item{Kind: KindFrame, Track: rapid.Uint64Range(1, 2).Draw(t, "track"), Duration: NoDuration}
	i.Timestamp = int64(rapid.IntRange(-100, 30_000).Draw(t, "timestamp"))
	payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")
	flags := rapid.SampledFrom([]Flags{0, FlagKey, FlagInvisible, FlagKey | FlagInvisible}).Draw(t, "flags")
	if rapid.Bool().Draw(t, "group") {
		flags = flags&FlagInvisible | FlagGroup
		i.Duration = int64(rapid.IntRange(-1, 300).Draw(t, "duration"))
		i.DiscardPadding = rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, math.MinInt64}).Draw(t, "discard")
		if i.References = rapid.SliceOfN(rapid.Int64(), 0, 3).Draw(t, "references"); len(i.References) == 0 {
			i.References = nil
			flags |= FlagKey
		}
		if rapid.Bool().Draw(t, "extras") {
			extra := el(0x75A1, rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "additions"))
			i.Data = append(ebml.AppendVint([]byte{blockExtras}, uint64(len(extra))), extra...)
		}
	} else if rapid.Bool().Draw(t, "discardable") {
		flags |= FlagDiscardable
	}
	if i.Data == nil {
		i.Data = []byte{rapid.SampledFrom([]byte{0, 0x10, 0x70}).Draw(t, "reserved")}
	}
	i.Flags, i.Data = flags, append(i.Data, payload...)
	return i
}

func TestMatroskaItemsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := []Item{
			{Kind: KindElement, Duration: NoDuration, Data: mkvHeader},
			{Kind: KindElement, Duration: NoDuration, Data: mkvInfo},
			{Kind: KindElement, Duration: NoDuration, Data: mkvTracks},
		}
		element := Item{Kind: KindElement, Duration: NoDuration}
		behindElement := true
		for range rapid.IntRange(0, 30).Draw(t, "items") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				element.Data = el(rapid.SampledFrom([]ebml.ID{idTags, idChapters, 0x4FFE}).Draw(t, "id"), rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "body"))
				if len(element.Data) > 3 && bytes.Contains(element.Data, []byte{0xBF, 0x84}) {
					continue // would be a CRC-32, and a wrong one
				}
				items, behindElement = append(items, element), true
			default:
				i := anyFrame(t)
				if behindElement || rapid.IntRange(0, 5).Draw(t, "cluster") == 0 {
					i.Flags |= FlagCluster
				}
				items, behindElement = append(items, i), false
			}
		}
		info := &Info{Format: FormatMatroska, TimestampScale: 1_000_000, Tracks: []Track{{Number: 1, Type: TrackVideo}, {Number: 2, Type: TrackAudio}}}
		for _, live := range []bool{false, true} {
			var out memFile
			if err := writeAll(&out, info, items, Options{Live: live}); err != nil {
				t.Fatal(err)
			}
			_, again, err := readAll(bytes.NewReader(out.b))
			if err != nil {
				t.Fatal(err)
			}
			sameItems(t, again, items)
		}
	})
}

// A comparison that sees no difference proves nothing: every field must count.
func TestSameItemSeesEveryField(t *testing.T) {
	a := Item{Kind: KindFrame, Track: 1, Timestamp: 2, Duration: 3, Flags: 4, DiscardPadding: 5, References: []int64{6}, Data: []byte{7}}
	for n, change := range []func(*Item){
		func(i *Item) { i.Kind++ }, func(i *Item) { i.Track++ }, func(i *Item) { i.Timestamp++ }, func(i *Item) { i.Duration++ },
		func(i *Item) { i.Flags++ }, func(i *Item) { i.DiscardPadding++ }, func(i *Item) { i.References = nil }, func(i *Item) { i.Data = nil },
	} {
		b := clone(&a)
		if sameItem(&a, &b) != "" {
			t.Fatal("an item differs from itself")
		}
		if change(&b); sameItem(&a, &b) == "" {
			t.Errorf("change %d goes unseen", n)
		}
	}
}

func TestMatroskaDoesNotAllocatePerFrame(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("the race detector allocates")
	}
	group := el(idBlockGroup, el(idBlock, blockBody(2, 0, 0, bytes.Repeat([]byte{1}, 200)...)), num(idBlockDuration, 20), ebml.AppendInt(nil, idReferenceBlock, -1), num(0xFA, 1))
	doc := mkv(cluster(0, bytes.Repeat(cat(simple(1, 0, 0x80, bytes.Repeat([]byte{1}, 1000)...), group), 5000)))
	r, err := NewReader(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(io.Discard, r.Info(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var i Item
	step := func() {
		if err := r.Next(&i); err != nil {
			t.Fatal(err)
		}
		if err := w.Write(&i); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		step()
	}
	if n := testing.AllocsPerRun(5000, step); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
