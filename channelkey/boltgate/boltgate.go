// Package boltgate keeps the records of a channelkey.Gate (replaced cards and
// revocations) in a file, with go.etcd.io/bbolt.
//
// The file holds no key and nothing a key could be made of: cards and certificates
// stand in it as hashes. Revoked users and channels stand in it by name, so it is
// created with mode 0600.
package boltgate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// openTimeout is how long Open waits for another process that has the file open.
const openTimeout = 5 * time.Second

// sweepBatch is how many records that are over a Put removes on the way: more than
// it adds, so that the file does not grow without end.
const sweepBatch = 64

var (
	bucketRecords = []byte("records") // key → until, 8 bytes
	bucketUntil   = []byte("until")   // until ‖ key → nothing
	bucketMeta    = []byte("meta")
	keyFormat     = []byte("format")
	format        = []byte("chanseal gate 1")
)

// Store is a channelkey.Store. It may be used by many goroutines, but by one
// process at a time.
type Store struct{ db *bolt.DB }

// Open opens the file, which it makes if there is none. It refuses a file of
// another kind and never overwrites one.
func Open(path string) (s *Store, err error) {
	defer damaged(&err)()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: openTimeout})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("boltgate: %s is in use by another process, stop it first", path)
		}
		return nil, fmt.Errorf("boltgate: cannot open %s: %w", path, err)
	}
	if err := db.Update(prepare); err != nil {
		db.Close()
		return nil, fmt.Errorf("boltgate: cannot use %s: %w", path, err)
	}
	return &Store{db}, nil
}

// prepare makes the buckets of a new file and checks those of an old one.
func prepare(tx *bolt.Tx) (err error) {
	defer damaged(&err)()
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return errors.New("the file belongs to something else, give another path")
		}
		if meta, err = tx.CreateBucket(bucketMeta); err != nil {
			return err
		}
		for _, name := range [][]byte{bucketRecords, bucketUntil} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return meta.Put(keyFormat, format)
	}
	if string(meta.Get(keyFormat)) != string(format) || tx.Bucket(bucketRecords) == nil || tx.Bucket(bucketUntil) == nil {
		return errors.New("the file is of another version, give another path")
	}
	return nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Put implements channelkey.Store. It returns after fsync; calls at the same time
// share one.
func (s *Store) Put(key []byte, until time.Time) error {
	return s.db.Batch(func(tx *bolt.Tx) (err error) {
		defer damaged(&err)()
		return put(tx, key, until, time.Now())
	})
}

// damaged is to be called, and what it returns to be deferred: it turns the panics
// and faults with which bbolt meets a damaged page into an error.
func damaged(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if recover() != nil {
			*err = errors.New("boltgate: the file is damaged")
		}
	}
}

func put(tx *bolt.Tx, key []byte, until, now time.Time) error {
	records, ends := tx.Bucket(bucketRecords), tx.Bucket(bucketUntil)
	if old := records.Get(key); old != nil {
		if err := ends.Delete(append(append([]byte(nil), old...), key...)); err != nil {
			return err
		}
	}
	if until.After(now) {
		end := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
		if err := records.Put(key, end); err != nil {
			return err
		}
		if err := ends.Put(append(end, key...), nil); err != nil {
			return err
		}
	} else if err := records.Delete(key); err != nil {
		return err
	}
	return sweep(records, ends, now)
}

// sweep removes a batch of the records that are over, the oldest first.
func sweep(records, ends *bolt.Bucket, now time.Time) error {
	var over [][]byte
	c := ends.Cursor()
	for k, _ := c.First(); k != nil && len(over) < sweepBatch; k, _ = c.Next() {
		if len(k) < 8 {
			return errors.New("the file is damaged: a record has no time")
		}
		if int64(binary.BigEndian.Uint64(k)) > now.Unix() {
			break
		}
		over = append(over, append([]byte(nil), k...))
	}
	for _, k := range over {
		if err := ends.Delete(k); err != nil {
			return err
		}
		if err := records.Delete(k[8:]); err != nil {
			return err
		}
	}
	return nil
}

// Load implements channelkey.Store.
func (s *Store) Load(yield func(key []byte, until time.Time) error) error {
	now := time.Now().Unix()
	return s.db.View(func(tx *bolt.Tx) (err error) {
		defer damaged(&err)()
		return tx.Bucket(bucketRecords).ForEach(func(key, end []byte) error {
			if len(end) != 8 {
				return errors.New("boltgate: the file is damaged: a record has no time")
			}
			if u := int64(binary.BigEndian.Uint64(end)); u > now {
				return yield(append([]byte(nil), key...), time.Unix(u, 0))
			}
			return nil
		})
	})
}
