package channelkey

import (
	"strings"
	"time"
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

// eventQueue holds the events that the reader has not taken yet. Nothing is kept
// before somebody asks for events.
type eventQueue struct {
	out     chan Event
	waiting []Event
	backlog int
	missed  int
	ready   chan struct{}
}

// add appends an event. If the reader is behind by the backlog, only those are
// kept that must arrive: there can be two of these for each session, and sessions
// are bounded.
func (q *eventQueue) add(e Event) {
	if q.out == nil {
		return
	}
	if len(q.waiting) >= q.backlog && !e.Kind.mustArrive() {
		q.missed++
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Missed, q.missed = q.missed, 0
	q.waiting = append(q.waiting, e)
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// full reports whether the reader is so far behind that nobody should come in.
func (q *eventQueue) full(limit int) bool { return len(q.waiting) >= limit }

// Events returns the stream of events, in the order in which they happened, from
// the first call on; every call returns the same channel, which Close closes. Read
// it without delay: when GateConfig.EventBacklog events wait, further ones are
// thrown away and counted, except WillExpire and PutOut, which always arrive; when
// MaxInside more wait, nobody is let in.
func (g *Gate) Events() <-chan Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.events.out == nil {
		g.events.out = make(chan Event, 64)
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
		events := g.events.waiting
		g.events.waiting = nil
		g.mu.Unlock()
		for _, e := range events {
			select {
			case g.events.out <- e:
			case <-g.done:
				return
			}
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-g.events.ready:
		case <-g.done:
			return
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
