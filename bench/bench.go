// Package bench measures what ciphers cost: any Sealer with its Opener, beside the
// built-in suites and the standard library.
//
// [Measure] runs a plan of measurements and returns a [Report], which writes itself as
// a table, JSON, CSV, Markdown, HTML, PNG, or for benchstat. [Compare] finds what
// became slower between two reports. In a test of one's own cipher:
//
//	func BenchmarkCipher(b *testing.B) {
//		bench.Run(b, bench.Pair{Name: "mine", Fresh: fresh})
//	}
//
// # Method
//
// A row is measured in windows of some milliseconds. A round has one window of every
// row, so that what slows the machine down for a second slows all rows and not one. A
// window begins with a new key and one untimed pass. The figure of a row is the
// median of its windows, with its confidence interval of 95 % (no distribution is
// assumed). What was interrupted by other processes is left out of a window, as far as
// the system tells. Where the interval is wider than [NoisyAbove], or the process had to wait
// for the CPU that much, the row is called noisy and the table shows no figure for it.
//
// Sealing is timed on one frame again and again, into one buffer, as go test -bench
// does it. Opening is timed on blocks of frames that were sealed while the clock
// stood, since an Opener takes each frame once. Latencies are taken in passes of
// their own, with the clock read after every frame; what the clock itself costs is
// subtracted.
package bench

import (
	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
)

// Op is what is measured.
type Op string

// The operations. The units of the figures are those of one frame, or one key.
const (
	Seal         Op = "seal"          // Seal, one frame after the other
	Open         Op = "open"          // Open, one frame after the other
	SealBatch    Op = "seal-batch"    // SealBatch; suites only
	OpenBatch    Op = "open-batch"    // OpenBatch; suites only
	OpenForged   Op = "open-forged"   // Open of frames with a wrong tag, which fail
	OpenReplayed Op = "open-replayed" // Open of frames that were opened before, which fail
	SealParallel Op = "seal-parallel" // Seal on several cores, each with a key of its own
	KeySetup     Op = "key-setup"     // making both halves of a key
	Rotate       Op = "rotate"        // both halves of a new key, its first frame there and back, the old key retired; suites only
)

// Ops are all operations, in the order of the report.
var Ops = []Op{Seal, Open, SealBatch, OpenBatch, OpenForged, OpenReplayed, SealParallel, KeySetup, Rotate}

// DefaultSizes are the frame sizes in bytes: audio, an RTP packet, a video frame, a
// key frame.
var DefaultSizes = []int{96, 1200, 16384, 100000}

// aadSize is how many bytes of additional data each frame has: an RTP header's.
const aadSize = 12

// Pair is what is measured: a Sealer and the Opener of its frames.
type Pair struct {
	Name string
	// Fresh makes both under a new key. It is called for every window.
	Fresh func() (cipher.Sealer, cipher.Opener, error)
	// Promises is what the pair says of itself; it is printed, and checked by the
	// conformance kit when that is asked for.
	Promises Promises
	// Multiple, if above 1, is what the length of frames has to be a multiple of, in
	// bytes. Other sizes are left out.
	Multiple int
	// Plain is for what is measured for comparison only: it opens frames in the order
	// in which they were sealed and nothing else, and no kit applies to it. A single
	// frame there and back is all that is checked.
	Plain bool
	// Window, if set, measures by itself, such as a program in another language: it
	// seals or opens frames of size bytes for about d seconds and returns how many,
	// and the time in nanoseconds that they took. Only Seal and Open of fixed sizes are
	// asked of it, and Fresh is not used. It returns 0 frames for what it cannot do.
	Window func(op Op, size int, seconds float64) (frames int, nanoseconds float64, err error)

	suite  *cipher.Suite
	reason string // not measured: why
}

// Promises says what a mode keeps and what it costs.
type Promises struct {
	Authenticates bool `json:"authenticates"` // a changed frame does not open
	ReplaySafe    bool `json:"replay_safe"`   // a frame opens once
	HidesLength   bool `json:"hides_length"`  // no mode here does
	Additional    bool `json:"aad"`           // additional data is authenticated
	Overhead      int  `json:"overhead"`      // bytes a frame, at most
	// By is who authenticates, where it is not the mode itself.
	By string `json:"by,omitempty"`
}

// Suite is a suite as a pair, built-in or custom.
func Suite(s *cipher.Suite) Pair {
	p := Pair{Name: s.Name(), suite: s}
	p.Fresh = func() (cipher.Sealer, cipher.Opener, error) {
		seal, open, err := suiteKeys(s)
		if err != nil {
			return nil, nil, err
		}
		return seal, open, nil
	}
	p.Promises = Promises{Authenticates: true, ReplaySafe: true, Additional: true, Overhead: cipher.MaxHeader + s.Overhead()}
	if seal, _, err := p.Fresh(); err != nil {
		p.reason = err.Error()
	} else {
		p.Promises.Overhead = seal.Overhead()
	}
	if by := s.Authentication(); by != s.Name() {
		p.Promises.By = by
		p.Promises.Authenticates = by != hooksOwn // nobody but the hook vouches for it
		p.Promises.Additional = p.Promises.Authenticates
	}
	return p
}

// hooksOwn is what Suite.Authentication says of a Hook without a suite inside.
const hooksOwn = "the hook's own"

// exempt is what the kit need not ask.
func (p *Pair) exempt() (e []ciphertest.Exempt) {
	if p.suite != nil {
		return []ciphertest.Exempt{ciphertest.MayAllocate}
	}
	e = append(e, ciphertest.MayAllocate)
	if !p.Promises.Authenticates {
		e = append(e, ciphertest.NoAuth)
	}
	if !p.Promises.ReplaySafe {
		e = append(e, ciphertest.NoReplay)
	}
	if !p.Promises.Additional {
		e = append(e, ciphertest.NoAAD)
	}
	return e
}

// custom reports whether nobody has vouched for the pair yet: it is neither a row of
// the table nor there for comparison.
func (p *Pair) custom() bool {
	return p.Window == nil && !p.Plain && (p.suite == nil || p.suite.Custom())
}
