// Package audit keeps a record of who had access: append-only, chained by hashes, on
// stable storage before an entry counts.
//
// The record is a file of JSON objects, one a line. The last member of each is
//
//	hash = SHA-256("chanseal audit 1" ‖ hash of the line before ‖ the line up to ,"hash")
//
// with 32 zero bytes before the first line. A second file, the head, holds the number and
// hash of the newest entry, so that a record whose end was cut off is noticed, too. Who
// can write both files can rewrite both: note the head elsewhere from time to time and
// give it to [Verify].
//
// Persons and channels appear under opaque IDs: a keyed hash, whose key lies in a third
// file. Who has the key finds the entries of a name; who has not learns nothing from
// guessing names.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxLine bounds a line of the record in bytes.
const MaxLine = 4096

var (
	// ErrDamaged says that a record was altered or cut. A *DamageError says where.
	ErrDamaged = errors.New("audit: the record was altered or cut")
	// ErrBusy says that another process writes the record.
	ErrBusy = errors.New("audit: another process writes this record")
	// ErrClosed says that the record was closed.
	ErrClosed = errors.New("audit: closed")
)

// DamageError says where a record stops being what was written. It is ErrDamaged.
type DamageError struct {
	Line   uint64 // counted from 1; also the number of the entry that is wrong or missing
	Offset int64  // of the line's first byte
	What   string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("audit: line %d (byte %d): %s", e.Line, e.Offset, e.What)
}

// Unwrap returns ErrDamaged.
func (e *DamageError) Unwrap() error { return ErrDamaged }

// Entry is one line of the record. Seq and Time are set by Append. No field may hold a
// secret, a name or an address: Actor, Channel and Subject are what [Log.ID] returns.
type Entry struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Event   string    `json:"event"` // enter, hand-out, rotate, …
	Actor   string    `json:"actor,omitempty"`
	Channel string    `json:"channel,omitempty"`
	Subject string    `json:"subject,omitempty"` // whom or what it was done to
	Epoch   uint64    `json:"epoch,omitempty"`
	Outcome string    `json:"outcome,omitempty"` // "refused" or "failed"; empty: done
	Reason  string    `json:"reason,omitempty"`
}

// Head names the newest entry of a record: all before it are bound to it.
type Head struct {
	Seq  uint64
	Hash [sha256.Size]byte
}

// String returns the form that ParseHead reads: NUMBER:HASH.
func (h Head) String() string { return fmt.Sprintf("%d:%x", h.Seq, h.Hash) }

// ParseHead reads what String wrote.
func ParseHead(s string) (h Head, err error) {
	seq, hash, ok := strings.Cut(s, ":")
	if !ok {
		return h, fmt.Errorf("audit: a head is NUMBER:HASH, not %q", s)
	}
	if h.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
		return h, fmt.Errorf("audit: %q is no entry's number", seq)
	}
	b, err := hex.DecodeString(hash)
	if err != nil || len(b) != len(h.Hash) {
		return h, errors.New("audit: the head's hash is not 64 hexadecimal digits")
	}
	copy(h.Hash[:], b)
	return h, nil
}

const hashField = `,"hash":"`

// tail is the length of ,"hash":"…"} at the end of a line.
const tail = len(hashField) + 2*sha256.Size + len(`"}`)

func chain(prev [sha256.Size]byte, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte("chanseal audit 1"))
	h.Write(prev[:])
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// appendLine appends the entry's line, newline included, and returns the new head.
func appendLine(b []byte, e Entry, prev Head) ([]byte, Head, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return b, prev, fmt.Errorf("audit: %w", err)
	}
	body = body[:len(body)-1]
	if len(body)+tail > MaxLine {
		return b, prev, fmt.Errorf("audit: an entry of more than %d bytes", MaxLine)
	}
	next := Head{e.Seq, chain(prev.Hash, body)}
	b = append(append(b, body...), hashField...)
	b = hex.AppendEncode(b, next.Hash[:])
	return append(b, "\"}\n"...), next, nil
}

// parseLine checks a line, without newline, that follows prev.
func parseLine(line []byte, prev Head) (e Entry, next Head, what string) {
	at := len(line) - tail
	if at < 2 || string(line[at:at+len(hashField)]) != hashField || string(line[len(line)-2:]) != `"}` {
		return e, prev, "is not an entry"
	}
	body, digits := line[:at], line[at+len(hashField):len(line)-2]
	next.Hash = chain(prev.Hash, body)
	if hex.EncodeToString(next.Hash[:]) != string(digits) {
		return e, prev, "was altered, or does not follow the line before"
	}
	if err := json.Unmarshal(append(body[:at:at], '}'), &e); err != nil {
		return e, prev, "is not an entry"
	}
	if next.Seq = e.Seq; e.Seq != prev.Seq+1 {
		return e, prev, fmt.Sprintf("has number %d, not %d", e.Seq, prev.Seq+1)
	}
	return e, next, ""
}
