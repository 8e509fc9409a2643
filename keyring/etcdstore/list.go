package etcdstore

import (
	"context"
	"errors"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/chanseal/chanseal/keyring"
)

const (
	firstPage = 64
	pageBytes = 1 << 20 // about what an answer should have
	maxPage   = 10_000  // records
	restarts  = 3       // of a list that compaction overtook
)

// pages reads all records with a prefix as they were at one moment, page by page,
// and returns the revision of that moment.
func (s *Store) pages(ctx context.Context, prefix string, keysOnly bool, visit func([]*mvccpb.KeyValue) error) (int64, error) {
	from, end := s.key(prefix), clientv3.GetPrefixRangeEnd(s.key(prefix))
	limit, rev := int64(firstPage), int64(0)
	for {
		var resp *clientv3.GetResponse
		err := s.retry(ctx, func(ctx context.Context, c *clientv3.Client, _ bool) (err error) {
			opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(rev)}
			if keysOnly {
				opts = append(opts, clientv3.WithKeysOnly())
			}
			resp, err = c.Get(ctx, from, opts...)
			return err
		})
		if err != nil {
			return 0, err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		if err := visit(resp.Kvs); err != nil {
			return 0, err
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		size := 1
		for _, kv := range resp.Kvs {
			size += len(kv.Key) + len(kv.Value)
		}
		limit = min(max(int64(len(resp.Kvs))*pageBytes/int64(size), 1), 4*limit, maxPage)
	}
}

// List implements [keyring.Store]. The records are fetched in pages of about a
// MiB, all of one revision.
func (s *Store) List(ctx context.Context, prefix string) ([]keyring.Entry, uint64, error) {
	if len(prefix) > keyring.MaxKey {
		return nil, 0, keyring.ErrTooLarge
	}
	for try := 1; ; try++ {
		var out []keyring.Entry
		rev, err := s.pages(ctx, prefix, false, func(kvs []*mvccpb.KeyValue) error {
			for _, kv := range kvs {
				e, err := s.entry(kv)
				if err != nil {
					return err
				}
				out = append(out, e)
			}
			return nil
		})
		if errors.Is(err, keyring.ErrCompacted) && try < restarts {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		return out, uint64(rev), nil
	}
}

// Page implements [keyring.Pager].
func (s *Store) Page(ctx context.Context, prefix, after string, limit int) (out []keyring.Entry, more bool, err error) {
	if len(prefix) > keyring.MaxKey || len(after) > keyring.MaxKey {
		return nil, false, keyring.ErrTooLarge
	}
	from := s.key(prefix)
	if after != "" {
		from = max(from, s.key(after)+"\x00")
	}
	err = s.retry(ctx, func(ctx context.Context, c *clientv3.Client, _ bool) error {
		resp, err := c.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.key(prefix))), clientv3.WithLimit(int64(max(limit, 1))))
		if err != nil {
			return err
		}
		out, more = nil, resp.More
		for _, kv := range resp.Kvs {
			e, err := s.entry(kv)
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return out, more, nil
}

// all returns an Event for each record with prefix, in the order of revisions, and
// the revision they are of.
func (s *Store) all(ctx context.Context, prefix string) (events []keyring.Event, rev int64, err error) {
	for try := 1; ; try++ {
		events = nil
		rev, err = s.pages(ctx, prefix, true, func(kvs []*mvccpb.KeyValue) error {
			for _, kv := range kvs {
				events = append(events, keyring.Event{Key: strings.TrimPrefix(string(kv.Key), s.key("")), Rev: uint64(kv.ModRevision)})
			}
			return nil
		})
		if !errors.Is(err, keyring.ErrCompacted) || try == restarts {
			break
		}
	}
	slices.SortFunc(events, func(a, b keyring.Event) int { return int(int64(a.Rev - b.Rev)) })
	return events, rev, err
}
