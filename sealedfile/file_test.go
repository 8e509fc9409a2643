package sealedfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/media/ebml"
	"pgregory.net/rapid"
)

func bothWays(t *testing.T, test func(t *testing.T, stream bool)) {
	t.Run("file", func(t *testing.T) { test(t, false) })
	t.Run("stream", func(t *testing.T) { test(t, true) })
}

func TestRoundTrip(t *testing.T) {
	for _, suite := range cipher.Suites() {
		if suite.Overhead() < 8 {
			continue
		}
		t.Run(suite.Name(), func(t *testing.T) {
			bothWays(t, func(t *testing.T, stream bool) {
				keys, err := testKeysFor(t, suite)
				if err != nil {
					t.Skip(err)
				}
				sealed := sealItems(t, keys, testInfo(), testItems(), stream)
				items, info, err := openItems(sealed, keys.unlock)
				if err != nil {
					t.Fatal(err)
				}
				sameItems(t, items, testItems())
				if !reflect.DeepEqual(info, testInfo()) {
					t.Errorf("info %+v", info)
				}
				for _, item := range testItems() {
					if len(item.Data) >= 12 && bytes.Contains(sealed, item.Data) {
						t.Error("a payload is in the sealed file in clear")
					}
				}
			})
		})
	}
}

// testKeysFor passes on the error of a suite that the present mode does not have.
func testKeysFor(t testing.TB, suite *cipher.Suite) (*testKeys, error) {
	if _, err := suite.NewSealKey(1, make([]byte, 32), cipher.FreshKey); err != nil {
		return nil, err
	}
	return newTestKeys(t, suite, "room"), nil
}

// anySuite is one that works in every mode.
func anySuite() *cipher.Suite { return cipher.AES128CTRHMAC80() }

// TestEveryBit: there is no bit in a sealed file that could be changed unnoticed.
func TestEveryBit(t *testing.T) {
	bothWays(t, func(t *testing.T, stream bool) {
		keys := newTestKeys(t, anySuite(), "room")
		sealed := sealItems(t, keys, testInfo(), testItems(), stream)
		for i := range sealed {
			for bit := range 8 {
				sealed[i] ^= 1 << bit
				items, _, err := openItems(sealed, keys.unlock)
				sealed[i] ^= 1 << bit
				if err == nil {
					t.Fatalf("bit %d of byte %d of %d may be changed", bit, i, len(sealed))
				}
				// All but the magic number at the very beginning leaves it recognisable.
				if r := reasonOf(err); i >= 5 && (r == ErrNotSealed && i > 4+len(ebmlHeader)) {
					t.Errorf("bit %d of byte %d: %v", bit, i, err)
				}
				sameItems(t, items, testItems()[:len(items)])
			}
		}
	})
}

// TestEveryCut: a file that ends early is refused wherever it ends, and what came out
// before is the beginning of the recording.
func TestEveryCut(t *testing.T) {
	bothWays(t, func(t *testing.T, stream bool) {
		keys := newTestKeys(t, anySuite(), "room")
		sealed := sealItems(t, keys, testInfo(), testItems(), stream)
		if _, _, err := openItems(append(sealed[:len(sealed):len(sealed)], 0), keys.unlock); err == nil {
			t.Error("a byte more is accepted")
		}
		for n := range sealed {
			items, _, err := openItems(sealed[:n], keys.unlock)
			want := ErrCut
			if !bytes.Contains(sealed[:n], mark) {
				want = ErrNotSealed
			}
			if !errors.Is(err, want) {
				t.Fatalf("cut at %d of %d: %v, want %v", n, len(sealed), err, want)
			}
			sameItems(t, items, testItems()[:len(items)])
		}
	})
}

func TestWrongKey(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	sealed := sealItems(t, keys, testInfo(), testItems(), false)
	if _, _, err := openItems(sealed, newTestKeys(t, anySuite(), "other room").unlock); reasonOf(err) != ErrKey || !errors.Is(err, cipher.ErrAuth) {
		t.Errorf("another channel's key: %v", err)
	}
	refusal := errors.New("no such epoch")
	if _, _, err := openItems(sealed, func(Head) (cipher.Opener, error) { return nil, refusal }); err != refusal {
		t.Errorf("refusal to unlock: %v", err)
	}
	var head Head
	openItems(sealed, func(h Head) (cipher.Opener, error) { head = h; return nil, refusal })
	if want := (Head{Suite: anySuite().ID(), SuiteName: anySuite().Name(), KID: keys.kid}); head != want {
		t.Errorf("head %+v, want %+v", head, want)
	}
}

func TestNotSealed(t *testing.T) {
	for _, in := range []string{"", "x", "OggS\x00\x02", strings.Repeat("no matroska ", 1000), string(ebmlHeader), "\x1a\x45\xdf\xa3\x84webm"} {
		if _, err := Inspect(strings.NewReader(in)); reasonOf(err) != ErrNotSealed {
			t.Errorf("%.10q: %v", in, err)
		}
	}
}

// spans cuts a sealed file into its level 1 elements and frames, by the scanner.
func spans(t *testing.T, sealed []byte) (frames []piece) {
	t.Helper()
	s, p, err := newScanner(bytes.NewReader(sealed))
	for ; err == nil; p, err = s.next() {
		p.sealed = bytes.Clone(p.sealed)
		p.place.references = append([]int64(nil), p.place.references...)
		frames = append(frames, p)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return frames
}

// rebuild writes a file with the same prologue from pieces in another order: what
// somebody could do who has the file and no key.
func rebuild(t *testing.T, sealed []byte, pieces []piece) []byte {
	t.Helper()
	s, _, err := newScanner(bytes.NewReader(sealed))
	if err != nil {
		t.Fatal(err)
	}
	return rebuildFrom(s, pieces)
}

func rebuildFrom(s *scanner, pieces []piece) []byte {
	out := append([]byte(nil), s.prologue.bytes...)
	copy(out[s.prologue.segment:], "\x01\xff\xff\xff\xff\xff\xff\xff")
	for _, p := range pieces {
		if p.kind == recordFrame {
			base := max(0, p.place.timestamp)
			block := appendBlockTail(append(appendBlockHead(nil, &p.place, base, len(p.sealed)), p.sealed...), &p.place)
			ts := ebml.AppendUint(nil, idTimestamp, uint64(base))
			out = ebml.AppendBytes(out, idCluster, append(ts, block...))
			continue
		}
		head := []byte{version, byte(p.kind)}
		if p.kind == recordHeader {
			head = appendClearHeader(nil, &s.clear)
		}
		out = appendRecord(out, append(head, p.sealed...))
	}
	return out
}

// TestSurgery: what is wrong with the order of a file is told apart, and refused.
func TestSurgery(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	sealed := sealItems(t, keys, testInfo(), testItems(), true)
	pieces := spans(t, sealed)
	keys.turn(t)
	other := sealItems(t, keys, testInfo(), testItems(), true)
	foreign := spans(t, other)

	var frames []int
	for i, p := range pieces {
		if p.kind == recordFrame {
			frames = append(frames, i)
		}
	}
	at := frames[3]
	cut := func(ps []piece, i int) []piece { return append(append([]piece(nil), ps[:i]...), ps[i+1:]...) }
	swap := func(i, j int) []piece {
		ps := append([]piece(nil), pieces...)
		ps[i], ps[j] = ps[j], ps[i]
		return ps
	}
	insert := func(i int, p piece) []piece {
		return append(append(append([]piece(nil), pieces[:i]...), p), pieces[i:]...)
	}
	relabel := func(i int, change func(*place)) []piece {
		ps := append([]piece(nil), pieces...)
		change(&ps[i].place)
		return ps
	}
	last := len(pieces) - 1
	tests := []struct {
		name   string
		pieces []piece
		want   error
	}{
		{"as it was", pieces, nil},
		{"frame missing", cut(pieces, at), ErrMissing},
		{"last element record missing", cut(pieces, last-1), ErrMissing},
		{"end record missing", pieces[:last], ErrCut},
		{"frames exchanged", swap(at, at+1), ErrMissing},
		{"frame repeated", insert(at, pieces[at-1]), ErrMoved},
		{"frame of another file put in", insert(at, foreign[at]), ErrForeign},
		{"frame of another file in place", append(cut(pieces, at)[:at:at], append([]piece{foreign[at]}, pieces[at+1:]...)...), ErrForeign},
		{"header record of another file", append([]piece{foreign[0]}, pieces[1:]...), ErrKey},
		{"end record of another file", append(pieces[:last:last], foreign[last]), ErrForeign},
		{"end record twice", append(pieces[:last+1:last+1], pieces[last]), ErrAltered},
		{"second header record", insert(1, pieces[0]), ErrMoved},
		{"other track", relabel(at, func(p *place) { p.track = 2 }), ErrAltered},
		{"other time", relabel(at, func(p *place) { p.timestamp++ }), ErrAltered},
		{"keyframe flag", relabel(frames[0], func(p *place) { p.key = false }), ErrAltered},
		{"invisible", relabel(frames[0], func(p *place) { p.invisible = true }), ErrAltered},
		{"discardable", relabel(frames[0], func(p *place) { p.discardable = true }), ErrAltered},
		{"group for block", relabel(frames[0], func(p *place) { p.group = true }), ErrAltered},
		{"other duration", relabel(frames[1], func(p *place) { p.duration = 21 }), ErrAltered},
		{"no duration", relabel(frames[1], func(p *place) { p.duration = media.NoDuration }), ErrAltered},
		{"padding", relabel(frames[1], func(p *place) { p.padding = 5 }), ErrAltered},
		{"references", relabel(frames[5], func(p *place) { p.references = []int64{-33} }), ErrAltered},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := openItems(rebuild(t, sealed, test.pieces), keys.unlock)
			if reasonOf(err) != test.want {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestOrderIsNeeded is the control of TestSurgery: a frame that was moved still
// authenticates, so that nothing but the order of counters stands in its way.
func TestOrderIsNeeded(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	sealed := sealItems(t, keys, testInfo(), testItems(), true)
	s, _, err := newScanner(bytes.NewReader(sealed))
	if err != nil {
		t.Fatal(err)
	}
	opener, _ := keys.unlock(Head{})
	pieces := spans(t, sealed)
	for i := len(pieces) - 1; i > 0; i-- { // backwards
		p := &pieces[i]
		if _, err := opener.Open(nil, p.sealed, appendAAD(nil, &s.clear.id, p.kind, &p.place)); err != nil {
			t.Errorf("piece %d: %v", i, err)
		}
	}
}

func TestKeyTurnover(t *testing.T) {
	bothWays(t, func(t *testing.T, stream bool) {
		keys := newTestKeys(t, anySuite(), "room")
		var buf bytes.Buffer
		file := new(memFile)
		var out io.Writer = file
		if stream {
			out = &buf
		}
		w, err := NewWriter(out, testInfo(), keys)
		if err != nil {
			t.Fatal(err)
		}
		items := testItems()
		for i := range items {
			if i == 4 { // taken up at the next cluster
				keys.turn(t)
			}
			if err := w.Write(&items[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		sealed := append(file.b, buf.Bytes()...)
		got, _, err := openItems(sealed, keys.unlock)
		if err != nil {
			t.Fatal(err)
		}
		sameItems(t, got, items)
		in, err := Inspect(bytes.NewReader(sealed))
		if err != nil || len(in.Keys) != 2 || !in.Complete {
			t.Errorf("%+v, %v", in, err)
		}
		for i := range sealed {
			sealed[i] ^= 4
			if _, _, err := openItems(sealed, keys.unlock); err == nil {
				t.Fatalf("byte %d may be changed", i)
			}
			sealed[i] ^= 4
		}

		// A piece less in front of the turnover is missed by the segment record.
		pieces := spans(t, sealed)
		for i, p := range pieces {
			if p.kind == recordSegment {
				less := append(append([]piece(nil), pieces[:i-1]...), pieces[i:]...)
				if _, _, err := openItems(rebuild(t, sealed, less), keys.unlock); reasonOf(err) != ErrMissing {
					t.Errorf("piece missing before the turnover: %v", err)
				}
				less = append(append([]piece(nil), pieces[:i]...), pieces[i+1:]...)
				if _, _, err := openItems(rebuild(t, sealed, less), keys.unlock); reasonOf(err) != ErrForeign {
					t.Errorf("segment record missing: %v", err)
				}
			}
		}
	})
}

// TestSharedKey: somebody else's frame in between would be a gap in the file.
func TestSharedKey(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	w, err := NewWriter(io.Discard, testInfo(), keys)
	if err != nil {
		t.Fatal(err)
	}
	items := testItems()
	for i := range items {
		if i == 5 {
			keys.key.Seal(nil, []byte("a frame that is not the file's"), nil)
		}
		err = w.Write(&items[i])
		if (i < 5) != (err == nil) {
			t.Fatalf("item %d: %v", i, err)
		}
	}
	if !errors.Is(err, ErrSharedKey) || !errors.Is(w.Close(), ErrSharedKey) {
		t.Errorf("got %v", err)
	}
}

func TestExhaustedKey(t *testing.T) {
	// The key gives up in the middle of a cluster; the next one goes on.
	keys := newTestKeys(t, anySuite(), "room")
	first := true
	counting := cipher.Reserve(func(n uint64) (uint64, error) {
		if !first {
			keys.turn(t)
			return 0, cipher.ErrExhausted
		}
		first = false
		return 1<<64 - 1 - n, nil
	})
	key, err := keys.suite.NewSealKey(keys.kid, keys.base, counting)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < cipher.ReserveBlock-5; i++ {
		if _, err := key.Seal(nil, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	keys.key = key
	sealed := sealItems(t, keys, testInfo(), testItems(), false)
	got, _, err := openItems(sealed, keys.unlock)
	if err != nil {
		t.Fatal(err)
	}
	want := testItems()
	sameItems(t, got, want)
	if in, _ := Inspect(bytes.NewReader(sealed)); len(in.Keys) != 2 {
		t.Errorf("%d keys, want 2", len(in.Keys))
	}
}

func TestRefusals(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	weak := newTestKeys(t, cipher.AES128CTRHMAC32(), "room")
	if _, err := NewWriter(io.Discard, testInfo(), weak); !errors.Is(err, ErrWeakTag) {
		t.Errorf("32-bit tags: %v", err)
	}
	if _, err := NewWriter(io.Discard, testInfo(), newTestKeys(t, cipher.AES128CTRHMAC64(), "room")); err != nil {
		t.Errorf("64-bit tags: %v", err)
	}
	for name, change := range map[string]func(*media.Info){
		"no scale":     func(in *media.Info) { in.TimestampScale = 0 },
		"no tracks":    func(in *media.Info) { in.Tracks = nil },
		"track 0":      func(in *media.Info) { in.Tracks[0].Number = 0 },
		"track twice":  func(in *media.Info) { in.Tracks[0].Number = 2 },
		"track number": func(in *media.Info) { in.Tracks[0].Number = 1 << 28 },
		"duration":     func(in *media.Info) { in.Duration = math.NaN() },
		"many tracks":  func(in *media.Info) { in.Tracks = make([]media.Track, 128) },
	} {
		in := testInfo()
		change(in)
		if _, err := NewWriter(io.Discard, in, keys); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, item := range map[string]media.Item{
		"kind":       {Kind: 9},
		"track":      {Kind: media.KindFrame, Track: 3},
		"flags":      {Kind: media.KindFrame, Track: 1, Flags: 64},
		"duration":   {Kind: media.KindFrame, Track: 1, Duration: -2},
		"references": {Kind: media.KindFrame, Track: 1, References: make([]int64, 17)},
		"size":       {Kind: media.KindFrame, Track: 1, Data: make([]byte, media.MaxFrame+5000)},
		"time":       {Kind: media.KindFrame, Track: 1, Timestamp: -40000},
		"element":    {Kind: media.KindElement, Data: make([]byte, maxRecord)},
	} {
		w, err := NewWriter(io.Discard, testInfo(), keys)
		if err != nil {
			t.Fatal(err)
		}
		keys.turn(t)
		if err := w.Write(&item); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestInspect(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	sealed := sealItems(t, keys, testInfo(), testItems(), false)
	in, err := Inspect(bytes.NewReader(sealed))
	if err != nil {
		t.Fatal(err)
	}
	if !in.Complete || in.Damage != nil || in.Frames != 12 || in.Records != 4 || in.Size != int64(len(sealed)) {
		t.Errorf("%+v", in)
	}
	if want := (KeyUse{KID: keys.kid, Pieces: 16, First: 0, Last: 15}); !reflect.DeepEqual(in.Keys, []KeyUse{want}) {
		t.Errorf("keys %+v, want %+v", in.Keys, want)
	}
	if in.Tracks[0] != (TrackUse{Number: 1, Frames: 5, Keys: 2, Sealed: in.Tracks[0].Sealed}) {
		t.Errorf("track 1: %+v", in.Tracks[0])
	}
	// Header of 7 + 1 bytes (KID of 6, CTR below 8, or one more), tag of 10.
	if in.Overhead < 12*17 || in.Overhead > 12*19 {
		t.Errorf("overhead %d", in.Overhead)
	}
	for _, id := range []string{codecVideo, codecAudio, codecSubtitle} {
		found := false
		for _, tr := range in.Info.Tracks {
			found = found || tr.CodecID == id
		}
		if !found {
			t.Errorf("no track with codec ID %s", id)
		}
	}
	pieces := spans(t, sealed)
	gap := append(append(append([]piece(nil), pieces[:4]...), pieces[6:8]...), pieces[5:]...)
	if in, err = Inspect(bytes.NewReader(rebuild(t, sealed, gap))); err != nil || in.Keys[0].Missing != 2 || in.Keys[0].Repeated != 3 {
		t.Errorf("%+v, %v", in.Keys, err)
	}
	if in, err = Inspect(bytes.NewReader(sealed[:len(sealed)-3])); err != nil || in.Complete || !errors.Is(in.Damage, ErrCut) {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestAnyRecording seals recordings that no muxer would write.
func TestAnyRecording(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	rapid.Check(t, func(rt *rapid.T) {
		keys.turn(t)
		info := &media.Info{
			Format:         media.Format(rapid.IntRange(1, 5).Draw(rt, "format")),
			TimestampScale: rapid.Uint64Range(1, 1<<40).Draw(rt, "scale"),
			Duration:       rapid.Float64Range(0, 1e12).Draw(rt, "duration"),
		}
		n := rapid.IntRange(1, 5).Draw(rt, "tracks")
		for i := range n {
			info.Tracks = append(info.Tracks, media.Track{
				Number:          uint64(i+1) * rapid.SampledFrom([]uint64{1, 100, 50000}).Draw(rt, "number"),
				Type:            rapid.SampledFrom([]media.TrackType{1, 2, 17}).Draw(rt, "type"),
				CodecID:         rapid.StringN(0, 20, 64).Draw(rt, "codec"),
				DefaultDuration: rapid.Uint64Range(0, 1<<36).Draw(rt, "default"),
				Width:           rapid.Uint64().Draw(rt, "width"),
				SampleRate:      rapid.Float64Range(0, 1e6).Draw(rt, "rate"),
			})
		}
		if checkInfo(info) != nil {
			rt.Skip()
		}
		ts := int64(0)
		items := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) media.Item {
			if rapid.IntRange(0, 9).Draw(rt, "element") == 0 {
				return media.Item{Kind: media.KindElement, Duration: media.NoDuration, Data: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "data")}
			}
			ts = max(-30000, ts+rapid.Int64Range(-40000, 70000).Draw(rt, "step"))
			item := media.Item{
				Kind:           media.KindFrame,
				Track:          info.Tracks[rapid.IntRange(0, n-1).Draw(rt, "track")].Number,
				Timestamp:      ts,
				Duration:       rapid.SampledFrom([]int64{-1, 0, 1, 20, 1 << 40}).Draw(rt, "duration"),
				Flags:          media.Flags(rapid.IntRange(0, 63).Draw(rt, "flags")),
				DiscardPadding: rapid.SampledFrom([]int64{0, 0, 1, -1, 1 << 50}).Draw(rt, "padding"),
				References:     rapid.SliceOfN(rapid.Int64Range(-1<<40, 1<<40), 0, 3).Draw(rt, "references"),
				Data:           rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "data"),
			}
			if len(item.References) > 0 || item.Flags&media.FlagGroup != 0 {
				item.Flags &^= media.FlagKey // what a reader of Matroska says of such
				if len(item.References) == 0 {
					item.Flags |= media.FlagKey
				}
			}
			return item
		}), 0, 30).Draw(rt, "items")
		stream := rapid.Bool().Draw(rt, "stream")
		sealed := sealItems(t, keys, info, items, stream)
		got, gotInfo, err := openItems(sealed, keys.unlock)
		if err != nil {
			rt.Fatal(err)
		}
		sameItems(t, got, items)
		if !reflect.DeepEqual(gotInfo, info) {
			rt.Fatalf("info %+v, want %+v", gotInfo, info)
		}
	})
}

func TestLargeElements(t *testing.T) {
	keys := newTestKeys(t, anySuite(), "room")
	var items []media.Item
	for i := range 9 {
		items = append(items, media.Item{Kind: media.KindElement, Duration: media.NoDuration, Data: bytes.Repeat([]byte{byte(i)}, 1<<20)})
	}
	items = append(items, testItems()[2:]...)
	got, _, err := openItems(sealItems(t, keys, testInfo(), items, true), keys.unlock)
	if err != nil {
		t.Fatal(err)
	}
	sameItems(t, got, items)
}

func TestErrorText(t *testing.T) {
	e := &Error{Reason: ErrMissing, Offset: 12, Frames: 3, Detail: "2 of them, counters 4 to 5"}
	if want := "sealedfile: frames are missing (at byte 12, after 3 frames): 2 of them, counters 4 to 5"; fmt.Sprint(e) != want {
		t.Errorf("got %q", e)
	}
}
