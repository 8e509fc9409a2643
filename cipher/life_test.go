package cipher

import (
	"bytes"
	"errors"
	"fmt"
	"github.com/chanseal/chanseal/cipher/internal/engine"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

func newTestOpenKey(t testing.TB, s *Suite) *OpenKey {
	t.Helper()
	k, err := s.NewOpenKey(1, make([]byte, 64))
	if err != nil {
		t.Skip(err) // under FIPS
	}
	return k
}

// forged is a frame of KID 1 that nobody sealed.
func forged(ctr byte) []byte {
	return append([]byte{0x18, 8 + ctr%200}, make([]byte, 40)...)
}

// TestFailureLimits walks each suite's key over its limits.
func TestFailureLimits(t *testing.T) {
	for _, s := range Suites() {
		t.Run(s.Name(), func(t *testing.T) {
			k := newTestOpenKey(t, s)
			type step struct {
				failures uint64
				want     Condition
			}
			steps := []step{{0, Healthy}, {1<<32 - 1, Healthy}, {1 << 32, Report}, {1<<36 - 1, Report}}
			end := uint64(1 << 36)
			switch s.Overhead() {
			case 4:
				steps = []step{{0, Healthy}, {1<<12 - 1, Healthy}, {1 << 12, Report}, {1<<20 - 1, Report}, {1 << 20, Rotate}, {1<<24 - 1, Rotate}}
				end = 1 << 24
			case 16:
				steps = []step{{0, Healthy}, {1 << 35, Healthy}, {1<<36 - 1, Healthy}}
			}
			for _, c := range steps {
				k.failures.Store(c.failures)
				if got := k.Condition(); got != c.want {
					t.Errorf("after %d failures: %v, want %v", c.failures, got, c.want)
				}
			}
			k.failures.Store(end - 2)
			for range 2 { // the last failure is still told as what it is
				if _, err := k.Open(nil, forged(1), nil); !errors.Is(err, ErrAuth) {
					t.Errorf("error %v, want %v", err, ErrAuth)
				}
			}
			if k.Condition() != Ended || k.Failures() != end {
				t.Errorf("%v after %d failures, want %v", k.Condition(), k.Failures(), Ended)
			}
			if _, err := k.Open(nil, forged(2), nil); !errors.Is(err, ErrExhausted) {
				t.Errorf("an ended key: error %v, want %v", err, ErrExhausted)
			}
			if k.Failures() != end {
				t.Errorf("an ended key went on counting: %d", k.Failures())
			}
		})
	}
	// What is refused before the cipher runs is no failure to authenticate.
	k := newTestOpenKey(t, AES128CTRHMAC32())
	for _, in := range [][]byte{nil, {0x18}, {0x10}, {0x90, 1, 2}, {0x20, 1, 2, 3, 4, 5}} {
		if _, err := k.Open(nil, in, nil); err == nil || errors.Is(err, ErrAuth) {
			t.Errorf("%x: error %v", in, err)
		}
	}
	if k.Failures() != 0 {
		t.Errorf("%d failures counted, want 0", k.Failures())
	}
}

func TestConditionString(t *testing.T) {
	if got := fmt.Sprint(Healthy, Report, Rotate, Ended); got != "healthy report rotate ended" {
		t.Error(got)
	}
}

// watchedCore tells when it is wiped. Its calls last as long as the test wants.
type watchedCore struct {
	entered, leave chan struct{}
	wiped          *atomic.Bool
	inside         bool
}

func (c *watchedCore) seal(dst, src []byte, _ uint64, _ *scratch) (int, error) {
	close(c.entered)
	<-c.leave
	c.inside = !c.wiped.Load() // still whole, though it was retired meanwhile
	return copy(dst, src), nil
}
func (c *watchedCore) open(dst, src []byte, _ uint64, _ *scratch) (int, bool) { return 0, false }
func (c *watchedCore) wipe()                                                  { c.wiped.Store(true) }

// collect runs the collector until done, or as often as finalizers can need.
func collect(done func() bool) bool {
	for range 200 {
		runtime.GC()
		for range 50 {
			runtime.Gosched()
			if done() {
				return true
			}
		}
	}
	return false
}

// TestRetireWaits: a key that is in use when it is retired is wiped after its last
// call has left, and not before.
func TestRetireWaits(t *testing.T) {
	var wiped atomic.Bool
	c := &watchedCore{entered: make(chan struct{}), leave: make(chan struct{}), wiped: &wiped}
	k := &SealKey{suite: AES128CTRHMAC80(), header: newHeaderTemplate(1)}
	if err := k.counter.init(FreshKey); err != nil {
		t.Fatal(err)
	}
	k.put(c)
	done := make(chan error)
	go func() {
		_, err := k.Seal(nil, []byte("frame"), nil)
		done <- err
	}()
	<-c.entered
	k.Retire()
	k.Retire()
	if _, err := k.Seal(nil, nil, nil); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a call after Retire: error %v, want %v", err, ErrUnknownKey)
	}
	for range 5 {
		runtime.GC()
		runtime.Gosched()
	}
	if wiped.Load() {
		t.Error("wiped while a call was inside")
	}
	close(c.leave)
	if err := <-done; err != nil || !c.inside {
		t.Errorf("the call inside: error %v, found its key whole: %v", err, c.inside)
	}
	if !collect(wiped.Load) {
		t.Error("not wiped after the last call")
	}
}

// TestRetireWipesForgotten: a key that nobody holds any more is wiped without Retire.
func TestRetireWipesForgotten(t *testing.T) {
	var wiped atomic.Bool
	func() {
		k := &OpenKey{suite: AES128CTRHMAC80(), window: newWindow(64)}
		k.put(&watchedCore{wiped: &wiped})
	}()
	if !collect(wiped.Load) {
		t.Error("not wiped")
	}
}

// TestRetireConcurrent retires keys amid use: every call gets a frame or ErrUnknownKey.
func TestRetireConcurrent(t *testing.T) {
	for _, s := range Suites() {
		base := bytes.Repeat([]byte{7}, 32)
		sealKey, err := s.NewSealKey(1, base, FreshKey)
		if err != nil {
			continue // under FIPS
		}
		openKey, err := s.NewOpenKey(1, base)
		if err != nil {
			t.Fatal(err)
		}
		frame := bytes.Repeat([]byte("frame"), 50)
		inParallel(8, func(g int) {
			for i := range 200 {
				if g == 0 && i == 100 {
					sealKey.Retire()
					runtime.GC()
					openKey.Retire()
					runtime.GC()
				}
				sealed, err := sealKey.Seal(nil, frame, nil)
				if err != nil {
					if !errors.Is(err, ErrUnknownKey) {
						t.Errorf("%s: sealing: %v", s, err)
					}
					return
				}
				back, err := openKey.Open(nil, sealed, nil)
				if err != nil && !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrReplayed) || err == nil && !bytes.Equal(back, frame) {
					t.Errorf("%s: opening: %v", s, err)
				}
			}
		})
	}
}

// TestWipe: what a core holds itself is cleared; what lies inside the standard
// library's is not within reach.
func TestWipe(t *testing.T) {
	for _, s := range Suites() {
		salt := bytes.Repeat([]byte{9}, s.nonceSize)
		key := bytes.Repeat([]byte{8}, s.keySize)
		c, err := s.new(s, 1, key, salt)
		if err != nil {
			continue // under FIPS
		}
		held := [][]byte{salt}
		left := func() bool { return false }
		wide := func(m *wideMAC) {
			if m != nil {
				held = append(held, m.inner, m.outer, m.plain)
			}
		}
		switch c := c.(type) {
		case *gcmCore:
			left = func() bool { return *c != gcmCore{} }
		case *ctrHMACCore:
			wide(c.mac)
			left = func() bool {
				return c.both != engine.CTRHMAC{} || c.stream != engine.CTR{} || c.salt != nonceSalt{}
			}
		case *xtsHMACCore:
			wide(c.mac.wide)
			left = func() bool { return c.xts != engine.XTS{} || c.mac.narrow != engine.HMAC{} || c.salt != nonceSalt{} }
		}
		c.wipe()
		if left() {
			t.Errorf("%s: the engine's key or the salt was not cleared", s)
		}
		for i, h := range held {
			if len(bytes.Trim(h, "\x00")) > 0 {
				t.Errorf("%s: secret %d was not cleared", s, i)
			}
		}
	}
}

// TestScratchKeepsNothing: the working memory that goes back to the pool holds neither
// key stream nor saved input.
func TestScratchKeepsNothing(t *testing.T) {
	for _, s := range Suites() {
		key := bytes.Repeat([]byte{8}, s.keySize)
		c, err := s.new(s, 1, key, make([]byte, s.nonceSize))
		if err != nil {
			continue // under FIPS
		}
		for _, n := range []int{1, 15, 16, 17, 31, 40, 130, 1201} {
			w := &scratch{}
			src := bytes.Repeat([]byte{0xee}, n)
			dst := make([]byte, n+s.overhead)
			if _, err := c.seal(dst, src, 1, w); err != nil {
				t.Fatal(err)
			}
			if _, ok := c.open(make([]byte, n), dst, 1, w); !ok {
				t.Fatalf("%s: did not open", s)
			}
			if w.block != [16]byte{} {
				t.Errorf("%s, %d bytes: something was left in the scratch: %x", s, n, w.block)
			}
		}
	}
}

// plainHook copies, so that what it leaves in its room would be the frame.
type plainHook struct{}

func (plainHook) Overhead() int { return 1 }
func (plainHook) Seal(dst, frame, _ []byte) ([]byte, error) {
	return append(append(dst, 0), frame...), nil
}
func (plainHook) Open(dst, sealed, _ []byte) ([]byte, error) { return append(dst, sealed[1:]...), nil }

// TestScratchKeepsNothingOfCustom: nor does it hold a frame that went through code of
// the application, or that this code refused.
func TestScratchKeepsNothingOfCustom(t *testing.T) {
	src := bytes.Repeat([]byte{0xee}, 100)
	aead := &aeadCore{aead: complementAEAD{}, salt: make([]byte, 12), guard: true}
	hook := &hookCore{sealer: plainHook{}, opener: plainHook{}, extra: 1}
	for _, c := range []core{aead, hook} {
		for _, refuse := range []bool{false, true} {
			hook.extra = 1
			w := &scratch{}
			dst := make([]byte, len(src)+16)
			n, err := c.seal(dst, src, 1, w)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(w.block[:], src[:8]) || bytes.Contains(w.hook[:cap(w.hook)], src[:8]) {
				t.Errorf("%T: sealing left part of the frame in the scratch", c)
			}
			if refuse {
				hook.extra = 0 // what it then opens to is too short
			}
			c.open(make([]byte, n), dst[:n], 1, w)
			if bytes.Contains(w.block[:], src[:8]) || bytes.Contains(w.hook[:cap(w.hook)], src[:8]) {
				t.Errorf("%T: opening left part of the frame in the scratch", c)
			}
		}
	}
}

// complementAEAD hides nothing and authenticates nothing.
type complementAEAD struct{}

func (complementAEAD) NonceSize() int { return 12 }
func (complementAEAD) Overhead() int  { return 16 }
func (complementAEAD) Seal(dst, _, plaintext, _ []byte) []byte {
	for _, b := range plaintext {
		dst = append(dst, ^b)
	}
	return append(dst, make([]byte, 16)...)
}
func (complementAEAD) Open(dst, _, ciphertext, _ []byte) ([]byte, error) {
	for _, b := range ciphertext[:len(ciphertext)-16] {
		dst = append(dst, ^b)
	}
	return dst, nil
}

// TestPrinting: no key, salt or state comes out of any way of printing.
func TestPrinting(t *testing.T) {
	base := []byte("a base key that must not be seen")
	for _, s := range Suites() {
		sealKey, err := s.NewSealKey(1, base, FreshKey)
		if err != nil {
			continue // under FIPS
		}
		openKey, err := s.NewOpenKey(1, base)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []any{sealKey, openKey, struct{ K any }{sealKey}, []*OpenKey{openKey}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				out := fmt.Sprintf(verb, v)
				if !strings.Contains(out, "REDACTED") || len(out) > 100 {
					t.Errorf("%s of a %T: %s", verb, v, out)
				}
			}
		}
		if s := sealKey.String() + openKey.String(); strings.Count(s, "REDACTED") != 2 {
			t.Error(s)
		}
	}
	for _, baseKey := range [][]byte{nil, bytes.Repeat(base, 1000)} {
		_, err := AES128CTRHMAC80().NewOpenKey(1, baseKey)
		if err == nil || strings.Contains(err.Error(), "must not be seen") {
			t.Errorf("a base key of %d bytes: error %v", len(baseKey), err)
		}
	}
}
