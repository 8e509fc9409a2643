// Package window reads a stream through a window that the parser moves along it.
//
// The window grows to hold what the parser asks for, but only as the bytes
// arrive: asking for a length that a damaged file merely states allocates no
// more than twice what the file holds.
package window

import (
	"io"
)

// A Window is the part of a stream that has been read and not yet been passed.
type Window struct {
	src    io.Reader
	buf    []byte
	r, w   int
	offset int64
	err    error
}

// New returns a Window on src with a buffer of size bytes, 64 at least.
func New(src io.Reader, size int) *Window {
	return &Window{src: src, buf: make([]byte, max(size, 64))}
}

// Offset returns the place in the stream of the window's first byte.
func (w *Window) Offset() int64 { return w.offset }

// Bytes returns what is in the window. It is valid until the next Fill; the
// parser may write to it.
func (w *Window) Bytes() []byte { return w.buf[w.r:w.w] }

// Cap returns the bytes the buffer takes.
func (w *Window) Cap() int { return len(w.buf) }

// Fill sees to it that the window holds n bytes at least. It reads no further
// than the source gives in the call that brings the n-th. If the source ends or
// fails before, Fill returns its error, io.EOF at the end, and what there was of
// the n bytes is in the window.
func (w *Window) Fill(n int) error { return w.fill(n, n) }

// fill fills the window to n bytes; where the buffer must grow it grows towards
// want bytes, twofold at most.
func (w *Window) fill(n, want int) error {
	if w.w-w.r >= n {
		return nil
	}
	if w.r > 0 {
		w.w = copy(w.buf, w.buf[w.r:w.w])
		w.r = 0
	}
	for idle := 0; w.w < n; {
		if w.err != nil {
			return w.err
		}
		if w.w == len(w.buf) { // full of bytes that did arrive
			bigger := make([]byte, min(2*len(w.buf), max(want, len(w.buf)+4096)))
			copy(bigger, w.buf)
			w.buf = bigger
		}
		m, err := w.src.Read(w.buf[w.w:])
		w.w += m
		w.err = err
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			w.err = io.ErrNoProgress
		}
	}
	return nil
}

// More reads once from the source and so makes the window longer, whatever is
// in it already. It returns as Fill does.
func (w *Window) More() error {
	n := w.w - w.r + 1
	return w.fill(n, 2*n)
}

// Take moves the window n bytes on, which must be in it, and returns them. They are
// valid until the next Fill; the parser may write to them.
func (w *Window) Take(n int) []byte {
	b := w.buf[w.r : w.r+n : w.r+n]
	w.r += n
	w.offset += int64(n)
	return b
}
