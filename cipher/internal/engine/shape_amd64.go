//go:build amd64 && !purego

package engine

import "unsafe"

// The assembly's idea of the layout, beyond run_amd64.go's.
var _ = [1]struct{}{}[unsafe.Offsetof(RunFrame{}.Err)-72]

//go:noescape
func shape(frames *RunFrame, count, extra int) (least, most, aad int, apart, errs bool)

// ShapeOf looks at a batch of at least one frame whose every Dst must have room for extra bytes
// more than its Src has.
func ShapeOf(frames []RunFrame, extra int) (s Shape) {
	s.Least, s.Most, s.AAD, s.Apart, s.Errs = shape(&frames[0], len(frames), extra)
	return s
}
