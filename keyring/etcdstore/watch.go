package etcdstore

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/chanseal/chanseal/keyring"
)

const (
	beatEvery = time.Second // how often a member is asked whether it is still there
	silent    = 3           // beats without an answer after which another one is tried
)

var (
	errStop   = errors.New("etcdstore: the watcher has enough")
	errSilent = errors.New("etcdstore: the member is silent")
)

// Watch implements [keyring.Store]. It outlives members that go away, and members
// that are cut off from the others or from us: after 3 seconds of silence it goes
// on at another.
//
// A Watch from 0 holds the keys of all records in memory at once. A ring does not
// need it: it takes the revision of a List of its header.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	return func(yield func(keyring.Event, error) bool) {
		err := s.watch(ctx, prefix, after, yield)
		if err != nil && !errors.Is(err, errStop) && ctx.Err() == nil {
			yield(keyring.Event{}, err)
		}
	}
}

func (s *Store) watch(ctx context.Context, prefix string, after uint64, yield func(keyring.Event, error) bool) error {
	if len(prefix) > keyring.MaxKey {
		return keyring.ErrTooLarge
	}
	if after > 1<<62 {
		return keyring.ErrCompacted
	}
	seen := int64(after)
	if after == 0 {
		events, rev, err := s.all(ctx, prefix)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if !yield(ev, nil) {
				return errStop
			}
		}
		seen = rev
	}
	for i := s.now.Load(); ctx.Err() == nil; i++ {
		if s.done.Err() != nil {
			return keyring.ErrClosed
		}
		err := s.stream(ctx, s.members[i%uint32(len(s.members))], prefix, &seen, yield)
		switch {
		case s.done.Err() != nil:
			return keyring.ErrClosed
		case err != nil && err != errSilent && !transient(err):
			return s.explain(err)
		}
		select {
		case <-ctx.Done():
		case <-s.done.Done():
		case <-time.After(20*time.Millisecond + rand.N(100*time.Millisecond)):
		}
	}
	return nil
}

// stream watches by one stream, as long as that is alive. seen is the revision of
// the last event.
func (s *Store) stream(ctx context.Context, m *member, prefix string, seen *int64, yield func(keyring.Event, error) bool) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	defer context.AfterFunc(s.done, cancel)()
	c, err := m.connect(s.o.Timeout / longTry)
	if err != nil {
		return err
	}
	ask, done := context.WithTimeout(ctx, min(s.o.Timeout/longTry, silent*s.beat))
	now, err := c.Get(ask, s.key(prefix), clientv3.WithKeysOnly())
	done()
	if err != nil {
		return err
	}
	if now.Header.Revision < *seen { // restored from a backup: what comes would be missed up to there
		return keyring.ErrCompacted
	}
	w := clientv3.NewWatcher(c) // with a stream of its own, which ends with it
	defer w.Close()
	// Watch returns when the member has answered, and would wait for ever for one that
	// died since.
	watching, stop := context.WithCancel(ctx)
	defer stop()
	patience := time.AfterFunc(silent*s.beat, stop)
	if s.watching != nil {
		s.watching()
	}
	changes := w.Watch(watching, s.key(prefix), clientv3.WithPrefix(), clientv3.WithRev(*seen+1))
	if !patience.Stop() {
		return errSilent
	}
	ticker := time.NewTicker(s.beat)
	defer ticker.Stop()
	for quiet := 0; ; {
		select {
		case resp, ok := <-changes:
			if !ok {
				return ctx.Err()
			}
			quiet = 0
			if resp.CompactRevision != 0 {
				return keyring.ErrCompacted
			}
			if err := resp.Err(); err != nil {
				return err
			}
			for _, ev := range resp.Events {
				out := keyring.Event{
					Key: strings.TrimPrefix(string(ev.Kv.Key), s.key("")), Rev: uint64(ev.Kv.ModRevision), Deleted: ev.Type == mvccpb.DELETE,
				}
				if !yield(out, nil) {
					return errStop
				}
				*seen = max(*seen, ev.Kv.ModRevision)
			}
		case <-ticker.C:
			if quiet++; quiet > silent {
				return errSilent
			}
			ask, cancel := context.WithTimeout(ctx, s.beat/2)
			_ = w.RequestProgress(ask) // its answer comes as a change without events
			cancel()
		}
	}
}
