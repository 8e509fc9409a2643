package cipher

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Counting says where a SealKey's counters come from. Its zero value is refused:
// who makes a key must say why its counters never repeat.
type Counting struct {
	fresh   bool
	reserve func(n uint64) (first uint64, err error)
}

// FreshKey counts from 0. With it the caller promises that this (base key, KID)
// never sealed a frame before and that no other SealKey of it exists anywhere. Keys
// that were made for this SealKey alone keep the promise by themselves.
var FreshKey = Counting{fresh: true}

// Reserve counts in blocks that the caller sets aside durably, for keys that come
// from outside and outlive the process. reserve must record that the n counters
// from first on are used up, and only then return; it never returns a counter twice,
// not even after a crash. It is called by one goroutine at a time, with n mostly
// [ReserveBlock]: more for a longer batch, less at the end of the key's life. Its error
// is returned by the Seal that needed the block. It may not use the SealKey.
func Reserve(reserve func(n uint64) (first uint64, err error)) Counting {
	return Counting{reserve: reserve}
}

// ReserveBlock is how many counters a SealKey asks of [Reserve] at once. What is
// left of a block when the process ends is skipped.
const ReserveBlock = 1 << 14

// Key life, for every suite alike: GCM's 2^32 invocations (SP 800-38D, Section 8.3),
// and a bound on blocks. With q of them under one key, counter mode over a 128-bit
// block cipher can be told from random with probability q^2/2^129: 2^-39 at the limit.
const (
	maxFrames = 1 << 32 // frames sealed under one key
	maxBlocks = 1 << 45 // blocks of 16 bytes sealed under one key
	// freeBlocks is the length up to which frames need no counting of blocks:
	// 2^32 of them make 2^45 blocks. Longer ones count what they have above it.
	freeBlocks = maxBlocks / maxFrames
)

var errReserve = errors.New("cipher: the counter reservation went back or overflowed")

// counter hands out counters. Every frame costs it one atomic addition (fresh) or
// one compare-and-swap (reserved).
type counter struct {
	next   atomic.Uint64 // the next counter
	end    atomic.Uint64 // reserved counters end here; fresh: maxFrames
	excess atomic.Uint64 // blocks above freeBlocks a frame

	reserve func(n uint64) (uint64, error)
	mu      sync.Mutex
	granted uint64 // counters reserved so far; mu
}

func (c *counter) init(from Counting) error {
	switch {
	case from.fresh:
		c.end.Store(maxFrames)
	case from.reserve != nil:
		c.reserve = from.reserve
	default:
		return fmt.Errorf("cipher: no Counting given: use FreshKey or Reserve")
	}
	return nil
}

// take hands out n consecutive counters.
func (c *counter) take(n uint64) (first uint64, err error) {
	if c.reserve != nil {
		return c.takeReserved(n)
	}
	if n > 1 {
		return c.takeBatch(n)
	}
	// The look before the addition keeps the counter from running away (and
	// around) when an exhausted key is asked again and again.
	if c.next.Load() >= maxFrames {
		return 0, ErrExhausted
	}
	if first = c.next.Add(1) - 1; first >= maxFrames {
		return 0, ErrExhausted
	}
	return first, nil
}

// takeOne hands out a counter for a frame of n bytes and accounts for it, if that is
// done with one addition; if not, take and spend must decide. It is what nearly every
// frame needs of take and spend, small enough to be inlined.
func (c *counter) takeOne(n int) (ctr uint64, ok bool) {
	if c.reserve != nil || uint(n) > 16*freeBlocks || c.excess.Load() != 0 || c.next.Load() >= maxFrames {
		return 0, false
	}
	ctr = c.next.Add(1) - 1
	return ctr, ctr < maxFrames
}

// takeBatch takes all n counters or, unlike an addition, none: what is left can then
// still be taken one by one.
func (c *counter) takeBatch(n uint64) (first uint64, err error) {
	for {
		next := c.next.Load()
		if next >= maxFrames || n > maxFrames-next {
			return 0, ErrExhausted
		}
		if c.next.CompareAndSwap(next, next+n) {
			return next, nil
		}
	}
}

func (c *counter) takeReserved(n uint64) (first uint64, err error) {
	for {
		// next before end: a refill in between moves next first, and the swap fails.
		next, end := c.next.Load(), c.end.Load()
		if next <= end && end-next >= n {
			if c.next.CompareAndSwap(next, next+n) {
				return next, nil
			}
			continue
		}
		if err := c.refill(n); err != nil {
			return 0, err
		}
	}
}

// peek returns the first of the next n counters if they can be taken at once, by bringing next from it to n
// more with a compare-and-swap. A refill in between moves next first, and the swap fails.
func (c *counter) peek(n uint64) (first uint64, ok bool) {
	next, end := c.next.Load(), c.end.Load() // in this order
	return next, next <= end && end-next >= n
}

// refill reserves a block of at least n counters, unless somebody else just did.
func (c *counter) refill(n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, end := c.next.Load(), c.end.Load()
	if next <= end && end-next >= n {
		return nil
	}
	left := maxFrames - c.granted
	if n > left {
		return ErrExhausted
	}
	block := min(max(n, ReserveBlock), left)
	first, err := c.reserve(block)
	if err != nil {
		return fmt.Errorf("cipher: reserving counters: %w", err)
	}
	if first < end || first+block < first {
		return errReserve
	}
	c.granted += block
	if first != end {
		// What is left of the old block is dropped. Nobody can take from it any
		// more once next has left it; nobody can take from the new one before end.
		c.end.Store(0)
		c.next.Store(first)
	}
	c.end.Store(first + block)
	return nil
}

// spend accounts for a frame of n bytes, after its counter was taken.
func (c *counter) spend(n int) error {
	blocks := (uint64(n) + 15) / 16
	if blocks <= freeBlocks {
		// Nothing to add, but a key that long frames have worn out stays worn out.
		if c.excess.Load() == 0 {
			return nil
		}
		blocks = freeBlocks
	}
	if c.excess.Add(blocks-freeBlocks)+c.used()*freeBlocks > maxBlocks {
		return ErrExhausted
	}
	return nil
}

// used is how many counters were handed out, at most.
func (c *counter) used() uint64 {
	if c.reserve == nil {
		return min(c.next.Load(), maxFrames)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next, end := c.next.Load(), c.end.Load()
	return c.granted - (end - min(next, end))
}

// left is how many frames of ordinary length can still be sealed.
func (c *counter) left() uint64 {
	left := maxFrames - c.used()
	if excess := c.excess.Load(); excess > 0 {
		inBlocks := uint64(0)
		if spent := excess + c.used()*freeBlocks; spent < maxBlocks {
			inBlocks = (maxBlocks - spent) / freeBlocks
		}
		left = min(left, inBlocks)
	}
	return left
}
