package media

import (
	"bufio"
	"io"
)

// Options say how a Writer writes. The zero value writes the recording's own
// container, to a file if the io.Writer can seek.
type Options struct {
	// Live makes the Writer treat its io.Writer as a stream: nothing written is
	// changed later, and every item goes out as it comes. A writer that cannot
	// seek is a stream anyway.
	Live bool
	// Format is the container to write, 0 for that of the recording. The only
	// other choice is FormatMatroska.
	Format Format
}

// NewWriter returns a Writer of the recording that info, from a Reader, describes.
func NewWriter(w io.Writer, info *Info, opt Options) (Writer, error) {
	o := newOutput(w, opt.Live)
	return newMatroskaWriter(o, info), nil
}

// NewReader returns a Reader of the recording in r. It knows the container by its
// first bytes.
func NewReader(r io.Reader) (Reader, error) {
	return newMatroskaReader(bufio.NewReader(r))
}
