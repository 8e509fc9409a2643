package cipher

import (
	"encoding/binary"
	"math/bits"
	"runtime"
	"unsafe"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// Batches of frames under GCM that are not long go to the engine as they are: it makes headers and
// nonces from the counters. What is left to do for a frame here is to see that it lies apart
// from the others, to read a header, and to lengthen Dst.

// The engine reads Frames where they lie.
var _ = engine.RunFrame(Frame{})

func asRun(frames []Frame) []engine.RunFrame {
	return *(*[]engine.RunFrame)(unsafe.Pointer(&frames))
}

// sealShort seals all frames, under the counters from first on, if they are of the kind the
// engine takes in runs and keep apart, and reports whether. size is that of the last one's header.
func (k *SealKey) sealShort(c *gcmCore, frames []Frame, first uint64, size int, s shape) bool {
	if !s.apart || size != k.header.len(first) || size == k.header.size || k.excess.Load() != 0 {
		return false
	}
	var run engine.GCMRun
	if !run.Init(&c.gcm, size, s.least, s.most, s.aad) {
		return false
	}
	run.Head[0], run.Head[1] = k.header.extended+uint64(size-k.header.size), k.header.hi
	run.Salt[0], run.Salt[1] = c.salt[0], c.salt[1]
	for len(frames) > 0 {
		part := frames[:min(len(frames), engine.RunMost)]
		for i := range part {
			run.Ctr[i] = first
			first++
		}
		run.Seal(asRun(part))
		for i := range part {
			f := &part[i]
			f.Dst = f.Dst[:len(f.Dst)+size+len(f.Src)+engine.TagSize]
			if f.Err != nil {
				f.Err = nil
			}
		}
		frames = frames[len(part):]
	}
	return true
}

// openShort opens the first frames, as many as the engine takes in one run, and returns how many those
// are: none if they are of another kind, do not keep apart, or one of them does
// not authenticate. s is of all frames, of which these are the first ones left.
func (k *OpenKey) openShort(frames []Frame, s shape) (n, failed int) {
	if !s.apart {
		return 0, 0
	}
	box := k.box.Load()
	h, _, ok := k.header.unpack(frames[0].Src)
	if !ok || box == nil || box.gcm == nil || h.size == k.header.size {
		return 0, 0
	}
	var run engine.GCMRun
	c, extra := box.gcm, h.size+engine.TagSize
	if !run.Init(&c.gcm, h.size, s.least-extra, s.most-extra, s.aad) {
		return 0, 0
	}
	run.Salt[0], run.Salt[1] = c.salt[0], c.salt[1]
	// Header and counter of the first one's size.
	t, m := &k.header, h.size-k.header.size
	want, mask := t.extended+uint64(m), t.maskLo|0x0f
	shift, least := uint(64-8*m), uint64(1)<<(8*m-8)
	if m == 1 {
		least = 8
	}
	frames = frames[:min(len(frames), engine.RunMost)]
	for i := range frames {
		src := frames[i].Src
		if len(src) < packable {
			return 0, 0
		}
		lo, hi := binary.LittleEndian.Uint64(src), binary.LittleEndian.Uint64(src[8:])
		ctr := bits.ReverseBytes64(bits.RotateLeft64(lo&^t.spill|hi&t.spill, -t.turn)) >> (shift & 63)
		if (lo^want)&mask|(hi^t.hi)&t.maskHi != 0 || ctr < least {
			return 0, 0
		}
		run.Ctr[i] = ctr
	}
	genuine := run.Open(asRun(frames))
	runtime.KeepAlive(box) // run has the key's address only
	if !genuine {
		for i := range frames {
			f := &frames[i]
			clear(f.Dst[len(f.Dst):][:len(f.Src)-extra])
		}
		return 0, 0
	}
	n = 0
	if k.box.Load() != nil {
		n = k.admitRun(run.Ctr[:len(frames)])
	}
	for i := range frames {
		f := &frames[i]
		if f.Err != nil {
			f.Err = nil
		}
		out := f.Dst[:len(f.Dst)+len(f.Src)-extra]
		if i >= n {
			failed += k.admit(f, part{run.Ctr[i], out[len(f.Dst):]}, true)
			continue
		}
		f.Dst = out
	}
	return len(frames), failed
}
