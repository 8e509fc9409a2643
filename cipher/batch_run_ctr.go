package cipher

import "github.com/chanseal/chanseal/cipher/internal/engine"

func (k *SealKey) sealRunCTR(box *keyBox, frames []Frame, first uint64) (failed int) {
	var jobs [runFrames]engine.CTRFrame
	n, c := 0, box.ctr
	for i := range frames {
		f, ctr := &frames[i], first+uint64(i)
		h := k.header.pack(ctr)
		if h.size > packable {
			f.Err = k.sealBatched(box, f, ctr)
			failed += f.failed()
			continue
		}
		header, body := k.lay(box, f, ctr)
		if header == nil {
			failed += f.failed()
			continue
		}
		jobs[n].Key = &c.both
		jobs[n].Dst = body
		jobs[n].Src = f.Src
		jobs[n].AAD = f.AAD
		jobs[n].Head[0] = h.lo
		jobs[n].Head[1] = h.hi
		jobs[n].HeadLen = h.size
		jobs[n].Hi = c.salt.hi
		jobs[n].Lo = c.salt.lo ^ ctr
		n++
	}
	engine.SealCTRBatch(jobs[:n])
	return failed
}

func (k *OpenKey) openRunCTR(frames []Frame) (failed int) {
	var jobs [runFrames]engine.CTRFrame
	var aads [runFrames][runAAD]byte
	var parts [runFrames]part
	n := 0
	for i := range frames {
		f := &frames[i]
		box, p, h := k.look(f)
		if box == nil {
			failed++
			continue
		}
		c := box.ctr
		parts[i].ctr, parts[i].out = p.ctr, p.out
		jobs[n].Key = &c.both
		jobs[n].Dst = p.out
		jobs[n].Src = f.Src[h.size:]
		if h.size > packable {
			jobs[n].AAD = joinAAD(&aads[n], f.Src[:h.size], f.AAD)
		} else {
			jobs[n].AAD = f.AAD
			jobs[n].Head[0] = h.lo
			jobs[n].Head[1] = h.hi
			jobs[n].HeadLen = h.size
		}
		jobs[n].Hi = c.salt.hi
		jobs[n].Lo = c.salt.lo ^ p.ctr
		n++
	}
	engine.OpenCTRBatch(jobs[:n])
	n = 0
	for i := range frames {
		if f := &frames[i]; f.Err == nil {
			failed += k.admit(f, parts[i], jobs[n].OK)
			n++
		}
	}
	return failed
}
