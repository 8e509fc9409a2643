package ciphertest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"github.com/chanseal/chanseal/cipher"
)

// exam is what every check is given.
type exam struct {
	t interface {
		Helper()
		Errorf(format string, args ...any)
		Fatalf(format string, args ...any)
	}
	pair   func() (cipher.Sealer, cipher.Opener)
	suite  *cipher.Suite // nil for a pair that is of no suite
	exempt Exempt
}

func (x *exam) not(e Exempt) bool { return x.exempt&e != 0 }

// fresh makes a pair under a new key.
func (x *exam) fresh() (cipher.Sealer, cipher.Opener) {
	x.t.Helper()
	if x.suite == nil {
		return x.pair()
	}
	s, o := x.keys(examKID, cipher.FreshKey)
	return s, o
}

// examKID takes two bytes behind the config byte.
const examKID cipher.KeyID = 0x123

// sizes are the frame sizes in bytes at which ciphers and buffers go wrong: none,
// around blocks, around what engines take at once, around pages and powers of two.
var sizes = func() (s []int) {
	for n := range 131 {
		s = append(s, n)
	}
	return append(s, 191, 192, 193, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1200,
		4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537)
}()

// fewSizes are for checks that do much with each.
var fewSizes = []int{0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 111, 112, 113, 127, 128, 129, 1200, 4097}

// random gives n bytes that are the same in every run, and differ between seeds.
func random(seed, n int) []byte {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], uint64(seed))
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

var keysMade atomic.Int64

func baseKey(s *cipher.Suite, i int) []byte { return random(1<<30+i, s.BaseKeySize()) }

// keys makes both halves of a new key.
func (x *exam) keys(kid cipher.KeyID, counting cipher.Counting) (*cipher.SealKey, *cipher.OpenKey) {
	x.t.Helper()
	return x.keysOf(int(keysMade.Add(1)), kid, counting)
}

// keysOf makes both halves of the i-th key, which may exist already.
func (x *exam) keysOf(i int, kid cipher.KeyID, counting cipher.Counting) (*cipher.SealKey, *cipher.OpenKey) {
	x.t.Helper()
	sealKey, err := x.suite.NewSealKey(kid, baseKey(x.suite, i), counting)
	if err != nil {
		x.t.Fatalf("NewSealKey: %v", err)
	}
	openKey, err := x.suite.NewOpenKey(kid, baseKey(x.suite, i))
	if err != nil {
		x.t.Fatalf("NewOpenKey: %v", err)
	}
	return sealKey, openKey
}

// twins makes two SealKeys that count alike, as no application may, to compare what
// they seal, and an OpenKey for each.
func (x *exam) twins() (seal [2]*cipher.SealKey, open [2]*cipher.OpenKey) {
	x.t.Helper()
	i := int(keysMade.Add(1))
	for j := range seal {
		seal[j], open[j] = x.keysOf(i, examKID, cipher.FreshKey)
	}
	return seal, open
}

func (x *exam) seal(s cipher.Sealer, frame, aad []byte) []byte {
	x.t.Helper()
	sealed, err := s.Seal(nil, frame, aad)
	if err != nil {
		x.t.Fatalf("sealing %d bytes: %v", len(frame), err)
	}
	return sealed
}

// opens checks that sealed opens to frame.
func (x *exam) opens(o cipher.Opener, sealed, aad, frame []byte) {
	x.t.Helper()
	got, err := o.Open(nil, sealed, aad)
	if err != nil {
		x.t.Errorf("opening a frame of %d bytes: %v", len(frame), err)
	} else if !bytes.Equal(got, frame) {
		x.t.Errorf("a frame of %d bytes opened to %d other bytes", len(frame), len(got))
	}
}

// refused checks that sealed does not open, and that nothing comes out of it.
func (x *exam) refused(o cipher.Opener, sealed, aad []byte, format string, args ...any) (ok bool) {
	x.t.Helper()
	prefix := []byte("prefix")
	got, err := o.Open(prefix[:6:6], sealed, aad)
	if err == nil {
		x.t.Errorf("opened, though "+format, args...)
		return false
	}
	if string(got) != "prefix" {
		x.t.Errorf("on an error dst did not come back as it was, after "+format, args...)
		return false
	}
	return true
}

// panics reports whether f panicked.
func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// filled gives n bytes of a pattern that no cipher leaves behind by chance.
func filled(n int) []byte { return bytes.Repeat([]byte{0xA5, 0x5A, 0xC3, 0x3C}, n/4+1)[:n] }

// shares reports whether any run of n bytes of a lies in b.
func shares(a, b []byte, n int) bool {
	for i := 0; i+n <= len(a); i++ {
		if bytes.Contains(b, a[i:i+n]) {
			return true
		}
	}
	return false
}

// inside reports whether part lies in the memory of whole.
func inside(part, whole []byte) bool {
	if cap(part) == 0 || cap(whole) == 0 {
		return false
	}
	p, w := &part[:1][0], whole[:cap(whole)]
	for i := range w {
		if &w[i] == p {
			return true
		}
	}
	return false
}
