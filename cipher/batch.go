package cipher

import (
	"runtime"

	"github.com/chanseal/chanseal/cipher/internal/engine"
)

// SealBatch seals each frame's Src under its AAD, appends the result to its Dst, and
// sets its Err. The frames get consecutive counters from one reservation. It returns
// how many failed. No element's Dst room may overlap another's Dst room, nor any Src or AAD,
// its own among them: that panics before anything is sealed. The outcome is that of Seal on one frame
// after the other.
func (k *SealKey) SealBatch(frames []Frame) (failed int) {
	if len(frames) == 0 {
		return 0
	}
	box := k.box.Load()
	if box == nil {
		return failAll(frames, k.gone())
	}
	if c := box.gcm; c != nil && len(frames) <= engine.RunMost && len(frames[0].Src) <= engine.ShortText && k.sealShort(c, frames) {
		runtime.KeepAlive(box)
		return 0
	}
	// The frames are looked at before the counters are taken, for those that are most likely
	// next: behind the locked instruction that takes them nothing is read before all that came
	// before is done, the end of the batch before this one, too.
	n := uint64(len(frames))
	size := k.header.len(k.next.Load() + n - 1) // the last counter has the longest header
	shape := engine.ShapeOf(asRun(frames), size+k.suite.overhead)
	first, err := k.take(n)
	if err != nil {
		return k.sealSingly(frames)
	}
	if last := k.header.len(first + n - 1); last != size {
		size, shape = last, engine.ShapeOf(asRun(frames), last+k.suite.overhead)
	}
	if !shape.Apart {
		checkBatch(frames, func(i int) (least, most int) {
			n := k.header.len(first+uint64(i)) + len(frames[i].Src) + k.suite.overhead
			return n, n
		})
	} else if box.gcm != nil && k.sealMany(box.gcm, frames, first, size, shape) {
		runtime.KeepAlive(box)
		return 0
	}
	if box.runs() {
		return k.sealRuns(box, frames, first, shape.Apart)
	}
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
	k.header.putApart(out, ctr)
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
	// No header has less than one byte.
	shape := engine.ShapeOf(asRun(frames), -1-k.suite.overhead)
	if shape.Apart = shape.Apart && !k.suite.variable; !shape.Apart {
		checkBatch(frames, func(i int) (least, most int) {
			if _, size, err := ParseHeader(frames[i].Src); err == nil {
				most = max(0, k.room(len(frames[i].Src)-size))
			}
			return most, most
		})
	}
	if box := k.box.Load(); box != nil && box.runs() {
		return k.openRuns(frames, shape)
	}
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
// element, or its own Src or AAD. result tells the least and the most bytes that element i
// may write. Batches of no particular order are seen through by sorting.
func checkBatch(frames []Frame, result func(i int) (least, most int)) {
	if len(frames) <= sortAtMost && disjointSorted(frames, result) {
		return
	}
	for i := range frames {
		room := roomOf(frames, i, result)
		for j := range frames {
			f := &frames[j]
			switch read := overlaps(room, f.Src) || overlaps(room, f.AAD); {
			case i == j && read:
				panic(overlapMessage)
			case i != j && (read || overlaps(room, roomOf(frames, j, result))):
				panic(batchOverlapMessage)
			}
		}
	}
}

// sortAtMost is the longest batch whose rooms are sorted, in an array on the stack.
const sortAtMost = 32

// disjointSorted reports whether the rooms, sorted by where they lie, are apart from
// each other and from all that is read. False means only: look closer.
func disjointSorted(frames []Frame, result func(i int) (least, most int)) bool {
	var buf [sortAtMost]reach
	rooms := buf[:0]
	for i := range frames {
		var r reach
		if r.add(roomOf(frames, i, result)); r.end == 0 {
			continue
		}
		at := len(rooms)
		rooms = append(rooms, r)
		for ; at > 0 && rooms[at-1].begin > r.begin; at-- {
			rooms[at] = rooms[at-1]
		}
		rooms[at] = r
	}
	for i := 1; i < len(rooms); i++ {
		if rooms[i].begin < rooms[i-1].end {
			return false
		}
	}
	for i := range frames {
		if meets(rooms, frames[i].Src) || meets(rooms, frames[i].AAD) {
			return false
		}
	}
	return true
}

// meets reports whether b shares a byte with one of the rooms, which are sorted and
// apart.
func meets(rooms []reach, b []byte) bool {
	if len(b) == 0 {
		return false
	}
	begin := start(b)
	low, high := 0, len(rooms)
	for low < high { // for the first room that ends behind begin
		if mid := (low + high) / 2; rooms[mid].end <= begin {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low < len(rooms) && rooms[low].begin < begin+uintptr(len(b))
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
