package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// MACSize is the length of an untruncated HMAC-SHA256 tag in bytes.
const MACSize = sha256.Size

// HMAC is HMAC-SHA256 (RFC 2104) under one key. With the SHA extensions it is
// two values, the hash states after the padded key, and a tag is computed from
// them without any shared object. The zero value has no key; a copy shares it.
type HMAC struct {
	mid *midstates // nil without kernels
	std *sync.Pool // of hash.Hash under the key; nil with kernels
}

// midstates are the states after the key XOR ipad and the key XOR opad.
type midstates struct{ inner, outer shaState }

// shaState is a SHA-256 state in the order the SHA extensions want it:
// F E B A, H G D C.
type shaState [8]uint32

// Init sets the key, of any length.
func (h *HMAC) Init(key []byte) { h.init(key, bestSHA) }

func (h *HMAC) init(key []byte, kernels bool) {
	if !kernels {
		key = append([]byte(nil), key...)
		*h = HMAC{std: &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
		return
	}
	var block [64]byte
	if len(key) > len(block) {
		sum := sha256.Sum256(key)
		copy(block[:], sum[:])
		clear(sum[:])
	} else {
		copy(block[:], key)
	}
	for i := range block {
		block[i] ^= 0x36
	}
	mid := &midstates{inner: shaStart, outer: shaStart}
	shaBlocks(&mid.inner, &block[0], 1)
	for i := range block {
		block[i] ^= 0x36 ^ 0x5c
	}
	shaBlocks(&mid.outer, &block[0], 1)
	clear(block[:])
	*h = HMAC{mid: mid}
}

// shaStart is SHA-256's initial state (FIPS 180-4, section 5.3.3).
var shaStart = shaState{0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667, 0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372}

// Wipe destroys the key. No call may be under way or follow. Copies inside the
// standard library are left to the collector.
func (h *HMAC) Wipe() {
	if h.mid != nil {
		*h.mid = midstates{}
	}
	*h = HMAC{}
}

// Sum writes the tag of the message a || b || c to out. It takes the message in
// three parts so that a caller need not join lengths and nonce, AAD and text.
func (h *HMAC) Sum(out *[MACSize]byte, a, b, c []byte) {
	if h.mid == nil {
		h.sumStd(out, a, b, c)
		return
	}
	const short = 256
	if len(a)+len(b)+len(c) <= short-macPadding {
		var buf [short]byte
		n := copy(buf[:], a)
		n += copy(buf[n:], b)
		n += copy(buf[n:], c)
		end := padMessage(buf[:], n, 64+n)
		shaFinish(&h.mid.outer, &h.mid.inner, &buf[0], end/64, out)
		return
	}
	var l macLane
	l.begin(h.mid, out, a, b, c)
	for l.stage < stageEnd {
		shaBlocks(&l.state, l.at(), l.blocks)
		l.done(l.blocks)
	}
	shaFinish(&h.mid.outer, &l.state, l.at(), l.blocks, out)
	l.state = shaState{}
}

// macPadding is the least SHA-256 puts behind a message, in bytes.
const macPadding = 9

// padMessage puts the padding of a message of total bytes behind the n bytes at
// the start of buf, where it is zero, and returns where the last block ends.
func padMessage(buf []byte, n, total int) int {
	end := (n + macPadding + 63) &^ 63
	buf[n] = 0x80
	binary.BigEndian.PutUint64(buf[end-8:end], uint64(total)*8)
	return end
}

func (h *HMAC) sumStd(out *[MACSize]byte, a, b, c []byte) {
	mac := h.std.Get().(hash.Hash)
	mac.Reset()
	mac.Write(hide(a))
	mac.Write(hide(b))
	mac.Write(hide(c))
	mac.Sum(hide(out[:])[:0])
	h.std.Put(mac)
}

// MAC is one element of a batch: the tag of A || B || C under Key goes to Out.
type MAC struct {
	Key     *HMAC
	A, B, C []byte
	Out     [MACSize]byte
}

// maxRun is the most blocks one assembly call hashes: 37 µs.
const maxRun = 1024

// maxRunWide is the same for eight messages at once.
const maxRunWide = 512

// macLane is one message on its way through HMAC, a run of blocks at a time: its
// beginning from buf, the whole blocks of its last part from where they lie, its
// end from buf, and the outer block. Everything that has to be copied is copied
// before the first run: a copy made later could not be read before all hashing
// in front of it has retired, which costs as much as half a block.
type macLane struct {
	state  shaState
	blocks int    // left of the present run; 0 when the tag is written
	off    int    // of the present run in buf
	then   int    // blocks of the run in buf after the direct one
	stage  uint8  // of the present run
	direct []byte // whole blocks of the message in place
	mid    *midstates
	out    *[MACSize]byte
	last   [64]byte // the outer block
	buf    [384]byte
}

const (
	stageBegin = iota
	stageDirect
	stageEnd
	stageOuter
)

// begin starts a message. The lane is the caller's local variable and never
// outlives the call, so its references to the message are hidden.
func (l *macLane) begin(mid *midstates, out *[MACSize]byte, a, b, c []byte) {
	l.state = mid.inner
	l.mid, l.out = mid, (*[MACSize]byte)(hide(out[:]))
	total := 64 + len(a) + len(b) + len(c)
	if len(a)+len(b) > 128 {
		a, b = l.absorb(a, b)
	}
	n := copy(l.buf[:], a)
	n += copy(l.buf[n:], b)
	l.direct, l.then = nil, 0
	if n+len(c)+macPadding > len(l.buf) {
		// Complete the block at hand, leave whole blocks where they are.
		m := -n & 63
		n += copy(l.buf[n:], c[:m])
		whole := (len(c) - m) &^ 63
		l.direct = hide(c[m : m+whole])
		c = c[m+whole:]
		l.then = n / 64
	}
	n += copy(l.buf[n:], c)
	clear(l.buf[n:min(n+macPadding+63, len(l.buf))])
	end := padMessage(l.buf[:], n, total)
	clear(l.last[MACSize:])
	padMessage(l.last[:], MACSize, 64+MACSize)
	l.off, l.blocks, l.stage = 0, end/64, stageEnd
	if l.direct != nil {
		l.blocks, l.then = l.then, end/64-l.then
		l.stage = stageBegin
		if l.blocks == 0 {
			l.next()
		}
	}
}

// absorb hashes the beginning of a long a || b and returns what is left, at
// most 128 bytes together.
func (l *macLane) absorb(a, b []byte) (_, _ []byte) {
	for len(a)+len(b) > 128 {
		n := min(len(a)/64, maxRun)
		switch {
		case n > 0:
			shaBlocks(&l.state, &a[0], n)
			a = a[64*n:]
		case len(a) == 0:
			a, b = b, nil
		default:
			m := copy(l.buf[:64], a)
			k := copy(l.buf[m:64], b)
			a, b = b[k:], nil
			shaBlocks(&l.state, &l.buf[0], 1)
		}
	}
	return a, b
}

func (l *macLane) at() *byte {
	switch l.stage {
	case stageDirect:
		return &l.direct[0]
	case stageOuter:
		return &l.last[0]
	}
	return &l.buf[l.off]
}

// done says that n blocks of the run are hashed.
func (l *macLane) done(n int) {
	if l.stage == stageDirect {
		l.direct = l.direct[64*n:]
	} else {
		l.off += 64 * n
	}
	if l.blocks -= n; l.blocks == 0 {
		l.next()
	}
}

// next prepares the next run.
func (l *macLane) next() {
	switch l.stage {
	case stageBegin, stageDirect:
		if len(l.direct) > 0 {
			l.stage, l.blocks = stageDirect, min(len(l.direct)/64, maxRun)
		} else {
			l.stage, l.blocks = stageEnd, l.then
		}
	case stageEnd:
		shaDigest(&l.state, (*[MACSize]byte)(l.last[:]))
		l.state = l.mid.outer
		l.stage, l.blocks = stageOuter, 1
	default:
		shaDigest(&l.state, l.out)
	}
}
