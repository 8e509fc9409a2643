package engine

import "unsafe"

// Shape is what is known of a batch by looking at its frames once.
type Shape struct {
	// Apart: every Dst has room, the rooms follow each other in memory, and nothing that
	// is read, Src and AAD, lies between the first one's begin and the last one's end. Then no frame meets
	// another one, nor itself, and nothing is allocated. It is how batches come in practice;
	// false means only: look closer, and nothing else here is known.
	Apart       bool
	Errs        bool // an Err is not nil
	Least, Most int  // bytes of a Src
	AAD         int  // most bytes of an AAD
}

// shapeOf is ShapeOf in Go.
func shapeOf(frames []RunFrame, extra int) (s Shape) {
	first, last := &frames[0], &frames[len(frames)-1]
	begin := start(first.Dst) + uintptr(len(first.Dst))
	// n bytes at p meet the length bytes at begin if p+n-begin-1, which wraps, is below length+n-1. For n of 0
	// it may say so wrongly.
	length := start(last.Dst) + uintptr(len(last.Dst)+len(last.Src)+extra) - begin
	before, less := begin+1, length-1
	least, most, aadMost, end := len(first.Src), 0, 0, uintptr(0)
	for i := range frames {
		f := &frames[i]
		n, aad, room := len(f.Src), len(f.AAD), start(f.Dst)+uintptr(len(f.Dst))
		if cap(f.Dst)-len(f.Dst) < n+extra || room < end ||
			start(f.Src)+uintptr(n)-before < less+uintptr(n) ||
			start(f.AAD)+uintptr(aad)-before < less+uintptr(aad) {
			return Shape{}
		}
		end = room + uintptr(n+extra)
		least, most, aadMost = min(least, n), max(most, n), max(aadMost, aad)
		s.Errs = s.Errs || f.Err != nil
	}
	s.Apart, s.Least, s.Most, s.AAD = least+extra >= 0, least, most, aadMost
	return s
}

// start is the address of a slice's first byte. It is only compared.
func start(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
