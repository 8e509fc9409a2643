package cipher_test

import (
	"bytes"
	"crypto/fips140"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
)

// TestOpenAny: a frame opens under whichever key is its own. The other keys count it
// only if none of them is.
func TestOpenAny(t *testing.T) {
	for _, suite := range []*cipher.Suite{cipher.AES128CTRHMAC32(), cipher.AES128GCM()} {
		if fips140.Enforced() && suite == cipher.AES128GCM() {
			continue // not available there
		}
		var seals []*cipher.SealKey
		var opens []*cipher.OpenKey
		for i := range 4 {
			base := bytes.Repeat([]byte{byte(i + 1)}, 32)
			s, err := suite.NewSealKey(7, base, cipher.FreshKey)
			if err != nil {
				t.Fatal(err)
			}
			o, err := suite.NewOpenKey(7, base)
			if err != nil {
				t.Fatal(err)
			}
			seals, opens = append(seals, s), append(opens, o)
		}
		sealed := func(i int, frame string) []byte {
			out, err := seals[i].Seal(nil, []byte(frame), nil)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		failures := func(want ...uint64) {
			t.Helper()
			for i, o := range opens {
				if got := o.Failures(); got != want[i] {
					t.Errorf("%s: key %d counts %d failures, want %d", suite.Name(), i, got, want[i])
				}
			}
		}
		refused := func(want error, b []byte) {
			t.Helper()
			dst := []byte("before")
			if out, which, err := cipher.OpenAny(opens, dst, b, nil); err != want || which >= 0 || string(out) != "before" {
				t.Errorf("%s: %q, key %d, %v, want %v", suite.Name(), out, which, err, want)
			}
		}
		for round := range 3 {
			for i := range opens {
				if out, which, err := cipher.OpenAny(opens, []byte("a "), sealed(i, "frame"), nil); err != nil || which != i || string(out) != "a frame" {
					t.Fatalf("%s: round %d: %q, key %d, %v", suite.Name(), round, out, which, err)
				}
			}
		}
		failures(0, 0, 0, 0)

		forged := sealed(2, "forged")
		forged[len(forged)-1] ^= 1
		refused(cipher.ErrAuth, forged)
		failures(1, 1, 1, 1)
		again := sealed(1, "once")
		if _, _, err := cipher.OpenAny(opens, nil, again, nil); err != nil {
			t.Fatal(err)
		}
		failures(1, 1, 1, 1)
		refused(cipher.ErrReplayed, again) // and counts where it might have passed
		refused(cipher.ErrShort, forged[:4])
		refused(cipher.ErrShort, nil)
		refused(cipher.ErrMalformed, []byte{0x80, 0x01, 1, 2, 3}) // a key ID that is not in its shortest form
		opens[2].Retire()
		refused(cipher.ErrAuth, sealed(2, "of a key that is gone"))
		if _, which, err := cipher.OpenAny(nil, nil, again, nil); err != cipher.ErrUnknownKey || which >= 0 {
			t.Errorf("%s: without keys: %v", suite.Name(), err)
		}
		if raceflag.Enabled || fips140.Enforced() { // there the standard library allocates
			continue
		}
		frames, buf, at := [][]byte{}, make([]byte, 0, 100), 0
		for range 1002 {
			frames = append(frames, sealed(3, "frame"))
		}
		if n := testing.AllocsPerRun(1000, func() {
			if _, _, err := cipher.OpenAny(opens, buf, frames[at], nil); err != nil {
				t.Fatal(err)
			}
			at++
		}); n != 0 {
			t.Errorf("%s: %v allocations a frame", suite.Name(), n)
		}
	}
}
