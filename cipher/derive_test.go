package cipher_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
)

// TestVectors runs the SFrame vectors; see ciphertest for what is counted.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../testdata/vectors/sframe.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ciphertest.RunVectors(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Errorf("%s[%d]: %s", f.Array, f.Index, f.Reason)
	}
	if r.Passed() < 303 {
		t.Errorf("%d vectors passed, want at least 303", r.Passed())
	}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]cipher.SuiteID{
		// The vendor's modes, by name and by number.
		"aes-128-xts": 0xF002, "1": 0xF002, "aes-256-xts": 0xF003, "3": 0xF003,
		"aes-128-gcm": 4, "5": 4, "aes-256-gcm": 5, "6": 5,
		"aes-128-gcm2": 4, "aes-128-gcm-2": 4, "7": 4, "aes-256-gcm2": 5, "aes-256-gcm-2": 5, "8": 5,
		// The registry's names, and others' ways to write them.
		"AES_128_CTR_HMAC_SHA256_80": 1, "AES_128_CTR_HMAC_SHA256_64": 2, "AES_128_CTR_HMAC_SHA256_32": 3,
		"AES_128_GCM_SHA256_128": 4, "AES_256_GCM_SHA512_128": 5,
		"AES_256_CTR_HMAC_SHA512_80": 6, "AES_256_CTR_HMAC_SHA512_64": 7, "AES_256_CTR_HMAC_SHA512_32": 8,
		" AES-128-GCM\n": 4, "AES_128_GCM2": 4, "ChaCha20-Poly1305": 0xF001,
	} {
		s, err := cipher.Lookup(name)
		if err != nil || s.ID() != want {
			t.Errorf("Lookup(%q) = %v, error %v, want suite %#04x", name, s, err, want)
		}
	}
	for name, say := range map[string]string{
		"aes-128-ecb": "use aes-128-gcm", "2": "aes-128-ecb", "sm4-128-ecb": "NewSuite", "4": "sm4-128-ecb", "AES_128_ECB": "refused",
		"": "known are", "9": "known are", "0": "known are", "none": "known are", "aes-128-cbc": "aes-128-gcm",
	} {
		if s, err := cipher.Lookup(name); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("Lookup(%q) = %v, error %v, want one that says %q", name, s, err, say)
		}
	}
	for _, s := range cipher.Suites() {
		byName, err1 := cipher.Lookup(s.Name())
		byID, err2 := cipher.ByID(s.ID())
		if byName != s || byID != s || err1 != nil || err2 != nil || s.Custom() || s.Authentication() != s.Name() || s.String() != s.Name() {
			t.Errorf("%s is not found by name or number", s)
		}
		if s.ID() > 8 && (s.ID() < 0xF000 || s.ID() > cipher.MaxBuiltinID) {
			t.Errorf("%s has a number that is not ours: %#04x", s, s.ID())
		}
	}
	cipher.Suites()[0] = nil
	if cipher.Suites()[0] == nil {
		t.Error("the table of suites can be changed from outside")
	}
	for _, id := range []cipher.SuiteID{0, 9, 0xF000, 0xF100, 0xFFFF} {
		if s, err := cipher.ByID(id); err == nil {
			t.Errorf("number %#04x is %s", id, s)
		}
	}
}

func TestSuiteFunctions(t *testing.T) {
	for i, f := range []func() *cipher.Suite{
		cipher.AES128CTRHMAC80, cipher.AES128CTRHMAC64, cipher.AES128CTRHMAC32, cipher.AES128GCM, cipher.AES256GCM,
		cipher.AES256CTRHMAC80, cipher.AES256CTRHMAC64, cipher.AES256CTRHMAC32,
	} {
		if f().ID() != cipher.SuiteID(i+1) {
			t.Errorf("the function for suite %d gives %s", i+1, f())
		}
	}
	if cipher.ChaCha20Poly1305().ID() != 0xF001 || cipher.AES128XTSHMAC().ID() != 0xF002 || cipher.AES256XTSHMAC().ID() != 0xF003 {
		t.Error("a private suite has another number")
	}
}

func TestRatchetKID(t *testing.T) {
	for _, c := range []struct {
		generation, step uint64
		bits             int
		want             cipher.KeyID
		ok               bool
	}{
		{1, 1, 4, 17, true}, {1, 16, 4, 16, true}, {1, 17, 4, 17, true}, {0, 0, 0, 0, true}, {5, 99, 0, 5, true},
		{1<<64 - 1, 7, 0, 1<<64 - 1, true}, {1<<60 - 1, 15, 4, 1<<64 - 1, true}, {1 << 60, 0, 4, 0, false},
		{1, 3, 63, 1<<63 + 3, true}, {2, 0, 63, 0, false}, {1, 1, 64, 0, false}, {1, 1, -1, 0, false},
	} {
		got, err := cipher.RatchetKID(c.generation, c.step, c.bits)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("RatchetKID(%d, %d, %d) = %#x, error %v, want %#x, %v", c.generation, c.step, c.bits, got, err, c.want, c.ok)
		}
	}
}

func TestMLSKID(t *testing.T) {
	const most = math.MaxInt
	for _, c := range []struct {
		layout                 cipher.MLSLayout
		epoch, sender, context uint64
		want                   cipher.KeyID
		ok                     bool
	}{
		{cipher.MLSLayout{EpochBits: 4, SenderBits: 6}, 17, 51, 0, 0x331, true},
		{cipher.MLSLayout{EpochBits: 4, SenderBits: 6}, 16, 2, 3, 0xc20, true},
		{cipher.MLSLayout{EpochBits: 4, SenderBits: 6}, 0, 64, 0, 0, false},
		{cipher.MLSLayout{EpochBits: 4, SenderBits: 6}, 0, 0, 1 << 54, 0, false},
		{cipher.MLSLayout{EpochBits: 4, SenderBits: 6}, 1<<64 - 1, 63, 1<<54 - 1, 1<<64 - 1, true},
		{cipher.MLSLayout{EpochBits: 0, SenderBits: 0}, 9, 0, 1<<64 - 1, 1<<64 - 1, true},
		{cipher.MLSLayout{EpochBits: 64, SenderBits: 0}, 1<<64 - 1, 0, 0, 1<<64 - 1, true},
		{cipher.MLSLayout{EpochBits: 64, SenderBits: 0}, 0, 0, 1, 0, false},
		{cipher.MLSLayout{EpochBits: 0, SenderBits: 64}, 5, 1<<64 - 1, 0, 1<<64 - 1, true},
		{cipher.MLSLayout{EpochBits: 40, SenderBits: 25}, 0, 0, 0, 0, false},
		{cipher.MLSLayout{EpochBits: -1, SenderBits: 6}, 0, 0, 0, 0, false},
		{cipher.MLSLayout{EpochBits: most, SenderBits: most}, 0, 0, 0, 0, false}, // the sum overflows
		{cipher.MLSLayout{EpochBits: 3, SenderBits: most}, 0, 0, 0, 0, false},
	} {
		got, err := c.layout.KID(c.epoch, c.sender, c.context)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("%+v.KID(%d, %d, %d) = %#x, error %v, want %#x, %v", c.layout, c.epoch, c.sender, c.context, got, err, c.want, c.ok)
		}
	}
}

func TestMLSBaseKey(t *testing.T) {
	s := cipher.AES256CTRHMAC80()
	key, err := cipher.MLSBaseKey(s, func(label string, context []byte, n int) ([]byte, error) {
		if label != "SFrame 1.0 Base Key" || len(context) != 0 || n != s.KeySize() {
			t.Errorf("the exporter was asked for (%q, %x, %d)", label, context, n)
		}
		return bytes.Repeat([]byte{1}, n), nil
	})
	if err != nil || len(key) != 96 {
		t.Errorf("%d bytes, error %v", len(key), err)
	}
	errGone := errors.New("left the group")
	if _, err := cipher.MLSBaseKey(s, func(string, []byte, int) ([]byte, error) { return nil, errGone }); !errors.Is(err, errGone) {
		t.Errorf("error %v, want %v", err, errGone)
	}
	short := []byte("short")
	if _, err := cipher.MLSBaseKey(s, func(string, []byte, int) ([]byte, error) { return short, nil }); err == nil || short[0] != 0 {
		t.Errorf("a key of 5 bytes: error %v, cleared: %v", err, short[0] == 0)
	}
}

// TestBaseKeys: no key comes of an empty base key, by any derivation.
func TestBaseKeys(t *testing.T) {
	s := cipher.AES128CTRHMAC80()
	for _, base := range [][]byte{nil, {}, make([]byte, 1025)} {
		_, err1 := s.NewSealKey(1, base, cipher.FreshKey)
		_, err2 := s.NewOpenKey(1, base)
		_, err3 := cipher.RatchetStep(s, base)
		_, err4 := cipher.StreamBaseKey(s, base, 1)
		for i, err := range []error{err1, err2, err3, err4} {
			if err == nil || !strings.Contains(err.Error(), "base key of") {
				t.Errorf("derivation %d of a base key of %d bytes: error %v", i, len(base), err)
			}
		}
	}
	base := bytes.Repeat([]byte{3}, 32)
	if _, err := s.NewSealKey(1, base, cipher.FreshKey); err != nil || !bytes.Equal(base, bytes.Repeat([]byte{3}, 32)) {
		t.Errorf("the caller's base key was changed, error %v", err)
	}
}
