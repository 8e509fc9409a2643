package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func ivfFile(fourCC string, rate, scale uint32, headerLen uint16, frames ...[]byte) []byte {
	le := binary.LittleEndian
	b := append([]byte("DKIF"), 0, 0)
	b = le.AppendUint16(b, headerLen)
	b = append(b, fourCC...)
	b = le.AppendUint16(le.AppendUint16(b, 320), 240)
	b = le.AppendUint32(le.AppendUint32(b, rate), scale)
	b = le.AppendUint32(le.AppendUint32(b, 12345), 678)
	b = append(b, make([]byte, max(0, int(headerLen)-len(b)))...)
	return append(b, bytes.Join(frames, nil)...)
}

func ivfFrame(pts uint64, payload ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	return append(binary.LittleEndian.AppendUint64(b, pts), payload...)
}

func TestIVFComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var frames [][]byte
		var pts []uint64
		for range rapid.IntRange(0, 8).Draw(t, "frames") {
			p := rapid.Uint64Range(0, 1<<40).Draw(t, "pts")
			frames, pts = append(frames, ivfFrame(p, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")...)), append(pts, p)
		}
		rate, scale := rapid.Uint32Range(1, 200_000).Draw(t, "rate"), rapid.Uint32Range(1, 2000).Draw(t, "scale")
		doc := ivfFile(rapid.SampledFrom([]string{"VP80", "VP90", "AV01"}).Draw(t, "codec"), rate, scale,
			rapid.SampledFrom([]uint16{0, 32, 48}).Draw(t, "header"), frames...)
		info, items, err := readAll(bytes.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := writeAll(&out, info, items, Options{}); err != nil || !bytes.Equal(out.Bytes(), doc) {
			t.Fatalf("%d bytes, want %d, %v", out.Len(), len(doc), err)
		}
		tick := float64(scale) * 1e9 / float64(rate)
		for n, i := range items[1:] {
			want := float64(pts[n]) * tick // nanoseconds
			if info.TimestampScale != fineScale {
				want = float64(pts[n]) * float64(info.TimestampScale)
				if math.Abs(float64(info.TimestampScale)-tick) > 0.5 {
					t.Fatalf("TimestampScale %d for ticks of %v ns", info.TimestampScale, tick)
				}
			}
			if got := float64(i.Timestamp) * float64(info.TimestampScale); math.Abs(got-want) > 0.51*fineScale+want*1e-12 {
				t.Fatalf("frame %d at %v ns, want %v", n, got, want)
			}
		}
	})
}

func TestIVFRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		doc  []byte
		want error
		text string
	}{
		{"codec", ivfFile("H264", 30, 1, 32), ErrUnsupported, "ffmpeg"},
		{"rate of 0", ivfFile("VP80", 0, 1, 32), ErrDamaged, "time base"},
		{"scale of 0", ivfFile("VP80", 30, 0, 32), ErrDamaged, "time base"},
		{"header cut", ivfFile("VP80", 30, 1, 32)[:20], io.ErrUnexpectedEOF, "byte 20"},
		{"long header cut", ivfFile("VP80", 30, 1, 64)[:40], io.ErrUnexpectedEOF, "byte 40"},
		{"frame header cut", ivfFile("VP80", 30, 1, 32, ivfFrame(0, 1)[:5]), io.ErrUnexpectedEOF, "byte 37"},
		{"frame cut", ivfFile("VP80", 30, 1, 32, ivfFrame(0, 1, 2, 3)[:14]), io.ErrUnexpectedEOF, "byte 46"},
		{"frame of 4 GiB", ivfFile("VP80", 30, 1, 32, bytes.Repeat([]byte{255}, 12)), ErrTooLarge, "limit"},
		{"timestamp", ivfFile("VP80", 30, 1, 32, ivfFrame(math.MaxUint64, 1)), ErrDamaged, "timestamp"},
		{"fine timestamp", ivfFile("VP80", 10001, 1, 32, ivfFrame(math.MaxUint64, 1)), ErrDamaged, "timestamp"},
	} {
		_, _, err := readAll(bytes.NewReader(c.doc))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What the first bytes of a frame say, from frames of each kind written by hand.
func TestFrameFlags(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func([]byte) Flags
		b    []byte
		want Flags
	}{
		{"VP8 key", vp8Flags, []byte{0x10, 0, 0}, FlagKey},
		{"VP8 delta", vp8Flags, []byte{0x11, 0, 0}, 0},
		{"VP8 hidden", vp8Flags, []byte{0x01, 0, 0}, FlagInvisible},
		{"VP8 short", vp8Flags, []byte{0x10}, 0},
		{"VP9 key", vp9Flags, []byte{0x82}, FlagKey},
		{"VP9 delta", vp9Flags, []byte{0x86}, 0},
		{"VP9 shown again", vp9Flags, []byte{0x88}, 0},
		{"VP9 profile 3 key", vp9Flags, []byte{0xB1}, FlagKey},
		{"VP9 nothing", vp9Flags, nil, 0},
		{"AV1 key", av1Flags, []byte{0x12, 0, 0x0A, 2, 0, 0, 0x32, 1, 0x10}, FlagKey},
		{"AV1 delta", av1Flags, []byte{0x12, 0, 0x32, 1, 0x30}, 0},
		{"AV1 key, no sequence header", av1Flags, []byte{0x32, 1, 0x10}, 0},
		{"AV1 still", av1Flags, []byte{0x0A, 1, 0x18, 0x30, 0}, FlagKey},
		{"AV1 bad size", av1Flags, []byte{0x0A, 9, 0}, 0},
		{"AV1 cut", av1Flags, []byte{0x16}, 0},
	} {
		if got := c.f(c.b); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
