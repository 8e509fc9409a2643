package boltstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/chanseal/chanseal/keyring"
)

// The buckets of a file:
//
//	kv     key → BE64(revision) ‖ sum ‖ value
//	dead   BE64(revision) → key: the newest deletions
//	taken  set → bucket of member → ""
//	state  "state" → BE64(revision) ‖ BE64(number of keys) ‖ XOR of their sums ‖ BE64(compacted) ‖ sum of the 32 bytes before
//
// A sum is the first 8 bytes of SHA-256(BE16(length of key) ‖ key ‖ BE64(revision) ‖ value).
// Records are authenticated by the ring; the sums are there so that accidents
// are noticed that make a record disappear.
var (
	bucketKV    = []byte("kv")
	bucketDead  = []byte("dead")
	bucketTaken = []byte("taken")
	bucketState = []byte("state")
	keyState    = []byte("state")
)

const (
	entryHead = 16
	maxDead   = 1024 // deletions that a Watch can still hear of
)

type fileState struct {
	rev, count, xor, compacted uint64
}

func sum(key []byte, rev uint64, value []byte) uint64 {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(key))))
	h.Write(key)
	h.Write(binary.BigEndian.AppendUint64(nil, rev))
	h.Write(value)
	return binary.BigEndian.Uint64(h.Sum(nil))
}

func (s *fileState) encode() []byte {
	var b []byte
	for _, v := range []uint64{s.rev, s.count, s.xor, s.compacted} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint64(b, sum(keyState, 0, b))
}

func initialise(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketKV, bucketDead, bucketTaken, bucketState} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return saveState(tx, &fileState{})
}

func saveState(tx *bbolt.Tx, s *fileState) error {
	return tx.Bucket(bucketState).Put(keyState, s.encode())
}

func damaged(what string) error { return fmt.Errorf("%s: %w", what, keyring.ErrDamaged) }

// readState also checks that the buckets are there.
func readState(tx *bbolt.Tx) (*fileState, error) {
	for _, name := range [][]byte{bucketKV, bucketDead, bucketTaken, bucketState} {
		if tx.Bucket(name) == nil {
			return nil, damaged("a part is missing")
		}
	}
	b := tx.Bucket(bucketState).Get(keyState)
	if len(b) != 40 || binary.BigEndian.Uint64(b[32:]) != sum(keyState, 0, b[:32]) {
		return nil, damaged("its state is altered")
	}
	var v [4]uint64
	for i := range v {
		v[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return &fileState{v[0], v[1], v[2], v[3]}, nil
}

// entry takes a stored value apart. What it returns belongs to the transaction.
func entry(key, stored []byte) (value []byte, rev, s uint64, err error) {
	if len(stored) < entryHead {
		return nil, 0, 0, damaged("a record is cut")
	}
	rev, s, value = binary.BigEndian.Uint64(stored), binary.BigEndian.Uint64(stored[8:]), stored[entryHead:]
	if rev == 0 || s != sum(key, rev, value) {
		return nil, 0, 0, damaged("a record is altered")
	}
	return value, rev, s, nil
}

// scan reads every record and checks that none is missing: only after it may
// "not found" be said.
func scan(tx *bbolt.Tx) (*fileState, error) {
	st, err := readState(tx)
	if err != nil {
		return nil, err
	}
	var count, xor uint64
	c := tx.Bucket(bucketKV).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		_, rev, s, err := entry(k, v)
		if err != nil {
			return nil, err
		}
		if rev > st.rev {
			return nil, damaged("a record is newer than the file")
		}
		count++
		xor ^= s
	}
	if count != st.count || xor != st.xor {
		return nil, damaged("a record is missing or was put there")
	}
	return st, nil
}

// find returns the record under key; rev is 0 if there is none, for certain.
func find(tx *bbolt.Tx, key string) (value []byte, rev, s uint64, err error) {
	if _, err := readState(tx); err != nil {
		return nil, 0, 0, err
	}
	stored := tx.Bucket(bucketKV).Get([]byte(key))
	if stored == nil {
		_, err := scan(tx)
		return nil, 0, 0, err
	}
	return entry([]byte(key), stored)
}

func checkNames(names ...string) error {
	for _, n := range names {
		if n == "" || len(n) > keyring.MaxKey {
			return keyring.ErrTooLarge
		}
	}
	return nil
}

// Get implements [keyring.Store].
func (s *Store) Get(ctx context.Context, key string) (e keyring.Entry, err error) {
	if err := checkNames(key); err != nil {
		return e, err
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		value, rev, _, err := find(tx, key)
		if err != nil {
			return err
		}
		if rev == 0 {
			return keyring.ErrNotFound
		}
		e = keyring.Entry{Key: key, Value: bytes.Clone(value), Rev: rev}
		return nil
	})
	return e, err
}

// CAS implements [keyring.Store].
func (s *Store) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	return s.cas(ctx, key, value, rev, func(*bbolt.Tx) error { return nil })
}

// CASFenced implements [keyring.Fencer].
func (s *Store) CASFenced(ctx context.Context, key string, value []byte, rev uint64, fence string, at uint64) (uint64, error) {
	if err := checkNames(fence); err != nil {
		return 0, err
	}
	return s.cas(ctx, key, value, rev, func(tx *bbolt.Tx) error {
		_, now, _, err := find(tx, fence)
		if err == nil && now != at {
			err = keyring.ErrFenced
		}
		return err
	})
}

// cas is CAS under one more condition.
func (s *Store) cas(ctx context.Context, key string, value []byte, rev uint64, holds func(*bbolt.Tx) error) (uint64, error) {
	if err := checkNames(key); err != nil {
		return 0, err
	}
	if len(value) > keyring.MaxValue {
		return 0, keyring.ErrTooLarge
	}
	var next uint64
	err := s.update(ctx, func(tx *bbolt.Tx) error {
		_, old, oldSum, err := find(tx, key)
		if err != nil {
			return err
		}
		if old != rev {
			return keyring.ErrConflict
		}
		if err := holds(tx); err != nil {
			return err
		}
		st, err := readState(tx)
		if err != nil {
			return err
		}
		st.rev++
		next = st.rev
		if old == 0 {
			st.count++
		}
		new := sum([]byte(key), next, value)
		st.xor ^= oldSum ^ new
		stored := binary.BigEndian.AppendUint64(make([]byte, 0, entryHead+len(value)), next)
		stored = append(binary.BigEndian.AppendUint64(stored, new), value...)
		if err := tx.Bucket(bucketKV).Put([]byte(key), stored); err != nil {
			return err
		}
		return saveState(tx, st)
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// Delete implements [keyring.Store].
func (s *Store) Delete(ctx context.Context, key string, rev uint64) error {
	if err := checkNames(key); err != nil {
		return err
	}
	return s.update(ctx, func(tx *bbolt.Tx) error {
		_, old, oldSum, err := find(tx, key)
		if err != nil {
			return err
		}
		if rev == 0 || old != rev {
			return keyring.ErrConflict
		}
		st, err := readState(tx)
		if err != nil {
			return err
		}
		st.rev++
		st.count--
		st.xor ^= oldSum
		if err := tx.Bucket(bucketKV).Delete([]byte(key)); err != nil {
			return err
		}
		dead := tx.Bucket(bucketDead)
		if err := dead.Put(binary.BigEndian.AppendUint64(nil, st.rev), []byte(key)); err != nil {
			return err
		}
		c := dead.Cursor()
		n := 0
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			n++
		}
		if k, _ := c.First(); n > maxDead && len(k) == 8 {
			st.compacted = binary.BigEndian.Uint64(k)
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return saveState(tx, st)
	})
}

// Take implements [keyring.Store].
func (s *Store) Take(ctx context.Context, set, member string) error {
	if err := checkNames(set, member); err != nil {
		return err
	}
	return s.update(ctx, func(tx *bbolt.Tx) error {
		if _, err := readState(tx); err != nil {
			return err
		}
		b, err := tx.Bucket(bucketTaken).CreateBucketIfNotExists([]byte(set))
		if err != nil {
			return err
		}
		if b.Get([]byte(member)) != nil {
			return keyring.ErrTaken
		}
		return b.Put([]byte(member), []byte{})
	})
}

// Drop implements [keyring.Store].
func (s *Store) Drop(ctx context.Context, set string) error {
	if err := checkNames(set); err != nil {
		return err
	}
	return s.update(ctx, func(tx *bbolt.Tx) error {
		if _, err := readState(tx); err != nil {
			return err
		}
		err := tx.Bucket(bucketTaken).DeleteBucket([]byte(set))
		if errors.Is(err, berrors.ErrBucketNotFound) {
			return nil
		}
		return err
	})
}

// List implements [keyring.Store].
func (s *Store) List(ctx context.Context, prefix string) (out []keyring.Entry, rev uint64, err error) {
	if len(prefix) > keyring.MaxKey {
		return nil, 0, keyring.ErrTooLarge
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		st, err := scan(tx)
		if err != nil {
			return err
		}
		rev = st.rev
		c := tx.Bucket(bucketKV).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			value, rev, _, err := entry(k, v)
			if err != nil {
				return err
			}
			out = append(out, keyring.Entry{Key: string(k), Value: bytes.Clone(value), Rev: rev})
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return out, rev, nil
}

// since returns what changed after a revision, in the order of revisions, and
// the file's revision.
func (s *Store) since(ctx context.Context, prefix string, after uint64) (events []keyring.Event, rev uint64, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		rev = st.rev
		if after > 0 && after < st.compacted {
			return keyring.ErrCompacted
		}
		if after >= st.rev {
			return nil
		}
		c := tx.Bucket(bucketKV).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if len(v) < entryHead {
				return damaged("a record is cut")
			}
			if rev := binary.BigEndian.Uint64(v); rev > after {
				events = append(events, keyring.Event{Key: string(k), Rev: rev})
			}
		}
		d := tx.Bucket(bucketDead).Cursor()
		for k, v := d.Seek(binary.BigEndian.AppendUint64(nil, after+1)); len(k) == 8; k, v = d.Next() {
			if bytes.HasPrefix(v, []byte(prefix)) && tx.Bucket(bucketKV).Get(v) == nil {
				events = append(events, keyring.Event{Key: string(v), Rev: binary.BigEndian.Uint64(k), Deleted: true})
			}
		}
		return nil
	})
	slices.SortFunc(events, func(a, b keyring.Event) int { return int(int64(a.Rev - b.Rev)) })
	return events, rev, err
}

// Watch implements [keyring.Store]. What this process changes is seen at once;
// for what others change, the file's time and size are looked at four times a second.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	return func(yield func(keyring.Event, error) bool) {
		if len(prefix) > keyring.MaxKey {
			yield(keyring.Event{}, keyring.ErrTooLarge)
			return
		}
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		var seen os.FileInfo
		var read time.Time // when the file was last read
		for ctx.Err() == nil {
			s.mu.Lock()
			changed := s.changed
			s.mu.Unlock()
			info, err := os.Stat(s.path)
			// A file that changed in the last second may have changed again
			// without its time showing it.
			if err != nil || seen == nil || !os.SameFile(seen, info) || !info.ModTime().Equal(seen.ModTime()) ||
				info.Size() != seen.Size() || read.Sub(info.ModTime()) < time.Second {
				seen, read = info, time.Now()
				events, rev, err := s.since(ctx, prefix, after)
				if err != nil {
					if ctx.Err() == nil {
						yield(keyring.Event{}, err)
					}
					return
				}
				for _, ev := range events {
					if !yield(ev, nil) {
						return
					}
				}
				after = max(after, rev)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			case <-changed:
				seen = nil
			}
		}
	}
}
