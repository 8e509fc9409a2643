package cipher_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha3"
	"errors"
	"hash"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// fakeAEAD is an AEAD of which every part can be replaced.
type fakeAEAD struct {
	nonce, overhead int
	seal            func(dst, nonce, plaintext, ad []byte) []byte
	open            func(dst, nonce, ciphertext, ad []byte) ([]byte, error)
}

func (f *fakeAEAD) NonceSize() int { return f.nonce }
func (f *fakeAEAD) Overhead() int  { return f.overhead }
func (f *fakeAEAD) Seal(dst, nonce, plaintext, ad []byte) []byte {
	if f.seal != nil {
		return f.seal(dst, nonce, plaintext, ad)
	}
	// The complement, and a tag of zeros.
	for _, b := range plaintext {
		dst = append(dst, ^b)
	}
	return append(dst, make([]byte, f.overhead)...)
}
func (f *fakeAEAD) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	if f.open != nil {
		return f.open(dst, nonce, ciphertext, ad)
	}
	for _, b := range ciphertext[:len(ciphertext)-f.overhead] {
		dst = append(dst, ^b)
	}
	return dst, nil
}

func fakeSpec(f fakeAEAD) cipher.Spec {
	return cipher.Spec{
		ID: cipher.MinCustomID, Name: "fake", KeySize: 32, Overhead: f.overhead,
		New: func([]byte) (cipher.AEAD, error) { return &f, nil },
	}
}

func TestNewSuiteRefuses(t *testing.T) {
	good := fakeAEAD{nonce: 12, overhead: 16}
	errKey := errors.New("weak key")
	calls := 0
	for name, c := range map[string]struct {
		change func(*cipher.Spec)
		say    string // "" if it is good
	}{
		"good":                    {func(*cipher.Spec) {}, ""},
		"longest nonce":           {func(s *cipher.Spec) { *s = fakeSpec(fakeAEAD{nonce: 24, overhead: 4}) }, ""},
		"nonce of 11":             {func(s *cipher.Spec) { *s = fakeSpec(fakeAEAD{nonce: 11, overhead: 16}) }, "nonces of 11 bytes"},
		"nonce of 25":             {func(s *cipher.Spec) { *s = fakeSpec(fakeAEAD{nonce: 25, overhead: 16}) }, "nonces of 25 bytes"},
		"overhead of 3":           {func(s *cipher.Spec) { *s = fakeSpec(fakeAEAD{nonce: 12, overhead: 3}) }, "overhead of 3 bytes"},
		"overhead of 65":          {func(s *cipher.Spec) { *s = fakeSpec(fakeAEAD{nonce: 12, overhead: 65}) }, "overhead of 65 bytes"},
		"overhead of 64":          {func(s *cipher.Spec) { *s = fakeSpec(fakeAEAD{nonce: 12, overhead: 64}) }, ""},
		"overhead not the AEAD's": {func(s *cipher.Spec) { s.Overhead = 12 }, "the AEAD's overhead is 16 bytes"},
		"key of 15":               {func(s *cipher.Spec) { s.KeySize = 15 }, "key of 15 bytes"},
		"key of 257":              {func(s *cipher.Spec) { s.KeySize = 257 }, "key of 257 bytes"},
		"keys of 16 and 256":      {func(s *cipher.Spec) { s.KeySize = 256 }, ""},
		"ID of the registry":      {func(s *cipher.Spec) { s.ID = 4 }, "ID 0x0004"},
		"ID of ours":              {func(s *cipher.Spec) { s.ID = 0xF0FF }, "ID 0xf0ff"},
		"last ID":                 {func(s *cipher.Spec) { s.ID = 0xFFFF }, ""},
		"no name":                 {func(s *cipher.Spec) { s.Name = "" }, "name of 0 bytes"},
		"long name":               {func(s *cipher.Spec) { s.Name = strings.Repeat("x", 65) }, "name of 65 bytes"},
		"a built-in's name":       {func(s *cipher.Spec) { s.Name = "AES_128_GCM" }, "built-in suite has this name"},
		"no New":                  {func(s *cipher.Spec) { s.New = nil }, "New is missing"},
		"New fails":               {func(s *cipher.Spec) { s.New = func([]byte) (cipher.AEAD, error) { return nil, errKey } }, "weak key"},
		"New panics":              {func(s *cipher.Spec) { s.New = func([]byte) (cipher.AEAD, error) { panic("boom") } }, "broke its contract"},
		"New gives nothing":       {func(s *cipher.Spec) { s.New = func([]byte) (cipher.AEAD, error) { return nil, nil } }, "broke its contract"},
		"a short hash":            {func(s *cipher.Spec) { s.Hash = md5.New }, "hash of 16 bytes"},
		"another hash":            {func(s *cipher.Spec) { s.Hash = func() hash.Hash { return sha3.New256() } }, ""},
	} {
		spec := fakeSpec(good)
		c.change(&spec)
		s, err := cipher.NewSuite(spec)
		if c.say == "" {
			calls++
			if err != nil || !s.Custom() || s.Name() != spec.Name || s.ID() != spec.ID || s.Overhead() != spec.Overhead || s.KeySize() != spec.KeySize {
				t.Errorf("%s: %v, error %v", name, s, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.say) || !strings.HasPrefix(err.Error(), "cipher: ") {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.say)
		}
	}
	if _, err := cipher.NewSuite(cipher.Spec{ID: 0xF100, Name: "k", KeySize: 32, Overhead: 16, New: func([]byte) (cipher.AEAD, error) { return nil, errKey }}); !errors.Is(err, errKey) {
		t.Errorf("error %v does not wrap New's", err)
	}
}

func customPair(t *testing.T, s *cipher.Suite) (*cipher.SealKey, *cipher.OpenKey) {
	t.Helper()
	skipUnavailable(t, s)
	base := random(1, 64)
	sealKey, err := s.NewSealKey(3, base, cipher.FreshKey)
	if err != nil {
		t.Fatal(err)
	}
	openKey, err := s.NewOpenKey(3, base)
	if err != nil {
		t.Fatal(err)
	}
	return sealKey, openKey
}

// TestCustomKeys: keys come out of the schedule, differ by KID, suite and base key,
// and are cleared behind New's back.
func TestCustomKeys(t *testing.T) {
	var kept [][]byte
	var values []string
	suite := func(id cipher.SuiteID) *cipher.Suite {
		return must(cipher.NewSuite(cipher.Spec{ID: id, Name: "kept", KeySize: 32, Overhead: 16, New: func(key []byte) (cipher.AEAD, error) {
			kept, values = append(kept, key), append(values, string(key))
			return &fakeAEAD{nonce: 12, overhead: 16}, nil
		}}))
	}
	one, two := suite(0xF100), suite(0xF101)
	skipUnavailable(t, one)
	kept, values = nil, nil
	must(one.NewSealKey(1, random(1, 32), cipher.FreshKey))
	must(one.NewOpenKey(1, random(1, 32)))
	must(one.NewOpenKey(2, random(1, 32)))
	must(one.NewOpenKey(1, random(2, 32)))
	must(two.NewOpenKey(1, random(1, 32)))
	if values[0] != values[1] {
		t.Error("the two halves of a key differ")
	}
	seen := map[string]bool{}
	for _, v := range values[1:] {
		if seen[v] || v == strings.Repeat("\x00", 32) {
			t.Error("a key was derived twice")
		}
		seen[v] = true
	}
	for i, k := range kept {
		if !bytes.Equal(k, make([]byte, 32)) {
			t.Errorf("key %d was not cleared", i)
		}
	}
}

// TestCustomContained: what an AEAD does wrong comes out as an error, with dst as it
// was and nothing of the frame in it.
func TestCustomContained(t *testing.T) {
	frame := random(4, 100)
	for name, c := range map[string]struct {
		aead    fakeAEAD
		sealErr error
		openErr error
	}{
		"honest":                  {fakeAEAD{}, nil, nil},
		"seal panics":             {fakeAEAD{seal: func(dst, _, pt, _ []byte) []byte { copy(dst[:100], pt); panic("boom") }}, cipher.ErrHook, nil},
		"seal returns nothing":    {fakeAEAD{seal: func(_, _, _, _ []byte) []byte { return nil }}, cipher.ErrHook, nil},
		"seal returns too much":   {fakeAEAD{seal: func(dst, _, _, _ []byte) []byte { return append(dst, make([]byte, 117)...) }}, cipher.ErrHook, nil},
		"seal returns its input":  {fakeAEAD{seal: func(_, _, pt, _ []byte) []byte { return append(pt[:len(pt):len(pt)], make([]byte, 16)...) }}, cipher.ErrHook, nil},
		"seal copies its input":   {fakeAEAD{seal: func(dst, _, pt, _ []byte) []byte { return append(append(dst, pt...), make([]byte, 16)...) }}, cipher.ErrHook, nil},
		"open panics":             {fakeAEAD{open: func(dst, _, _, _ []byte) ([]byte, error) { copy(dst[:100], frame); panic("boom") }}, nil, cipher.ErrAuth},
		"open panics with nil":    {fakeAEAD{open: func(dst, _, _, _ []byte) ([]byte, error) { var p *int; return nil, errors.New(string(rune(*p))) }}, nil, cipher.ErrAuth},
		"open returns too much":   {fakeAEAD{open: func(dst, _, ct, _ []byte) ([]byte, error) { return append(dst, ct...), nil }}, nil, cipher.ErrAuth},
		"open returns too little": {fakeAEAD{open: func(dst, _, ct, _ []byte) ([]byte, error) { return append(dst, ct[:3]...), nil }}, nil, cipher.ErrAuth},
		"open fails and says why": {fakeAEAD{open: func(dst, _, ct, _ []byte) ([]byte, error) {
			copy(dst[:100], frame)
			return dst[:100], errors.New("the third byte is wrong")
		}}, nil, cipher.ErrAuth},
		"returns other memory": {fakeAEAD{
			seal: func(_, _, pt, _ []byte) []byte { return (&fakeAEAD{overhead: 16}).Seal(nil, nil, pt, nil) },
			open: func(_, _, ct, _ []byte) ([]byte, error) { return (&fakeAEAD{overhead: 16}).Open(nil, nil, ct, nil) },
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.aead.nonce, c.aead.overhead = 12, 16
			s, err := cipher.NewSuite(fakeSpec(c.aead))
			if err != nil {
				t.Fatal(err)
			}
			sealKey, openKey := customPair(t, s)
			contained(t, frame, sealKey, openKey, c.sealErr, c.openErr)
		})
	}
}

// contained seals and opens by appending and in place and compares the errors.
func contained(t *testing.T, frame []byte, sealKey *cipher.SealKey, openKey *cipher.OpenKey, sealErr, openErr error) {
	t.Helper()
	memory := make([]byte, 4+3*len(frame)+100)
	copy(memory, "kept")
	clean := func(what string, out []byte) {
		t.Helper()
		if string(out) != "kept" || len(bytes.Trim(memory[4:], "\x00")) > 0 {
			t.Errorf("%s: something was left behind", what)
		}
	}
	sealed, err := sealKey.Seal(memory[:4], frame, nil)
	if !errors.Is(err, sealErr) {
		t.Fatalf("Seal: error %v, want %v", err, sealErr)
	}
	overhead := sealKey.Suite().Overhead()
	buf := append(append(make([]byte, cipher.MaxHeader), frame...), make([]byte, overhead)...)
	inPlace, err := sealKey.SealInPlace(buf, cipher.MaxHeader, len(frame), nil)
	if !errors.Is(err, sealErr) {
		t.Fatalf("SealInPlace: error %v, want %v", err, sealErr)
	}
	if sealErr != nil {
		clean("Seal", sealed)
		if bytes.Contains(buf, frame[:8]) {
			t.Error("SealInPlace: part of the frame was left behind")
		}
		return
	}
	sealed = bytes.Clone(sealed[4:])
	clear(memory[4:])
	back, err := openKey.Open(memory[:4], sealed, nil)
	if !errors.Is(err, openErr) {
		t.Fatalf("Open: error %v, want %v", err, openErr)
	}
	if openErr != nil {
		clean("Open", back)
	} else if !bytes.Equal(back[4:], frame) {
		t.Error("Open: another frame came out")
	}
	back, err = openKey.OpenInPlace(inPlace, nil)
	if !errors.Is(err, openErr) || err == nil && !bytes.Equal(back, frame) || err != nil && len(bytes.Trim(inPlace, "\x00")) > 0 {
		t.Errorf("OpenInPlace: error %v, want %v", err, openErr)
	}
}
