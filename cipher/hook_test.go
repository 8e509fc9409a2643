package cipher_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// fakeHook is a Sealer and an Opener; by themselves they write the complement.
type fakeHook struct {
	seal, open func(dst, in, aad []byte) ([]byte, error)
}

func complement(dst, in, _ []byte) ([]byte, error) {
	for _, b := range in {
		dst = append(dst, ^b)
	}
	return dst, nil
}

func (f *fakeHook) Overhead() int { return 0 }
func (f *fakeHook) Seal(dst, frame, aad []byte) ([]byte, error) {
	if f.seal != nil {
		return f.seal(dst, frame, aad)
	}
	return complement(dst, frame, aad)
}
func (f *fakeHook) Open(dst, sealed, aad []byte) ([]byte, error) {
	if f.open != nil {
		return f.open(dst, sealed, aad)
	}
	return complement(dst, sealed, aad)
}

func hookOf(f *fakeHook, extra int, inside *cipher.Suite) cipher.Hook {
	return cipher.Hook{ID: 0xF200, Name: "fake hook", KeySize: 32, Extra: extra, Inside: inside,
		New: func(cipher.KeyID, []byte) (cipher.Sealer, cipher.Opener, error) { return f, f, nil }}
}

func TestNewHookRefuses(t *testing.T) {
	custom, err := cipher.NewSuite(fakeSpec(fakeAEAD{nonce: 12, overhead: 16}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*cipher.Hook)
		say    string
	}{
		"good":               {func(*cipher.Hook) {}, ""},
		"most extra":         {func(h *cipher.Hook) { h.Extra = 1024 }, ""},
		"too much extra":     {func(h *cipher.Hook) { h.Extra = 1025 }, "extra of 1025 bytes"},
		"negative extra":     {func(h *cipher.Hook) { h.Extra = -1 }, "extra of -1 bytes"},
		"key of 15":          {func(h *cipher.Hook) { h.KeySize = 15 }, "key of 15 bytes"},
		"no name":            {func(h *cipher.Hook) { h.Name = "" }, "name of 0 bytes"},
		"ID of the registry": {func(h *cipher.Hook) { h.ID = 1 }, "ID 0x0001"},
		"no New":             {func(h *cipher.Hook) { h.New = nil }, "New is missing"},
		"inside a custom":    {func(h *cipher.Hook) { h.Inside = custom }, "has to be a built-in suite"},
		"New panics": {func(h *cipher.Hook) {
			h.New = func(cipher.KeyID, []byte) (cipher.Sealer, cipher.Opener, error) { panic(1) }
		}, "broke its contract"},
		"New fails": {func(h *cipher.Hook) {
			h.New = func(cipher.KeyID, []byte) (cipher.Sealer, cipher.Opener, error) {
				return nil, nil, errors.New("no licence")
			}
		}, "no licence"},
		"half of it": {func(h *cipher.Hook) {
			h.New = func(cipher.KeyID, []byte) (cipher.Sealer, cipher.Opener, error) { return &fakeHook{}, nil, nil }
		}, "broke its contract"},
	} {
		h := hookOf(&fakeHook{}, 0, nil)
		c.change(&h)
		s, err := cipher.NewHook(h)
		if c.say == "" {
			if err != nil || s.Authentication() != "the hook's own" || !s.Custom() || s.Overhead() != h.Extra {
				t.Errorf("%s: %v, error %v", name, s, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.say)
		}
	}
}

// TestHookContained: a hook's faults are errors, alone and inside a suite.
func TestHookContained(t *testing.T) {
	frame := random(5, 100)
	constant := bytes.Repeat([]byte{7}, 108)
	for name, c := range map[string]struct {
		hook    fakeHook
		sealErr error // alone
		inside  error // with a suite round it
		openErr error
	}{
		"honest":              {fakeHook{}, nil, nil, nil},
		"returns its input":   {fakeHook{seal: func(_, in, _ []byte) ([]byte, error) { return in, nil }}, cipher.ErrHook, cipher.ErrHook, nil},
		"copies its input":    {fakeHook{seal: func(dst, in, _ []byte) ([]byte, error) { return append(dst, in...), nil }}, cipher.ErrHook, cipher.ErrHook, nil},
		"copies and adds":     {fakeHook{seal: func(dst, in, _ []byte) ([]byte, error) { return append(append(dst, in...), "12345678"...), nil }, open: func(dst, _, _ []byte) ([]byte, error) { return dst, errors.New("odd") }}, cipher.ErrHook, nil, cipher.ErrAuth},
		"adds too much":       {fakeHook{seal: func(dst, in, _ []byte) ([]byte, error) { return append(dst, make([]byte, len(in)+9)...), nil }}, cipher.ErrHook, cipher.ErrHook, nil},
		"cuts":                {fakeHook{seal: func(dst, in, _ []byte) ([]byte, error) { return append(dst, constant[:len(in)-1]...), nil }}, cipher.ErrHook, cipher.ErrHook, nil},
		"returns nothing":     {fakeHook{seal: func(_, _, _ []byte) ([]byte, error) { return nil, nil }}, cipher.ErrHook, cipher.ErrHook, nil},
		"fails":               {fakeHook{seal: func(dst, _, _ []byte) ([]byte, error) { return dst, errors.New("secret reason") }}, cipher.ErrHook, cipher.ErrHook, nil},
		"panics":              {fakeHook{seal: func(_, _, _ []byte) ([]byte, error) { panic("boom") }}, cipher.ErrHook, cipher.ErrHook, nil},
		"open panics":         {fakeHook{open: func(_, _, _ []byte) ([]byte, error) { panic("boom") }}, nil, nil, cipher.ErrAuth},
		"open fails":          {fakeHook{open: func(dst, _, _ []byte) ([]byte, error) { return dst, errors.New("secret reason") }}, nil, nil, cipher.ErrAuth},
		"open returns input":  {fakeHook{open: func(_, in, _ []byte) ([]byte, error) { return in, nil }}, nil, nil, cipher.ErrAuth},
		"open adds":           {fakeHook{open: func(dst, in, _ []byte) ([]byte, error) { return append(append(dst, in...), 1), nil }}, nil, nil, cipher.ErrAuth},
		"open cuts too much":  {fakeHook{open: func(dst, in, _ []byte) ([]byte, error) { return append(dst, in[:len(in)-9]...), nil }}, nil, nil, cipher.ErrAuth},
		"open gives nothing":  {fakeHook{open: func(_, _, _ []byte) ([]byte, error) { return nil, nil }}, nil, nil, cipher.ErrAuth},
		"returns more memory": {fakeHook{seal: func(_, in, _ []byte) ([]byte, error) { return complement(nil, in, nil) }}, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, inside := range []*cipher.Suite{nil, cipher.AES128CTRHMAC80()} {
				s, err := cipher.NewHook(hookOf(&c.hook, 8, inside))
				if err != nil {
					t.Fatal(err)
				}
				want := c.sealErr
				if inside != nil {
					want = c.inside
				}
				sealKey, openKey := customPair(t, s)
				contained(t, frame, sealKey, openKey, want, c.openErr)
			}
		})
	}
}

// TestHookKeepsItsMemory: memory that a hook returns instead of appending stays its
// own: it is neither cleared nor handed to anybody else.
func TestHookKeepsItsMemory(t *testing.T) {
	own := bytes.Repeat([]byte{0x77}, 64)
	s, err := cipher.NewHook(hookOf(&fakeHook{seal: func(_, in, _ []byte) ([]byte, error) { return own[:len(in)], nil }}, 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	other, err := cipher.NewHook(hookOf(&fakeHook{}, 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	sealKey, _ := customPair(t, s)
	otherSeal, otherOpen := customPair(t, other)
	for range 100 {
		if _, err := sealKey.Seal(nil, make([]byte, 64), nil); err != nil {
			t.Fatal(err)
		}
		sealed, err := otherSeal.Seal(nil, random(1, 64), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := otherOpen.Open(nil, sealed, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(own, bytes.Repeat([]byte{0x77}, 64)) {
			t.Fatal("the hook's own memory was written")
		}
	}
}

// TestHookIsGiven: a hook is given its own key, the KID, and header ‖ aad.
func TestHookIsGiven(t *testing.T) {
	for _, inside := range []*cipher.Suite{nil, cipher.AES128CTRHMAC80()} {
		var kid cipher.KeyID
		var key, kept, aad []byte
		h := hookOf(&fakeHook{seal: func(dst, in, a []byte) ([]byte, error) {
			aad = bytes.Clone(a)
			return complement(dst, in, a)
		}}, 0, inside)
		f, _, _ := h.New(0, nil)
		h.New = func(k cipher.KeyID, b []byte) (cipher.Sealer, cipher.Opener, error) {
			kid, key, kept = k, bytes.Clone(b), b
			return f, f.(cipher.Opener), nil
		}
		s, err := cipher.NewHook(h)
		if err != nil {
			t.Fatal(err)
		}
		skipUnavailable(t, s)
		sealKey, err := s.NewSealKey(0x1234, random(1, 32), cipher.FreshKey)
		if err != nil {
			t.Fatal(err)
		}
		if kid != 0x1234 || len(key) != 32 || len(bytes.Trim(key, "\x00")) == 0 || len(bytes.Trim(kept, "\x00")) > 0 {
			t.Errorf("New was given KID %#x and %d bytes of key; cleared afterwards: %v", kid, len(key), len(bytes.Trim(kept, "\x00")) == 0)
		}
		sealed, err := sealKey.Seal(nil, []byte("some frame or other"), []byte("metadata"))
		if err != nil {
			t.Fatal(err)
		}
		if want := "\x90\x12\x34metadata"; string(aad) != want {
			t.Errorf("the hook's additional data is %x, want %x", aad, want)
		}
		if !bytes.HasPrefix(sealed, []byte("\x90\x12\x34")) {
			t.Errorf("the frame begins with %x", sealed[:4])
		}
		if inside != nil && (s.Authentication() != inside.Name() || s.Overhead() != inside.Overhead()) {
			t.Errorf("authentication %q, overhead %d", s.Authentication(), s.Overhead())
		}
	}
}

// TestHookShort: a short frame that equals its output by chance is nobody's fault, one
// that is returned as it was is.
func TestHookShort(t *testing.T) {
	s, err := cipher.NewHook(hookOf(&fakeHook{seal: func(_, in, _ []byte) ([]byte, error) { return in, nil }}, 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	sealKey, _ := customPair(t, s)
	for n := 1; n < 20; n++ {
		if _, err := sealKey.Seal(nil, random(n, n), nil); !errors.Is(err, cipher.ErrHook) {
			t.Errorf("a frame of %d bytes, returned: error %v, want %v", n, err, cipher.ErrHook)
		}
	}
}
