package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/chanseal/chanseal/keyring"
)

// input and output of an operation on one record. Values are all different, so
// that they stand for revisions.
type input struct {
	key      string
	write    bool
	old, new string // of a compare-and-swap; old "" creates
}

type output struct {
	value   string // that a read gave
	done    bool   // a write was acknowledged
	unknown bool   // nobody knows whether it was done
}

// register is a record with compare-and-swap. Whether a write without an answer was
// done is left open.
var register = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(input).key
			parts[key] = append(parts[key], op)
		}
		var out [][]porcupine.Operation
		for _, p := range parts {
			out = append(out, p)
		}
		return out
	},
	Init: func() []any { return []any{""} },
	Step: func(state, in, out any) []any {
		value, i, o := state.(string), in.(input), out.(output)
		switch {
		case !i.write && o.value == value:
			return []any{value}
		case !i.write:
			return nil
		case o.unknown && value == i.old:
			return []any{value, i.new}
		case o.unknown:
			return []any{value}
		case o.done == (value != i.old):
			return nil
		case o.done:
			return []any{i.new}
		}
		return []any{value}
	},
	Equal: func(a, b any) bool { return a == b },
}

// load has workers read and write a few records of a store, as fast as they get
// answers, and keeps the history.
type load struct {
	t0      time.Time
	mu      sync.Mutex
	ops     []porcupine.Operation
	acked   atomic.Int64 // writes
	unknown atomic.Int64
	taken   map[string]int
	resumed chan time.Time // the next acknowledged write that began after Mark
	mark    atomic.Int64
}

func newLoad() *load {
	return &load{t0: time.Now(), taken: map[string]int{}, resumed: make(chan time.Time, 1)}
}

func (l *load) record(worker int, in input, out output, call time.Time) {
	end := time.Since(l.t0)
	if out.unknown {
		end = time.Hour // it may still happen at any time
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, porcupine.Operation{ClientId: worker, Input: in, Output: out, Call: int64(call.Sub(l.t0)), Return: int64(end)})
}

// work is one worker. A worker never goes on as itself after an unknown outcome:
// the history would have it do two things at once.
func (l *load) work(ctx context.Context, s keyring.Store, id *atomic.Int64, keys int) {
	worker := int(id.Add(1))
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprint("c/", rand.N(keys))
		call := time.Now()
		e, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, keyring.ErrNotFound) {
			continue // a read without an answer says nothing
		}
		l.record(worker, input{key: key}, output{value: string(e.Value)}, call)

		in := input{key: key, write: true, old: string(e.Value), new: fmt.Sprint(worker, "-", n)}
		call = time.Now()
		_, err = s.CAS(ctx, key, []byte(in.new), e.Rev)
		switch {
		case err == nil:
			l.record(worker, in, output{done: true}, call)
			l.acked.Add(1)
			if m := l.mark.Load(); m != 0 && call.UnixNano() > m && l.mark.CompareAndSwap(m, 0) {
				l.resumed <- time.Now()
			}
		case errors.Is(err, keyring.ErrConflict):
			l.record(worker, in, output{}, call)
		default:
			l.record(worker, in, output{unknown: true}, call)
			l.unknown.Add(1)
			worker = int(id.Add(1))
		}

		m := fmt.Sprint(rand.N(5000))
		if err := s.Take(ctx, "t/x/1", m); err == nil {
			l.mu.Lock()
			l.taken[m]++
			l.mu.Unlock()
		}
	}
}

// run runs workers on stores until during returns.
func (l *load) run(t testing.TB, stores []keyring.Store, keys int, during func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var id atomic.Int64
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() { l.work(ctx, s, &id, keys) })
	}
	during()
	cancel()
	wg.Wait()
}

// awaitWrite waits for a write that began from now on to be acknowledged, and
// returns how long that took.
func (l *load) awaitWrite(t testing.TB) time.Duration {
	t.Helper()
	from := time.Now()
	l.mark.Store(from.UnixNano())
	select {
	case at := <-l.resumed:
		return at.Sub(from)
	case <-time.After(time.Minute):
		t.Fatal("no write is acknowledged any more")
		return 0
	}
}

// more waits until n more writes were acknowledged.
func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	for until := l.acked.Load() + n; l.acked.Load() < until; {
		l.awaitWrite(t)
	}
}

// check reports whether the history is one that a single copy could have given.
func (l *load) check() (porcupine.CheckResult, error) {
	for m, n := range l.taken {
		if n > 1 {
			return porcupine.Illegal, fmt.Errorf("%s was taken %d times", m, n)
		}
	}
	return porcupine.CheckOperationsTimeout(register.ToModel(), l.ops, 2*time.Minute), nil
}
