package media

import (
	"errors"
	"fmt"
	"io"
)

// outputBuffer is how much a Writer gathers before it writes, in bytes.
const outputBuffer = 256 << 10

// output gathers small writes into large ones and, on something that can seek,
// changes bytes that were written before. Errors stick.
type output struct {
	w      io.Writer
	seeker io.Seeker // nil: a stream, nothing can be changed
	origin int64     // where in the file our first byte is
	base   int64     // bytes written to w
	buf    []byte
	err    error
}

// newOutput returns an output to w, which is a stream if live is set or w cannot
// seek (as a pipe that is an *os.File).
func newOutput(w io.Writer, live bool) *output {
	o := &output{w: w, buf: make([]byte, 0, outputBuffer)}
	if s, ok := w.(io.Seeker); ok && !live {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil {
			o.seeker, o.origin = s, at
		}
	}
	return o
}

// offset returns how many bytes were given to the output so far.
func (o *output) offset() int64 { return o.base + int64(len(o.buf)) }

func (o *output) write(p []byte) {
	if len(o.buf)+len(p) > cap(o.buf) {
		o.flush()
		if len(p) >= cap(o.buf) {
			o.raw(p)
			return
		}
	}
	o.buf = append(o.buf, p...)
}

func (o *output) flush() {
	if len(o.buf) > 0 {
		o.raw(o.buf)
		o.buf = o.buf[:0]
	}
}

func (o *output) raw(p []byte) {
	if o.err != nil {
		return
	}
	n, err := o.w.Write(p)
	o.base += int64(n)
	if o.err = err; err == nil && n < len(p) {
		o.err = io.ErrShortWrite
	}
}

// patch changes the bytes at offset, all of which were given to the output before.
func (o *output) patch(offset int64, p []byte) {
	if offset >= o.base {
		copy(o.buf[offset-o.base:], p)
		return
	}
	o.flush()
	if o.err != nil {
		return
	}
	if _, o.err = o.seeker.Seek(o.origin+offset, io.SeekStart); o.err != nil {
		return
	}
	if _, o.err = o.w.Write(p); o.err != nil {
		return
	}
	_, o.err = o.seeker.Seek(o.origin+o.base, io.SeekStart)
}

// done ends the writing of an item: a live output keeps nothing back.
func (o *output) done(live bool) error {
	if live {
		o.flush()
	}
	return o.err
}

var errClosed = errors.New("media: writer is closed")

// closeOutput writes what an output holds back and makes its Writer refuse what
// comes after.
func closeOutput(o *output, err *error) error {
	if *err != nil {
		return *err
	}
	o.flush()
	if *err = o.err; *err == nil {
		*err = errClosed
		return nil
	}
	return *err
}

// errNotOurs is for items that no Reader of the format returns.
func errNotOurs(f Format) error {
	return fmt.Errorf("media: %s: item that no reader of this format returns", f)
}
