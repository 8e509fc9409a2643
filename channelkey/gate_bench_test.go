package channelkey

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/chanseal/chanseal/internal/raceflag"
)

const crowd = 100_000

// fill puts a crowd inside, whose service ends at the given second after now.
func fill(tb testing.TB, g *Gate, d *desk, stay time.Duration) {
	tb.Helper()
	for i := range crowd {
		user := UID(uint32(i + 1))
		enter(tb, g, d.card("ABC", user, stay), in("ABC", user))
	}
}

// BenchmarkGate is one person who enters with a dk4 and leaves, beside a crowd.
func BenchmarkGate(b *testing.B) {
	g := newGate(b, nil)
	defer g.Close()
	d := newDesk(b)
	fill(b, g, d, time.Hour)
	card := d.card("hall", UID(7), time.Hour)
	b.Run("op=enter-leave/inside=100000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := g.Enter(card, in("hall", UID(7)))
			if err != nil {
				b.Fatal(err)
			}
			g.Leave(p)
		}
	})
}

// TestGateMemory: a person inside costs at most 400 bytes.
func TestGateMemory(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("sizes mean nothing under the race detector")
	}
	g := newGate(t, nil)
	defer g.Close()
	d := newDesk(t)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	fill(t, g, d, time.Hour)
	each := float64(heap()-before) / crowd
	t.Logf("%.0f bytes a person", each)
	if g.Len() != crowd || each > 400 {
		t.Errorf("%.0f bytes a person, %d inside", each, g.Len())
	}
	runtime.KeepAlive(g)
}

// TestGateRealClock measures how late people are put out by a real clock: one by
// one, a crowd whose service ends in one second, and a crowd that is revoked. It
// asserts on time, so it runs only where that means something: CHANSEAL_LONG=1.
func TestGateRealClock(t *testing.T) {
	if os.Getenv("CHANSEAL_LONG") == "" {
		t.Skip("set CHANSEAL_LONG=1")
	}
	g := newGate(t, nil)
	defer g.Close()
	d := newDesk(t)
	events := g.Events()
	fill(t, g, d, 20*time.Second)
	for i := range 10 {
		user := UID(uint32(crowd + 1 + i))
		enter(t, g, d.card("ABC", user, time.Duration(2+i)*time.Second), in("ABC", user))
	}
	var single, many, revoked time.Duration // the latest
	wait := func(n int, late func(out int, e Event)) {
		for out := 0; out < n; {
			e, ok := <-events
			if !ok {
				t.Fatal("the events ended")
			}
			if e.Kind == PutOut {
				out++
				late(out, e)
			}
		}
	}
	wait(crowd+10, func(out int, e Event) {
		late := time.Since(time.Unix(e.Pass.End, 0))
		if late < 0 {
			t.Errorf("put out %v early", -late)
		}
		if out <= 10 {
			single = max(single, late)
		} else {
			many = max(many, late)
		}
	})

	fill(t, g, d, 0)
	begun := time.Now()
	if err := g.Revoke(Revocation{Channel: "ABC", Until: begun.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	wait(crowd, func(int, Event) { revoked = time.Since(begun) })

	t.Logf("of %d inside, at most: %v late one by one, %v all in one second, %v all revoked", crowd, single, many, revoked)
	for what, late := range map[string]time.Duration{"one by one": single, "all in one second": many, "all revoked": revoked} {
		if late > 50*time.Millisecond {
			t.Errorf("%s: put out %v late", what, late)
		}
	}
}

// BenchmarkGatePutOut is a crowd whose service ends in one second: the time until the
// last of them is out, and until the reader of the events knows of all.
func BenchmarkGatePutOut(b *testing.B) {
	for _, listen := range []bool{false, true} {
		b.Run(fmt.Sprintf("op=put-out/crowd=100000/events=%v", listen), func(b *testing.B) {
			d := newDesk(b)
			var state, events time.Duration
			for b.Loop() {
				b.StopTimer()
				g := newGate(b, func(c *GateConfig) { c.WarnBefore = -1 })
				fill(b, g, d, time.Hour)
				told := make(chan struct{})
				if listen {
					stream := g.Events()
					go func() {
						defer close(told)
						for range crowd {
							<-stream
						}
					}()
				} else {
					close(told)
				}
				then := time.Now().Add(2 * time.Hour)
				runtime.GC()
				b.StartTimer()
				begun := time.Now()
				for more := true; more; {
					g.mu.Lock()
					more = g.tickSome(then)
					g.mu.Unlock()
				}
				state += time.Since(begun)
				<-told
				events += time.Since(begun)
				b.StopTimer()
				g.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(state.Milliseconds())/float64(b.N), "ms-state")
			b.ReportMetric(float64(events.Milliseconds())/float64(b.N), "ms-told")
		})
	}
}
