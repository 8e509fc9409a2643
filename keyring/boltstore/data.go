package boltstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/chanseal/chanseal/keyring"
)

// The buckets of a file:
//
//	kv     key → BE64(revision) ‖ sum ‖ value
//	dead   BE64(revision) → key: the newest deletions
//	taken  set → bucket of member → ""
//	recent BE64(revision) → key: the newest changes, so that who was here before need not read all keys
//	state  "state" → BE64(revision) ‖ BE64(number of keys) ‖ XOR of their sums ‖ BE64(compacted) ‖ sum of the 32 bytes before
//
// A sum is the first 8 bytes of SHA-256(BE16(length of key) ‖ key ‖ BE64(revision) ‖ value).
// Records are authenticated by the ring; the sums are there so that accidents
// are noticed that make a record disappear.
var (
	bucketKV     = []byte("kv")
	bucketDead   = []byte("dead")
	bucketTaken  = []byte("taken")
	bucketState  = []byte("state")
	bucketRecent = []byte("recent")
	keyState     = []byte("state")
)

const (
	entryHead = 16
	maxDead   = 1024 // deletions that a Watch can still hear of
	maxRecent = 4096 // changes that a Watch finds without reading all keys
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
	for _, name := range [][]byte{bucketKV, bucketDead, bucketTaken, bucketState, bucketRecent} {
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
	err = s.view(ctx, func(v *view) error {
		value, rev, _, err := v.find(key)
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
	return s.cas(ctx, key, value, rev, func(*view) error { return nil })
}

// CASFenced implements [keyring.Fencer].
func (s *Store) CASFenced(ctx context.Context, key string, value []byte, rev uint64, fence string, at uint64) (uint64, error) {
	if err := checkNames(fence); err != nil {
		return 0, err
	}
	return s.cas(ctx, key, value, rev, func(v *view) error {
		_, now, _, err := v.find(fence)
		if err == nil && now != at {
			err = keyring.ErrFenced
		}
		return err
	})
}

// cas is CAS under one more condition.
func (s *Store) cas(ctx context.Context, key string, value []byte, rev uint64, holds func(*view) error) (uint64, error) {
	if err := checkNames(key); err != nil {
		return 0, err
	}
	if len(value) > keyring.MaxValue {
		return 0, keyring.ErrTooLarge
	}
	var next uint64
	err := s.update(ctx, func(v *view) error {
		_, old, oldSum, err := v.find(key)
		if err != nil {
			return err
		}
		if old != rev {
			return keyring.ErrConflict
		}
		if err := holds(v); err != nil {
			return err
		}
		st, err := v.state()
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
		if err := errors.Join(v.Bucket(bucketKV).Put([]byte(key), stored), v.changed(next, key)); err != nil {
			return err
		}
		return saveState(v.Tx, st)
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
	return s.update(ctx, func(v *view) error {
		_, old, oldSum, err := v.find(key)
		if err != nil {
			return err
		}
		if rev == 0 || old != rev {
			return keyring.ErrConflict
		}
		st, err := v.state()
		if err != nil {
			return err
		}
		st.rev++
		st.count--
		st.xor ^= oldSum
		if err := errors.Join(v.Bucket(bucketKV).Delete([]byte(key)), v.changed(st.rev, key)); err != nil {
			return err
		}
		dead := v.Bucket(bucketDead)
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
		return saveState(v.Tx, st)
	})
}

// Take implements [keyring.Store].
func (s *Store) Take(ctx context.Context, set, member string) error {
	if err := checkNames(set, member); err != nil {
		return err
	}
	return s.update(ctx, func(v *view) error {
		if _, err := v.state(); err != nil {
			return err
		}
		if v.h.tree != nil { // the pages that the write goes through
			if _, err := v.h.tree.find(bucketTaken, []byte(set), []byte(member)); err != nil {
				return err
			}
		}
		b, err := v.Bucket(bucketTaken).CreateBucketIfNotExists([]byte(set))
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
	// To sync what changes nothing would cost as much as a rotation.
	var there bool
	err := s.view(ctx, func(v *view) error {
		_, err := v.state()
		if err == nil {
			there, err = v.has(bucketTaken, []byte(set))
		}
		return err
	})
	if err != nil || !there {
		return err
	}
	return s.update(ctx, func(v *view) error {
		if _, err := v.state(); err != nil {
			return err
		}
		err := v.Bucket(bucketTaken).DeleteBucket([]byte(set))
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
	err = s.view(ctx, func(v *view) error {
		st, err := v.state()
		if err != nil {
			return err
		}
		if err := v.prove(); err != nil {
			return err
		}
		rev = st.rev
		c := v.Bucket(bucketKV).Cursor()
		for k, stored := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, stored = c.Next() {
			value, rev, _, err := entry(k, stored)
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
