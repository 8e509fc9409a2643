package relay

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkAllocations makes allocations, a few clients at a time, and keeps them.
func BenchmarkAllocations(b *testing.B) {
	need(b, "turnserver")
	const warm, n, atATime = 100, 3000, 8
	t := table{}
	for b.Loop() {
		for i := range *rounds {
			for j := range servers {
				which := servers[(i+j)%len(servers)]
				func() {
					s := start(b, which)
					defer s.stop()
					defer closeAll(s.allocate(b, warm, atATime)) // what is needed once
					memory, cpu, begun := s.memory(b), s.cpu(b), time.Now()
					clients := s.allocate(b, n, atATime)
					took := time.Since(begun)
					defer closeAll(clients)
					t.add(which, "allocs/s", n/took.Seconds())
					t.add(which, "us/alloc", float64((s.cpu(b)-cpu).Microseconds())/n)
					t.add(which, "KiB/alloc", float64(s.memory(b)-memory)/n)
					b.Logf("round %d, %s: %.0f allocations/s, %.1f KiB each", i+1, which, n/took.Seconds(), float64(s.memory(b)-memory)/n)
				}()
			}
		}
	}
	t.report(b)
}

// allocate makes n allocations.
func (s *server) allocate(b *testing.B, n, atATime int) []*client {
	b.Helper()
	clients := make([]*client, n)
	var left atomic.Int64
	left.Store(int64(n))
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range atATime {
		wg.Go(func() {
			for {
				i := left.Add(-1)
				if i < 0 {
					return
				}
				c, err := allocate(s.at)
				if err != nil {
					failed.Store(&err)
					return
				}
				clients[i] = c
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		b.Fatal(fmt.Errorf("allocating: %w", *err))
	}
	return clients
}

func closeAll(clients []*client) {
	for _, c := range clients {
		c.conn.Close()
	}
}
