package media

import (
	"fmt"
	"io"
)

// Options say how a Writer writes. The zero value writes the recording's own
// container, to a file if the io.Writer can seek.
type Options struct {
	// Live makes the Writer treat its io.Writer as a stream: nothing written is
	// changed later, and every item goes out as it comes. A writer that cannot
	// seek is a stream anyway, but only with Live are items not gathered.
	Live bool
	// Format is the container to write, 0 for that of the recording. The only
	// other choice is FormatMatroska, into which IVF, Ogg and byte streams are
	// converted without re-encoding.
	Format Format
	// Salvage is for the beginning of a recording whose rest is lost: Close then
	// completes what was cut through, such as an Ogg page with the packets that are
	// there. Without it, it is an error to close a recording in such a place.
	Salvage bool
}

// NewWriter returns a Writer of the recording that info, from a Reader, describes.
// It writes the items of that Reader, all of them, in order.
//
// A Matroska file gets an index if w is an io.Seeker that can seek; it must then
// not be opened for appending.
func NewWriter(w io.Writer, info *Info, opt Options) (Writer, error) {
	if opt.Format == 0 {
		opt.Format = info.Format
	}
	o := newOutput(w, opt.Live)
	if opt.Format == FormatMatroska && info.Format != FormatMatroska {
		c, err := newConverter(o, info, opt.Live)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	if opt.Format != info.Format {
		return nil, fmt.Errorf("media: %s cannot be written as %s", info.Format, opt.Format)
	}
	switch info.Format {
	case FormatMatroska:
		return newMatroskaWriter(o, info, opt.Live), nil
	case FormatIVF:
		return &ivfWriter{out: o, live: opt.Live}, nil
	case FormatOgg:
		return &oggWriter{pager: oggPager{out: o}, live: opt.Live, salvage: opt.Salvage}, nil
	case FormatH264, FormatH265:
		return &annexBWriter{format: info.Format, out: o, live: opt.Live}, nil
	}
	return nil, fmt.Errorf("media: %s cannot be written", info.Format)
}
