package media

import (
	"errors"
	"fmt"
	"io"

	"github.com/chanseal/chanseal/media/ebml"
)

var (
	// ErrDamaged says that the bytes are not what their container's
	// specification allows.
	ErrDamaged = errors.New("damaged")
	// ErrTooLarge says that something in the recording is over a limit of this
	// package; the error names it.
	ErrTooLarge = errors.New("over a limit")
	// ErrUnsupported says that the recording may be sound, but is of a kind that
	// this package does not read or write.
	ErrUnsupported = errors.New("unsupported")
)

// An Error says what is wrong with a recording and where. It wraps [ErrDamaged],
// [ErrTooLarge], [ErrUnsupported], or io.ErrUnexpectedEOF for a recording that
// was cut off.
type Error struct {
	Format Format
	Offset int64 // byte of the stream where the offending part begins, or where the stream ended
	What   string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("media: %s: %s at byte %d", e.Format, e.What, e.Offset)
}

// Unwrap returns the class of the error.
func (e *Error) Unwrap() error { return e.Err }

// An UnsupportedError names a container or codec that this package does not
// read, or that it cannot convert, and what to do. It wraps [ErrUnsupported].
type UnsupportedError struct {
	What string // such as "MP4 or QuickTime"
	Hint string // a command that helps, or "" if none is known
}

func (e *UnsupportedError) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("media: %s is not supported", e.What)
	}
	return fmt.Sprintf("media: %s is not supported; convert it without re-encoding: %s", e.What, e.Hint)
}

// Unwrap returns ErrUnsupported.
func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// remux is the command that puts any container's streams into Matroska as they are.
const remux = "ffmpeg -i IN -map 0 -c copy OUT.mkv"

func (f Format) String() string {
	switch f {
	case FormatMatroska:
		return "matroska"
	case FormatIVF:
		return "ivf"
	case FormatOgg:
		return "ogg"
	case FormatH264:
		return "h264"
	case FormatH265:
		return "h265"
	}
	return fmt.Sprintf("format %d", uint8(f))
}

func damaged(f Format, offset int64, format string, args ...any) error {
	return &Error{Format: f, Offset: offset, What: fmt.Sprintf(format, args...), Err: ErrDamaged}
}

// unconvertible is for what a converter finds inside frames, whose place in the
// stream it does not know.
func unconvertible(f Format, what string) error {
	return fmt.Errorf("media: %s: %s: %w", f, what, ErrDamaged)
}

func tooLarge(f Format, offset int64, format string, args ...any) error {
	return &Error{Format: f, Offset: offset, What: fmt.Sprintf(format, args...), Err: ErrTooLarge}
}

func unsupported(offset int64, format string, args ...any) error {
	return &Error{Format: FormatMatroska, Offset: offset, What: fmt.Sprintf(format, args...) + " is not supported,", Err: ErrUnsupported}
}

func cut(f Format, offset int64) error {
	return &Error{Format: f, Offset: offset, What: "recording is cut off", Err: io.ErrUnexpectedEOF}
}

// fromEBML turns an error of package ebml, whose offsets count from base, into
// one of this package. Errors of the source pass as they are.
func fromEBML(err error, base int64) error {
	var e *ebml.Error
	if !errors.As(err, &e) {
		return err
	}
	class := e.Err
	switch class {
	case ebml.ErrMalformed:
		class = ErrDamaged
	case ebml.ErrTooLarge:
		class = ErrTooLarge
	case io.ErrUnexpectedEOF:
		return cut(FormatMatroska, base+e.Offset)
	}
	return &Error{Format: FormatMatroska, Offset: base + e.Offset, What: e.What, Err: class}
}
