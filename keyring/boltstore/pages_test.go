package boltstore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

// bigStore returns the bytes of a store whose records fill several levels of
// pages, with free pages in between.
func bigStore(t testing.TB) (path string, whole []byte) {
	t.Helper()
	path = newStore(t, memoryDir(t))
	s, err := boltstore.Open(path, boltstore.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		if _, err := s.CAS(t.Context(), fmt.Sprint("key/", i), make([]byte, 700), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, whole
}

const page = 4096

var ne = binary.NativeEndian

func pagesOf(b []byte, flag uint16) (ids []uint64) {
	for at := 2 * page; at < len(b); at += page {
		if ne.Uint64(b[at:]) == uint64(at/page) && ne.Uint16(b[at+8:]) == flag {
			ids = append(ids, uint64(at/page))
		}
	}
	return ids
}

// liveMeta returns the newer meta page.
func liveMeta(b []byte) []byte {
	if ne.Uint64(b[page+16+48:]) > ne.Uint64(b[16+48:]) {
		return b[page+16:][:64]
	}
	return b[16:][:64]
}

// resum makes a meta page's sum right again, as no accident does.
func resum(meta []byte) {
	h := fnv.New64a()
	h.Write(meta[:56])
	ne.PutUint64(meta[56:], h.Sum64())
}

// TestPageCheck makes the kinds of damage that bbolt does not see before it
// crashes, runs in circles or overwrites what is in use.
func TestPageCheck(t *testing.T) {
	_, whole := bigStore(t)
	free, err := boltstore.Check(bytes.NewReader(whole), int64(len(whole)))
	if err != nil || len(free) == 0 {
		t.Fatalf("a sound store: %d free pages, %v", len(free), err)
	}
	freelist := ne.Uint64(liveMeta(whole)[32:])
	var branch uint64 // one in use
	inUse := map[uint64]bool{}
	for _, id := range pagesOf(whole, 0x01) {
		inUse[id] = true
	}
	for _, f := range free {
		delete(inUse, f)
	}
	for id := range inUse {
		branch = id
	}
	if branch == 0 {
		t.Fatal("the store has no branch page")
	}
	at := func(b []byte, id uint64) []byte { return b[id*page:] }
	for name, harm := range map[string]func(b []byte){
		"a branch that leads to itself":  func(b []byte) { ne.PutUint64(at(b, branch)[16+8:], branch) },
		"two branches to one page":       func(b []byte) { copy(at(b, branch)[16+8:16+16], at(b, branch)[32+8:32+16]) },
		"a branch without elements":      func(b []byte) { ne.PutUint16(at(b, branch)[10:], 0) },
		"more elements than fit":         func(b []byte) { ne.PutUint16(at(b, branch)[10:], 60000) },
		"a branch that says leaf":        func(b []byte) { ne.PutUint16(at(b, branch)[8:], 0x02) },
		"an element beyond the page":     func(b []byte) { ne.PutUint32(at(b, branch)[16:], 1<<31) },
		"a page that continues too far":  func(b []byte) { ne.PutUint32(at(b, branch)[12:], 1<<31) },
		"a page with another number":     func(b []byte) { ne.PutUint64(at(b, branch), 3) },
		"a page in use listed as free":   func(b []byte) { ne.PutUint64(at(b, freelist)[16:], branch) },
		"a free page listed twice":       func(b []byte) { copy(at(b, freelist)[16:24], at(b, freelist)[24:32]) },
		"a free page that is forgotten":  func(b []byte) { ne.PutUint16(at(b, freelist)[10:], ne.Uint16(at(b, freelist)[10:])-1) },
		"a free list longer than a page": func(b []byte) { ne.PutUint16(at(b, freelist)[10:], 0xFFFF); ne.PutUint64(at(b, freelist)[16:], 1<<60) },
		"a free list that is a branch":   func(b []byte) { ne.PutUint16(at(b, freelist)[8:], 0x01) },
		"one meta page lost":             func(b []byte) { clear(b[16:80]) },
		"a meta page that fell back":     func(b []byte) { m := liveMeta(b); ne.PutUint64(m[48:], ne.Uint64(m[48:])-4); resum(m) },
		"a root beyond the file":         func(b []byte) { m := liveMeta(b); ne.PutUint64(m[16:], 1<<40); resum(m) },
		"a root that is a meta page":     func(b []byte) { m := liveMeta(b); ne.PutUint64(m[16:], 0); resum(m) },
		"a water mark beyond the file":   func(b []byte) { m := liveMeta(b); ne.PutUint64(m[40:], 1<<17); resum(m) },
		"a water mark beyond memory":     func(b []byte) { m := liveMeta(b); ne.PutUint64(m[40:], 1<<60); resum(m) },
		"no free list":                   func(b []byte) { m := liveMeta(b); ne.PutUint64(m[32:], 1<<64-1); resum(m) },
		"pages of another size":          func(b []byte) { m := liveMeta(b); ne.PutUint32(m[8:], 8192); resum(m) },
	} {
		altered := bytes.Clone(whole)
		harm(altered)
		if bytes.Equal(altered, whole) {
			t.Errorf("%s: nothing was altered", name)
		}
		if _, err := boltstore.Check(bytes.NewReader(altered), int64(len(altered))); !errors.Is(err, keyring.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	_, whole := bigStore(f)
	f.Add(whole, uint32(0), uint16(0))
	f.Add(whole[:8*page], uint32(page*3), uint16(7))
	f.Fuzz(func(t *testing.T, b []byte, at uint32, v uint16) {
		if len(b) > 1<<20 {
			return
		}
		b = bytes.Clone(b)
		if len(b) > 1 {
			ne.PutUint16(b[int(at)%(len(b)-1):], v)
		}
		boltstore.Check(bytes.NewReader(b), 1<<30) // must return
	})
}

// TestVanished takes a record out of the file behind the store's back: a sound
// database, of which nothing but the store's own sums tells that it lost one.
func TestVanished(t *testing.T) {
	for name, harm := range map[string]func(*bbolt.Tx) error{
		"a record is gone": func(tx *bbolt.Tx) error { return tx.Bucket([]byte("kv")).Delete([]byte("key/7")) },
		"a record was renamed": func(tx *bbolt.Tx) error {
			kv := tx.Bucket([]byte("kv"))
			v := bytes.Clone(kv.Get([]byte("key/7")))
			return errors.Join(kv.Delete([]byte("key/7")), kv.Put([]byte("key/777"), v))
		},
		"the state is gone": func(tx *bbolt.Tx) error { return tx.Bucket([]byte("state")).Delete([]byte("state")) },
		"a bucket is gone":  func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("kv")) },
		"all is gone": func(tx *bbolt.Tx) error {
			return errors.Join(tx.DeleteBucket([]byte("kv")), tx.DeleteBucket([]byte("state")))
		},
	} {
		path, _ := bigStore(t)
		s, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(harm), db.Close()); err != nil {
			t.Fatal(err)
		}
		_, getErr := s.Get(t.Context(), "key/7")
		_, casErr := s.CAS(t.Context(), "key/7", nil, 0)
		_, _, listErr := s.List(t.Context(), "")
		_, openErr := boltstore.Open(path, boltstore.Options{})
		for what, err := range map[string]error{"Get": getErr, "CAS": casErr, "List": listErr, "Open": openErr} {
			if !errors.Is(err, keyring.ErrDamaged) || errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
}
