package ebml

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIDValid(t *testing.T) {
	valid := []ID{0x81, 0xFE, 0x407F, 0x4080, 0x7FFE, 0x203FFF, 0x204000, 0x3FFFFE, 0x101FFFFF, 0x10200000, 0x1FFFFFFE, IDHeader, IDVoid, IDCRC32}
	for _, id := range valid {
		if !id.Valid() {
			t.Errorf("%#x is an ID by RFC 8794, Section 5, and was refused", uint32(id))
		}
	}
	invalid := []ID{0, 0x7F, 0x80, 0xFF, 0x4000, 0x407E, 0x7FFF, 0x200000, 0x203FFE, 0x3FFFFF, 0x10000000, 0x101FFFFE, 0x1FFFFFFF, 0xEC00, 0x80000000}
	for _, id := range invalid {
		if id.Valid() {
			t.Errorf("%#x is no ID by RFC 8794, Section 5, and was accepted", uint32(id))
		}
	}
}

func TestSizeLen(t *testing.T) {
	for w := 1; w <= 8; w++ {
		largest := int64(1)<<(7*w) - 2
		if got := SizeLen(largest); got != w {
			t.Errorf("SizeLen(%d) = %d, want %d", largest, got, w)
		}
		if w < 8 {
			if got := SizeLen(largest + 1); got != w+1 {
				t.Errorf("SizeLen(%d) = %d, want %d: all ones means unknown", largest+1, got, w+1)
			}
		}
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ID(rapid.SampledFrom([]uint32{0x81, 0x4286, 0x2AD7B1, 0x1A45DFA3}).Draw(t, "id"))
		size := int64(rapid.Uint64Range(0, MaxSize).Draw(t, "size") >> rapid.IntRange(0, 55).Draw(t, "shift"))
		width := rapid.IntRange(SizeLen(size), 8).Draw(t, "width")
		b := AppendSize(AppendID(nil, id), size, width)
		h, err := ParseHeader(append(b, 0xAA))
		if err != nil {
			t.Fatal(err)
		}
		if h.ID != id || h.Size != size || h.SizeWidth != width || h.Len() != len(b) {
			t.Fatalf("got %+v", h)
		}
		if h.Canonical() != (width == SizeLen(size)) {
			t.Fatalf("Canonical() = %v for width %d of size %d", h.Canonical(), width, size)
		}
		for n := range b {
			if _, err := ParseHeader(b[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
		u := AppendUnknownSize(AppendID(nil, id), width)
		if h, err = ParseHeader(u); err != nil || h.Size != UnknownSize || h.Canonical() {
			t.Fatalf("unknown size: %+v, %v", h, err)
		}
	})
}

func TestValueRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint64().Draw(t, "u")
		i := rapid.Int64().Draw(t, "i")
		f := rapid.Float64().Draw(t, "f")
		s := strings.ReplaceAll(rapid.String().Draw(t, "s"), "\x00", "")
		b := AppendUint(nil, 0x81, u)
		b = AppendInt(b, 0x82, i)
		b = AppendFloat(b, 0x83, f)
		b = AppendString(b, 0x84, s)
		b = AppendBytes(b, 0x85, []byte(s))
		want := []ID{0x81, 0x82, 0x83, 0x84, 0x85}
		for n, id := range want {
			h, body, rest, err := Split(b)
			if err != nil || h.ID != id || !h.Canonical() {
				t.Fatalf("element %d: %+v, %v", n, h, err)
			}
			b = rest
			switch n {
			case 0:
				if v, err := Uint(body); err != nil || v != u || len(body) > 1 && body[0] == 0 {
					t.Fatalf("uint %d from % x, %v", v, body, err)
				}
			case 1:
				v, err := Int(body)
				if err != nil || v != i {
					t.Fatalf("int %d from % x, %v", v, body, err)
				}
				if short, _ := Int(body[1:]); len(body) > 1 && short == i {
					t.Fatalf("% x is not the shortest form of %d", body, i)
				}
			case 2:
				if v, err := Float(body); err != nil || math.Float64bits(v) != math.Float64bits(f) {
					t.Fatalf("float %v, %v", v, err)
				}
			default:
				if String(body) != s {
					t.Fatalf("string %q", body)
				}
			}
		}
		if len(b) != 0 {
			t.Fatalf("%d bytes left", len(b))
		}
	})
}

func TestValuesRefuseImpossibleLengths(t *testing.T) {
	if _, err := Uint(make([]byte, 9)); !errors.Is(err, ErrMalformed) {
		t.Errorf("integer of 9 bytes: %v", err)
	}
	if _, err := Int(make([]byte, 9)); !errors.Is(err, ErrMalformed) {
		t.Errorf("signed integer of 9 bytes: %v", err)
	}
	if _, err := Float(make([]byte, 5)); !errors.Is(err, ErrMalformed) {
		t.Errorf("float of 5 bytes: %v", err)
	}
	if v, err := Float([]byte{0x3F, 0xC0, 0, 0}); err != nil || v != 1.5 {
		t.Errorf("4 byte float: %v, %v", v, err)
	}
	if s := String([]byte("ab\x00cd")); s != "ab" {
		t.Errorf("string with padding: %q", s)
	}
}

func TestVoid(t *testing.T) {
	for total := 2; total < 300; total++ {
		b := AppendVoid(nil, total)
		h, _, rest, err := Split(b)
		if err != nil || h.ID != IDVoid || len(rest) != 0 || len(b) != total {
			t.Fatalf("%d bytes: %+v, %d, %v", total, h, len(b), err)
		}
	}
}

func TestCheckCRC(t *testing.T) {
	inner := AppendUint(nil, 0x81, 77)
	b := AppendMasterCRC(nil, 0xA0, inner)
	_, body, _, err := Split(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckCRC(body); err != nil {
		t.Fatal(err)
	}
	if err := CheckCRC(inner); err != nil {
		t.Fatalf("a body without a CRC-32: %v", err)
	}
	for bit := range 8 * (len(body) - 2) { // all but the CRC-32 element's own header
		bad := bytes.Clone(body)
		bad[2+bit/8] ^= 1 << (bit % 8)
		if err := CheckCRC(bad); !errors.Is(err, ErrMalformed) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"overrun":      {0x81, 0x82, 0},
		"unknown size": {0x81, 0xFF},
		"huge":         {0x81, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE},
		"no ID":        {0x00, 0x80},
		"reserved ID":  {0xFF, 0x80},
		"long size":    {0x81, 0x00, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, _, _, err := Split(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, _, err := Split(nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("nothing: %v", err)
	}
}
