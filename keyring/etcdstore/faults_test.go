package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
)

var long = os.Getenv("CHANSEAL_LONG") != ""

func start(t testing.TB, c etcdtest.Config) (*etcdtest.Cluster, etcdstore.Options) {
	t.Helper()
	cl, err := etcdtest.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl, etcdstore.Options{Endpoints: cl.Endpoints(), Prefix: "/faults"}
}

// TestFaults kills the leader, cuts it off from the others, cuts members off from
// clients and compacts history, all under load: the history that clients saw is
// linearizable, no number is given out twice, and a watch that ran through all of
// it has the newest state. The long form does so ten times, with etcd's own times.
func TestFaults(t *testing.T) {
	rounds := 1
	if long {
		rounds = 10
	}
	cl, o := start(t, etcdtest.Config{Members: 3, Slow: long})
	const keys, workers = 3, 4
	var stores []keyring.Store
	for range workers {
		stores = append(stores, open(t, o))
	}
	watcher := open(t, o)
	etcdstore.SetBeat(watcher, 200*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	newest := make(chan map[string]uint64, 1)
	newest <- map[string]uint64{}
	go func() {
		for after := uint64(0); ctx.Err() == nil; {
			for ev, err := range watcher.Watch(ctx, "c/", after) {
				if errors.Is(err, keyring.ErrCompacted) {
					after = 0 // list again
				}
				if err != nil {
					break
				}
				seen := <-newest
				seen[ev.Key] = max(seen[ev.Key], ev.Rev)
				newest <- seen
				after = max(after, ev.Rev)
			}
		}
	}()

	l := newLoad()
	var killed, cut []time.Duration
	l.run(t, stores, keys, func() {
		l.more(t, 100)
		for range rounds {
			leader, err := cl.AwaitLeader(ctx, -1)
			if err != nil {
				t.Fatal(err)
			}
			cl.Kill(leader)
			killed = append(killed, l.awaitWrite(t))
			if err := cl.Restart(leader); err != nil {
				t.Fatal(err)
			}

			if leader, err = cl.AwaitLeader(ctx, -1); err != nil {
				t.Fatal(err)
			}
			cl.Isolate(leader)
			cut = append(cut, l.awaitWrite(t))
			l.more(t, 50)
			cl.Rejoin(leader)
			l.more(t, 50)

			compact(t, bare(t, o))
			cl.Cut(etcdtest.Clients, leader)
			l.awaitWrite(t)
			cl.Heal(etcdtest.Clients, leader)
			l.more(t, 50)
		}
	})
	t.Logf("%d writes acknowledged, %d without an answer, %d operations", l.acked.Load(), l.unknown.Load(), len(l.ops))
	t.Logf("writes went on %v after a leader was killed, %v after one was cut off", killed, cut)
	if result, err := l.check(); result != porcupine.Ok || err != nil {
		t.Errorf("the history is %v: %v", result, err)
	}

	// The watch gets to where the records are.
	all, _, err := watcher.List(ctx, "c/")
	if err != nil || len(all) != keys {
		t.Fatal(all, err)
	}
	for {
		seen := <-newest
		newest <- seen
		behind := slices.ContainsFunc(all, func(e keyring.Entry) bool { return seen[e.Key] < e.Rev })
		if !behind {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the watch stopped at %v, the records are %v", seen, all)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// blindStore swaps without comparing: the negative control.
type blindStore struct{ keyring.Store }

func (s blindStore) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	for {
		next, err := s.Store.CAS(ctx, key, value, rev)
		if !errors.Is(err, keyring.ErrConflict) {
			return next, err
		}
		e, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return 0, err
		}
		rev = e.Rev
	}
}

// staleStore reads what was there a while ago: the other negative control.
type staleStore struct {
	keyring.Store
	old map[string]keyring.Entry
}

func (s staleStore) Get(ctx context.Context, key string) (keyring.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	if was, ok := s.old[key]; ok && err == nil {
		s.old[key] = e
		return was, nil
	}
	s.old[key] = e
	return e, err
}

// TestFaultsAreFound: stores that are broken in one way each give histories that
// the checker refuses.
func TestFaultsAreFound(t *testing.T) {
	for name, broken := range map[string]func(keyring.Store) keyring.Store{
		"writes that do not compare": func(s keyring.Store) keyring.Store { return blindStore{s} },
		"reads of old values":        func(s keyring.Store) keyring.Store { return staleStore{s, map[string]keyring.Entry{}} },
		"nothing":                    func(s keyring.Store) keyring.Store { return s },
	} {
		o := options(t)
		var stores []keyring.Store
		for range 4 {
			stores = append(stores, broken(open(t, o)))
		}
		l := newLoad()
		l.run(t, stores, 1, func() {
			l.more(t, 100)
		})
		result, err := l.check()
		if want := name != "nothing"; (result == porcupine.Illegal) != want || err != nil {
			t.Errorf("%s is broken: the history of %d operations is %v, %v", name, len(l.ops), result, err)
		}
	}
}

// TestSilentMember cuts members off from the client, without breaking connections:
// a watch goes on at another, and so do reads and writes.
func TestSilentMember(t *testing.T) {
	cl, o := start(t, etcdtest.Config{Members: 3})
	o.Timeout = 4 * time.Second
	s := open(t, o)
	etcdstore.SetBeat(s, 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next, stop := iter.Pull2(s.Watch(ctx, "c/", 0))
	defer stop()
	var rev uint64
	for i, pair := range [][2]int{{0, 1}, {1, 2}, {2, 0}} {
		cl.Cut(etcdtest.Clients, pair[0])
		cl.Cut(etcdtest.Clients, pair[1])
		var err error
		if rev, err = s.CAS(ctx, "c/k", fmt.Append(nil, i), rev); err != nil {
			t.Fatal(err)
		}
		if ev, err, _ := next(); err != nil || ev.Rev != rev {
			t.Fatalf("%v, %v, want %d", ev, err, rev)
		}
		cl.Heal(etcdtest.Clients, pair[0])
		cl.Heal(etcdtest.Clients, pair[1])
	}
}
