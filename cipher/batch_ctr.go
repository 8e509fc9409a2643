package cipher

import "github.com/chanseal/chanseal/cipher/internal/engine"

// sealRunCTR is sealRunGCM for the CTR-HMAC suites with SHA-256.
func (k *SealKey) sealRunCTR(box *keyBox, frames []Frame, first uint64, apart bool) (failed int) {
	var jobs [runFrames]engine.CTRFrame
	n, c := 0, box.ctr
	quick := apart && k.excess.Load() == 0
	for i := range frames {
		f, ctr := &frames[i], first+uint64(i)
		h := k.header.pack(ctr)
		at, size := len(f.Dst), h.size+len(f.Src)+c.tag
		if !f.packs(h) || size < packable {
			f.Err = k.sealBatched(box, f, ctr)
			failed += f.failed()
			continue
		}
		if quick && len(f.Src) <= 16*freeBlocks {
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
		jobs[n].Key, jobs[n].Dst, jobs[n].Src, jobs[n].AAD = &c.both, out[h.size:], f.Src, f.AAD
		jobs[n].Head[0], jobs[n].Head[1], jobs[n].HeadLen = h.lo, h.hi, h.size
		jobs[n].Hi, jobs[n].Lo = c.salt.hi, c.salt.lo^ctr
		n++
	}
	engine.SealCTRBatch(jobs[:n])
	return failed
}

// openRunCTR is openRunGCM for the CTR-HMAC suites with SHA-256.
func (k *OpenKey) openRunCTR(frames []Frame, apart bool) (failed int) {
	var jobs [runFrames]engine.CTRFrame
	var ctrs [runFrames]uint64
	var outs [runFrames][]byte
	n := 0
	for i := range frames {
		f := &frames[i]
		box := k.box.Load()
		h, ctr, ok := k.header.unpack(f.Src)
		var out []byte
		if ok && apart && box != nil && len(f.Src) >= h.size+box.ctr.tag && k.window.inOrder(ctr) {
			if f.Err != nil {
				f.Err = nil
			}
			out = f.Dst[len(f.Dst):][:len(f.Src)-h.size-box.ctr.tag]
		} else {
			var p part
			if box, p, h = k.look(f); box == nil {
				failed++
				continue
			}
			ctr, out = p.ctr, p.out
		}
		c := box.ctr
		jobs[n].Key, jobs[n].Dst, jobs[n].Src, jobs[n].AAD = &c.both, out, f.Src[h.size:], f.AAD
		jobs[n].Head[0], jobs[n].Head[1], jobs[n].HeadLen = h.lo, h.hi, h.size
		jobs[n].Hi, jobs[n].Lo = c.salt.hi, c.salt.lo^ctr
		ctrs[n], outs[n] = ctr, out
		n++
	}
	engine.OpenCTRBatch(jobs[:n])
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
		f.Dst = f.Dst[:len(f.Dst)+len(outs[i])]
	}
	n = done
	for i := done; i < len(frames); i++ {
		if f := &frames[i]; f.Err == nil {
			failed += k.admit(f, part{ctrs[n], outs[n]}, jobs[n].OK)
			n++
		}
	}
	return failed
}
