package cipher

import (
	"runtime"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// A batch goes through the engine in runs of a few frames, so that one frame's
// instructions fill the time in which another's wait for each other.
//
// What the engine is given of a run lies in arrays on the stack. They are filled by
// index: what is stored through a pointer would count as escaping. And field by field,
// for the sake of the kernels' loads (see the engine's GCMFrame).
const (
	runFrames = 8
	// runAAD is the most bytes of header and additional data of a frame that goes
	// along in a run; one with more is sealed or opened by itself.
	runAAD = 48
)

// runs reports whether the core gains from runs of frames.
func (b *keyBox) runs() bool { return b.gcm != nil || b.ctr != nil && b.ctr.mac == nil }

// fits reports whether f can go along in a run.
func (f *Frame) fits() bool { return len(f.AAD) <= runAAD-MaxHeader && uint64(len(f.Src)) <= maxFrame }

// sealRuns seals frames under the counters from first on. apart says what engine.ShapeOf
// found.
func (k *SealKey) sealRuns(box *keyBox, frames []Frame, first uint64, apart bool) (failed int) {
	for len(frames) > 0 {
		n := min(len(frames), runFrames)
		if box.gcm != nil {
			failed += k.sealRunGCM(box, frames[:n], first, apart)
		} else {
			failed += k.sealRunCTR(box, frames[:n], first, apart)
		}
		frames, first = frames[n:], first+uint64(n)
	}
	runtime.KeepAlive(box)
	return failed
}

func (f *Frame) failed() int {
	if f.Err != nil {
		return 1
	}
	return 0
}

// openRuns opens frames in runs. Those of a run are opened side by side, and then let
// through the replay window one after the other: what an earlier one changes is seen
// by a later one, as if each had been opened by itself.
func (k *OpenKey) openRuns(frames []Frame, shape engine.Shape) (failed int) {
	for len(frames) > 0 {
		if done, bad := k.openShort(frames, shape); done > 0 {
			frames, failed = frames[done:], failed+bad
			continue
		}
		n := 0
		for n < min(len(frames), runFrames) && frames[n].fits() && !k.unpackable(frames[n].Src) {
			n++
		}
		if n == 0 {
			f := &frames[0]
			f.Dst, f.Err = k.Open(f.Dst, f.Src, f.AAD)
			failed += f.failed()
			frames = frames[1:]
			continue
		}
		run := frames[:n]
		box := k.box.Load()
		switch {
		case box == nil: // ended in the meantime
			for i := range run {
				run[i].Dst, run[i].Err = k.Open(run[i].Dst, run[i].Src, run[i].AAD)
				failed += run[i].failed()
			}
		case box.gcm != nil:
			failed += k.openRunGCM(run, shape.Apart)
		default:
			failed += k.openRunCTR(run, shape.Apart)
		}
		// Or Retire in the middle of a run would have the finalizer wipe what it uses.
		runtime.KeepAlive(box)
		frames = frames[n:]
	}
	return failed
}

// part is what is known of a frame of a run before it is opened.
type part struct {
	ctr uint64
	out []byte // where its text goes; nil: it is refused
}

// look is begin for a frame of a run, whose room it makes, too. A replay that it does
// not see yet is seen by admit; one that it sees is one later, too.
func (k *OpenKey) look(f *Frame) (box *keyBox, p part, h packedHeader) {
	if box, h, p.ctr, f.Err = k.begin(f.Src); f.Err != nil {
		return nil, part{}, h
	}
	_, p.out = extend(f.Dst, len(f.Src)-h.size-k.suite.overhead, f.Src, f.AAD)
	return box, p, h
}

// admit decides about a frame that was opened, or not.
func (k *OpenKey) admit(f *Frame, p part, ok bool) (failed int) {
	switch {
	case k.box.Load() == nil: // the failures in front of it, or Retire, ended the key
		f.Err = k.gone()
	case !k.window.peek(p.ctr):
		f.Err = ErrReplayed
	case !ok:
		f.Err = k.failed()
	case !k.window.commit(p.ctr):
		f.Err = ErrReplayed
	case cap(f.Dst)-len(f.Dst) >= len(p.out):
		f.Dst = f.Dst[:len(f.Dst)+len(p.out)]
		return 0
	default: // the room is new
		f.Dst = append(f.Dst, p.out...)
		return 0
	}
	clear(p.out)
	return 1
}
