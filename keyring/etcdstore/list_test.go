package etcdstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
)

// bare is etcd's own client, for what a Store does not do.
func bare(t testing.TB, o etcdstore.Options) *clientv3.Client {
	t.Helper()
	var endpoints []string
	for _, e := range o.Endpoints {
		endpoints = append(endpoints, "http://"+e)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// compact makes the cluster forget its history. It is not to be used on the shared
// cluster while another test runs.
func compact(t testing.TB, c *clientv3.Client) {
	t.Helper()
	resp, err := c.Get(t.Context(), "x")
	if err == nil {
		_, err = c.Compact(t.Context(), resp.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyRecords lists more records than go into a page, small and large ones.
func TestManyRecords(t *testing.T) {
	o := options(t)
	s, c := open(t, o), bare(t, o)
	const small, large = 3000, 6
	for i := 0; i < small; i += 100 {
		var ops []clientv3.Op
		for j := i; j < i+100; j++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s/kv/c/%05d", o.Prefix, j), string(make([]byte, 16))+fmt.Sprint(j)))
		}
		if _, err := c.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	big := bytes.Repeat([]byte{7}, keyring.MaxValue)
	for i := range large {
		if _, err := s.CAS(t.Context(), fmt.Sprint("d/", i), big, 0); err != nil {
			t.Fatal(err)
		}
	}
	all, rev, err := s.List(t.Context(), "")
	if err != nil || len(all) != small+large || rev == 0 {
		t.Fatalf("%d records at %d, %v", len(all), rev, err)
	}
	for i, e := range all[:small] {
		if e.Key != fmt.Sprintf("c/%05d", i) || string(e.Value) != fmt.Sprint(i) {
			t.Fatalf("record %d is %s, %q", i, e.Key, e.Value)
		}
	}
	for _, e := range all[small:] {
		if !bytes.Equal(e.Value, big) {
			t.Fatalf("%s was cut", e.Key)
		}
	}
	events := 0
	for ev, err := range s.Watch(t.Context(), "c/", 0) {
		if err != nil || ev.Deleted {
			t.Fatal(ev, err)
		}
		if events++; events == small {
			break
		}
	}
}

// TestDropLarge drops a set that is larger than one step removes, and no other.
func TestDropLarge(t *testing.T) {
	o := options(t)
	s, c := open(t, o), bare(t, o)
	for i := 0; i < 2300; i += 100 {
		var ops []clientv3.Op
		for j := i; j < i+100; j++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s/taken/t%%2Fa%%2F1/%05d", o.Prefix, j), "mark"))
		}
		if _, err := c.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Take(t.Context(), "t/a/1", "00007"); !errors.Is(err, keyring.ErrTaken) {
		t.Fatal(err) // these are the keys that the Store itself makes
	}
	if err := s.Take(t.Context(), "t/a/11", "1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Drop(t.Context(), "t/a/1"); err != nil {
		t.Fatal(err)
	}
	resp, err := c.Get(t.Context(), o.Prefix+"/taken/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Key) != o.Prefix+"/taken/t%2Fa%2F11/1" {
		t.Fatal(resp, err)
	}
}

// TestCompacted: a watch from before a compaction is told so, one that goes on is
// not, and a list goes on from where it is told.
func TestCompacted(t *testing.T) {
	o := options(t)
	s, c := open(t, o), bare(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first, err := s.CAS(ctx, "c/a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(s.Watch(ctx, "c/", first))
	defer stop()
	second, err := s.CAS(ctx, "c/a", []byte("2"), first)
	if err != nil {
		t.Fatal(err)
	}
	if ev, err, _ := next(); err != nil || ev.Rev != second {
		t.Fatal(ev, err)
	}
	if _, err := s.CAS(ctx, "other", nil, 0); err != nil { // so that the second one is before the compaction
		t.Fatal(err)
	}
	compact(t, c)
	third, err := s.CAS(ctx, "c/b", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if ev, err, _ := next(); err != nil || ev.Rev != third {
		t.Errorf("a watch that ran while history was compacted: %v, %v", ev, err)
	}
	for told := false; !told && ctx.Err() == nil; { // a member may lag behind, and still know
		for _, err := range s.Watch(ctx, "c/", first) {
			if told = errors.Is(err, keyring.ErrCompacted); err != nil && !told {
				t.Fatalf("a watch from before: %v", err)
			}
			break
		}
	}
	_, rev, err := s.List(ctx, "c/")
	if err != nil {
		t.Fatal(err)
	}
	again, stop := iter.Pull2(s.Watch(ctx, "c/", rev))
	defer stop()
	fourth, err := s.CAS(ctx, "c/b", []byte("2"), third)
	if err != nil {
		t.Fatal(err)
	}
	if ev, err, _ := again(); err != nil || ev.Rev != fourth {
		t.Errorf("a watch from the list's revision: %v, %v", ev, err)
	}
	// A cluster that was restored is behind what was seen.
	for ev, err := range s.Watch(ctx, "c/", fourth+1000) {
		if !errors.Is(err, keyring.ErrCompacted) {
			t.Errorf("a watch from a revision that is to come: %v, %v", ev, err)
		}
		break
	}
}

// TestScrub: with Compact, what was overwritten is no longer in the history.
func TestScrub(t *testing.T) {
	for _, compact := range []bool{false, true} {
		o := options(t)
		o.Compact = compact
		s, c := open(t, o), bare(t, o)
		first, err := s.CAS(t.Context(), "k", []byte("old"), 0)
		if err == nil {
			_, err = s.CAS(t.Context(), "k", []byte("new"), first)
		}
		if err == nil {
			err = s.Scrub(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Get(t.Context(), o.Prefix+"/kv/k", clientv3.WithRev(int64(first)))
		if there := err == nil && len(resp.Kvs) == 1; there == compact {
			t.Errorf("compact=%v: the old value is there: %v, %v", compact, there, err)
		}
	}
}
