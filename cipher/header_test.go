package cipher_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/chanseal/chanseal/cipher"
)

// drawValue draws a KID or a counter, each length alike.
func drawValue(t *rapid.T, label string) uint64 {
	return rapid.Uint64().Draw(t, label) >> rapid.IntRange(0, 63).Draw(t, label+" shift")
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kid, ctr := drawValue(t, "kid"), drawValue(t, "ctr")
		want := cipher.Header{KID: cipher.KeyID(kid), CTR: ctr}
		encoded := cipher.AppendHeader([]byte("before"), want)[6:]
		if !bytes.Equal(encoded, header(kid, ctr)) {
			t.Fatalf("%+v is %x, want %x", want, encoded, header(kid, ctr))
		}
		got, size, err := cipher.ParseHeader(append(encoded, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "behind")...))
		if err != nil || got != want || size != len(encoded) || size > cipher.MaxHeader {
			t.Fatalf("%x is %+v of %d bytes, error %v", encoded, got, size, err)
		}
	})
}

// TestHeaderRefuses: what is cut is short, what could be said in less is malformed.
func TestHeaderRefuses(t *testing.T) {
	for _, c := range []struct {
		in   string
		want error
	}{
		{"", cipher.ErrShort},
		{"\x08", cipher.ErrShort}, {"\x80", cipher.ErrShort}, {"\x88\x08", cipher.ErrShort}, {"\xff\x01\x02\x03", cipher.ErrShort},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", cipher.ErrShort},
		{"\x80\x00", cipher.ErrMalformed}, {"\x80\x07", cipher.ErrMalformed}, {"\x80\x08", nil},
		{"\x08\x00", cipher.ErrMalformed}, {"\x08\x07", cipher.ErrMalformed}, {"\x08\x08", nil},
		{"\x90\x00\xff", cipher.ErrMalformed}, {"\x90\x01\x00", nil}, {"\x09\x00\x09", cipher.ErrMalformed}, {"\x09\x01\x00", nil},
		{"\xf0\x00\xff\xff\xff\xff\xff\xff\xff", cipher.ErrMalformed}, {"\x88\x08\x07", cipher.ErrMalformed}, {"\x88\x07\x08", cipher.ErrMalformed},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil},
	} {
		h, size, err := cipher.ParseHeader([]byte(c.in))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err != nil && (size != 0 || h != cipher.Header{}) {
			t.Errorf("%x: %+v of %d bytes, error %v, want %v", c.in, h, size, err, c.want)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, kid := range []uint64{0, 7, 8, 255, 256, 1 << 40, 1<<64 - 1} {
		f.Add(header(kid, kid/3))
	}
	for _, seed := range hostile {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, size, err := cipher.ParseHeader(in)
		if err != nil {
			if !errors.Is(err, cipher.ErrShort) && !errors.Is(err, cipher.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		// Exactly one spelling of each header is accepted.
		if again := header(uint64(h.KID), h.CTR); !bytes.Equal(in[:size], again) {
			t.Fatalf("%x is read as %+v, which is %x", in[:size], h, again)
		}
	})
}
