package ciphertest_test

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
	"github.com/chanseal/chanseal/internal/raceflag"
)

// recorder is a test that only writes down which of its checks failed.
type recorder struct {
	mu       sync.Mutex
	messages map[string][]string // by check
	check    string
	parent   *recorder
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	if r.parent != nil {
		r.parent.record(r.check, fmt.Sprintf(format, args...))
	} else {
		r.record("", fmt.Sprintf(format, args...))
	}
}

func (r *recorder) record(check, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.messages == nil {
		r.messages = map[string][]string{}
	}
	r.messages[check] = append(r.messages[check], message)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Run(name string, f func(*recorder)) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(&recorder{check: name, parent: r})
	}()
	<-done
	return true
}

func (r *recorder) String() string {
	if len(r.messages) == 0 {
		return "none"
	}
	var out []string
	for check, m := range r.messages {
		out = append(out, fmt.Sprintf("%s (%s)", check, m[0]))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// flaw is what is broken in a pair.
type flaw string

const (
	honest            flaw = "nothing"
	reusesNonce       flaw = "uses one nonce for all frames"
	ignoresTag        flaw = "does not check the tag"
	checksHalfTag     flaw = "checks half of the tag"
	ignoresAAD        flaw = "does not authenticate the additional data"
	ignoresAADTail    flaw = "authenticates the first 16 bytes of the additional data"
	returnsInput      flaw = "returns its input"
	copiesInput       flaw = "seals by copying"
	writesInput       flaw = "writes to the frame it seals"
	writesSealed      flaw = "writes to the sealed frame it opens"
	writesAAD         flaw = "writes to the additional data"
	panicsOnShort     flaw = "panics on short input"
	panicsOnEmpty     flaw = "panics on an empty frame"
	understates       flaw = "understates its Overhead"
	sharesBuffer      flaw = "seals through one buffer, whoever calls"
	countsUnsafely    flaw = "counts without a lock"
	acceptsReplay     flaw = "opens a frame twice"
	checksThenSets    flaw = "looks for a replay and marks it in two steps"
	marksForgeries    flaw = "marks the counter of a forged frame as used"
	ignoresDst        flaw = "does not append to dst"
	overwritesPrefix  flaw = "writes from the beginning of dst"
	alwaysAllocates   flaw = "returns new memory though dst has room"
	writesBehind      flaw = "writes behind its result"
	keepsPlaintext    flaw = "leaves the frame in dst when the tag is wrong"
	returnsOnError    flaw = "returns the frame together with an error"
	allowsOverlap     flaw = "writes its dst before it has read the frame"
	rejectsReordering flaw = "refuses frames that come late"
)

// toy is an honest pair, counter ‖ AES-GCM, but for its flaw.
type toy struct {
	flaw   flaw
	aead   stdcipher.AEAD
	mu     sync.Mutex
	next   uint64
	seen   map[uint64]bool
	shared []byte
}

var errToy = errors.New("toy: not authentic")

func newToy(f flaw) func() (cipher.Sealer, cipher.Opener) {
	return func() (cipher.Sealer, cipher.Opener) {
		block, err := aes.NewCipher([]byte("a key of a toy.."))
		if err != nil {
			panic(err)
		}
		aead, err := stdcipher.NewGCM(block)
		if err != nil {
			panic(err)
		}
		t := &toy{flaw: f, aead: aead, seen: map[uint64]bool{}}
		return t, t
	}
}

func (t *toy) is(f flaw) bool { return t.flaw == f }

func (t *toy) Overhead() int {
	if t.is(understates) {
		return 20
	}
	return 24
}

func (t *toy) count() uint64 {
	if t.is(countsUnsafely) {
		if raceflag.Enabled {
			t.mu.Lock() // the detector would end the test for it: it has caught it
			defer t.mu.Unlock()
			return t.next / 2
		}
		n := t.next
		letOthers()
		t.next = n + 1
		return n
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	return t.next - 1
}

// letOthers makes it certain that a race is lost.
func letOthers() {
	for range 100 {
		runtime.Gosched()
	}
}

func (t *toy) data(aad []byte) []byte {
	switch {
	case t.is(ignoresAAD):
		return nil
	case t.is(ignoresAADTail):
		return aad[:min(16, len(aad))]
	}
	return aad
}

func (t *toy) nonce(ctr uint64) []byte {
	if t.is(reusesNonce) {
		ctr = 0
	}
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), ctr)
}

func meets(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	x, y := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return x < y+uintptr(len(b)) && y < x+uintptr(len(a))
}

// grow gives dst n more bytes.
func (t *toy) grow(dst []byte, n int, in, aad []byte) (whole, tail []byte) {
	if cap(dst)-len(dst) < n || t.is(alwaysAllocates) {
		whole = append(slices.Clip(dst), make([]byte, n)...)
		return whole, whole[len(dst):]
	}
	whole = dst[:len(dst)+n]
	tail = whole[len(dst):]
	if !t.is(allowsOverlap) && (meets(tail, in) || meets(tail, aad)) {
		panic("toy: overlap")
	}
	return whole, tail
}

func (t *toy) Seal(dst, frame, aad []byte) ([]byte, error) {
	switch {
	case t.is(returnsInput):
		return frame, nil
	case t.is(panicsOnEmpty):
		_ = frame[0]
	case t.is(overwritesPrefix):
		dst = dst[:0]
	case t.is(ignoresDst):
		dst = nil
	}
	ctr := t.count()
	whole, out := t.grow(dst, 24+len(frame), frame, aad)
	binary.BigEndian.PutUint64(out, ctr)
	if t.is(copiesInput) {
		copy(out[8:], frame)
		return whole, nil
	}
	ct := t.aead.Seal(nil, t.nonce(ctr), frame, t.data(aad))
	if t.is(sharesBuffer) {
		ct = t.throughShared(ct)
	}
	copy(out[8:], ct)
	switch {
	case t.is(writesInput) && len(frame) > 0:
		frame[0]++
	case t.is(writesAAD) && len(aad) > 0:
		aad[len(aad)-1]++
	case t.is(writesBehind) && cap(whole) > len(whole):
		whole[:len(whole)+1][len(whole)] = 0
	}
	return whole, nil
}

// throughShared is where another call can come in between.
func (t *toy) throughShared(ct []byte) []byte {
	if raceflag.Enabled {
		t.mu.Lock() // as in count
		defer t.mu.Unlock()
		copy(ct, t.shared)
		t.shared = slices.Clone(ct)
		return ct
	}
	t.shared = append([]byte(nil), ct...)
	letOthers()
	return t.shared
}

func (t *toy) Open(dst, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < 24 {
		if t.is(panicsOnShort) {
			_ = sealed[23]
		}
		return dst, errToy
	}
	ctr := binary.BigEndian.Uint64(sealed)
	if t.used(ctr) {
		return dst, errToy
	}
	frame, err := t.open(sealed, ctr, t.data(aad))
	if err != nil && !t.is(returnsOnError) && !t.is(keepsPlaintext) {
		return dst, err
	}
	whole, out := t.grow(dst, len(frame), sealed, aad)
	copy(out, frame)
	switch {
	case err != nil && t.is(returnsOnError):
		return whole, err
	case err != nil:
		return dst, err
	case t.is(writesSealed):
		sealed[len(sealed)-1] = 0
	}
	if !t.mark(ctr) {
		clear(out)
		return dst, errToy
	}
	return whole, nil
}

// open decrypts, whatever the tag says, and then looks at the tag as the flaw allows.
func (t *toy) open(sealed []byte, ctr uint64, aad []byte) ([]byte, error) {
	body := sealed[8 : len(sealed)-16]
	if t.is(copiesInput) {
		return body, nil
	}
	frame := t.aead.Seal(nil, t.nonce(ctr), body, nil)[:len(body)] // counter mode twice
	tag := t.aead.Seal(nil, t.nonce(ctr), frame, aad)[len(body):]
	want := sealed[len(sealed)-16:]
	if t.is(checksHalfTag) {
		tag, want = tag[:8], want[:8]
	}
	if string(tag) != string(want) && !t.is(ignoresTag) {
		return frame, errToy
	}
	return frame, nil
}

func (t *toy) used(ctr uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.is(rejectsReordering) && t.seen[ctr+1] {
		return true
	}
	used := t.seen[ctr]
	if t.is(marksForgeries) {
		t.seen[ctr] = true
	}
	return used && !t.is(acceptsReplay)
}

func (t *toy) mark(ctr uint64) bool {
	if t.is(checksThenSets) || t.is(marksForgeries) {
		letOthers()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.seen[ctr] = true
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	used := t.seen[ctr]
	t.seen[ctr] = true
	return !used || t.is(acceptsReplay)
}

// TestBrokenPairs shows that the examiner finds each flaw, by the check that is meant
// to find it, and finds nothing in the honest pair.
func TestBrokenPairs(t *testing.T) {
	skipWithoutGCM(t)
	for f, want := range map[flaw]string{
		honest:            "none",
		reusesNonce:       "Secrecy",
		ignoresTag:        "Tamper",
		checksHalfTag:     "Tamper",
		ignoresAAD:        "AAD",
		ignoresAADTail:    "AAD",
		returnsInput:      "Sizes",
		copiesInput:       "Sizes",
		writesInput:       "Input",
		writesSealed:      "Input",
		writesAAD:         "Input",
		panicsOnShort:     "Short",
		panicsOnEmpty:     "Sizes",
		understates:       "Sizes",
		sharesBuffer:      "Concurrent",
		countsUnsafely:    "Concurrent",
		acceptsReplay:     "Replay",
		checksThenSets:    "Race",
		marksForgeries:    "Tamper",
		ignoresDst:        "Append",
		overwritesPrefix:  "Append",
		alwaysAllocates:   "Append",
		writesBehind:      "Append",
		keepsPlaintext:    "Failure",
		returnsOnError:    "Tamper",
		allowsOverlap:     "Overlap",
		rejectsReordering: "Replay",
	} {
		t.Run(string(f), func(t *testing.T) {
			r := &recorder{}
			ciphertest.TestPair(r, newToy(f), ciphertest.MayAllocate)
			t.Log("failed:", r)
			if want == "none" && len(r.messages) > 0 || want != "none" && len(r.messages[want]) == 0 {
				t.Errorf("a pair that %s fails %s, want %s", f, r, want)
			}
		})
	}
	t.Run("allocates", func(t *testing.T) {
		if raceflag.Enabled {
			t.Skip("allocations are not counted under -race")
		}
		r := &recorder{}
		ciphertest.TestPair(r, newToy(honest))
		if len(r.messages) != 1 || len(r.messages["Allocs"]) == 0 {
			t.Errorf("a pair that allocates fails %s, want Allocs", r)
		}
	})
}

// TestExempt: an exemption covers its part of the contract and no other.
func TestExempt(t *testing.T) {
	skipWithoutGCM(t)
	for _, c := range []struct {
		flaw   flaw
		exempt ciphertest.Exempt
		want   string
	}{
		{acceptsReplay, ciphertest.NoReplay, "none"},
		{ignoresAAD, ciphertest.NoAAD, "none"},
		{ignoresTag, ciphertest.NoAuth, "none"},
		{ignoresTag, ciphertest.NoAAD, "Tamper"},
		{honest, ciphertest.NoReplay, "Race"}, // refuses what it is said to accept
		{reusesNonce, ciphertest.NoAuth | ciphertest.NoReplay, "Secrecy"},
	} {
		r := &recorder{}
		ciphertest.TestPair(r, newToy(c.flaw), ciphertest.MayAllocate, c.exempt)
		if c.want == "none" && len(r.messages) > 0 || c.want != "none" && len(r.messages[c.want]) == 0 {
			t.Errorf("a pair that %s, exemption %d, fails %s, want %s", c.flaw, c.exempt, r, c.want)
		}
	}
}
