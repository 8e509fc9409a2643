package keyring

import (
	"context"
	"iter"
)

// Limits of a [Store].
const (
	MaxKey   = 255     // bytes of a key, a prefix, a set's or a member's name
	MaxValue = 5 << 18 // bytes of a value: under the 1.5 MiB that etcd takes
)

// Store keeps a ring's records. It sees sealed records and keyed hashes only.
//
// Whatever a method acknowledged by returning nil has reached stable storage:
// neither a killed process nor a power cut takes it back. A method that
// returned an error other than ErrConflict, ErrNotFound, ErrTaken, ErrFenced or
// ErrTooLarge may or may not have done its work.
//
// All methods may be called from several goroutines and, on the same storage,
// from several processes. Package keyringtest examines implementations.
type Store interface {
	// Get returns the record under key; ErrNotFound if there is none. A store
	// that cannot tell "none" from "lost" must return ErrDamaged.
	Get(ctx context.Context, key string) (Entry, error)

	// CAS writes value under key if the record there still has revision rev,
	// and returns its new revision, larger than all before it. With rev 0 it
	// creates the record. ErrConflict says that the record has another
	// revision, or exists, or is gone. The store copies value.
	CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error)

	// Delete removes the record under key if it has revision rev, otherwise
	// returns ErrConflict.
	Delete(ctx context.Context, key string, rev uint64) error

	// Take records member in set, for ever, durably; ErrTaken if it was there.
	Take(ctx context.Context, set, member string) error

	// Drop forgets a whole set. It is no error if there is none.
	Drop(ctx context.Context, set string) error

	// List returns the records whose keys begin with prefix, in the order of
	// their keys, and the store's revision at that moment.
	List(ctx context.Context, prefix string) ([]Entry, uint64, error)

	// Watch yields an Event for each key with prefix that changed after the
	// given revision, until ctx is done (then it just ends) or an error is
	// yielded (then it ends, too). Several changes of one key may come as one
	// Event, of the newest. A change made by another process is seen within a
	// second. From revision 0 on, every record there is comes first. To go on
	// later, Watch from the last Event's revision, or from that of a List. ErrCompacted
	// says that this revision is too old, or that the store went back behind it: List again.
	Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[Event, error]

	// Close releases what the store holds, and ends every Watch.
	Close() error
}

// Entry is a record of a [Store].
type Entry struct {
	Key   string
	Value []byte // the caller's own copy
	Rev   uint64 // never 0
}

// Event says that the record under Key changed.
type Event struct {
	Key     string
	Rev     uint64 // of the change
	Deleted bool
}

// Pager is a [Store] that lists in pages, so that not all records need to be in
// memory at once.
type Pager interface {
	// Page returns up to limit records whose keys begin with prefix and come
	// after the key after ("" is before all), in the order of their keys, and
	// whether there are more. Pages are not of one moment.
	Page(ctx context.Context, prefix, after string, limit int) (page []Entry, more bool, err error)
}

// Fencer is a [Store] that lets a write depend on a second record.
type Fencer interface {
	// CASFenced is CAS that writes only if the record under fence has revision
	// at, too; otherwise it returns ErrFenced. Both are looked at in one step
	// with the write.
	CASFenced(ctx context.Context, key string, value []byte, rev uint64, fence string, at uint64) (uint64, error)
}

// Revisioner is a [Store] that tells its revision without listing anything.
type Revisioner interface {
	Revision(ctx context.Context) (uint64, error)
}

// Scrubber is a [Store] that can overwrite what it no longer needs. A Ring calls
// Scrub after an epoch was forgotten.
type Scrubber interface {
	Scrub(ctx context.Context) error
}
