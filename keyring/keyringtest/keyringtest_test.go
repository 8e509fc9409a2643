package keyringtest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
)

func TestMemory(t *testing.T) {
	TestStore(t, func(testing.TB) Opener {
		m := NewMemory()
		return func() (keyring.Store, error) { return m.Again(), nil }
	})
}

// TestExaminer keeps stores that are broken in one way each: every one must be
// caught.
func TestExaminer(t *testing.T) {
	for name, broken := range map[string]func(*Memory) keyring.Store{
		"cas ignores the revision":   func(m *Memory) keyring.Store { return blindCAS{m} },
		"cas overwrites on create":   func(m *Memory) keyring.Store { return blindCreate{m} },
		"get and put without a lock": func(m *Memory) keyring.Store { return lostUpdate{m} },
		"memory is shared":           func(m *Memory) keyring.Store { return sharedMemory{m} },
		"revisions of each key":      func(m *Memory) keyring.Store { return ownRevisions{m} },
		"no size limit":              func(m *Memory) keyring.Store { return noLimit{m} },
		"cut values":                 func(m *Memory) keyring.Store { return cutValues{m} },
		"delete ignores revision":    func(m *Memory) keyring.Store { return blindDelete{m} },
		"take always succeeds":       func(m *Memory) keyring.Store { return takeAll{m} },
		"sets are mixed up":          func(m *Memory) keyring.Store { return oneSet{m} },
		"drop does nothing":          func(m *Memory) keyring.Store { return noDrop{m} },
		"list is unsorted":           func(m *Memory) keyring.Store { return unsorted{m} },
		"list ignores the prefix":    func(m *Memory) keyring.Store { return allKeys{m} },
		"watch ignores the prefix":   func(m *Memory) keyring.Store { return watchAll{m} },
		"watch hides deletions":      func(m *Memory) keyring.Store { return watchNoDelete{m} },
		"watch always starts over":   func(m *Memory) keyring.Store { return watchOver{m} },
		"watch ends early":           func(m *Memory) keyring.Store { return watchOnce{m} },
		"watch outlives context":     func(m *Memory) keyring.Store { return watchForever{m} },
		"context is ignored":         func(m *Memory) keyring.Store { return noContext{m} },
		"pages repeat the last":      func(m *Memory) keyring.Store { return pagesOverlap{m} },
		"pages end early":            func(m *Memory) keyring.Store { return pagesShort{m} },
		"fence is ignored":           func(m *Memory) keyring.Store { return noFence{m} },
		"fence hides a conflict":     func(m *Memory) keyring.Store { return blindFence{m} },
		"close does nothing":         func(m *Memory) keyring.Store { return noClose{m} },
		"handles share nothing":      func(m *Memory) keyring.Store { return NewMemory() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var caught []string
			for _, c := range checks {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				m := NewMemory()
				if err := c.run(ctx, func() (keyring.Store, error) { return broken(m.Again()), nil }); err != nil {
					caught = append(caught, c.name)
				}
				cancel()
				if len(caught) > 0 && !testing.Verbose() {
					break
				}
			}
			if len(caught) == 0 {
				t.Error("no check caught it")
			}
			t.Logf("caught by %q", caught)
		})
	}
}

type (
	blindCAS      struct{ *Memory }
	blindCreate   struct{ *Memory }
	lostUpdate    struct{ *Memory }
	sharedMemory  struct{ *Memory }
	ownRevisions  struct{ *Memory }
	noLimit       struct{ *Memory }
	cutValues     struct{ *Memory }
	blindDelete   struct{ *Memory }
	takeAll       struct{ *Memory }
	oneSet        struct{ *Memory }
	noDrop        struct{ *Memory }
	unsorted      struct{ *Memory }
	allKeys       struct{ *Memory }
	watchAll      struct{ *Memory }
	watchNoDelete struct{ *Memory }
	watchOver     struct{ *Memory }
	watchOnce     struct{ *Memory }
	watchForever  struct{ *Memory }
	noContext     struct{ *Memory }
	noClose       struct{ *Memory }
	pagesOverlap  struct{ *Memory }
	pagesShort    struct{ *Memory }
	noFence       struct{ *Memory }
	blindFence    struct{ *Memory }
)

func (s blindCAS) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	e, _ := s.Get(ctx, key)
	return s.Memory.CAS(ctx, key, value, e.Rev)
}

func (s blindCreate) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if e, err := s.Get(ctx, key); rev == 0 && err == nil {
		rev = e.Rev
	}
	return s.Memory.CAS(ctx, key, value, rev)
}

func (s lostUpdate) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if e, _ := s.Get(ctx, key); e.Rev != rev {
		return 0, keyring.ErrConflict
	}
	for { // the check above and this write are not one step
		time.Sleep(time.Microsecond)
		e, _ := s.Get(ctx, key)
		if rev, err := s.Memory.CAS(ctx, key, value, e.Rev); !errors.Is(err, keyring.ErrConflict) {
			return rev, err
		}
	}
}

func (s sharedMemory) Get(ctx context.Context, key string) (keyring.Entry, error) {
	if _, err := s.Memory.Get(ctx, key); err != nil {
		return keyring.Entry{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kv[key], nil
}

func (s ownRevisions) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if _, err := s.Memory.CAS(ctx, key, value, rev); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.kv[key]
	e.Rev = rev + 1
	s.kv[key] = e
	return e.Rev, nil
}

func (s noLimit) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	return s.Memory.CAS(ctx, key[:min(len(key), keyring.MaxKey)], value[:min(len(value), keyring.MaxValue)], rev)
}

func (s cutValues) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	return s.Memory.CAS(ctx, key, value[:min(len(value), 1<<16)], rev)
}

func (s blindDelete) Delete(ctx context.Context, key string, rev uint64) error {
	e, _ := s.Get(ctx, key)
	return s.Memory.Delete(ctx, key, e.Rev)
}

func (s takeAll) Take(ctx context.Context, set, member string) error {
	if err := s.Memory.Take(ctx, set, member); !errors.Is(err, keyring.ErrTaken) {
		return err
	}
	return nil
}

func (s oneSet) Take(ctx context.Context, set, member string) error {
	if len(set) > keyring.MaxKey {
		return keyring.ErrTooLarge
	}
	return s.Memory.Take(ctx, "one", member)
}

func (s noDrop) Drop(context.Context, string) error { return nil }

func (s unsorted) List(ctx context.Context, prefix string) ([]keyring.Entry, uint64, error) {
	all, rev, err := s.Memory.List(ctx, prefix)
	slices.Reverse(all)
	return all, rev, err
}

func (s allKeys) List(ctx context.Context, _ string) ([]keyring.Entry, uint64, error) {
	return s.Memory.List(ctx, "")
}

func (s watchAll) Watch(ctx context.Context, _ string, after uint64) iter.Seq2[keyring.Event, error] {
	return s.Memory.Watch(ctx, "", after)
}

func (s watchNoDelete) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	return func(yield func(keyring.Event, error) bool) {
		for ev, err := range s.Memory.Watch(ctx, prefix, after) {
			if !ev.Deleted && !yield(ev, err) {
				return
			}
		}
	}
}

func (s watchOver) Watch(ctx context.Context, prefix string, _ uint64) iter.Seq2[keyring.Event, error] {
	return s.Memory.Watch(ctx, prefix, 0)
}

func (s watchOnce) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	return func(yield func(keyring.Event, error) bool) {
		for ev, err := range s.Memory.Watch(ctx, prefix, after) {
			yield(ev, err)
			return
		}
	}
}

func (s watchForever) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	return func(yield func(keyring.Event, error) bool) {
		for ev, err := range s.Memory.Watch(ctx, prefix, after) {
			if !yield(ev, err) {
				return
			}
		}
		yield(keyring.Event{}, nil) // where it should have ended
	}
}

func (s noContext) CAS(_ context.Context, key string, value []byte, rev uint64) (uint64, error) {
	return s.Memory.CAS(context.Background(), key, value, rev)
}

func (s noClose) Close() error { return nil }

func (s pagesOverlap) Page(ctx context.Context, prefix, after string, limit int) ([]keyring.Entry, bool, error) {
	if after != "" {
		after = after[:len(after)-1]
	}
	return s.Memory.Page(ctx, prefix, after, max(limit, 2))
}

func (s pagesShort) Page(ctx context.Context, prefix, after string, limit int) ([]keyring.Entry, bool, error) {
	page, _, err := s.Memory.Page(ctx, prefix, after, limit)
	return page, false, err
}

func (s noFence) CASFenced(ctx context.Context, key string, value []byte, rev uint64, _ string, _ uint64) (uint64, error) {
	return s.Memory.CAS(ctx, key, value, rev)
}

func (s blindFence) CASFenced(ctx context.Context, key string, value []byte, _ uint64, fence string, at uint64) (uint64, error) {
	e, _ := s.Get(ctx, key)
	return s.Memory.CASFenced(ctx, key, value, e.Rev, fence, at)
}
