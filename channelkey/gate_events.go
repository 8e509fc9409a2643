package channelkey

import (
	"strings"
	"time"

	"github.com/chanseal/chanseal/internal/clock"
)

// EventKind says what an Event tells.
type EventKind uint8

// The kinds of event.
const (
	Entered    EventKind = iota + 1 // somebody came in
	Left                            // somebody left
	Renewed                         // somebody got a new card
	WillExpire                      // somebody's service ends soon: time for a new card
	PutOut                          // somebody must be disconnected: ServiceEnded, Revoked or Superseded
	Refused                         // somebody was not let in, or not renewed
)

var eventNames = [...]string{"unknown", "entered", "left", "renewed", "will-expire", "put-out", "refused"}

// String returns the kind's name, such as "put-out".
func (k EventKind) String() string {
	if int(k) >= len(eventNames) {
		k = 0
	}
	return eventNames[k]
}

// Event is something that happened at a Gate. Its Pass names users: it is not for
// logs as it stands.
type Event struct {
	Kind   EventKind
	Time   time.Time
	Pass   Pass   // Refused: channel, user and service as claimed, at most 255 bytes each
	Reason Reason // PutOut and Refused; zero if the Store failed
	Missed int    // Entered, Left, Renewed and Refused events before this one that were thrown away
}

// mustArrive reports whether somebody would stay inside who should not, or lose
// the chance to stay, if the event got lost.
func (k EventKind) mustArrive() bool { return k == WillExpire || k == PutOut }

// eventQueue holds the events that the reader has not taken yet, in pieces that are
// never copied, so that a crowd's events cost little under the lock. Nothing is kept
// before somebody asks for events.
type eventQueue struct {
	time        *clock.Clock
	out         chan Event
	first, last *eventPiece
	waiting     int
	backlog     int
	missed      int
	ready       chan struct{}
}

// eventPiece is a part of the queue.
type eventPiece struct {
	events []waitingEvent
	next   *eventPiece
}

// waitingEvent is an Event to be, or one for each of the sessions that went out of the
// door together. What it tells of them is in the sessions themselves, which nobody
// changes any more: a crowd costs no memory at the moment when it is put out.
type waitingEvent struct {
	pass      *Pass
	out, last *session // instead of pass: the first and the last, chained by next
	time      time.Time
	missed    int
	kind      EventKind
	reason    Reason
}

const pieceLen = 128

// hand gives the reader what waits; it reports false when done is closed first.
func (w *waitingEvent) hand(out chan<- Event, done <-chan struct{}) bool {
	e := Event{Kind: w.kind, Time: w.time, Reason: w.reason, Missed: w.missed}
	for s := w.out; ; s = s.next {
		if s != nil {
			e.Pass = s.pass(nil)
		} else {
			e.Pass = *w.pass
		}
		select {
		case out <- e:
		case <-done:
			return false
		}
		if s == nil || s.next == nil {
			return true
		}
		e.Missed = 0
	}
}

// add appends an event. If the reader is behind by the backlog, only those are
// kept that must arrive: there can be two of these for each session, and sessions
// are bounded.
func (q *eventQueue) add(e Event) {
	if q.wants(e.Kind) {
		pass := e.Pass
		q.push(waitingEvent{kind: e.Kind, reason: e.Reason, time: e.Time, pass: &pass})
	}
}

// addOut appends the event of a session that has been removed, to those of the same
// moment if it can. The session belongs to the queue from then on.
func (q *eventQueue) addOut(kind EventKind, s *session, why Reason, now time.Time) {
	if !q.wants(kind) {
		return
	}
	if q.last != nil && q.missed == 0 {
		if w := &q.last.events[len(q.last.events)-1]; w.out != nil && w.kind == kind && w.reason == why && w.time.Equal(now) {
			w.last.next = s
			w.last = s
			q.waiting++
			return
		}
	}
	q.push(waitingEvent{kind: kind, reason: why, time: now, out: s, last: s})
}

// wants reports whether an event is to be kept, and counts it if not.
func (q *eventQueue) wants(kind EventKind) bool {
	if q.out == nil {
		return false
	}
	if q.waiting >= q.backlog && !kind.mustArrive() {
		q.missed++
		return false
	}
	return true
}

func (q *eventQueue) push(w waitingEvent) {
	if w.time.IsZero() {
		w.time = q.time.Now()
	}
	w.missed, q.missed = q.missed, 0
	switch {
	case q.last == nil:
		q.first = &eventPiece{}
		q.last = q.first
	case len(q.last.events) == pieceLen:
		q.last.next = &eventPiece{events: make([]waitingEvent, 0, pieceLen)}
		q.last = q.last.next
	}
	q.last.events = append(q.last.events, w)
	q.waiting++
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns what waits, and empties the queue.
func (q *eventQueue) take() *eventPiece {
	first := q.first
	q.first, q.last, q.waiting = nil, nil, 0
	return first
}

// full reports whether the reader is so far behind that nobody should come in.
func (q *eventQueue) full(limit int) bool { return q.waiting >= limit }

// Events returns the stream of events, in the order in which they happened, from
// the first call on; every call returns the same channel, which Close closes. Read
// it without delay: when GateConfig.EventBacklog events wait, further ones are
// thrown away and counted, except WillExpire and PutOut, which always arrive; when
// MaxInside more wait, nobody is let in.
func (g *Gate) Events() <-chan Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.events.out == nil {
		g.events.out = make(chan Event, 256)
		g.events.ready = make(chan struct{}, 1)
		g.events.backlog = g.cfg.EventBacklog
		if g.closed {
			close(g.events.out)
		} else {
			g.wg.Go(g.pump)
		}
	}
	return g.events.out
}

// pump hands the waiting events to the reader.
func (g *Gate) pump() {
	defer close(g.events.out)
	for {
		g.mu.Lock()
		piece := g.events.take()
		g.mu.Unlock()
		if piece == nil {
			select {
			case <-g.events.ready:
				continue
			case <-g.done:
				return
			}
		}
		for ; piece != nil; piece = piece.next {
			for i := range piece.events {
				if !piece.events[i].hand(g.events.out, g.done) {
					return
				}
			}
		}
	}
}

// refused tells of a refusal. Names come from outside: they are cut to the longest
// that is allowed, so that a backlog of refusals stays small.
func (g *Gate) refused(c Claims, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.events.out == nil {
		return
	}
	cut := func(s string) string { return strings.Clone(s[:min(len(s), maxAccount)]) }
	g.events.add(Event{Kind: Refused, Reason: ReasonOf(err),
		Pass: Pass{Channel: cut(c.Channel), User: User(cut(string(c.User))), Service: c.Service}})
}
