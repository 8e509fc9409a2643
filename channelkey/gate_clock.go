package channelkey

import (
	"container/heap"
	"time"
)

// schedule holds the sessions that have something to come: one list for every unix
// second at which anything happens, and a heap of these seconds. Ends of service are
// whole seconds, so that a class that ends together is one entry of the heap.
type schedule struct {
	lists   map[int64]*session // the first of each list
	seconds secondHeap         // every key of lists, and some that are none any more
}

type secondHeap []int64

func (h secondHeap) Len() int           { return len(h) }
func (h secondHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h secondHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *secondHeap) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *secondHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// add puts a session in the list of its due second.
func (q *schedule) add(s *session, due int64) {
	if q.lists == nil {
		q.lists = map[int64]*session{}
	}
	s.due, s.prev = due, nil
	first, ok := q.lists[due]
	s.next = first
	if first != nil {
		first.prev = s
	}
	q.lists[due] = s
	if !ok {
		q.tidy()
		heap.Push(&q.seconds, due)
	}
}

// remove takes a session out of its list, if it is in one.
func (q *schedule) remove(s *session) {
	if s.due == 0 {
		return
	}
	switch {
	case s.prev != nil:
		s.prev.next = s.next
	case s.next != nil:
		q.lists[s.due] = s.next
	default:
		delete(q.lists, s.due)
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.next, s.prev, s.due = nil, nil, 0
}

// takeSome takes at most n sessions off the list of a second. They are chained by
// next and in no list any more.
func (q *schedule) takeSome(second int64, n int) *session {
	first := q.lists[second]
	last := first
	for s := first; s != nil && n > 0; s, n = s.next, n-1 {
		s.prev, s.due = nil, 0
		last = s
	}
	if rest := last.next; rest != nil {
		last.next, rest.prev = nil, nil
		q.lists[second] = rest
	} else {
		delete(q.lists, second)
	}
	return first
}

// tidy throws out seconds whose lists are gone, once they are the most.
func (q *schedule) tidy() {
	if len(q.seconds) < 2*len(q.lists)+64 {
		return
	}
	q.seconds = q.seconds[:0]
	for s := range q.lists {
		q.seconds = append(q.seconds, s)
	}
	heap.Init(&q.seconds)
}

// first returns the earliest second at which something happens.
func (q *schedule) first() (second int64, ok bool) {
	for len(q.seconds) > 0 {
		if s := q.seconds[0]; q.lists[s] != nil {
			return s, true
		}
		heap.Pop(&q.seconds)
	}
	return 0, false
}

// plan puts a session where its next event is: the warning, or the end. A warning
// whose time has come already is due at once.
func (g *Gate) plan(s *session) {
	g.due.remove(s)
	if s.end == 0 {
		return
	}
	due := s.end
	if g.warn > 0 {
		due = max(1, s.end-g.warn)
	}
	g.schedule(s, due)
}

func (g *Gate) schedule(s *session, due int64) {
	before, any := g.due.first()
	g.due.add(s, due)
	if !any || due < before {
		g.wakeClock()
	}
}

func (g *Gate) wakeClock() {
	select {
	case g.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// The clock looks at the wall clock at least this often while it waits for a
// session's end, since the wall clock may be set.
const clockStep = time.Second

// batch is how many sessions are handled in one hold of the lock.
const batch = 256

// clock is the one goroutine and the one timer of all sessions.
func (g *Gate) clock() {
	timer := time.NewTimer(clockStep)
	defer timer.Stop()
	for {
		timer.Reset(g.tick())
		select {
		case <-timer.C:
		case <-g.wake:
		case <-g.done:
			return
		}
	}
}

// tick does all that is due and returns how long there is nothing to do.
func (g *Gate) tick() time.Duration {
	for {
		g.mu.Lock()
		now := g.time.Now()
		if g.tickSome(now) || g.clear() || g.records.expire(now.Unix()) {
			g.mu.Unlock() // let others in between two batches
			continue
		}
		wait := time.Minute
		if next, ok := g.due.first(); ok {
			wait = min(clockStep, time.Unix(next, 0).Sub(now))
		}
		g.mu.Unlock()
		return max(wait, 0)
	}
}

// tickSome handles a batch of sessions and reports whether more may be due.
func (g *Gate) tickSome(now time.Time) bool {
	for left := batch; left > 0; {
		second, ok := g.due.first()
		if !ok || second > now.Unix() {
			return false
		}
		for s := g.due.takeSome(second, left); s != nil; left-- {
			next := s.next
			s.next = nil
			if s.end <= now.Unix() {
				g.putOut(s, ServiceEnded, now)
			} else {
				g.events.add(Event{Kind: WillExpire, Time: now, Pass: s.pass(nil)})
				g.due.add(s, s.end)
			}
			s = next
		}
	}
	return true
}
