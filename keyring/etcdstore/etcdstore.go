// Package etcdstore keeps a ring in an etcd cluster (go.etcd.io/etcd), for
// programs on several machines that go on when one of the cluster's members does
// not.
//
// Whatever is acknowledged was written to disk by a majority of the members, and
// every read sees it (linearizable reads). Nothing relies on leases or on etcd's
// locks: all that keeps writers apart is the comparison of revisions within
// etcd's transactions.
//
// A request whose answer was lost is sent again, to another member. Values carry
// a random mark that tells whether the first one was carried out.
//
// What etcd cannot tell: that its data was replaced as a whole by an older copy.
// A running [keyring.Ring] notices, by [keyring.ErrRollback], that a record it
// has read went back. Overwritten records stay in etcd's history until it is
// compacted, and on its disks until they are defragmented; see [Options].
package etcdstore

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/chanseal/chanseal/keyring"
)

// The keys, behind the prefix:
//
//	kv/KEY            mark ‖ value of a record
//	taken/SET/MEMBER  mark of a member of a set; both names are escaped as in a URL's path, so that no slash is in them
//
// A mark is 16 random bytes of whoever wrote it.
const (
	kvPart    = "kv/"
	takenPart = "taken/"
	markSize  = 16
)

// Store is a [keyring.Store] in an etcd cluster.
type Store struct {
	o        Options
	members  []*member
	now      atomic.Uint32   // index of the member that requests go to
	done     context.Context // ends with Close
	close    context.CancelFunc
	beat     time.Duration          // of Watch; tests shorten it
	watching func()                 // of tests: a member is about to be asked for changes
	why      atomic.Pointer[string] // why the last request that failed to reach a member did
}

var (
	_ keyring.Store    = (*Store)(nil)
	_ keyring.Scrubber = (*Store)(nil)
	_ keyring.Pager    = (*Store)(nil)
	_ keyring.Fencer   = (*Store)(nil)
)

// Open connects to the cluster. keyring.ErrUnreachable says that no majority of
// its members answered, ErrRefused that it did not let the user in. A ring need
// not be there.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Store{o: o, beat: beatEvery}
	s.done, s.close = context.WithCancel(context.Background())
	for _, e := range o.Endpoints {
		s.members = append(s.members, &member{s: s, endpoint: e})
	}
	s.now.Store(rand.Uint32() % uint32(len(s.members)))
	// Whether it answers and lets us in is known before anything is built on it.
	err := s.retry(ctx, func(ctx context.Context, c *clientv3.Client, _ bool) error {
		_, err := c.Get(ctx, s.o.Prefix+kvPart, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		return err
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close implements [keyring.Store].
func (s *Store) Close() error {
	if s.done.Err() != nil {
		return nil
	}
	s.close()
	var all []error
	for _, m := range s.members {
		if err := m.close(); err != nil && !errors.Is(err, context.Canceled) {
			all = append(all, fmt.Errorf("etcdstore: close: %w", err))
		}
	}
	return errors.Join(all...)
}

func checkNames(names ...string) error {
	for _, n := range names {
		if n == "" || len(n) > keyring.MaxKey {
			return keyring.ErrTooLarge
		}
	}
	return nil
}

func (s *Store) key(key string) string { return s.o.Prefix + kvPart + key }

// setPrefix ends with the separator, so that it is no other set's beginning.
func (s *Store) setPrefix(set string) string {
	return s.o.Prefix + takenPart + url.PathEscape(set) + "/"
}

func newMark() []byte {
	mark := make([]byte, markSize)
	crand.Read(mark)
	return mark
}

// entry takes a stored record apart.
func (s *Store) entry(kv *mvccpb.KeyValue) (keyring.Entry, error) {
	if len(kv.Value) < markSize || kv.ModRevision <= 0 {
		return keyring.Entry{}, fmt.Errorf("etcdstore: %s: a record is cut: %w", s.where(), keyring.ErrDamaged)
	}
	key := strings.TrimPrefix(string(kv.Key), s.o.Prefix+kvPart)
	return keyring.Entry{Key: key, Value: kv.Value[markSize:], Rev: uint64(kv.ModRevision)}, nil
}

// Get implements [keyring.Store].
func (s *Store) Get(ctx context.Context, key string) (e keyring.Entry, err error) {
	if err := checkNames(key); err != nil {
		return e, err
	}
	err = s.retry(ctx, func(ctx context.Context, c *clientv3.Client, _ bool) error {
		resp, err := c.Get(ctx, s.key(key))
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			return keyring.ErrNotFound
		}
		e, err = s.entry(resp.Kvs[0])
		return err
	})
	return e, err
}

// at is the condition that a key has a revision; 0 is that it is not there.
func at(key string, rev uint64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", int64(rev))
}

// CAS implements [keyring.Store].
func (s *Store) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	return s.cas(ctx, key, value, rev)
}

// CASFenced implements [keyring.Fencer].
func (s *Store) CASFenced(ctx context.Context, key string, value []byte, rev uint64, fence string, fenceRev uint64) (uint64, error) {
	if err := checkNames(fence); err != nil {
		return 0, err
	}
	if fenceRev > 1<<62 {
		return 0, keyring.ErrFenced
	}
	return s.cas(ctx, key, value, rev, at(s.key(fence), fenceRev))
}

// cas is CAS under further conditions.
func (s *Store) cas(ctx context.Context, key string, value []byte, rev uint64, more ...clientv3.Cmp) (next uint64, err error) {
	if err := checkNames(key); err != nil {
		return 0, err
	}
	if len(value) > keyring.MaxValue {
		return 0, keyring.ErrTooLarge
	}
	if rev > 1<<62 {
		return 0, keyring.ErrConflict
	}
	k, mark := s.key(key), newMark()
	stored := string(append(bytes.Clone(mark), value...))
	err = s.retry(ctx, func(ctx context.Context, c *clientv3.Client, again bool) error {
		resp, err := c.Txn(ctx).If(append(more, at(k, rev))...).Then(clientv3.OpPut(k, stored)).Else(clientv3.OpGet(k)).Commit()
		if err != nil {
			return err
		}
		if resp.Succeeded {
			next = uint64(resp.Header.Revision)
			return nil
		}
		now := found(resp)
		switch {
		case again && now != nil && bytes.HasPrefix(now.Value, mark): // the one before did it
			next = uint64(now.ModRevision)
			return nil
		case revision(now) == rev:
			return keyring.ErrFenced
		case again:
			return errUncertain
		}
		return keyring.ErrConflict
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// found is the record that the Else of a transaction read; nil if there is none.
func found(resp *clientv3.TxnResponse) *mvccpb.KeyValue {
	if len(resp.Responses) == 0 {
		return nil
	}
	if r := resp.Responses[0].GetResponseRange(); r != nil && len(r.Kvs) > 0 {
		return r.Kvs[0]
	}
	return nil
}

func revision(kv *mvccpb.KeyValue) uint64 {
	if kv == nil {
		return 0
	}
	return uint64(kv.ModRevision)
}

// Delete implements [keyring.Store].
func (s *Store) Delete(ctx context.Context, key string, rev uint64) error {
	if err := checkNames(key); err != nil {
		return err
	}
	if rev == 0 || rev > 1<<62 {
		return keyring.ErrConflict
	}
	k := s.key(key)
	return s.retry(ctx, func(ctx context.Context, c *clientv3.Client, again bool) error {
		resp, err := c.Txn(ctx).If(at(k, rev)).Then(clientv3.OpDelete(k)).Commit()
		switch {
		case err != nil:
			return err
		case resp.Succeeded:
			return nil
		case again:
			return errUncertain
		}
		return keyring.ErrConflict
	})
}

// Take implements [keyring.Store].
func (s *Store) Take(ctx context.Context, set, member string) error {
	if err := checkNames(set, member); err != nil {
		return err
	}
	k, mark := s.setPrefix(set)+url.PathEscape(member), newMark()
	return s.retry(ctx, func(ctx context.Context, c *clientv3.Client, again bool) error {
		resp, err := c.Txn(ctx).If(at(k, 0)).Then(clientv3.OpPut(k, string(mark))).Else(clientv3.OpGet(k)).Commit()
		if err != nil || resp.Succeeded {
			return err
		}
		if now := found(resp); again && now != nil && bytes.Equal(now.Value, mark) {
			return nil
		}
		return keyring.ErrTaken
	})
}

// dropAtOnce is how many members of a set are removed in one step.
const dropAtOnce = 1000

// Drop implements [keyring.Store].
func (s *Store) Drop(ctx context.Context, set string) error {
	if err := checkNames(set); err != nil {
		return err
	}
	prefix := s.setPrefix(set)
	for more := true; more; {
		err := s.retry(ctx, func(ctx context.Context, c *clientv3.Client, _ bool) error {
			resp, err := c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(dropAtOnce))
			if err != nil {
				return err
			}
			more = resp.More
			if len(resp.Kvs) == 0 {
				return nil
			}
			first, last := string(resp.Kvs[0].Key), string(resp.Kvs[len(resp.Kvs)-1].Key)
			_, err = c.Delete(ctx, first, clientv3.WithRange(last+"\x00"))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Scrub implements [keyring.Scrubber], if Options.Compact is set.
func (s *Store) Scrub(ctx context.Context) error {
	if !s.o.Compact {
		return nil
	}
	return s.retry(ctx, func(ctx context.Context, c *clientv3.Client, _ bool) error {
		resp, err := c.Get(ctx, s.o.Prefix+kvPart, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		_, err = c.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical())
		if errors.Is(err, rpctypes.ErrCompacted) { // by someone else
			return nil
		}
		return err
	})
}
