package sealedfile

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
)

// testKeys is a sender and a receiver of one channel. Every turn makes a new key.
type testKeys struct {
	suite *cipher.Suite
	base  []byte
	kid   cipher.KeyID
	key   *cipher.SealKey
}

func newTestKeys(t testing.TB, suite *cipher.Suite, name string) *testKeys {
	t.Helper()
	k := &testKeys{suite: suite, base: []byte("base key of channel " + name), kid: 0x010203040500}
	k.turn(t)
	return k
}

func (k *testKeys) turn(t testing.TB) {
	t.Helper()
	k.kid += 0x100
	var err error
	if k.key, err = k.suite.NewSealKey(k.kid, k.base, cipher.FreshKey); err != nil {
		t.Fatal(err)
	}
}

func (k *testKeys) Key() (*cipher.SealKey, error) { return k.key, nil }

// unlock returns a fresh Opener each time, so that one file can be opened often.
func (k *testKeys) unlock(Head) (cipher.Opener, error) {
	return &testOpener{keys: k, open: make(map[cipher.KeyID]*cipher.OpenKey)}, nil
}

type testOpener struct {
	keys *testKeys
	open map[cipher.KeyID]*cipher.OpenKey
}

func (o *testOpener) Open(dst, sealed, aad []byte) ([]byte, error) {
	h, _, err := cipher.ParseHeader(sealed)
	if err != nil {
		return dst, err
	}
	k := o.open[h.KID]
	if k == nil {
		if k, err = o.keys.suite.NewOpenKey(h.KID, o.keys.base); err != nil {
			return dst, err
		}
		o.open[h.KID] = k
	}
	return k.Open(dst, sealed, aad)
}

// memFile is a file in memory that can seek.
type memFile struct {
	b  []byte
	at int64
}

func (m *memFile) Write(p []byte) (int, error) {
	if need := m.at + int64(len(p)); need > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, need-int64(len(m.b)))...)
	}
	m.at += int64(copy(m.b[m.at:], p))
	return len(p), nil
}

func (m *memFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += m.at
	case io.SeekEnd:
		off += int64(len(m.b))
	}
	m.at = off
	return off, nil
}

// testInfo is a recording of a video, an audio and a subtitle track.
func testInfo() *media.Info {
	return &media.Info{
		Format:         media.FormatMatroska,
		TimestampScale: 1_000_000,
		Tracks: []media.Track{
			{Number: 1, Type: media.TrackVideo, CodecID: "V_VP8", DefaultDuration: 33_333_333, Width: 640, Height: 360},
			{Number: 2, Type: media.TrackAudio, CodecID: "A_OPUS", CodecDelay: 6_500_000, SeekPreRoll: 80_000_000, SampleRate: 48000, Channels: 2},
			{Number: 5, Type: media.TrackSubtitle, CodecID: "S_TEXT/UTF8"},
		},
	}
}

// testItems is a short recording with every kind of frame in it.
func testItems() []media.Item {
	r := rand.New(rand.NewPCG(1, 2))
	data := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	none := int64(media.NoDuration)
	return []media.Item{
		{Kind: media.KindElement, Duration: none, Data: []byte("an EBML header, Info and Tracks")},
		{Kind: media.KindElement, Duration: none, Data: []byte("an attachment")},
		{Kind: media.KindFrame, Track: 1, Timestamp: 0, Duration: none, Flags: media.FlagKey | media.FlagCluster, Data: data(300)},
		{Kind: media.KindFrame, Track: 2, Timestamp: 0, Duration: 40, Flags: media.FlagKey, Data: data(40)},
		{Kind: media.KindFrame, Track: 1, Timestamp: 67, Duration: none, Data: data(80)},
		{Kind: media.KindFrame, Track: 1, Timestamp: 33, Duration: 33, Flags: media.FlagDiscardable, Data: data(30)},
		{Kind: media.KindFrame, Track: 5, Timestamp: 40, Duration: 2000, Flags: media.FlagGroup | media.FlagKey, Data: []byte("a line of text")},
		{Kind: media.KindFrame, Track: 1, Timestamp: 100, Duration: 33, Flags: media.FlagGroup, References: []int64{-33, 33}, Data: data(50)},
		{Kind: media.KindElement, Duration: none, Data: []byte("tags in the middle")},
		{Kind: media.KindFrame, Track: 2, Timestamp: 120, Duration: 20, Flags: media.FlagKey, Data: data(40)},
		{Kind: media.KindFrame, Track: 2, Timestamp: 140, Duration: none, Span: 20_000_000, Flags: media.FlagKey, Data: data(30)},
		{Kind: media.KindFrame, Track: 2, Timestamp: 160, Duration: none, Span: 60_000_000, Data: data(90)},
		{Kind: media.KindFrame, Track: 2, Timestamp: 220, Duration: none, Span: 2_500_000, Flags: media.FlagKey | media.FlagGroup, Data: data(9)},
		{Kind: media.KindFrame, Track: 1, Timestamp: 233, Duration: none, Flags: media.FlagKey | media.FlagCluster | media.FlagInvisible, Data: data(200)},
		{Kind: media.KindFrame, Track: 2, Timestamp: 240, Duration: 20, Flags: media.FlagKey | media.FlagGroup, DiscardPadding: 13_500_000, Data: nil},
		{Kind: media.KindElement, Duration: none, Data: []byte("tags at the end")},
	}
}

// sealItems seals items into a file or, if stream, into a pipe.
func sealItems(t testing.TB, keys Keys, info *media.Info, items []media.Item, stream bool) []byte {
	t.Helper()
	file := new(memFile)
	var buf bytes.Buffer
	var out io.Writer = file
	if stream {
		out = &buf
	}
	w, err := NewWriter(out, info, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i := range items {
		if err := w.Write(&items[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sealed := file.b
	if stream {
		sealed = buf.Bytes()
	}
	if got := w.Summary().File; got != uint64(len(sealed)) {
		t.Errorf("Summary.File is %d, the file has %d bytes", got, len(sealed))
	}
	return sealed
}

// openItems opens a file and returns what came out of it before err.
func openItems(sealed []byte, unlock Unlock) (items []media.Item, info *media.Info, err error) {
	r, err := NewReader(bytes.NewReader(sealed), unlock)
	if err != nil {
		return nil, nil, err
	}
	for {
		var item media.Item
		switch err := r.Next(&item); {
		case err == io.EOF:
			return items, r.Info(), nil
		case err != nil:
			return items, r.Info(), err
		}
		item.Data = bytes.Clone(item.Data)
		item.References = append([]int64(nil), item.References...)
		items = append(items, item)
	}
}

func sameItems(t testing.TB, got, want []media.Item) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d items, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		if !bytes.Equal(g.Data, w.Data) || len(g.References) != len(w.References) {
			t.Fatalf("item %d: %+v, want %+v", i, g, w)
		}
		g.Data, w.Data = nil, nil
		g.Span, w.Span = 0, 0 // no part of the recording
		if len(g.References) == 0 {
			g.References, w.References = nil, nil
		}
		if !reflect.DeepEqual(g, w) {
			t.Fatalf("item %d: %+v, want %+v", i, g, w)
		}
	}
}

func reasonOf(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return err
}
