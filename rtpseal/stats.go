package rtpseal

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Reason says why a packet did not go on.
type Reason uint8

// The reasons.
const (
	NotRTP       Reason = iota // neither RTP nor RTCP
	NoDescriptor               // not what a Sealing sends
	UnknownKID                 // no key, and none came in time
	Unauthentic                // forged, changed, or sealed for another channel
	Replayed                   // opened before, or too old
	NotSealed                  // the sealer gave nothing: the channel was forgotten, its key is exhausted
	NoCodec                    // a whole frame, and no codec set
	CodecForm                  // not of the codec that was named
	Uncuttable                 // over the MTU, and not to be cut
	GivenUp                    // part of a unit whose other packets did not come in time, or had no room
	NotSent                    // refused by the network
	Missing                    // of frames: not there in its turn, lost or late
	Late                       // of frames: came behind its turn
	reasonsInTotal
)

var reasonNames = [reasonsInTotal]string{
	"not-rtp", "no-descriptor", "unknown-kid", "authentication", "replay", "not-sealed", "no-codec", "codec", "mtu", "given-up", "not-sent", "missing", "late",
}

func (r Reason) String() string { return reasonNames[r] }

// Reasons are all of them.
func Reasons() []Reason {
	all := make([]Reason, reasonsInTotal)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// reasonOf sorts an error.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, ErrNotRTP):
		return NotRTP
	case errors.Is(err, ErrDescriptor), errors.Is(err, cipher.ErrMalformed), errors.Is(err, cipher.ErrShort):
		return NoDescriptor
	case errors.Is(err, cipher.ErrReplayed):
		return Replayed
	case errors.Is(err, cipher.ErrUnknownKey):
		return UnknownKID
	case errors.Is(err, cipher.ErrAuth):
		return Unauthentic
	case errors.Is(err, ErrNoCodec):
		return NoCodec
	case errors.Is(err, ErrCodec):
		return CodecForm
	case errors.Is(err, ErrExtension), errors.Is(err, ErrTooLong):
		return Uncuttable
	}
	return NotSealed
}

// reason sorts what was given up.
func (d Drop) reason() Reason {
	switch d.Why {
	case "missing":
		return Missing
	case "late":
		return Late
	}
	return GivenUp
}

// Stats count what a [Gateway] does. Several gateways may share them.
type Stats struct {
	PacketsIn, BytesIn   atomic.Uint64 // RTP
	PacketsOut, BytesOut atomic.Uint64
	Control              atomic.Uint64 // RTCP that passed
	Held                 atomic.Int64  // bytes that wait
	Refused              [reasonsInTotal]atomic.Uint64
	Delay                Histogram // from the read of a batch to the end of its write
}

// Histogram counts durations in buckets that double.
type Histogram struct {
	Buckets [24]atomic.Uint64 // bucket i: below 2^i microseconds
	Sum     atomic.Uint64     // nanoseconds
}

func (h *Histogram) add(d time.Duration, n uint64) {
	h.Buckets[min(bits.Len64(uint64(d.Microseconds())), len(h.Buckets)-1)].Add(n)
	h.Sum.Add(uint64(d.Nanoseconds()) * n)
}
