package cipher

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/chanseal/chanseal/internal/raceflag"
)

// replayWindow is what the property below needs of a window.
type replayWindow interface {
	peek(ctr uint64) bool
	commit(ctr uint64) bool
}

// modelWindow is the window as one would explain it: remember everything, refuse what
// was accepted or lies size or more behind the highest.
type modelWindow struct {
	size     uint64
	accepted map[uint64]bool
	highest  uint64
}

func (m *modelWindow) accept(ctr uint64) bool {
	if m.accepted[ctr] || ctr+m.size <= m.highest && ctr+m.size >= ctr {
		return false
	}
	m.accepted[ctr] = true
	m.highest = max(m.highest, ctr)
	return true
}

// followsModel feeds counters to a window and its model and reports where they differ.
func followsModel(w replayWindow, size int, ctrs []uint64) error {
	m := modelWindow{size: uint64(size), accepted: map[uint64]bool{}}
	for i, ctr := range ctrs {
		want := m.accept(ctr)
		if got := w.peek(ctr); got != want {
			return fmt.Errorf("counter %d, the %dth, highest %d: peek says %v, want %v", ctr, i, m.highest, got, want)
		}
		if want && !w.commit(ctr) {
			return fmt.Errorf("counter %d, the %dth, highest %d: commit refuses what peek allowed", ctr, i, m.highest)
		}
		if m.accepted[ctr] && w.commit(ctr) {
			return fmt.Errorf("counter %d, the %dth, highest %d: commit accepts it again", ctr, i, m.highest)
		}
	}
	return nil
}

// nextCounter moves from the last counter as senders and attackers do: on by one, a
// little to and fro, to the window's edges, to block edges, far ahead, anywhere.
func nextCounter(last, highest uint64, size int, kind int, r uint64) uint64 {
	n := uint64(size)
	switch kind {
	case 0, 1, 2:
		return highest + 1
	case 3, 4, 5:
		return highest - r%n
	case 6: // the window's edge, and one to either side
		return highest - n + r%3
	case 7: // an edge of a block
		return (highest>>blockShift-r%8)<<blockShift - r>>60&1
	case 8:
		return highest + r%(3*n)
	case 9: // other blocks that share a slot
		return highest + r%5*uint64(1)<<(blockShift+r>>61+5)
	case 10:
		return last
	case 11:
		return r >> (r % 64)
	case 12: // up to the end of all counters
		return ^(r % (2 * n))
	}
	return last + 2*n
}

const counterKinds = 14

func randomCounters(r *rand.Rand, size, n int) []uint64 {
	ctrs := make([]uint64, n)
	var last, highest uint64
	rare := 10 + r.IntN(4)
	for i := range ctrs {
		kind := r.IntN(counterKinds)
		if kind >= 11 && r.IntN(10) > 0 {
			kind = r.IntN(rare)
		}
		last = nextCounter(last, highest, size, kind, r.Uint64())
		highest = max(highest, last)
		ctrs[i] = last
	}
	return ctrs
}

func drawWindowSize(t *rapid.T) int {
	return rapid.OneOf(rapid.IntRange(MinWindow, 300), rapid.SampledFrom([]int{64, 65, 95, 96, 97, 98, 127, 128, 129, 1024, 8192, 65535, 65536})).Draw(t, "size")
}

func drawCounters(t *rapid.T, size int) []uint64 {
	n := rapid.IntRange(1, 200).Draw(t, "n")
	ctrs := make([]uint64, n)
	var last, highest uint64
	for i := range ctrs {
		kind := rapid.IntRange(0, counterKinds-1).Draw(t, "kind")
		last = nextCounter(last, highest, size, kind, rapid.Uint64().Draw(t, "r"))
		highest = max(highest, last)
		ctrs[i] = last
	}
	return ctrs
}

func TestWindowFollowsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := drawWindowSize(t)
		if err := followsModel(newWindow(size), size, drawCounters(t, size)); err != nil {
			t.Fatal(err)
		}
	})
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := MinWindow + r.IntN(200)
		if err := followsModel(newWindow(size), size, randomCounters(r, size, 500)); err != nil {
			t.Fatalf("seed %d, size %d: %v", seed, size, err)
		}
	}
}

// Broken windows, each of which the property must catch.
type (
	forgetfulWindow struct{ *window } // forgets all when it jumps
	trustingWindow  struct{ *window } // does not look at the lower edge
	narrowWindow    struct{ *window } // is one too narrow
	wideWindow      struct{ *window } // is one too wide
	laxWindow       struct{ *window } // commits without a look
)

func (w forgetfulWindow) commit(ctr uint64) bool {
	if _, high := w.span(); ctr > high+2*w.size {
		for i := range w.slots {
			w.slots[i].Store(0)
		}
		w.top.Store(0)
	}
	return w.window.commit(ctr)
}

func (w trustingWindow) peek(ctr uint64) bool {
	low, _ := w.span()
	return ctr < low || w.window.peek(ctr)
}

func (w narrowWindow) peek(ctr uint64) bool {
	low, _ := w.span()
	return w.window.peek(ctr) && (low == 0 || ctr != low)
}

func (w wideWindow) peek(ctr uint64) bool {
	low, _ := w.span()
	return w.window.peek(ctr) || low > 0 && ctr == low-1
}

func (w laxWindow) commit(ctr uint64) bool { w.window.commit(ctr); return true }

func TestWindowPropertyCatches(t *testing.T) {
	for name, broken := range map[string]func(size int) replayWindow{
		"forgets after a jump":   func(n int) replayWindow { return forgetfulWindow{newWindow(n)} },
		"no lower edge":          func(n int) replayWindow { return trustingWindow{newWindow(n)} },
		"one too narrow":         func(n int) replayWindow { return narrowWindow{newWindow(n)} },
		"one too wide":           func(n int) replayWindow { return wideWindow{newWindow(n)} },
		"commits without a look": func(n int) replayWindow { return laxWindow{newWindow(n)} },
		"one block too few": func(n int) replayWindow {
			w := newWindow(n)
			w.mask, w.slots = w.mask/2, w.slots[:len(w.slots)/2]
			return w
		},
	} {
		caught := false
		for seed := uint64(0); seed < 200 && !caught; seed++ {
			const size = 98 // needs one block more than whole ones
			r := rand.New(rand.NewPCG(seed, 2))
			caught = followsModel(broken(size), size, randomCounters(r, size, 500)) != nil
		}
		if !caught {
			t.Errorf("a window that is broken (%s) follows the model", name)
		}
	}
}

// TestWindowSaves saves and restores at any moment; the copy goes on as the original.
func TestWindowSaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := drawWindowSize(t)
		w := newWindow(size)
		m := modelWindow{size: uint64(size), accepted: map[uint64]bool{}}
		ctrs := drawCounters(t, size)
		at := rapid.IntRange(0, len(ctrs)-1).Draw(t, "saved at")
		for i, ctr := range ctrs {
			if i == at {
				state := w.appendState([]byte("prefix"))
				if len(state) != 6+13+(size+7)/8 || string(state[:6]) != "prefix" {
					t.Fatalf("a state of %d bytes for a window of %d", len(state)-6, size)
				}
				var err error
				if w, err = restoreWindow(state[6:]); err != nil {
					t.Fatal(err)
				}
				if again := w.appendState(nil); !bytes.Equal(again, state[6:]) {
					t.Fatalf("the state changed by being restored")
				}
			}
			if want := m.accept(ctr); want != w.peek(ctr) || want && !w.commit(ctr) {
				t.Fatalf("counter %d, the %dth: want accepted %v", ctr, i, want)
			}
		}
	})
}

// TestWindowSavedInBetween saves when a commit has raised the top and not yet set its
// bit: nothing that was behind the window may come back into it.
func TestWindowSavedInBetween(t *testing.T) {
	w := newWindow(64)
	for ctr := range uint64(100) {
		w.commit(ctr)
	}
	w.top.Store(1 << 20) // as commit does first
	restored, err := restoreWindow(w.appendState(nil))
	if err != nil {
		t.Fatal(err)
	}
	for ctr := range uint64(1000) {
		if restored.peek(ctr) {
			t.Fatalf("counter %d is taken again", ctr)
		}
	}
}

func TestRestoreWindowRefuses(t *testing.T) {
	good := newWindow(64).appendState(nil)
	change := func(i int, b byte) []byte { c := bytes.Clone(good); c[i] = b; return c }
	for name, state := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "header only": good[:13], "longer": append(bytes.Clone(good), 0),
		"another version": change(0, 2), "huge": change(1, 0xff), "too small": change(4, 8), "another size": change(4, 128),
	} {
		if _, err := restoreWindow(state); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
	key, err := AES128CTRHMAC80().NewOpenKey(1, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	before := key.window
	if key.RestoreReplayState([]byte{1}) == nil || key.window != before {
		t.Errorf("a bad state took the place of the window")
	}
}

func FuzzRestoreWindow(f *testing.F) {
	w := newWindow(100)
	f.Add(w.appendState(nil))
	w.commit(1 << 40)
	f.Add(w.appendState(nil))
	w.commit(1<<64 - 1)
	f.Add(w.appendState(nil))
	f.Fuzz(func(t *testing.T, state []byte) {
		w, err := restoreWindow(state)
		if err != nil {
			return
		}
		_, high := w.span()
		for i := uint64(0); i < 40 && i <= high; i++ {
			if w.peek(high-i) != w.commit(high-i) || w.peek(high-i) {
				t.Fatalf("counter %d: peek and commit disagree", high-i)
			}
		}
	})
}

// TestWindowConcurrent: of all goroutines together each counter is accepted once, and
// none is refused as long as all lie in the window.
func TestWindowConcurrent(t *testing.T) {
	const size, goroutines = 1024, 16
	w := newWindow(size)
	var accepted [size]atomic.Int32
	inParallel(goroutines, func(g int) {
		r := rand.New(rand.NewPCG(uint64(g), 3))
		for _, i := range r.Perm(size) {
			if w.peek(uint64(i)) && w.commit(uint64(i)) {
				accepted[i].Add(1)
			}
		}
	})
	for i := range accepted {
		if n := accepted[i].Load(); n != 1 {
			t.Fatalf("counter %d was accepted %d times", i, n)
		}
	}
}

// raceRounds is how often two goroutines must meet for one of them to come in between
// two steps of the other on nearly every run.
func raceRounds() uint64 {
	if raceflag.Enabled || testing.Short() {
		return 1 << 18
	}
	return 1 << 22
}

// TestWindowRace: goroutines that go through the same counters side by side. One that
// wrote the slot in two steps would accept a counter twice, or lose its neighbour's.
func TestWindowRace(t *testing.T) {
	counters := raceRounds()
	w := newWindow(DefaultWindow)
	accepted := make([]atomic.Int32, counters)
	inParallel(2, func(int) {
		for ctr := range counters {
			if w.peek(ctr) && w.commit(ctr) {
				accepted[ctr].Add(1)
			}
		}
	})
	for ctr := range accepted {
		if n := accepted[ctr].Load(); n != 1 {
			t.Fatalf("counter %d was accepted %d times", ctr, n)
		}
	}
}

// TestWindowConcurrentJumps: also when the window is torn along, at most once.
func TestWindowConcurrentJumps(t *testing.T) {
	const goroutines, rounds = 8, 30000
	w := newWindow(MinWindow)
	var ahead atomic.Uint64
	var mu sync.Mutex
	accepted := map[uint64]int{}
	inParallel(goroutines, func(g int) {
		r := rand.New(rand.NewPCG(uint64(g), 4))
		own := []uint64{}
		for range rounds / goroutines {
			ctr := ahead.Load() - r.Uint64N(160)
			if r.IntN(8) == 0 {
				ctr = ahead.Add(r.Uint64N(200))
			}
			if int64(ctr) >= 0 && w.peek(ctr) && w.commit(ctr) {
				own = append(own, ctr)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, ctr := range own {
			accepted[ctr]++
		}
	})
	for ctr, n := range accepted {
		if n != 1 {
			t.Fatalf("counter %d was accepted %d times", ctr, n)
		}
	}
	if len(accepted) < rounds/20 {
		t.Errorf("only %d of %d counters were accepted: the test does not test", len(accepted), rounds)
	}
}

// inParallel runs f in n goroutines that begin at once.
func inParallel(n int, f func(g int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for g := range n {
		wg.Go(func() {
			<-begin
			f(g)
		})
	}
	close(begin)
	wg.Wait()
}

// TestWindowSizes: the sizes that can be asked for are the ones that the docs give.
func TestWindowSizes(t *testing.T) {
	for size, ok := range map[int]bool{-1: false, 0: false, 63: false, 64: true, 1024: true, 8192: true, 65536: true, 65537: false} {
		if _, err := AES128CTRHMAC80().NewOpenKeyWindow(1, make([]byte, 32), size); (err == nil) != ok {
			t.Errorf("a window of %d frames: error %v", size, err)
		}
	}
}
