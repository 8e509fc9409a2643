package cipher

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
)

// Sizes of the replay window, in frames.
const (
	MinWindow     = 64
	DefaultWindow = 1024
	MaxWindow     = 65536
	// PacketWindow suits keys that seal one RTP packet at a time.
	PacketWindow = 8192
)

// window remembers which counters were accepted, in the manner of RFC 3711,
// Section 3.3.2, without a lock.
//
// Counters lie in blocks of 32; block b has the slot b mod len(slots). A slot is one
// word: in its upper half a tag that names the block, in its lower half a bit for
// each counter that was accepted. top is the highest block that holds any.
//
// peek asks before the frame is opened, commit decides afterwards, and only commit
// writes. An in-order frame costs plain loads and one compare-and-swap (two when it
// begins a block).
//
// Why no counter is ever accepted twice. commit raises top before it touches the
// slot. A slot whose tag is not b's own is overwritten only if b still lies within
// len(slots) blocks of top, read after the slot: a newer block in that slot would
// have raised top past that, so what is overwritten is older than b, and peek and
// commit refuse all of it from then on by their comparison with top.
type window struct {
	top   atomic.Uint64 // block number
	size  uint64        // frames
	mask  uint64        // len(slots) - 1
	shift uint          // log2(len(slots))
	slots []atomic.Uint64
}

const (
	blockShift = 5
	blockMask  = 1<<blockShift - 1
)

func newWindow(size int) *window {
	// As many blocks as the window touches when it begins with a block's last counter.
	n := 1
	for n < (size+blockMask-1)>>blockShift+1 {
		n *= 2
	}
	return &window{size: uint64(size), mask: uint64(n - 1), shift: uint(bits.Len(uint(n - 1))), slots: make([]atomic.Uint64, n)}
}

// blockTag names block b among all that share its slot. Neighbours in a slot differ
// in the low half of the generation; the fold keeps distant ones (a sender may jump
// to any 64-bit counter) from looking alike.
func (w *window) blockTag(b uint64) uint64 {
	g := b >> w.shift
	return uint64(uint32(g)^uint32(g>>32)*0x9E3779B1) << 32
}

// span is the lowest and the highest counter of the window. Of a fresh window the
// highest is 0, which is not to say that 0 was accepted.
func (w *window) span() (low, high uint64) {
	top := w.top.Load()
	high = top << blockShift
	if v := w.slots[top&w.mask].Load(); v&^0xffffffff == w.blockTag(top) && uint32(v) != 0 {
		high |= uint64(bits.Len32(uint32(v)) - 1)
	}
	if high >= w.size {
		low = high - w.size + 1
	}
	return low, high
}

// peek reports whether ctr could be accepted now.
func (w *window) peek(ctr uint64) bool {
	low, high := w.span()
	if ctr > high {
		return true
	}
	if ctr < low {
		return false
	}
	b := ctr >> blockShift
	v := w.slots[b&w.mask].Load()
	return v&^0xffffffff != w.blockTag(b) || v&(1<<(ctr&blockMask)) == 0
}

// inOrder is peek for a counter in the highest block or above it, and false for every
// other: in one block with the highest counter, none is behind the window. A bit that
// is not set there is not set under whatever tag.
func (w *window) inOrder(ctr uint64) bool {
	b, top := ctr>>blockShift, w.top.Load()
	return b > top || b == top && w.slots[b&w.mask].Load()>>(ctr&blockMask)&1 == 0
}

// commitInOrder is commit for a counter in the highest block, if the block's slot is
// its own by now and no other call gets in between. False means nothing.
func (w *window) commitInOrder(ctr uint64) bool {
	b := ctr >> blockShift
	slot := &w.slots[b&w.mask]
	v := slot.Load()
	bit := uint64(1) << (ctr & blockMask)
	return w.top.Load() == b && (v^w.blockTag(b))>>32 == 0 && v&bit == 0 && slot.CompareAndSwap(v, v|bit)
}

// commitRun is commitInOrder for several counters at once: all of them or none. False
// means nothing, as there.
func (w *window) commitRun(ctrs []uint64) bool {
	b := ctrs[0] >> blockShift
	var run uint64
	for _, ctr := range ctrs {
		bit := uint64(1) << (ctr & blockMask)
		if ctr>>blockShift != b || run&bit != 0 {
			return false
		}
		run |= bit
	}
	slot := &w.slots[b&w.mask]
	v := slot.Load()
	return w.top.Load() == b && (v^w.blockTag(b))>>32 == 0 && v&run == 0 && slot.CompareAndSwap(v, v|run)
}

// commit accepts ctr, once: of several calls with one counter exactly one returns
// true. It is called only for a frame that authenticated.
func (w *window) commit(ctr uint64) bool {
	b := ctr >> blockShift
	for {
		top := w.top.Load()
		if b <= top || w.top.CompareAndSwap(top, b) {
			break
		}
	}
	slot := &w.slots[b&w.mask]
	tag, bit := w.blockTag(b), uint64(1)<<(ctr&blockMask)
	for {
		v := slot.Load()
		if w.top.Load() > b+w.mask {
			return false // overtaken while the frame was being opened
		}
		next := tag | bit
		if v&^0xffffffff == tag {
			if v&bit != 0 {
				return false
			}
			next = v | bit
		}
		if slot.CompareAndSwap(v, next) {
			return true
		}
	}
}

// windowState is the version byte of a saved window.
const windowState = 1

// appendState appends the window: version, size, highest counter (big endian), then
// one bit for each counter from the highest down.
func (w *window) appendState(dst []byte) []byte {
	low, high := w.span()
	dst = append(dst, windowState)
	dst = binary.BigEndian.AppendUint32(dst, uint32(w.size))
	dst = binary.BigEndian.AppendUint64(dst, high)
	at := len(dst)
	dst = append(dst, make([]byte, (w.size+7)/8)...)
	for c := high; ; c-- {
		if !w.peek(c) {
			i := high - c
			dst[at+int(i/8)] |= 1 << (i % 8)
		}
		if c == low {
			return dst
		}
	}
}

// restoreWindow reads what appendState wrote. The size comes from the state.
func restoreWindow(state []byte) (*window, error) {
	if len(state) < 13 || state[0] != windowState {
		return nil, fmt.Errorf("cipher: replay state of %d bytes is not one of version %d", len(state), windowState)
	}
	size := int(binary.BigEndian.Uint32(state[1:]))
	if size < MinWindow || size > MaxWindow || len(state) != 13+(size+7)/8 {
		return nil, fmt.Errorf("cipher: replay state of %d bytes does not fit a window of %d frames", len(state), size)
	}
	high := binary.BigEndian.Uint64(state[5:])
	w := newWindow(size)
	// The highest counter first: a state that was saved while it was being accepted
	// does not hold its bit, and everything behind the window stays refused even so.
	w.top.Store(high >> blockShift)
	for i := uint64(size); i > 0; i-- {
		if j := i - 1; j <= high && state[13+j/8]&(1<<(j%8)) != 0 {
			w.commit(high - j)
		}
	}
	return w, nil
}
