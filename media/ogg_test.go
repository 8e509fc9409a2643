package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// oggSum is Ogg's CRC by way of the standard library's: the same polynomial with
// the bits the other way round and no inversion.
func oggSum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.IEEE)
	crc := uint32(0)
	for _, c := range b {
		crc = table[byte(crc)^bits.Reverse8(c)] ^ crc>>8
	}
	return bits.Reverse32(crc)
}

// rawPage is an Ogg page with the given segment table.
func rawPage(flags byte, granule int64, serial, number uint32, table, body []byte) []byte {
	le := binary.LittleEndian
	b := append([]byte("OggS\x00"), flags)
	b = le.AppendUint64(b, uint64(granule))
	b = le.AppendUint32(le.AppendUint32(b, serial), number)
	b = append(append(b, 0, 0, 0, 0, byte(len(table))), table...)
	b = append(b, body...)
	le.PutUint32(b[22:], oggSum(b))
	return b
}

// lace returns the segment table of whole packets.
func lace(packets ...[]byte) (table, body []byte) {
	for _, p := range packets {
		for n := len(p); ; n -= 255 {
			table = append(table, byte(min(n, 255)))
			if n < 255 {
				break
			}
		}
		body = append(body, p...)
	}
	return table, body
}

func page(flags byte, granule int64, serial, number uint32, packets ...[]byte) []byte {
	table, body := lace(packets...)
	return rawPage(flags, granule, serial, number, table, body)
}

func opusHeadPacket(channels byte, preSkip uint16) []byte {
	b := append([]byte("OpusHead\x01"), channels)
	b = binary.LittleEndian.AppendUint16(b, preSkip)
	return append(b, 0x80, 0xBB, 0, 0, 0, 0, 0)
}

var opusTagsPacket = []byte("OpusTags\x04\x00\x00\x00test\x00\x00\x00\x00")

func oggHead(serial uint32) []byte {
	return cat(page(oggBegin, 0, serial, 0, opusHeadPacket(2, 312)), page(0, 0, serial, 1, opusTagsPacket))
}

// opusPacket is a packet of 20 ms (CELT, one frame) of n bytes.
func opusPacket(n int) []byte { return append([]byte{31 << 3}, make([]byte, n-1)...) }

func TestOggCRC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		if got, want := oggCRC(b), oggSum(b); got != want {
			t.Fatalf("%08x, want %08x", got, want)
		}
	})
}

// Any layout of packets on pages comes back to the byte, and the packets are found.
func TestOggComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var doc []byte
		var want [][]byte
		for serial := range uint32(rapid.IntRange(1, 3).Draw(t, "streams")) {
			tags := append(bytes.Clone(opusTagsPacket), make([]byte, rapid.SampledFrom([]int{0, 240, 500, 70_000}).Draw(t, "tags"))...)
			doc = append(doc, page(oggBegin, 0, serial, 0, opusHeadPacket(1, 100))...)
			number := uint32(1)
			lay := func(table, body []byte, last bool) { // packets over pages of random length
				open := false
				for len(table) > 0 {
					if rapid.IntRange(0, 9).Draw(t, "empty page") == 0 && (!open || body != nil) {
						flags := byte(0)
						if open {
							flags = oggContinue
						}
						doc = append(doc, rawPage(flags, -1, serial, number, nil, nil)...)
						number++
					}
					n := min(len(table), rapid.IntRange(1, 255).Draw(t, "segments"))
					size := 0
					for _, s := range table[:n] {
						size += int(s)
					}
					flags := byte(0)
					if open {
						flags |= oggContinue
					}
					if last && n == len(table) {
						flags |= oggEnd
					}
					doc = append(doc, rawPage(flags, rapid.Int64Range(-1, 1<<40).Draw(t, "granule"), serial, number, table[:n], body[:size])...)
					open = table[n-1] == 255
					table, body = table[n:], body[size:]
					number++
				}
			}
			table, body := lace(tags)
			lay(table, body, false)
			var packets [][]byte
			for range rapid.IntRange(0, 6).Draw(t, "packets") {
				packets = append(packets, rapid.SliceOfN(rapid.Byte(), 0, 1300).Draw(t, "packet"))
			}
			table, body = lace(packets...)
			lay(table, body, rapid.Bool().Draw(t, "end"))
			want = append(want, packets...)
		}
		info, items, err := readAll(bytes.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, opt := range []Options{{}, {Live: true}} {
			var out bytes.Buffer
			if err := writeAll(&out, info, items, opt); err != nil || !bytes.Equal(out.Bytes(), doc) {
				t.Fatalf("%d bytes, want %d, %v", out.Len(), len(doc), err)
			}
		}
		for _, i := range items {
			if i.Kind != KindFrame {
				continue
			}
			_, packet, ok := splitOgg(i.Data)
			if !ok || len(want) == 0 || !bytes.Equal(packet, want[0]) {
				t.Fatal("packet differs")
			}
			want = want[1:]
		}
		if len(want) > 0 {
			t.Fatalf("%d packets missing", len(want))
		}
	})
}

func TestOggTimes(t *testing.T) {
	p := opusPacket(50)
	doc := cat(oggHead(1),
		page(0, 5000+2*960, 1, 2, p, p), // begins at 5000: the recording was joined late
		page(0, 5000+3*960, 1, 3, p),
		page(0, 9000+960, 1, 4, p),              // follows the page before, whatever it says
		page(oggEnd, 9000+960+1000, 1, 5, p, p), // the last packet has 40 samples
		oggHead(2),
		page(oggEnd, 1000, 2, 2, p, p))
	got := frames(t, doc)
	samples := []int64{5000, 5960, 6920, 7880, 9960, 10920, 10960, 11920}
	for n, i := range got {
		want, plays := int64(0), int64(200)
		if n == 5 || n == 7 {
			want, plays = samplesToNanos(920), samplesToTicks(40)
		}
		if i.Timestamp != samplesToTicks(samples[n]) || i.Duration != plays || i.Flags != FlagKey {
			t.Errorf("packet %d at %d for %d, want %d (sample %d) for %d", n, i.Timestamp, i.Duration, samplesToTicks(samples[n]), samples[n], plays)
		}
		if i.DiscardPadding != want {
			t.Errorf("packet %d: DiscardPadding %d, want %d", n, i.DiscardPadding, want)
		}
	}
	if len(got) != len(samples) {
		t.Errorf("%d packets", len(got))
	}
}

func TestOpusSamples(t *testing.T) {
	ms := func(tenths int64) int64 { return tenths * 48 / 10 }
	for config, tenths := range []int64{100, 200, 400, 600, 100, 200, 400, 600, 100, 200, 400, 600, 100, 200, 100, 200,
		25, 50, 100, 200, 25, 50, 100, 200, 25, 50, 100, 200, 25, 50, 100, 200} { // RFC 6716, Table 2
		for code, frames := range map[byte]int64{0: 1, 1: 2, 2: 2} {
			got, ok := opusSamples([]byte{byte(config)<<3 | code})
			if !ok || got != frames*ms(tenths) {
				t.Errorf("config %d, code %d: %d samples", config, code, got)
			}
		}
		if got, ok := opusSamples([]byte{byte(config)<<3 | 3, 0xC2}); !ok || got != 2*ms(tenths) {
			t.Errorf("config %d, 2 frames: %d samples", config, got)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "no count": {3}, "no frames": {3, 0}, "122.5 ms": {31<<3 | 3, 7}, "2.5 ms 49 times": {28<<3 | 3, 49}} {
		if n, ok := opusSamples(b); ok {
			t.Errorf("%s: %d samples", name, n)
		}
	}
}

func TestOggRefuses(t *testing.T) {
	p, head := opusPacket(50), oggHead(1)
	audio := page(0, 960, 1, 2, p)
	flipped := cat(head, audio)
	flipped[len(flipped)-1] ^= 1
	for _, c := range []struct {
		name string
		doc  []byte
		want error
		text string
	}{
		{"Vorbis", page(oggBegin, 0, 1, 0, []byte("\x01vorbis---------")), ErrUnsupported, "Vorbis"},
		{"nothing known", page(oggBegin, 0, 1, 0, []byte("what is this")), ErrUnsupported, "ffmpeg -i"},
		{"two at a time", cat(page(oggBegin, 0, 1, 0, opusHeadPacket(1, 0)), page(oggBegin, 0, 2, 0, opusHeadPacket(1, 0))), ErrUnsupported, "several"},
		{"a page of another", cat(head, audio, page(0, 960, 9, 2, p)), ErrUnsupported, "several"},
		{"chained Vorbis", cat(head, audio, page(oggBegin, 0, 2, 0, []byte("\x01vorbis----"))), ErrUnsupported, "Vorbis"},
		{"no beginning", page(0, 0, 1, 0, opusHeadPacket(1, 0)), ErrDamaged, "begin"},
		{"Opus version 16", page(oggBegin, 0, 1, 0, append([]byte("OpusHead\x10"), make([]byte, 10)...)), ErrDamaged, "version"},
		{"no channels", page(oggBegin, 0, 1, 0, opusHeadPacket(0, 0)), ErrDamaged, "channels"},
		{"three channels, no mapping", page(oggBegin, 0, 1, 0, opusHeadPacket(3, 0)), ErrDamaged, "mapping"},
		{"two packets with OpusHead", page(oggBegin, 0, 1, 0, opusHeadPacket(1, 0), p), ErrDamaged, "alone"},
		{"no OpusTags", cat(page(oggBegin, 0, 1, 0, opusHeadPacket(1, 0)), audio), ErrDamaged, "comment header"},
		{"audio with OpusTags", cat(page(oggBegin, 0, 1, 0, opusHeadPacket(1, 0)), page(0, 0, 1, 1, opusTagsPacket, p)), ErrDamaged, "another packet"},
		{"headers alone", page(oggBegin, 0, 1, 0, opusHeadPacket(1, 0)), io.ErrUnexpectedEOF, "cut off"},
		{"flipped bit", flipped, ErrDamaged, "CRC"},
		{"no page", cat(head, []byte("this is no page, and nothing like it")), ErrDamaged, "no Ogg page"},
		{"page cut", cat(head, audio[:len(audio)-1]), io.ErrUnexpectedEOF, "cut off"},
		{"packet cut", cat(head, rawPage(0, -1, 1, 2, []byte{255}, make([]byte, 255))), io.ErrUnexpectedEOF, "cut off"},
		{"nothing to go on with", cat(head, page(oggContinue, 960, 1, 2, p)), ErrDamaged, "go on"},
		{"packet that does not go on", cat(head, rawPage(0, -1, 1, 2, []byte{255}, make([]byte, 255)), page(0, 960, 1, 3, p)), ErrDamaged, "go on"},
		{"packet on 5000 pages", cat(head, rawPage(0, -1, 1, 2, []byte{255}, make([]byte, 255)), bytes.Repeat(rawPage(oggContinue, -1, 1, 3, nil, nil), 5000)), ErrTooLarge, "4096 pages"},
		{"granule position below -1", cat(head, page(0, -2, 1, 2, p)), ErrDamaged, "granule"},
		{"granule position of 2^62", cat(head, page(0, 1<<62, 1, 2, p)), ErrDamaged, "granule"},
	} {
		_, _, err := readAll(bytes.NewReader(c.doc))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestOggWriterRefuses(t *testing.T) {
	info := &Info{Format: FormatOgg}
	record := append(make([]byte, oggRecord-1), 2) // a page of two segments
	full := append(make([]byte, oggRecord-1), 1)
	for name, items := range map[string][]Item{
		"no data":              {{Kind: KindFrame}},
		"no page":              {{Kind: KindFrame, Data: []byte{0x80, 1}}},
		"records cut off":      {{Kind: KindFrame, Data: []byte{0x82, 1}}},
		"page behind a packet": {{Kind: KindFrame, Data: cat([]byte{0x82}, full, record, []byte{1})}},
		"page left open":       {{Kind: KindFrame, Data: cat([]byte{0x81}, record, []byte{1})}},
		"element in a page":    {{Kind: KindFrame, Data: cat([]byte{0x81}, record, []byte{1})}, {Kind: KindElement, Data: []byte{1}}},
		"unknown kind":         {{Kind: 7}},
	} {
		if err := writeAll(io.Discard, info, items, Options{}); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

// TestOggSalvage: of a recording that is cut off anywhere between two packets, all
// packets before that are written, at their times.
func TestOggSalvage(t *testing.T) {
	for _, path := range clips(t, "*.ogg") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			original, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			info, items, err := readAll(bytes.NewReader(original))
			if err != nil {
				t.Fatal(err)
			}
			for n := 1; n <= len(items); n += 7 {
				if items[n-1].Kind != KindFrame {
					continue
				}
				var b bytes.Buffer
				if err := writeAll(&b, info, items[:n], Options{Salvage: true}); err != nil {
					t.Fatal(err)
				}
				_, got, err := readAll(&b)
				if err != nil {
					t.Fatalf("%d items: %v", n, err)
				}
				if len(got) != n {
					t.Fatalf("%d items, want %d", len(got), n)
				}
				for i := range got {
					_, g, _ := splitOgg(got[i].Data)
					_, w, _ := splitOgg(items[i].Data)
					// A stream that does not begin at 0 may move by a tick.
					if got[i].Kind == KindFrame && !bytes.Equal(g, w) || abs(got[i].Timestamp-items[i].Timestamp) > 1 || got[i].Duration != items[i].Duration {
						t.Fatalf("item %d of %d at %d for %d, want %d for %d", i, n, got[i].Timestamp, got[i].Duration, items[i].Timestamp, items[i].Duration)
					}
				}
			}
		})
	}
}

func abs(v int64) int64 { return max(v, -v) }
