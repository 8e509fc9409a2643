package sealedfile

import (
	"errors"
	"fmt"
)

// The reasons why a file is refused. An [Error] wraps one of them.
var (
	// ErrNotSealed: not a sealed media file at all.
	ErrNotSealed = errors.New("not a sealed media file")
	// ErrVersion: a sealed media file of a later format.
	ErrVersion = errors.New("a sealed media file of a version that this program does not know")
	// ErrKey: the header record does not authenticate: the file was sealed for
	// another channel, or its beginning was changed.
	ErrKey = errors.New("sealed with another key, or its beginning was changed")
	// ErrAltered: something after the header record was changed.
	ErrAltered = errors.New("changed since it was sealed")
	// ErrCut: the file ends before its end record.
	ErrCut = errors.New("cut off before its end")
	// ErrMissing: the counters jump forward.
	ErrMissing = errors.New("frames are missing")
	// ErrMoved: a counter came before.
	ErrMoved = errors.New("a frame was moved or repeated")
	// ErrForeign: a record or frame bears a key ID that is not this file's.
	ErrForeign = errors.New("a frame of another recording was put in")
)

// ErrWeakTag: the suite's tags have fewer than 64 bits. They suit single audio packets,
// not files, which can be tried at leisure.
var ErrWeakTag = errors.New("sealedfile: the suite's tag has fewer than 64 bits, which is too weak for files")

// ErrSharedKey: somebody else sealed with the Writer's key meanwhile.
var ErrSharedKey = errors.New("sealedfile: the seal key is in use elsewhere, a file needs one of its own")

// Error says where a sealed file was refused and why.
type Error struct {
	Reason  error  // one of the reasons above
	Offset  int64  // byte in the file at which the offending element begins
	Frames  uint64 // frames that authenticated before it
	Detail  string // what was seen there; may be empty
	Wrapped error  // of the reader underneath, or cipher.ErrUnknownKey; may be nil
}

// Error names the reason and the place.
func (e *Error) Error() string {
	s := fmt.Sprintf("sealedfile: %v (at byte %d, after %d frames)", e.Reason, e.Offset, e.Frames)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns the reason and what lies beneath it.
func (e *Error) Unwrap() []error {
	if e.Wrapped == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Wrapped}
}
