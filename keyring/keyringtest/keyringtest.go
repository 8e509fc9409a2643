// Package keyringtest examines implementations of [keyring.Store], and has one in
// memory.
package keyringtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
)

// Opener opens one more handle on a storage, as another process would.
type Opener func() (keyring.Store, error)

// patience is how long the examiner waits for what a store promises within a
// second: a slow machine is no fault of the store's.
const patience = 30 * time.Second

// TestStore runs every check, each on a storage of its own that fresh makes empty.
// What is optional, [keyring.Pager] and [keyring.Fencer], is checked of stores that
// have it.
func TestStore(t *testing.T, fresh func(testing.TB) Opener) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			if err := c.run(ctx, fresh(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// check is a promise of the Store interface. It returns what is wrong.
type check struct {
	name string
	run  func(context.Context, Opener) error
}

var checks = []check{
	{"records", checkRecords},
	{"copies", checkCopies},
	{"limits", checkLimits},
	{"revisions", checkRevisions},
	{"delete", checkDelete},
	{"take", checkTake},
	{"list", checkList},
	{"pages", checkPages},
	{"fence", checkFence},
	{"two handles", checkHandles},
	{"racing writers", checkRace},
	{"racing takers", checkTakers},
	{"watch from the start", checkWatchStart},
	{"watch here", func(ctx context.Context, o Opener) error { return checkWatch(ctx, o, true) }},
	{"watch there", func(ctx context.Context, o Opener) error { return checkWatch(ctx, o, false) }},
	{"watch again", checkResume},
	{"watch ends", checkWatchEnds},
	{"context", checkContext},
	{"close", checkClose},
}

// one opens a handle, and closes it after use.
func one(open Opener, use func(keyring.Store) error) error {
	s, err := open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return errors.Join(use(s), s.Close())
}

func is(what string, err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: error %v, want %v", what, err, want)
	}
	return nil
}

func checkRecords(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		_, err := s.Get(ctx, "a")
		if err := is("Get of nothing", err, keyring.ErrNotFound); err != nil {
			return err
		}
		if _, err = s.CAS(ctx, "a", []byte("1"), 7); !errors.Is(err, keyring.ErrConflict) {
			return fmt.Errorf("CAS from a revision that is not: %v", err)
		}
		for _, value := range []string{"1", "", "3\x00", strings.Repeat("x", 10000)} {
			e, err := s.Get(ctx, "a")
			if err != nil && !errors.Is(err, keyring.ErrNotFound) {
				return err
			}
			rev, err := s.CAS(ctx, "a", []byte(value), e.Rev)
			if err != nil {
				return err
			}
			got, err := s.Get(ctx, "a")
			if err != nil || string(got.Value) != value || got.Rev != rev || got.Key != "a" {
				return fmt.Errorf("wrote %.20q at %d, read %.20q at %d, %v", value, rev, got.Value, got.Rev, err)
			}
			if _, err = s.CAS(ctx, "a", []byte("stale"), e.Rev); !errors.Is(err, keyring.ErrConflict) {
				return fmt.Errorf("CAS from an old revision: %v", err)
			}
			if _, err = s.CAS(ctx, "a", []byte("new"), 0); !errors.Is(err, keyring.ErrConflict) {
				return fmt.Errorf("CAS that creates what is there: %v", err)
			}
			if got, err = s.Get(ctx, "a"); err != nil || string(got.Value) != value {
				return fmt.Errorf("a CAS that was refused changed the record to %.20q, %v", got.Value, err)
			}
		}
		return nil
	})
}

func checkCopies(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		in := []byte("value")
		if _, err := s.CAS(ctx, "a", in, 0); err != nil {
			return err
		}
		clear(in)
		for range 2 {
			e, err := s.Get(ctx, "a")
			if err != nil || string(e.Value) != "value" {
				return fmt.Errorf("the store does not keep a copy: %q, %v", e.Value, err)
			}
			clear(e.Value)
			all, _, err := s.List(ctx, "a")
			if err != nil || len(all) != 1 || string(all[0].Value) != "value" {
				return fmt.Errorf("the store hands out its own memory: %v, %v", all, err)
			}
			clear(all[0].Value)
		}
		return nil
	})
}

func checkLimits(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		key := strings.Repeat("k", keyring.MaxKey)
		value := bytes.Repeat([]byte{0xA5}, keyring.MaxValue)
		if _, err := s.CAS(ctx, key, value, 0); err != nil {
			return fmt.Errorf("the longest key and value: %w", err)
		}
		if e, err := s.Get(ctx, key); err != nil || !bytes.Equal(e.Value, value) {
			return fmt.Errorf("the longest key and value do not come back: %v", err)
		}
		if err := s.Take(ctx, key, key); err != nil {
			return fmt.Errorf("the longest set and member: %w", err)
		}
		_, err := s.CAS(ctx, "a", append(value, 0), 0)
		if err := is("a longer value", err, keyring.ErrTooLarge); err != nil {
			return err
		}
		_, err = s.CAS(ctx, key+"k", nil, 0)
		if err := is("a longer key", err, keyring.ErrTooLarge); err != nil {
			return err
		}
		return errors.Join(
			is("a longer set", s.Take(ctx, key+"k", "m"), keyring.ErrTooLarge),
			is("a longer member", s.Take(ctx, "s", key+"k"), keyring.ErrTooLarge))
	})
}

func checkRevisions(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		var last uint64
		revs := map[string]uint64{}
		for i := range 30 {
			key := string(rune('a' + i%3))
			rev, err := s.CAS(ctx, key, []byte{byte(i)}, revs[key])
			if err != nil {
				return err
			}
			if rev <= last {
				return fmt.Errorf("revision %d after %d", rev, last)
			}
			last, revs[key] = rev, rev
			if _, at, err := s.List(ctx, ""); err != nil || at < last {
				return fmt.Errorf("List is at revision %d after %d, %v", at, last, err)
			}
		}
		return nil
	})
}

func checkDelete(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		if err := is("Delete of nothing", s.Delete(ctx, "a", 1), keyring.ErrConflict); err != nil {
			return err
		}
		first, err := s.CAS(ctx, "a", []byte("1"), 0)
		if err != nil {
			return err
		}
		second, err := s.CAS(ctx, "a", []byte("2"), first)
		if err != nil {
			return err
		}
		if err := errors.Join(is("Delete from an old revision", s.Delete(ctx, "a", first), keyring.ErrConflict),
			is("Delete from revision 0", s.Delete(ctx, "a", 0), keyring.ErrConflict)); err != nil {
			return err
		}
		if err := s.Delete(ctx, "a", second); err != nil {
			return err
		}
		_, err = s.Get(ctx, "a")
		if err := is("Get after Delete", err, keyring.ErrNotFound); err != nil {
			return err
		}
		if all, _, err := s.List(ctx, ""); err != nil || len(all) != 0 {
			return fmt.Errorf("List after Delete: %d records, %v", len(all), err)
		}
		third, err := s.CAS(ctx, "a", []byte("3"), 0)
		if err != nil {
			return fmt.Errorf("create after Delete: %w", err)
		}
		if third <= second {
			return fmt.Errorf("created at revision %d, the deleted one had %d", third, second)
		}
		return nil
	})
}

func checkTake(ctx context.Context, open Opener) error {
	err := one(open, func(s keyring.Store) error {
		for _, set := range []string{"x", "y", "x/"} {
			for _, m := range []string{"1", "2", "11"} {
				if err := s.Take(ctx, set, m); err != nil {
					return fmt.Errorf("Take of %s in %s: %w", m, set, err)
				}
				if err := is("Take again", s.Take(ctx, set, m), keyring.ErrTaken); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return one(open, func(s keyring.Store) error {
		if err := is("Take after a restart", s.Take(ctx, "x", "11"), keyring.ErrTaken); err != nil {
			return err
		}
		if err := errors.Join(s.Drop(ctx, "x"), s.Drop(ctx, "never was")); err != nil {
			return err
		}
		if err := s.Take(ctx, "x", "1"); err != nil {
			return fmt.Errorf("Take after Drop: %w", err)
		}
		return errors.Join(
			is("Take of another set after Drop", s.Take(ctx, "y", "1"), keyring.ErrTaken),
			is("Take of a set with a longer name after Drop", s.Take(ctx, "x/", "1"), keyring.ErrTaken))
	})
}

func checkList(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		keys := []string{"b/2", "a", "b/10", "b", "c/1", "b/1", "ba"}
		for _, k := range keys {
			if _, err := s.CAS(ctx, k, []byte("v:"+k), 0); err != nil {
				return err
			}
		}
		if err := s.Take(ctx, "b/", "3"); err != nil {
			return err
		}
		for _, prefix := range []string{"", "b", "b/", "b/1", "z"} {
			var want []string
			for _, k := range keys {
				if strings.HasPrefix(k, prefix) {
					want = append(want, k)
				}
			}
			slices.Sort(want)
			all, _, err := s.List(ctx, prefix)
			if err != nil {
				return err
			}
			var got []string
			for _, e := range all {
				got = append(got, e.Key)
				if string(e.Value) != "v:"+e.Key || e.Rev == 0 {
					return fmt.Errorf("List gives %q at %d for %s", e.Value, e.Rev, e.Key)
				}
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("List of %q gives %q, want %q", prefix, got, want)
			}
		}
		return nil
	})
}

// two opens two handles, and closes them after use.
func two(open Opener, use func(a, b keyring.Store) error) error {
	return one(open, func(a keyring.Store) error {
		return one(open, func(b keyring.Store) error { return use(a, b) })
	})
}

func checkHandles(ctx context.Context, open Opener) error {
	return two(open, func(a, b keyring.Store) error {
		rev, err := a.CAS(ctx, "k", []byte("a"), 0)
		if err != nil {
			return err
		}
		if e, err := b.Get(ctx, "k"); err != nil || string(e.Value) != "a" || e.Rev != rev {
			return fmt.Errorf("the other handle reads %q at %d, %v", e.Value, e.Rev, err)
		}
		if _, err := b.CAS(ctx, "k", []byte("b"), rev); err != nil {
			return err
		}
		_, err = a.CAS(ctx, "k", []byte("again"), rev)
		if err := is("CAS from a revision the other handle ended", err, keyring.ErrConflict); err != nil {
			return err
		}
		if err := a.Take(ctx, "s", "m"); err != nil {
			return err
		}
		return is("Take of what the other handle took", b.Take(ctx, "s", "m"), keyring.ErrTaken)
	})
}

// checkRace has writers on two handles count in one record.
func checkRace(ctx context.Context, open Opener) error {
	const each, writers = 25, 4
	return two(open, func(a, b keyring.Store) error {
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			s := []keyring.Store{a, b}[w%2]
			wg.Go(func() {
				for n := 0; n < each && errs[w] == nil; {
					e, err := s.Get(ctx, "n")
					if err != nil && !errors.Is(err, keyring.ErrNotFound) {
						errs[w] = err
						return
					}
					_, err = s.CAS(ctx, "n", append(e.Value, byte(w)), e.Rev)
					switch {
					case err == nil:
						n++
					case !errors.Is(err, keyring.ErrConflict):
						errs[w] = err
					}
				}
			})
		}
		wg.Wait()
		e, err := a.Get(ctx, "n")
		if err := errors.Join(append(errs, err)...); err != nil {
			return err
		}
		if len(e.Value) != each*writers {
			return fmt.Errorf("%d writes of %d are left", len(e.Value), each*writers)
		}
		return nil
	})
}

// checkTakers has many take the same numbers: each number has one winner.
func checkTakers(ctx context.Context, open Opener) error {
	const numbers, takers = 10, 6
	return two(open, func(a, b keyring.Store) error {
		var mu sync.Mutex
		var wg sync.WaitGroup
		won := map[string]int{}
		var failed error
		for w := range takers {
			s := []keyring.Store{a, b}[w%2]
			wg.Go(func() {
				for n := range numbers {
					m := fmt.Sprint(n)
					err := s.Take(ctx, "s", m)
					mu.Lock()
					if err == nil {
						won[m]++
					} else if !errors.Is(err, keyring.ErrTaken) {
						failed = err
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for n := range numbers {
			if w := won[fmt.Sprint(n)]; w != 1 && failed == nil {
				return fmt.Errorf("number %d was taken %d times", n, w)
			}
		}
		return failed
	})
}

// events pulls from a Watch.
type events struct {
	next func() (keyring.Event, error, bool)
	stop func()
}

func watch(ctx context.Context, s keyring.Store, prefix string, after uint64) (events, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	next, stop := iter.Pull2(s.Watch(ctx, prefix, after))
	return events{next, stop}, cancel
}

// until reads events until one is as wanted.
func (e events) until(key string, rev uint64, deleted bool) (seen []keyring.Event, err error) {
	for {
		ev, err, ok := e.next()
		if !ok {
			return seen, fmt.Errorf("the watch ended before %s at %d (deleted %v); it gave %v", key, rev, deleted, seen)
		}
		if err != nil {
			return seen, err
		}
		seen = append(seen, ev)
		if ev == (keyring.Event{Key: key, Rev: rev, Deleted: deleted}) {
			return seen, nil
		}
	}
}

func checkWatchStart(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		if _, err := s.CAS(ctx, "p/1", nil, 0); err != nil {
			return err
		}
		if _, err := s.CAS(ctx, "other", nil, 0); err != nil {
			return err
		}
		rev, err := s.CAS(ctx, "p/2", nil, 0)
		if err != nil {
			return err
		}
		e, cancel := watch(ctx, s, "p/", 0)
		defer cancel()
		defer e.stop()
		seen, err := e.until("p/2", rev, false)
		if err != nil {
			return err
		}
		if len(seen) != 2 || seen[0].Key != "p/1" {
			return fmt.Errorf("a watch from the start gave %v", seen)
		}
		return nil
	})
}

// checkWatch changes records while another goroutine watches, on the same handle
// or on another.
func checkWatch(ctx context.Context, open Opener, same bool) error {
	return two(open, func(a, b keyring.Store) error {
		if same {
			b = a
		}
		e, cancel := watch(ctx, a, "p/", 0)
		defer cancel()
		defer e.stop()
		var rev uint64
		for i := range 3 {
			var err error
			written := make(chan error, 1)
			go func() { // while the watch waits
				var err error
				if rev, err = b.CAS(ctx, "p/1", []byte{byte(i)}, rev); err == nil {
					_, err = b.CAS(ctx, fmt.Sprint("q/", i), nil, 0)
				}
				written <- err
			}()
			ev, err, ok := e.next()
			if err := errors.Join(err, <-written); err != nil {
				return err
			}
			if !ok || ev != (keyring.Event{Key: "p/1", Rev: rev}) {
				return fmt.Errorf("after a change at %d the watch gave %v", rev, ev)
			}
		}
		deleted := make(chan error, 1)
		go func() { deleted <- b.Delete(ctx, "p/1", rev) }()
		ev, err, ok := e.next()
		if err := errors.Join(err, <-deleted); err != nil {
			return err
		}
		if !ok || !ev.Deleted || ev.Key != "p/1" || ev.Rev <= rev {
			return fmt.Errorf("after a deletion the watch gave %v", ev)
		}
		return nil
	})
}

// checkResume starts a watch where another ended: what did not change since does
// not come.
func checkResume(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		if _, err := s.CAS(ctx, "p/0", nil, 0); err != nil {
			return err
		}
		first, err := s.CAS(ctx, "p/1", nil, 0)
		if err != nil {
			return err
		}
		gone, err := s.CAS(ctx, "p/3", nil, 0)
		if err != nil {
			return err
		}
		_, from, err := s.List(ctx, "p/")
		if err != nil {
			return err
		}
		if err := s.Delete(ctx, "p/3", gone); err != nil {
			return err
		}
		if _, err := s.CAS(ctx, "p/1", nil, first); err != nil {
			return err
		}
		last, err := s.CAS(ctx, "p/2", nil, 0)
		if err != nil {
			return err
		}
		e, cancel := watch(ctx, s, "p/", from)
		defer cancel()
		defer e.stop()
		seen, err := e.until("p/2", last, false)
		if errors.Is(err, keyring.ErrCompacted) {
			return errors.New("three changes are too many for the store to keep")
		}
		if err != nil {
			return err
		}
		if len(seen) != 3 || !seen[0].Deleted || seen[0].Key != "p/3" || seen[1].Key != "p/1" {
			return fmt.Errorf("a watch from %d gave %v", from, seen)
		}
		for _, ev := range seen {
			if ev.Rev <= from {
				return fmt.Errorf("a watch from %d gave %v", from, seen)
			}
		}
		return nil
	})
}

func checkWatchEnds(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			for _, err := range s.Watch(ctx, "p/", 0) {
				ended <- fmt.Errorf("a watch of nothing gave something, %v", err)
				return
			}
			ended <- nil
		}()
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("a watch does not end with its context")
		}
	})
}

func checkContext(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		done, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.CAS(done, "a", nil, 0); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("CAS with a context that is done: %v", err)
		}
		if _, err := s.Get(ctx, "a"); !errors.Is(err, keyring.ErrNotFound) {
			return fmt.Errorf("CAS with a context that is done wrote: %v", err)
		}
		return is("Take with a context that is done", s.Take(done, "s", "m"), context.Canceled)
	})
}

func checkClose(ctx context.Context, open Opener) error {
	err := one(open, func(s keyring.Store) error {
		if _, err := s.CAS(ctx, "a", []byte("1"), 0); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		_, err := s.Get(ctx, "a")
		if err := is("Get after Close", err, keyring.ErrClosed); err != nil {
			return err
		}
		_, err = s.CAS(ctx, "b", nil, 0)
		return is("CAS after Close", err, keyring.ErrClosed) // and it is closed again
	})
	if err != nil {
		return err
	}
	return one(open, func(s keyring.Store) error {
		if e, err := s.Get(ctx, "a"); err != nil || string(e.Value) != "1" {
			return fmt.Errorf("opened again: %q, %v", e.Value, err)
		}
		return nil
	})
}
