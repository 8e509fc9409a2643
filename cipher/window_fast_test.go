package cipher

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestWindowInOrder: the quick ways through the window decide as peek and commit do,
// for streams in order, with gaps, with late and with repeated counters.
func TestWindowInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		size := []int{64, 100, 1024}[round%3]
		plain, quick := newWindow(size), newWindow(size)
		ctr, inOrder, committed := r.Uint64()>>(1+r.Uint64()%63), 0, 0
		for range 2000 {
			c := ctr
			switch r.Uint64() % 8 {
			case 0:
				c -= min(c, r.Uint64()%uint64(2*size))
			case 1:
				c += r.Uint64() % 70
			case 2:
				if r.Uint64()%64 == 0 {
					c += r.Uint64() >> (8 + r.Uint64()%56)
				}
			}
			ctr = max(ctr, c) + 1
			if quick.inOrder(c) {
				if inOrder++; !plain.peek(c) {
					t.Fatalf("window of %d: %d is in order, but not to be accepted", size, c)
				}
			}
			want, got := plain.commit(c), quick.commitInOrder(c)
			if got {
				committed++
			} else {
				got = quick.commit(c)
			}
			if got != want {
				t.Fatalf("window of %d: %d is accepted: %v, want %v", size, c, got, want)
			}
		}
		if inOrder < 200 || committed < 200 {
			t.Fatalf("only %d in order, %d committed so", inOrder, committed)
		}
	}
}

// TestWindowCommitRun: several counters at once are accepted if each would be, and none
// of them is afterwards.
func TestWindowCommitRun(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	runs := 0
	for round := range 300 {
		plain, quick := newWindow(64), newWindow(64)
		next := r.Uint64() >> (8 + r.Uint64()%56)
		for range 300 {
			ctrs := make([]uint64, 1+r.Uint64()%8)
			for i := range ctrs {
				ctrs[i] = next - min(next, r.Uint64()%3)
				next += r.Uint64() % 3
			}
			if !quick.commitRun(ctrs) {
				for _, c := range ctrs {
					if a, b := plain.commit(c), quick.commit(c); a != b {
						t.Fatalf("round %d: %d is accepted: %v, want %v", round, c, b, a)
					}
				}
				continue
			}
			runs++
			for _, c := range ctrs {
				if !plain.commit(c) {
					t.Fatalf("round %d: %d of %d accepted in a run, but not by itself", round, c, ctrs)
				}
				if quick.commit(c) || quick.commitRun([]uint64{c}) {
					t.Fatalf("round %d: %d is accepted twice", round, c)
				}
			}
		}
	}
	if runs < 1000 {
		t.Errorf("only %d runs were accepted", runs)
	}
}

// TestWindowInOrderOnce has goroutines that commit the same counters at once: each
// counter is accepted by one of them.
func TestWindowInOrderOnce(t *testing.T) {
	const goroutines, counters = 8, 4000
	w := newWindow(64)
	accepted := make([][]bool, goroutines)
	var wg sync.WaitGroup
	for g := range accepted {
		accepted[g] = make([]bool, counters)
		wg.Go(func() {
			for c := range uint64(counters) {
				accepted[g][c] = w.commitInOrder(c) || w.commit(c)
			}
		})
	}
	wg.Wait()
	total := 0
	for c := range counters {
		n := 0
		for g := range accepted {
			if accepted[g][c] {
				n++
			}
		}
		if n > 1 {
			t.Fatalf("%d was accepted %d times", c, n)
		}
		total += n
	}
	if total == 0 {
		t.Error("nothing was accepted")
	}
}
