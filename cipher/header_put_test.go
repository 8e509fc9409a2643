package cipher

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestPutApart: the faster way writes the same header, in any room.
func TestPutApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shift := rapid.IntRange(0, 63)
		kid, ctr := rapid.Uint64().Draw(t, "kid")>>shift.Draw(t, "shift"), rapid.Uint64().Draw(t, "ctr")>>shift.Draw(t, "shift")
		h := newHeaderTemplate(KeyID(kid))
		size := h.len(ctr)
		var want [MaxHeader]byte
		h.put(want[:], ctr)
		got := make([]byte, rapid.IntRange(size, 40).Draw(t, "room"))
		h.putApart(got, ctr)
		if !bytes.Equal(got[:size], want[:size]) {
			t.Fatalf("KID %#x, CTR %#x: %x, want %x", kid, ctr, got[:size], want[:size])
		}
		for _, b := range got[min(len(got), MaxHeader):] {
			if b != 0 {
				t.Fatal("wrote beyond the longest header")
			}
		}
	})
}

// TestPackedHeader holds the header in two words to the one in bytes, for every size
// of KID and counter, and unpack to ParseHeader on what it is given, whole, cut and
// with a bit flipped.
func TestPackedHeader(t *testing.T) {
	var values []uint64
	for shift := range 64 {
		values = append(values, 1<<shift, 1<<shift-1, 0x0123456789abcdef>>shift)
	}
	values = append(values, 1<<64-1)
	taken := 0
	for _, kid := range values {
		h := newHeaderTemplate(KeyID(kid))
		for _, ctr := range values {
			want := AppendHeader(nil, Header{KID: KeyID(kid), CTR: ctr})
			p := h.pack(ctr)
			if p.size != len(want) {
				t.Fatalf("KID %#x, CTR %#x: packed to %d bytes, want %d", kid, ctr, p.size, len(want))
			}
			frame := append(bytes.Clone(want), bytes.Repeat([]byte{0xa5}, 20)...)
			if p.size <= packable {
				var got [packable]byte
				p.put(got[:])
				if !bytes.Equal(got[:p.size], want) || [packable]byte(append(bytes.Clone(want), make([]byte, packable)...)) != got {
					t.Fatalf("KID %#x, CTR %#x: packed to %x, want %x", kid, ctr, got, want)
				}
				if back, c, ok := h.unpack(frame); !ok || c != ctr || back != p {
					t.Fatalf("KID %#x, CTR %#x: unpacked to %x, %#x, %v", kid, ctr, back, c, ok)
				}
				long := append(bytes.Clone(frame), make([]byte, MaxHeader)...)
				if size, c := h.counter(long); ctr >= 8 && (size != p.size || c != ctr) || ctr < 8 && size != 0 {
					t.Fatalf("KID %#x, CTR %#x: counter has %d bytes, %#x", kid, ctr, size, c)
				}
				if size, _ := h.counter(long[:MaxHeader+15]); size != 0 {
					t.Fatal("counter takes a frame that it does not promise to")
				}
			}
			for i := range 8 * len(want) {
				bad := bytes.Clone(frame)
				bad[i/8] ^= 1 << (i % 8)
				back, c, ok := h.unpack(bad)
				parsed, size, err := ParseHeader(bad)
				if n, c := h.counter(append(bytes.Clone(bad), make([]byte, MaxHeader)...)); n != 0 && (err != nil || parsed.KID != KeyID(kid) || parsed.CTR != c || size != n) {
					t.Fatalf("%x under KID %#x: counter has %d bytes, %#x; ParseHeader has %v, %d, %v", bad, kid, n, c, parsed, size, err)
				}
				if !ok {
					continue
				}
				taken++
				if err != nil || parsed.KID != KeyID(kid) || parsed.CTR != c || back != h.pack(c) || size != back.size {
					t.Fatalf("%x under KID %#x: unpacked to %x, %#x; ParseHeader has %v, %d, %v", bad, kid, back, c, parsed, size, err)
				}
			}
			if _, _, ok := h.unpack(frame[:packable-1]); ok {
				t.Fatal("unpack takes less than it reads")
			}
		}
	}
	if taken == 0 {
		t.Error("no header with another counter was unpacked")
	}
}
