package boltstore

import (
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// view is what an operation reads: a transaction, of which the pages of a large file are
// looked at first.
type view struct {
	*bbolt.Tx
	h *handle
	s *Store
}

// state reads the file's state, and checks that the buckets are there.
func (v *view) state() (*fileState, error) {
	for _, name := range [][]byte{bucketKV, bucketDead, bucketTaken, bucketState} {
		if ok, err := v.has(name); err != nil {
			return nil, err
		} else if !ok {
			return nil, damaged("a part is missing")
		}
	}
	b, err := v.get(bucketState, keyState)
	if err != nil {
		return nil, err
	}
	if len(b) != 40 || binary.BigEndian.Uint64(b[32:]) != sum(keyState, 0, b[:32]) {
		return nil, damaged("its state is altered")
	}
	var n [4]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return &fileState{n[0], n[1], n[2], n[3]}, nil
}

// get returns a value of a bucket, nil if there is none.
func (v *view) get(bucket, key []byte) ([]byte, error) {
	if v.h.tree != nil {
		return v.h.tree.find(bucket, key)
	}
	return v.Bucket(bucket).Get(key), nil
}

// has reports whether there is a bucket.
func (v *view) has(path ...[]byte) (bool, error) {
	if v.h.tree != nil {
		return v.h.tree.has(path...)
	}
	b := v.Bucket(path[0])
	for _, name := range path[1:] {
		if b != nil {
			b = b.Bucket(name)
		}
	}
	return b != nil, nil
}

// ascend calls each for the records of a bucket from a key on, until it says no.
func (v *view) ascend(bucket, from []byte, each func(k, v []byte) bool) error {
	if v.h.tree != nil {
		return v.h.tree.ascend(bucket, from, each)
	}
	if b := v.Bucket(bucket); b != nil {
		c := b.Cursor()
		for k, value := c.Seek(from); k != nil && each(k, value); k, value = c.Next() {
		}
	}
	return nil
}

// prove makes sure that no record is missing, once for each transaction of others.
func (v *view) prove() error {
	if v.h.tree != nil {
		if v.s.proven == v.h.tree.txid {
			return nil
		}
		if _, err := v.h.tree.check(); err != nil {
			return err
		}
	}
	if _, err := scan(v); err != nil {
		return err
	}
	if v.h.tree != nil {
		v.s.sound, v.s.proven = true, v.h.tree.txid
	}
	return nil
}

// scan reads every record and checks that none is missing: only after it may
// "not found" be said. The pages were looked at before.
func scan(v *view) (*fileState, error) {
	st, err := v.state()
	if err != nil {
		return nil, err
	}
	var count, xor uint64
	c := v.Bucket(bucketKV).Cursor()
	for k, stored := c.First(); k != nil; k, stored = c.Next() {
		_, rev, s, err := entry(k, stored)
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
func (v *view) find(key string) (value []byte, rev, s uint64, err error) {
	if _, err := v.state(); err != nil {
		return nil, 0, 0, err
	}
	stored, err := v.get(bucketKV, []byte(key))
	if err != nil {
		return nil, 0, 0, err
	}
	if stored == nil {
		return nil, 0, 0, v.prove()
	}
	return entry([]byte(key), stored)
}

// changed keeps a change among the recent ones.
func (v *view) changed(rev uint64, key string) error {
	b, err := v.CreateBucketIfNotExists(bucketRecent)
	if err != nil {
		return err
	}
	if rev > maxRecent {
		if err := b.Delete(binary.BigEndian.AppendUint64(nil, rev-maxRecent)); err != nil {
			return err
		}
	}
	return b.Put(binary.BigEndian.AppendUint64(nil, rev), []byte(key))
}
