package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chanseal/chanseal/internal/clock"
)

// keySuffix names the file with the key of opaque IDs.
const keySuffix = ".key"

// Log is a record that is open for writing. It is safe for concurrent use; entries that
// are appended at the same time share one fsync.
type Log struct {
	key    []byte
	file   file
	head   *os.File
	clock  *clock.Clock
	behind time.Duration // the newest entry that was there, by the clock

	mu      sync.Mutex
	last    Head // of what was appended
	newest  time.Time
	buf     []byte // appended, not written yet
	waiting []chan error
	writing bool
	err     error // the first; nothing is written after it
	idle    *sync.Cond
}

// wall is the clock of records; nil is the system's. Tests replace it.
var wall func() time.Time

// file is the part of *os.File that the Log writes with.
type file interface {
	Write([]byte) (int, error)
	Sync() error
	Close() error
}

// Open opens the record at path and makes it, its head and its key if there is none. A
// record that is damaged is refused. An entry that its writer could not finish is cut
// off, and an entry "recovered" says so. No entry's time is before that of the one above,
// but for an entry "clock": the clock was set back before the record was opened, or was
// wrong then.
func Open(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	l, torn, err := open(path, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	var first []Entry
	if torn > 0 {
		first = append(first, Entry{Event: "recovered", Reason: fmt.Sprintf("%d bytes of an entry that was not finished", torn)})
	}
	if l.behind > 0 {
		first = append(first, Entry{Event: "clock", Reason: fmt.Sprintf("%v behind the entry before", l.behind)})
	}
	if err := l.Append(first...); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func open(path string, f *os.File) (*Log, int64, error) {
	if err := lock(f); err != nil {
		return nil, 0, fmt.Errorf("%w: %s", err, path)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("audit: %w", err)
	}
	// A record without a head is new if both are empty, and nothing else.
	if _, err := os.Stat(path + headSuffix); errors.Is(err, fs.ErrNotExist) && info.Size() == 0 {
		if err := os.WriteFile(path+headSuffix, append(slot(Head{}), slot(Head{})...), 0o600); err != nil {
			return nil, 0, fmt.Errorf("audit: %w", err)
		}
	}
	var newest time.Time
	res, err := VerifyFile(path, func(e Entry) error {
		newest = e.Time
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	if res.Torn > 0 {
		if err := f.Truncate(res.Bytes); err != nil {
			return nil, 0, fmt.Errorf("audit: %w", err)
		}
	}
	key, err := idKey(path + keySuffix)
	if err != nil {
		return nil, 0, err
	}
	head, err := os.OpenFile(path+headSuffix, os.O_WRONLY, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("audit: %w", err)
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil { // the files' names, too
		_ = dir.Sync() // not every system can
		dir.Close()
	}
	l := &Log{key: key, file: f, head: head, clock: clock.New(wall), last: res.Head, newest: newest}
	if lag := newest.Sub(l.clock.Now()); lag >= time.Second {
		l.behind, l.newest = lag.Truncate(time.Second), time.Time{}
	}
	l.idle = sync.NewCond(&l.mu)
	return l, res.Torn, nil
}

// idKey reads the key of opaque IDs, or draws one.
func idKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		rand.Read(key)
		err = os.WriteFile(path, key, 0o600)
	}
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("%s is not a key of 32 bytes", path)
	}
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return key, nil
}

// ID returns the opaque ID of a name: kind, a hyphen and 16 hexadecimal digits. An empty
// name has none.
func (l *Log) ID(kind, name string) string { return id(l.key, kind, name) }

func id(key []byte, kind, name string) string {
	if name == "" {
		return ""
	}
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%d:%s%s", len(kind), kind, name)
	return kind + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// FileID returns what ID returned for a name, from the record's key file.
func FileID(path, kind, name string) (string, error) {
	key, err := os.ReadFile(path + keySuffix)
	if err != nil {
		return "", fmt.Errorf("audit: the key of opaque IDs: %w", err)
	}
	return id(key, kind, name), nil
}

// Append writes entries, all or, if one of them cannot be, none. When it returns nil, they
// are on stable storage. After an error of storage nothing is written any more, and every
// Append fails: whoever must leave a record of what they do has to stop.
func (l *Log) Append(entries ...Entry) error {
	l.mu.Lock()
	if l.err != nil || len(entries) == 0 {
		defer l.mu.Unlock()
		return l.err
	}
	buf, next, now := l.buf, l.last, l.clock.Now().UTC()
	if now.Before(l.newest) {
		now = l.newest
	}
	for _, e := range entries {
		e.Seq, e.Time = next.Seq+1, now
		var err error
		if buf, next, err = appendLine(buf, e, next); err != nil {
			l.mu.Unlock()
			return err
		}
	}
	done := make(chan error, 1)
	l.buf, l.last, l.newest, l.waiting = buf, next, now, append(l.waiting, done)
	if !l.writing {
		l.writing = true
		l.write()
	}
	l.mu.Unlock()
	return <-done
}

// write writes what was appended until nothing waits. It is called with l.mu held, by
// the one who set l.writing.
func (l *Log) write() {
	for len(l.waiting) > 0 {
		buf, waiting, head, err := l.buf, l.waiting, l.last, l.err
		l.buf, l.waiting = nil, nil
		if err == nil {
			l.mu.Unlock()
			err = l.flush(buf, head)
			l.mu.Lock()
			l.err = err
		}
		for _, w := range waiting {
			w <- err
		}
	}
	l.writing = false
	l.idle.Broadcast()
}

// flush puts lines on stable storage, and only then moves the head: a head never names an
// entry that a crash takes back.
func (l *Log) flush(buf []byte, head Head) error {
	if _, err := l.file.Write(buf); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if _, err := l.head.WriteAt(slot(head), int64(head.Seq%2)*slotSize); err != nil {
		return fmt.Errorf("audit: the head: %w", err)
	}
	return nil
}

// Behind returns by how much the clock was behind the newest entry, in whole seconds, when
// the record was opened.
func (l *Log) Behind() time.Duration { return l.behind }

// Head returns the newest entry that was appended.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Close ends the record once what was appended is written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing {
		l.idle.Wait()
	}
	if errors.Is(l.err, ErrClosed) {
		return nil
	}
	l.err = ErrClosed
	return errors.Join(l.head.Sync(), l.head.Close(), l.file.Close())
}
