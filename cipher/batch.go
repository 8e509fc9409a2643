package cipher

// SealBatch seals each frame's Src under its AAD, appends the result to its Dst, and
// sets its Err. The frames get consecutive counters from one reservation. It returns
// how many failed. No element's Dst room may overlap another's Dst room, Src or AAD:
// that panics before anything is sealed. The outcome is that of Seal on one frame
// after the other.
func (k *SealKey) SealBatch(frames []Frame) (failed int) {
	if len(frames) == 0 {
		return 0
	}
	box := k.box.Load()
	if box == nil {
		return failAll(frames, k.gone())
	}
	first, err := k.take(uint64(len(frames)))
	if err != nil {
		return k.sealSingly(frames)
	}
	checkBatch(frames, func(i int) (least, most int) {
		n := k.header.len(first+uint64(i)) + len(frames[i].Src) + k.suite.overhead
		return n, n
	})
	for i := range frames {
		f := &frames[i]
		if f.Err = k.sealBatched(box, f, first+uint64(i)); f.Err != nil {
			failed++
		}
	}
	return failed
}

func (k *SealKey) sealBatched(box *keyBox, f *Frame, ctr uint64) error {
	if uint64(len(f.Src)) > maxFrame {
		return errFrameTooLong
	}
	if err := k.spend(len(f.Src)); err != nil {
		return err
	}
	size := k.header.len(ctr)
	whole, out := extend(f.Dst, size+len(f.Src)+k.suite.overhead, f.Src, f.AAD)
	n, err := k.sealTo(box, out, f.Src, f.AAD, ctr, size)
	if err != nil {
		return err
	}
	f.Dst = whole[:len(f.Dst)+n]
	return nil
}

// sealSingly is for when the counters do not suffice for the whole batch.
func (k *SealKey) sealSingly(frames []Frame) (failed int) {
	checkBatch(frames, func(i int) (least, most int) {
		n := len(frames[i].Src)
		return k.header.size + n + k.suite.overhead, n + k.Overhead()
	})
	for i := range frames {
		f := &frames[i]
		if f.Dst, f.Err = k.Seal(f.Dst, f.Src, f.AAD); f.Err != nil {
			failed++
		}
	}
	return failed
}

// OpenBatch opens each frame's Src under its AAD, appends the result to its Dst, and
// sets its Err. It returns how many failed. The rule on overlap is SealBatch's, and
// the outcome that of Open on one frame after the other.
func (k *OpenKey) OpenBatch(frames []Frame) (failed int) {
	if len(frames) == 0 {
		return 0
	}
	checkBatch(frames, func(i int) (least, most int) {
		if _, size, err := ParseHeader(frames[i].Src); err == nil {
			most = max(0, k.room(len(frames[i].Src)-size))
		}
		return most, most
	})
	for i := range frames {
		f := &frames[i]
		if f.Dst, f.Err = k.Open(f.Dst, f.Src, f.AAD); f.Err != nil {
			failed++
		}
	}
	return failed
}

func failAll(frames []Frame, err error) int {
	for i := range frames {
		frames[i].Err = err
	}
	return len(frames)
}

const batchOverlapMessage = "cipher: the Dst of a batch element overlaps another element"

// checkBatch panics when the part of an element's Dst that may be written meets another
// element. result tells the least and the most bytes that element i may write. Batches
// cut in order out of one or two buffers, as they come in practice, are seen through
// in one pass.
func checkBatch(frames []Frame, result func(i int) (least, most int)) {
	if disjointInOrder(frames, result) {
		return
	}
	for i := range frames {
		room := roomOf(frames, i, result)
		for j := range frames {
			f := &frames[j]
			if i != j && (overlaps(room, f.Src) || overlaps(room, f.AAD) || overlaps(room, roomOf(frames, j, result))) {
				panic(batchOverlapMessage)
			}
		}
	}
}

// disjointInOrder reports whether the rooms follow each other in memory and all of
// them lie on one side of everything that is read. False means only: look closer.
func disjointInOrder(frames []Frame, result func(i int) (least, most int)) bool {
	var writes, reads reach
	for i := range frames {
		room := roomOf(frames, i, result)
		if len(room) > 0 && start(room) < writes.end {
			return false
		}
		writes.add(room)
		reads.add(frames[i].Src)
		reads.add(frames[i].AAD)
	}
	return writes.end <= reads.begin || reads.end <= writes.begin
}

// reach is the part of memory between the first and the last of some slices.
type reach struct{ begin, end uintptr }

func (r *reach) add(b []byte) {
	if len(b) == 0 {
		return
	}
	s := start(b)
	if r.end == 0 || s < r.begin {
		r.begin = s
	}
	r.end = max(r.end, s+uintptr(len(b)))
}

// roomOf is what may be written of element i's Dst; nothing if it has not even room
// for the least, since then new memory is allocated.
func roomOf(frames []Frame, i int, result func(i int) (least, most int)) []byte {
	dst := frames[i].Dst
	least, most := result(i)
	spare := cap(dst) - len(dst)
	if spare < least {
		return nil
	}
	return dst[len(dst) : len(dst)+min(spare, most)]
}
