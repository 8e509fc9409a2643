package cipher

import "github.com/chanseal/chanseal/cipher/internal/engine"

// packs reports whether f can go along in a run of the GCM suites: the engine takes
// header and additional data apart.
func (f *Frame) packs(h packedHeader) bool {
	return h.size <= packable && len(f.AAD) <= runAAD-packable && uint64(len(f.Src)) <= maxFrame
}

func (k *SealKey) sealRunGCM(box *keyBox, frames []Frame, first uint64, apart bool) (failed int) {
	var jobs [runFrames]engine.GCMFrame
	n, c := 0, box.gcm
	quick := apart && k.excess.Load() == 0
	for i := range frames {
		f, ctr := &frames[i], first+uint64(i)
		h := k.header.pack(ctr)
		if !f.packs(h) {
			f.Err = k.sealBatched(box, f, ctr)
			failed += f.failed()
			continue
		}
		at := len(f.Dst)
		if size := h.size + len(f.Src) + engine.TagSize; quick && len(f.Src) <= 16*freeBlocks {
			f.Dst = f.Dst[:at+size]
			if f.Err != nil {
				f.Err = nil
			}
		} else {
			if f.Err = k.spend(len(f.Src)); f.Err != nil {
				failed++
				continue
			}
			f.Dst, _ = extend(f.Dst, size, f.Src, f.AAD)
		}
		out := f.Dst[at:]
		h.put(out)
		// By index: what is stored through a pointer would count as escaping.
		jobs[n].Key, jobs[n].Dst, jobs[n].Src, jobs[n].AAD = &c.gcm, out[h.size:], f.Src, f.AAD
		jobs[n].Head[0], jobs[n].Head[1], jobs[n].HeadLen = h.lo, h.hi, int32(h.size)
		jobs[n].Nonce[0], jobs[n].Nonce[1] = c.nonce(ctr)
		n++
	}
	engine.SealBatch(jobs[:n])
	return failed
}

// unpackable says whether sealed may begin with a header that a packedHeader cannot
// hold: the longest KID, and a counter of eight bytes.
func (k *OpenKey) unpackable(sealed []byte) bool {
	return k.header.size+8 > packable && len(sealed) > 0 && sealed[0]&0x0f == 0x0f
}

// openRunGCM opens frames none of which is unpackable.
func (k *OpenKey) openRunGCM(frames []Frame, apart bool) (failed int) {
	var jobs [runFrames]engine.GCMFrame
	var ctrs [runFrames]uint64
	n := 0
	for i := range frames {
		f := &frames[i]
		box := k.box.Load()
		h, ctr, ok := k.header.unpack(f.Src)
		var out []byte
		if ok && apart && box != nil && len(f.Src) >= h.size+engine.TagSize && k.window.inOrder(ctr) {
			if f.Err != nil {
				f.Err = nil
			}
			out = f.Dst[len(f.Dst):][:len(f.Src)-h.size-engine.TagSize]
		} else {
			var p part
			if box, p, h = k.look(f); box == nil {
				failed++
				continue
			}
			ctr, out = p.ctr, p.out
		}
		c := box.gcm
		jobs[n].Key, jobs[n].Dst, jobs[n].Src, jobs[n].AAD = &c.gcm, out, f.Src[h.size:], f.AAD
		jobs[n].Head[0], jobs[n].Head[1], jobs[n].HeadLen = h.lo, h.hi, int32(h.size)
		jobs[n].Nonce[0], jobs[n].Nonce[1] = c.nonce(ctr)
		ctrs[n] = ctr
		n++
	}
	engine.OpenBatch(jobs[:n])
	good := apart && n == len(frames) && n > 0
	for i := range jobs[:n] {
		good = good && jobs[i].OK
	}
	done := 0
	if good && k.box.Load() != nil {
		done = k.admitRun(ctrs[:n])
	}
	for i := range frames[:done] {
		f := &frames[i]
		f.Dst = f.Dst[:len(f.Dst)+len(jobs[i].Dst)]
	}
	n = done
	for i := done; i < len(frames); i++ {
		if f := &frames[i]; f.Err == nil {
			failed += k.admit(f, part{ctrs[n], jobs[n].Dst}, jobs[n].OK)
			n++
		}
	}
	return failed
}

// admitRun lets the counters of frames that are all genuine through the window, as
// many of the first ones as go with few steps, and returns how many: all, if they are
// new, differ and lie in the highest block. The first one may begin it.
func (k *OpenKey) admitRun(ctrs []uint64) int {
	switch {
	case k.window.commitRun(ctrs):
		return len(ctrs)
	case !k.window.commit(ctrs[0]):
		return 0
	case len(ctrs) > 1 && k.window.commitRun(ctrs[1:]):
		return len(ctrs)
	}
	return 1
}
