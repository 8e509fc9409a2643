package cipher_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// hostile are inputs on which implementations of SFrame and of other frame formats
// have gone wrong: values in a longer form than needed, lengths at the edges, a KID
// that is not the key's, sizes of 0, 1 and 14 bytes as of silent audio, bytes that say
// that much more follows.
var hostile = []string{
	"", "\x00", "\xff", "\x80", "\x08", "\x88", "\x80\x05", "\x88\x05\x10", "\x80\x00\x00", "\x90\x00\x23\x45\x67",
	"\x90\x01\x23", "\x99\x01\x23\x45\x67", "\x99\x00\x23\x45\x67\xb7\x41\x2c", "\xff\x01\x02\x03",
	"\xf7\xff\xff\xff\xff\xff\xff\xff\xff", "\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "\x10\xf8\xff\xfe", "\x10",
	"\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xfa\xfa", "\x18\x08\x00\x00\x00\x01\x67\x42\x00\x1f", "\x1f\xff\xff\xff\xff\xff\xff\xff\xff",
}

// fuzzKeys are all suites of the present mode, under KID 1.
func fuzzKeys(t testing.TB) (seal []*cipher.SealKey, open []*cipher.OpenKey) {
	t.Helper()
	for _, s := range cipher.Suites() {
		sealKey, err := s.NewSealKey(1, random(int(s.ID()), 32), cipher.FreshKey)
		if err != nil {
			continue
		}
		seal = append(seal, sealKey)
		open = append(open, must(s.NewOpenKey(1, random(int(s.ID()), 32))))
	}
	return seal, open
}

var openErrors = []error{cipher.ErrShort, cipher.ErrMalformed, cipher.ErrAuth, cipher.ErrReplayed, cipher.ErrUnknownKey, cipher.ErrExhausted}

// refuses opens bytes that nobody sealed in all ways that there are.
func refuses(t *testing.T, k *cipher.OpenKey, in, aad []byte) {
	t.Helper()
	short := k.Suite().Overhead() < 8 // a 32-bit tag can be hit by chance
	before := slices.Clone(in)
	dst := make([]byte, 3, 3+len(in))
	out, err := k.Open(dst, in, aad)
	if err == nil && short {
		return
	}
	if !slices.ContainsFunc(openErrors, func(e error) bool { return errors.Is(err, e) }) {
		t.Fatalf("%s: error %v", k.Suite(), err)
	}
	if !bytes.Equal(out, make([]byte, 3)) || !bytes.Equal(in, before) || len(bytes.Trim(dst[:cap(dst)], "\x00")) > 0 {
		t.Fatalf("%s: after %v, something was written", k.Suite(), err)
	}
	frames := []cipher.Frame{{Src: in, AAD: aad}}
	if k.OpenBatch(frames) != 1 || !errors.Is(frames[0].Err, err) {
		t.Fatalf("%s: in a batch error %v, else %v", k.Suite(), frames[0].Err, err)
	}
	if out, inPlace := k.OpenInPlace(slices.Clone(in), aad); out != nil || !errors.Is(inPlace, err) {
		t.Fatalf("%s: in place error %v, else %v", k.Suite(), inPlace, err)
	}
}

// TestHostile runs the seeds of the fuzz targets against every suite.
func TestHostile(t *testing.T) {
	_, open := fuzzKeys(t)
	for _, in := range hostile {
		for _, k := range open {
			refuses(t, k, []byte(in), nil)
			refuses(t, k, []byte(in), []byte("aad"))
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, in := range hostile {
		f.Add([]byte(in), []byte(nil))
	}
	f.Add(append([]byte{0x18, 0x55}, make([]byte, 64)...), []byte("aad"))
	_, open := fuzzKeys(f)
	f.Fuzz(func(t *testing.T, in, aad []byte) {
		for _, k := range open {
			refuses(t, k, in, aad)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	for _, n := range []int{0, 1, 3, 14, 15, 16, 17, 33, 200} {
		f.Add(random(n, n), []byte("aad"), uint16(n))
	}
	seal, open := fuzzKeys(f)
	f.Fuzz(func(t *testing.T, frame, aad []byte, flip uint16) {
		for i, s := range seal {
			sealed, err := s.Seal(nil, frame, aad)
			if err != nil {
				t.Fatalf("%s: %v", s.Suite(), err)
			}
			bad := slices.Clone(sealed)
			bad[int(flip)%len(bad)] ^= 1 << (flip >> 13)
			if _, err := open[i].Open(nil, bad, aad); err == nil && s.Suite().Overhead() >= 8 {
				t.Fatalf("%s: a changed frame of %d bytes was opened", s.Suite(), len(frame))
			}
			back, err := open[i].Open(nil, sealed, aad)
			if err != nil || !bytes.Equal(back, frame) {
				t.Fatalf("%s: %d bytes: error %v, or another frame", s.Suite(), len(frame), err)
			}
		}
	})
}
