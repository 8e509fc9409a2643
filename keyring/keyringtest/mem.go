package keyringtest

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/chanseal/chanseal/keyring"
)

// Memory is a [keyring.Store] in memory: for tests, and the reference that the
// examiner itself is tried on. It is not durable.
type Memory struct {
	*memory
	closed bool // guarded by memory.mu
}

// memory is what several handles share.
type memory struct {
	mu      sync.Mutex
	rev     uint64
	kv      map[string]keyring.Entry
	dead    map[string]uint64 // deleted keys, with the revision of that
	taken   map[string]map[string]bool
	changed chan struct{} // closed and replaced at every change
}

var (
	_ keyring.Store  = (*Memory)(nil)
	_ keyring.Pager  = (*Memory)(nil)
	_ keyring.Fencer = (*Memory)(nil)
)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{memory: &memory{
		kv: map[string]keyring.Entry{}, dead: map[string]uint64{}, taken: map[string]map[string]bool{},
		changed: make(chan struct{}),
	}}
}

// Again returns one more handle on the same records, as another process has on a
// file. Closing one leaves the others open.
func (m *Memory) Again() *Memory { return &Memory{memory: m.memory} }

func tooLong(names ...string) bool {
	return slices.ContainsFunc(names, func(s string) bool { return len(s) > keyring.MaxKey })
}

// begin locks m if it can be used.
func (m *Memory) begin(ctx context.Context, names ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if tooLong(names...) {
		return keyring.ErrTooLarge
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return keyring.ErrClosed
	}
	return nil
}

// Get implements [keyring.Store].
func (m *Memory) Get(ctx context.Context, key string) (keyring.Entry, error) {
	if err := m.begin(ctx, key); err != nil {
		return keyring.Entry{}, err
	}
	defer m.mu.Unlock()
	e, ok := m.kv[key]
	if !ok {
		return keyring.Entry{}, keyring.ErrNotFound
	}
	e.Value = slices.Clone(e.Value)
	return e, nil
}

// CAS implements [keyring.Store].
func (m *Memory) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if len(value) > keyring.MaxValue {
		return 0, keyring.ErrTooLarge
	}
	if err := m.begin(ctx, key); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	return m.cas(key, value, rev)
}

// CASFenced implements [keyring.Fencer].
func (m *Memory) CASFenced(ctx context.Context, key string, value []byte, rev uint64, fence string, at uint64) (uint64, error) {
	if len(value) > keyring.MaxValue {
		return 0, keyring.ErrTooLarge
	}
	if err := m.begin(ctx, key, fence); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	if m.kv[key].Rev == rev && m.kv[fence].Rev != at {
		return 0, keyring.ErrFenced
	}
	return m.cas(key, value, rev)
}

// cas is CAS with the lock held.
func (m *memory) cas(key string, value []byte, rev uint64) (uint64, error) {
	if m.kv[key].Rev != rev {
		return 0, keyring.ErrConflict
	}
	m.rev++
	m.kv[key] = keyring.Entry{Key: key, Value: slices.Clone(value), Rev: m.rev}
	delete(m.dead, key)
	m.tell()
	return m.rev, nil
}

// Delete implements [keyring.Store].
func (m *Memory) Delete(ctx context.Context, key string, rev uint64) error {
	if err := m.begin(ctx, key); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if rev == 0 || m.kv[key].Rev != rev {
		return keyring.ErrConflict
	}
	m.rev++
	delete(m.kv, key)
	m.dead[key] = m.rev
	m.tell()
	return nil
}

// Take implements [keyring.Store].
func (m *Memory) Take(ctx context.Context, set, member string) error {
	if err := m.begin(ctx, set, member); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.taken[set][member] {
		return keyring.ErrTaken
	}
	if m.taken[set] == nil {
		m.taken[set] = map[string]bool{}
	}
	m.taken[set][member] = true
	return nil
}

// Drop implements [keyring.Store].
func (m *Memory) Drop(ctx context.Context, set string) error {
	if err := m.begin(ctx, set); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.taken, set)
	return nil
}

// List implements [keyring.Store].
func (m *Memory) List(ctx context.Context, prefix string) ([]keyring.Entry, uint64, error) {
	if err := m.begin(ctx, prefix); err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	var out []keyring.Entry
	for key, e := range m.kv {
		if strings.HasPrefix(key, prefix) {
			e.Value = slices.Clone(e.Value)
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b keyring.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, m.rev, nil
}

// Page implements [keyring.Pager].
func (m *Memory) Page(ctx context.Context, prefix, after string, limit int) ([]keyring.Entry, bool, error) {
	all, _, err := m.List(ctx, prefix)
	if err != nil {
		return nil, false, err
	}
	all = slices.DeleteFunc(all, func(e keyring.Entry) bool { return e.Key <= after })
	return all[:min(limit, len(all))], len(all) > limit, nil
}

// Watch implements [keyring.Store].
func (m *Memory) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[keyring.Event, error] {
	return func(yield func(keyring.Event, error) bool) {
		for ctx.Err() == nil {
			if err := m.begin(ctx, prefix); err != nil {
				if ctx.Err() == nil {
					yield(keyring.Event{}, err)
				}
				return
			}
			var events []keyring.Event
			for key, e := range m.kv {
				if strings.HasPrefix(key, prefix) && e.Rev > after {
					events = append(events, keyring.Event{Key: key, Rev: e.Rev})
				}
			}
			for key, rev := range m.dead {
				if strings.HasPrefix(key, prefix) && rev > after {
					events = append(events, keyring.Event{Key: key, Rev: rev, Deleted: true})
				}
			}
			wait := m.changed
			m.mu.Unlock()
			slices.SortFunc(events, func(a, b keyring.Event) int { return int(int64(a.Rev - b.Rev)) })
			for _, ev := range events {
				after = ev.Rev
				if !yield(ev, nil) {
					return
				}
			}
			select {
			case <-wait:
			case <-ctx.Done():
			}
		}
	}
}

// Close implements [keyring.Store].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.tell()
	}
	return nil
}

// tell wakes every Watch. m.mu is held.
func (m *memory) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
}
