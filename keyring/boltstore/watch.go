package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/chanseal/chanseal/keyring"
)

// since returns what changed after a revision, in the order of revisions, and
// the file's revision.
func (s *Store) since(ctx context.Context, prefix string, after uint64) (events []keyring.Event, rev uint64, err error) {
	err = s.view(ctx, func(v *view) error {
		st, err := v.state()
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
		if found, ok, err := v.recent(prefix, after, st.rev); ok || err != nil {
			events = found
			return err
		}
		events, err = v.allSince(prefix, after)
		return err
	})
	slices.SortFunc(events, func(a, b keyring.Event) int { return int(int64(a.Rev - b.Rev)) })
	return events, rev, err
}

// recent finds the changes after a revision among the recent ones. ok says that all of
// them are still there.
func (v *view) recent(prefix string, after, last uint64) (events []keyring.Event, ok bool, err error) {
	newest := map[string]uint64{}
	next := after + 1
	err = v.ascend(bucketRecent, binary.BigEndian.AppendUint64(nil, next), func(k, key []byte) bool {
		if len(k) != 8 || binary.BigEndian.Uint64(k) != next {
			return false
		}
		newest[string(key)] = next
		next++
		return true
	})
	if err != nil || next != last+1 {
		return nil, false, err
	}
	for key, rev := range newest {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		stored, err := v.get(bucketKV, []byte(key))
		if err != nil {
			return nil, false, err
		}
		events = append(events, keyring.Event{Key: key, Rev: rev, Deleted: stored == nil})
	}
	return events, true, nil
}

// allSince finds them among all records, and the newest deletions.
func (v *view) allSince(prefix string, after uint64) (events []keyring.Event, err error) {
	if v.h.tree != nil {
		if err := v.prove(); err != nil {
			return nil, err
		}
	}
	kv := v.Bucket(bucketKV)
	c := kv.Cursor()
	for k, stored := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, stored = c.Next() {
		if len(stored) < entryHead {
			return nil, damaged("a record is cut")
		}
		if rev := binary.BigEndian.Uint64(stored); rev > after {
			events = append(events, keyring.Event{Key: string(k), Rev: rev})
		}
	}
	d := v.Bucket(bucketDead).Cursor()
	for k, key := d.Seek(binary.BigEndian.AppendUint64(nil, after+1)); len(k) == 8; k, key = d.Next() {
		if bytes.HasPrefix(key, []byte(prefix)) && kv.Get(key) == nil {
			events = append(events, keyring.Event{Key: string(key), Rev: binary.BigEndian.Uint64(k), Deleted: true})
		}
	}
	return events, nil
}

// Revision implements [keyring.Revisioner].
func (s *Store) Revision(ctx context.Context) (rev uint64, err error) {
	err = s.view(ctx, func(v *view) error {
		st, err := v.state()
		if err == nil {
			rev = st.rev
		}
		return err
	})
	return rev, err
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
