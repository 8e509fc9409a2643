package cipher

// Condition is what the failures that a key has seen ask its owner to do.
type Condition uint8

// The conditions, each worse than the one before.
const (
	Healthy Condition = iota // nothing to do
	Report                   // more forgeries than chance or noise explain: tell somebody
	Rotate                   // rotate the channel's key now
	Ended                    // the key opens nothing any more: ErrExhausted
)

// String names the condition.
func (c Condition) String() string {
	switch c {
	case Healthy:
		return "healthy"
	case Report:
		return "report"
	case Rotate:
		return "rotate"
	}
	return "ended"
}

// failureLimits are the numbers of failed frames at which a key's condition changes.
// One forgery among 2^(8·tag) attempts passes, and RFC 9605, Section 7.1, wants short
// tags watched: a 32-bit tag gives way within 2^32 attempts, so the key is given up at
// a 2^-8 chance of that. For full tags the end is AES-GCM's bound on attempted
// forgeries (RFC 9147, Section 4.5.3, takes the same). A custom suite's tag of 5 to 7 bytes
// is counted as one of 4.
type failureLimits struct{ report, rotate, end uint64 }

func limitsFor(tag int) failureLimits {
	const never = 1<<64 - 1
	switch {
	case tag < 8:
		return failureLimits{report: 1 << 12, rotate: 1 << 20, end: 1 << 24}
	case tag < 16:
		return failureLimits{report: 1 << 32, rotate: never, end: 1 << 36}
	}
	return failureLimits{report: never, rotate: never, end: 1 << 36}
}

// Failures is how many frames of this KID failed to authenticate.
func (k *OpenKey) Failures() uint64 { return k.failures.Load() }

// Condition says what those failures ask for: with tags under 64 bits Report from 2^12 on,
// Rotate from 2^20, Ended at 2^24; with 64 and 80 bits Report from 2^32; with all
// tags Ended at 2^36.
func (k *OpenKey) Condition() Condition {
	n, l := k.failures.Load(), limitsFor(k.suite.tagSize())
	switch {
	case n >= l.end:
		return Ended
	case n >= l.rotate:
		return Rotate
	case n >= l.report:
		return Report
	}
	return Healthy
}

// failed counts a frame that did not authenticate and ends the key at its limit.
func (k *OpenKey) failed() error {
	if k.failures.Add(1) >= limitsFor(k.suite.tagSize()).end {
		k.ended.Store(true)
		k.box.Store(nil)
	}
	return ErrAuth
}

// tagSize is the length in bytes of the tag whose guessing the limits count. Of a
// Hook's own it is not known: it is taken for a full one.
func (s *Suite) tagSize() int {
	switch {
	case !s.variable:
		return s.overhead
	case s.inside != nil:
		return s.inside.tagSize()
	}
	return 16
}
