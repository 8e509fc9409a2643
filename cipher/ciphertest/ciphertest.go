// Package ciphertest examines ciphers: the built-in ones of package cipher, and those
// that an application plugs into it or puts beside it.
//
//   - [TestSuite] examines a [cipher.Suite], such as one of NewSuite or NewHook.
//   - [TestPair] examines any Sealer with its Opener.
//   - [BenchmarkPair] measures such a pair.
//   - [RunVectors] runs a file of SFrame test vectors. It needs no test to run in.
//
// In a test:
//
//	func TestCipher(t *testing.T) { ciphertest.TestSuite(t, suite) }
//
// Run it with -race as well: a cipher that is not safe for concurrent use may get
// through otherwise. The package does not import testing, so that programs can use
// its vector runner; whatever has the methods of [TB] can be examined with.
package ciphertest

import "github.com/chanseal/chanseal/cipher"

// TB is what the examiner needs of a *testing.T. T is the type itself.
type TB[T any] interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Run(name string, f func(T)) bool
}

// Exempt is a part of the contract that does not apply to a cipher. Say why where
// you use one.
type Exempt uint8

const (
	// NoReplay: the opener accepts a frame more than once; whoever uses it guards
	// against that.
	NoReplay Exempt = 1 << iota
	// NoAAD: additional data is not authenticated, in a format that has none.
	NoAAD
	// NoAuth: nothing is authenticated. It includes NoAAD.
	NoAuth
	// MayAllocate: a frame may cost allocations.
	MayAllocate
)

// TestPair examines a Sealer and the Opener of its frames. fresh returns a new pair
// under a new key at every call.
func TestPair[T TB[T]](t T, fresh func() (cipher.Sealer, cipher.Opener), exempt ...Exempt) {
	t.Helper()
	run(t, exam{pair: fresh, exempt: all(exempt)}, pairChecks)
}

// TestSuite examines a suite: its keys as a pair, and what keys of a suite can do
// beyond that: in place, in batches, with headers and counters as SFrame has them. A
// built-in suite needs no exemption but MayAllocate: under FIPS, where it is taken by
// itself, and for ChaCha20-Poly1305 where x/crypto has no assembly for it. A suite
// that is not available in the present mode fails.
func TestSuite[T TB[T]](t T, s *cipher.Suite, exempt ...Exempt) {
	t.Helper()
	if _, err := s.NewOpenKey(0, baseKey(s, 0)); err != nil {
		t.Fatalf("suite %s: %v", s.Name(), err)
		return
	}
	x := exam{suite: s, exempt: all(exempt)}
	run(t, x, pairChecks)
	run(t, x, suiteChecks)
}

// check is one question about a cipher.
type check struct {
	name string
	run  func(*exam)
}

var pairChecks = []check{
	{"Sizes", checkSizes},
	{"Append", checkAppend},
	{"Input", checkInput},
	{"Overlap", checkOverlap},
	{"Short", checkShort},
	{"Tamper", checkTamper},
	{"AAD", checkAAD},
	{"Failure", checkFailure},
	{"Secrecy", checkSecrecy},
	{"Replay", checkReplay},
	{"Concurrent", checkConcurrent},
	{"Race", checkRace},
	{"Allocs", checkAllocs},
}

var suiteChecks = []check{
	{"Header", checkHeader},
	{"Keys", checkKeys},
	{"Counters", checkCounters},
	{"InPlace", checkInPlace},
	{"InPlaceRefused", checkInPlaceRefused},
	{"Batch", checkBatch},
	{"BatchOverlap", checkBatchOverlap},
	{"SuiteAllocs", checkSuiteAllocs},
}

func run[T TB[T]](t T, x exam, checks []check) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t T) {
			x := x
			x.t = t
			// A panic of the cipher fails its check, not the whole run.
			defer func() {
				if r := recover(); r != nil {
					x.t.Errorf("panic: %v", r)
				}
			}()
			c.run(&x)
		})
	}
}

func all(exempt []Exempt) (e Exempt) {
	for _, x := range exempt {
		e |= x
	}
	if e&NoAuth != 0 {
		e |= NoAAD
	}
	return e
}
