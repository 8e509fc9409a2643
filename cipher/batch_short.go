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

// startRun prepares run for frames under counters from first on, whose last one's header has size
// bytes, and reports whether the engine takes such frames in runs.
func (k *SealKey) startRun(run *engine.GCMRun, c *gcmCore, first uint64, size int) bool {
	if size != k.header.len(first) || size == k.header.size || k.excess.Load() != 0 || !run.Init(&c.gcm, size) {
		return false
	}
	run.Head[0], run.Head[1] = k.header.extended+uint64(size-k.header.size), k.header.hi
	run.Salt[0], run.Salt[1] = c.salt[0], c.salt[1]
	return true
}

// sealShort seals all frames, one run of short ones, if they keep apart, are of about one length and the
// counters for them can be taken at once, and reports whether. If not, nothing has happened.
func (k *SealKey) sealShort(c *gcmCore, frames []Frame) bool {
	n := uint64(len(frames))
	first, ok := k.peek(n)
	var run engine.GCMRun
	if !ok || !k.startRun(&run, c, first, k.header.len(first+n-1)) {
		return false
	}
	for i := range frames {
		run.Ctr[i] = first + uint64(i)
	}
	noteFrames(frames)
	sealed, errs := run.SealShort(asRun(frames), &k.next)
	if errs {
		clearErrs(frames)
	}
	return sealed
}

// sealMany seals all frames, which keep apart, if they are of the kind the engine takes in runs, and
// reports whether.
func (k *SealKey) sealMany(c *gcmCore, frames []Frame, first uint64, size int, s engine.Shape) bool {
	var run engine.GCMRun
	if !k.startRun(&run, c, first, size) || !run.Fit(s.Least, s.Most, s.AAD) {
		return false
	}
	if s.Errs {
		clearErrs(frames)
	}
	noteFrames(frames)
	for len(frames) > 0 {
		part := frames[:min(len(frames), engine.RunMost)]
		for i := range part {
			run.Ctr[i] = first
			first++
		}
		sealed := false
		if s.Most <= engine.ShortText {
			sealed, _ = run.SealShort(asRun(part), nil)
		}
		if !sealed {
			run.Seal(asRun(part))
		}
		frames = frames[len(part):]
	}
	return true
}

func clearErrs(frames []Frame) {
	for i := range frames {
		frames[i].Err = nil
	}
}

// openShort opens the first frames, as many as the engine takes in one run, and returns how many those
// are: none if they are of another kind, do not keep apart, or one of them does
// not authenticate. s is of all frames, of which these are the first ones left.
func (k *OpenKey) openShort(frames []Frame, s engine.Shape) (n, failed int) {
	if !s.Apart {
		return 0, 0
	}
	box := k.box.Load()
	h, _, ok := k.header.unpack(frames[0].Src)
	if !ok || box == nil || box.gcm == nil || h.size == k.header.size {
		return 0, 0
	}
	var run engine.GCMRun
	c, extra := box.gcm, h.size+engine.TagSize
	if !run.Init(&c.gcm, h.size) || !run.Fit(s.Least-extra, s.Most-extra, s.AAD) {
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
