package keyring

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestVendorVectors checks against testdata/vendor.py, which knows SPEC.md only.
func TestVendorVectors(t *testing.T) {
	var vectors []struct {
		Channel, Mode, Key, Hex, Salt, Secret, Fingerprint string
		Suite                                              uint16
	}
	b, err := os.ReadFile("testdata/vendor.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &vectors); err != nil || len(vectors) < 8 {
		t.Fatal(len(vectors), err)
	}
	seen := map[string]bool{}
	for _, v := range vectors {
		k := VendorKey{Mode: v.Mode, Key: []byte(v.Key), Salt: v.Salt, Hex: map[string]HexReading{"text": HexAsText, "bytes": HexAsBytes}[v.Hex]}
		s, suite, err := k.secret(v.Channel)
		if err != nil {
			t.Fatalf("%+v: %v", v, err)
		}
		if hex.EncodeToString(s.key[:]) != v.Secret || uint16(suite.ID()) != v.Suite {
			t.Errorf("%s, mode %s: suite %v, another secret", v.Channel, v.Mode, suite)
		}
		if got := (&epoch{number: 1, suite: suite.ID(), secret: s}).fingerprint(v.Channel); got != v.Fingerprint {
			t.Errorf("%s, mode %s: fingerprint %s, want %s", v.Channel, v.Mode, got, v.Fingerprint)
		}
		if seen[v.Secret] {
			t.Errorf("%s, mode %s: the secret of another", v.Channel, v.Mode)
		}
		seen[v.Secret] = true
		if string(k.Key) != v.Key {
			t.Error("the key string was changed")
		}
		if out := fmt.Sprintf("%v %+v %#v %s", k, k, &k, k); strings.Contains(out, v.Key) {
			t.Errorf("shows the key: %s", out)
		}
	}
}

func TestVendorRefused(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 2)
	salt := "X5w9T+50kzxVOnkJKiY/lUk82/bES2kATOt3vBuGEDw="
	for what, c := range map[string]struct {
		key  VendorKey
		says string
	}{
		"a mode that does not authenticate": {VendorKey{Mode: "2", Key: []byte("k")}, "ECB"},
		"another":                           {VendorKey{Mode: "SM4_128_ECB", Key: []byte("k")}, "ECB"},
		"a suite that is no mode":           {VendorKey{Mode: "chacha20-poly1305", Key: []byte("k")}, "no mode of the vendor's"},
		"no such mode":                      {VendorKey{Mode: "9", Key: []byte("k")}, "unknown"},
		"no key":                            {VendorKey{Mode: "5"}, "1 to 1024"},
		"a long key":                        {VendorKey{Mode: "5", Key: make([]byte, 1025)}, "1 to 1024"},
		"two readings":                      {VendorKey{Mode: "5", Key: []byte(digits)}, "say whether"},
		"no hex":                            {VendorKey{Mode: "5", Key: []byte("xyz"), Hex: HexAsBytes}, "not an even number"},
		"odd":                               {VendorKey{Mode: "5", Key: []byte(digits + "0"), Hex: HexAsBytes}, "not an even number"},
		"no reading":                        {VendorKey{Mode: "5", Key: []byte(digits), Hex: 3}, "reading"},
		"no salt":                           {VendorKey{Mode: "7", Key: []byte("k")}, "a salt of 0 bytes"},
		"a short salt":                      {VendorKey{Mode: "8", Key: []byte("k"), Salt: "AAAA"}, "a salt of 3 bytes"},
		"a zero salt":                       {VendorKey{Mode: "8", Key: []byte("k"), Salt: strings.Repeat("A", 43) + "="}, "all zero"},
		"no base64":                         {VendorKey{Mode: "7", Key: []byte("k"), Salt: "§" + salt}, "not base64"},
		"loose bits":                        {VendorKey{Mode: "7", Key: []byte("k"), Salt: salt[:42] + "x="}, "not base64"},
		"a salt too many":                   {VendorKey{Mode: "5", Key: []byte("k"), Salt: salt}, "takes no salt"},
	} {
		_, _, err := c.key.secret("c")
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && (len(c.key.Key) > 1 && len(c.key.Key) < 99 && strings.Contains(err.Error(), string(c.key.Key)) || c.key.Salt != "" && strings.Contains(err.Error(), c.key.Salt)) {
			t.Errorf("%s: the error shows the key: %v", what, err)
		}
	}
	if _, err := (&VendorKey{Key: []byte(digits)}).bytes(); !errors.Is(err, ErrHexReading) {
		t.Error(err)
	}
	for _, plain := range []string{digits[:31], digits[:30], digits + "0", digits + "g"} { // read in one way only, or too short for a key
		if b, err := (&VendorKey{Key: []byte(plain)}).bytes(); err != nil || string(b) != plain {
			t.Errorf("%q: %v", plain, err)
		}
	}
	if b, err := (&VendorKey{Key: []byte("00ff"), Hex: HexAsBytes}).bytes(); err != nil || !bytes.Equal(b, []byte{0, 255}) {
		t.Error(b, err)
	}
}
