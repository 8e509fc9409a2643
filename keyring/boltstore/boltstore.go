// Package boltstore keeps a ring in one file, a bbolt database
// (go.etcd.io/bbolt), that commands and long-running programs share.
//
// The file is opened and locked for each operation, so that no process keeps
// another one out for longer than an operation takes. Whatever is acknowledged
// was synced to disk. Before anything is read, the file's pages are checked: a
// truncated or altered file is refused with [keyring.ErrDamaged], is not
// written to, and is never taken for an empty one. Of a file of more than 2 MiB those
// pages are checked that lead to what is read; all of them before a process first
// writes to it, and whenever "not found" is to be said. So a ring of a million channels
// opens in a moment.
//
// What the file cannot tell is that it was replaced as a whole by an older copy of
// itself. A running [keyring.Ring] notices, by [keyring.ErrRollback], that a record it
// has read went back; a ring opened later by the witness beside the file, [SeenFile].
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/chanseal/chanseal/keyring"
)

const (
	// pageSize is the same on every machine, so that a file can move.
	pageSize = 4096
	// maxFile bounds a file in bytes: it is checked page by page.
	maxFile = 1 << 30
	// lazyFrom is the number of pages from which on not all of them are looked at
	// before each operation: 2 MiB, some thousand channels.
	lazyFrom = 512

	busyAfter = 5 * time.Second
	pollEvery = 250 * time.Millisecond
)

// Options of [Create] and [Open]; the zero value is a good choice.
type Options struct {
	// Exclusive opens the file once and keeps every other process out, until
	// Close: for a server.
	Exclusive bool
}

// Store is a [keyring.Store] in a file.
type Store struct {
	path   string
	noSync bool          // tests take the fsync away
	busy   time.Duration // how long to wait for other processes
	lazy   uint64        // lazyFrom
	turn   chan struct{} // one operation at a time; holds one token

	// Used with the token:
	kept   *handle // of an exclusive store
	sound  bool    // all pages of a large file were looked at once: it may be written
	proven uint64  // the transaction at which all records of a large file were there; 0 for none

	mu      sync.Mutex
	closed  bool
	changed chan struct{} // closed and replaced at every write of this Store
}

var (
	_ keyring.Store      = (*Store)(nil)
	_ keyring.Scrubber   = (*Store)(nil)
	_ keyring.Fencer     = (*Store)(nil)
	_ keyring.Revisioner = (*Store)(nil)
)

// Create makes an empty store at path, mode 0600. An existing file is an error
// (fs.ErrExist). The entry in the directory is not synced.
func Create(path string, o Options) (*Store, error) { return open(path, o, true, false) }

// Open opens the store at path. keyring.ErrNoRing says that there is no file.
func Open(path string, o Options) (*Store, error) { return open(path, o, false, false) }

func open(path string, o Options, create, noSync bool) (*Store, error) {
	return openLazy(path, o, create, noSync, lazyFrom)
}

func openLazy(path string, o Options, create, noSync bool, lazy uint64) (*Store, error) {
	s := &Store{path: path, noSync: noSync, busy: busyAfter, lazy: lazy, turn: make(chan struct{}, 1), changed: make(chan struct{})}
	s.turn <- struct{}{}
	var h *handle
	err := guard(func() (err error) {
		if create {
			if h, err = s.attach(os.O_CREATE|os.O_EXCL, false); err == nil {
				err = h.db.Update(initialise)
			}
			return err
		}
		if h, err = s.wait(context.Background(), !o.Exclusive); err != nil {
			return err
		}
		return h.db.View(func(tx *bbolt.Tx) error {
			v := &view{Tx: tx, h: h, s: s}
			if h.tree == nil {
				_, err := scan(v)
				return err
			}
			_, err := v.state()
			return err
		})
	})
	if err != nil {
		if h != nil {
			h.close(err)
		}
		return nil, s.wrap(err)
	}
	if o.Exclusive {
		s.kept = h
		return s, nil
	}
	return s, s.wrap(h.close(nil))
}

// handle is an open, locked and checked file.
type handle struct {
	db   *bbolt.DB
	file *os.File
	tree *tree    // of a large file: its pages are looked at as they are read
	free []uint64 // pages that hold nothing; of a large file nil until all pages were looked at
}

var errPanic = errors.New("inconsistent pages")

// close unlocks the file. After a panic, bbolt's own locks may be held: then it is
// unlocked and closed behind bbolt's back.
func (h *handle) close(why error) error {
	if h.db == nil || errors.Is(why, errPanic) {
		unlock(h.file)
		return h.file.Close()
	}
	return h.db.Close()
}

// guard turns what a damaged file makes of bbolt, panics and faults in mapped
// memory, into ErrDamaged. The page check should have found all of it before.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v: %w", errPanic, p, keyring.ErrDamaged)
		}
	}()
	return do()
}

// attach opens, locks and checks the file, without waiting for the lock.
func (s *Store) attach(flags int, readOnly bool) (*handle, error) {
	h := &handle{}
	err := guard(func() (err error) {
		h.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout:      time.Nanosecond, // one try
			ReadOnly:     readOnly,
			PageSize:     pageSize,
			NoSync:       s.noSync,
			NoGrowSync:   s.noSync,
			NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				// bbolt would make a missing file, and fill an empty one.
				f, err := os.OpenFile(name, flag&^os.O_CREATE|flags, mode)
				if err != nil {
					return nil, err
				}
				h.file = f
				if flags&os.O_CREATE == 0 {
					err = checkSize(f)
				}
				return f, err
			},
		})
		if err != nil {
			return err
		}
		h.db.AllocSize = 0 // the file ends where its pages do, so that one that was cut shows
		if flags&os.O_CREATE == 0 {
			err = s.look(h)
		}
		return err
	})
	if err == nil {
		return h, nil
	}
	if h.db != nil && !errors.Is(err, errPanic) {
		h.db.Close()
	} else if h.file != nil {
		unlock(h.file)
		h.file.Close() // a second time at worst
	}
	return nil, err
}

// look checks all pages of a file, or, if it is large, as many as tell that much.
func (s *Store) look(h *handle) error {
	t, err := s.readTree(h.file)
	if err != nil {
		return err
	}
	if h.tree, h.free = nil, nil; t.high > s.lazy {
		h.tree = t
		return nil
	}
	h.free, err = t.check()
	return err
}

func (s *Store) readTree(f *os.File) (*tree, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if s.noSync { // a control of the tests, of which bbolt does not set the size
		size = maxFile
	}
	return readTree(f, size)
}

func checkSize(f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("not a regular file: %w", keyring.ErrDamaged)
	case info.Size() < 4*pageSize:
		return fmt.Errorf("cut to %d bytes: %w", info.Size(), keyring.ErrDamaged)
	case info.Size() > maxFile:
		return fmt.Errorf("%d bytes: %w", info.Size(), keyring.ErrTooLarge)
	}
	return nil
}

// wait is attach that waits for other processes.
func (s *Store) wait(ctx context.Context, readOnly bool) (*handle, error) {
	deadline := time.Now().Add(s.busy)
	for {
		h, err := s.attach(0, readOnly)
		if !errors.Is(err, berrors.ErrTimeout) {
			return h, err
		}
		if time.Now().After(deadline) {
			return nil, keyring.ErrBusy
		}
		// Not all at the same moment again.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond + rand.N(8*time.Millisecond)):
		}
	}
}

// wrap says which file an error is about.
func (s *Store) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("boltstore: %s does not exist: %w", s.path, keyring.ErrNoRing)
	case errors.Is(err, keyring.ErrBusy):
		return fmt.Errorf("boltstore: %s is held by another process: %w", s.path, err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("boltstore: %s: %w: %w", s.path, err, keyring.ErrDamaged)
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) { // it names the path as well
		return fmt.Errorf("boltstore: %s %s: %w", pe.Op, s.path, pe.Err)
	}
	return fmt.Errorf("boltstore: %s: %w", s.path, err)
}

// do runs one operation on the file.
func (s *Store) do(ctx context.Context, readOnly bool, work func(*handle) error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.turn:
	}
	defer func() { s.turn <- struct{}{} }()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isClosed() {
		return keyring.ErrClosed
	}
	h := s.kept
	if h == nil {
		// bbolt reads the list of free pages before anybody can look at it.
		if err := s.lookFirst(ctx, readOnly); err != nil {
			return s.wrap(err)
		}
		var err error
		if h, err = s.wait(ctx, readOnly); err != nil {
			return s.wrap(err)
		}
	}
	err := guard(func() error {
		if h.tree != nil && s.kept != nil { // it was written since
			if err := s.look(h); err != nil {
				return err
			}
		}
		if h.tree != nil && !readOnly && !s.sound {
			if _, err := h.tree.check(); err != nil {
				return err
			}
			s.sound = true
		}
		return work(h)
	})
	if s.kept == nil {
		if closed := h.close(err); err == nil && closed != nil {
			err = closed
		}
	}
	switch err {
	case nil:
		if !readOnly {
			s.tell()
		}
		return nil
	case keyring.ErrNotFound, keyring.ErrConflict, keyring.ErrTaken, keyring.ErrFenced, keyring.ErrCompacted, keyring.ErrTooLarge:
		return err
	}
	return s.wrap(err)
}

// lookFirst looks at all pages of a large file once, before it is opened for writing.
func (s *Store) lookFirst(ctx context.Context, readOnly bool) error {
	if readOnly || s.sound {
		return nil
	}
	if info, err := os.Stat(s.path); err != nil || uint64(info.Size()) <= s.lazy*pageSize {
		return err
	}
	h, err := s.wait(ctx, true)
	if err != nil {
		return err
	}
	err = guard(func() error {
		if h.tree == nil { // all were looked at, and are each time
			return nil
		}
		_, err := h.tree.check()
		s.sound = err == nil
		return err
	})
	return errors.Join(err, h.close(err))
}

func (s *Store) view(ctx context.Context, work func(*view) error) error {
	return s.do(ctx, true, func(h *handle) error {
		return h.db.View(func(tx *bbolt.Tx) error { return work(&view{tx, h, s}) })
	})
}

func (s *Store) update(ctx context.Context, work func(*view) error) error {
	return s.do(ctx, false, func(h *handle) error {
		err := h.db.Update(func(tx *bbolt.Tx) error { return work(&view{tx, h, s}) })
		if h.tree == nil || err != nil {
			return err
		}
		// What was there before is there still: this transaction looked after itself.
		if s.proven == h.tree.txid {
			s.proven++
		}
		return nil
	})
}

// tell wakes the watchers in this process.
func (s *Store) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close implements [keyring.Store]. It waits for the operation that runs.
func (s *Store) Close() error {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	if s.isClosed() {
		return nil
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.tell()
	if s.kept != nil {
		return s.wrap(s.kept.close(nil))
	}
	return nil
}

// Scrub implements [keyring.Scrubber]: it writes zeros over the pages that hold
// nothing any more, and syncs. What the file system or the disk keeps elsewhere
// is out of its reach.
func (s *Store) Scrub(ctx context.Context) error {
	return s.do(ctx, false, func(h *handle) error {
		free := h.free
		if s.kept != nil || h.tree != nil { // it was checked long ago, or not yet
			t, err := s.readTree(h.file)
			if err != nil {
				return err
			}
			if free, err = t.check(); err != nil {
				return err
			}
		}
		zero, page := make([]byte, pageSize), make([]byte, pageSize)
		for _, id := range free {
			at := int64(id) * pageSize
			if _, err := h.file.ReadAt(page, at); err != nil {
				return err
			}
			if string(page) == string(zero) {
				continue
			}
			if _, err := h.file.WriteAt(zero, at); err != nil {
				return err
			}
		}
		return h.file.Sync()
	})
}
