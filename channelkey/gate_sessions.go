package channelkey

import "strings"

type roomKey struct {
	channel string
	service Service
}

// room holds a channel's name once for all who are in it.
type room struct {
	roomKey
	inside int
}

type person struct {
	room *room
	user User
}

// session is one person inside. It is in one list of the schedule if due is not 0.
type session struct {
	person
	id         uint64
	card       CardID // zero: none
	end        int64  // unix seconds, 0 for none
	entryUntil int64  // of the card
	due        int64
	next, prev *session
	cert       uint8
	static     bool
	wildcard   bool
	shared     bool // others may be inside with the same card
	gone       bool // put out: in the maps until the clock comes by
}

// tracked reports whether the card admits one session at a time.
func (s *session) tracked() bool { return s.card != CardID{} && !s.shared }

// insert puts an admitted session inside.
func (g *Gate) insert(s *session, c *Claims) {
	key := roomKey{c.Channel, c.Service}
	r := g.rooms[key]
	if r == nil {
		key.channel = strings.Clone(c.Channel)
		r = &room{roomKey: key}
		g.rooms[key] = r
	}
	r.inside++
	g.inside++
	g.lastID++
	s.id = g.lastID
	s.person = person{r, User(strings.Clone(string(c.User)))}
	g.people[s.person] = s
	if s.tracked() {
		g.cards[s.card] = s
	}
	g.plan(s)
}

// session returns the session of a person who is inside.
func (g *Gate) session(p person) *session {
	if s := g.people[p]; s != nil && !s.gone {
		return s
	}
	return nil
}

// holder returns the session that came in with a card and is inside.
func (g *Gate) holder(card CardID) *session {
	if s := g.cards[card]; s != nil && !s.gone {
		return s
	}
	return nil
}

// remove takes a session out of everything.
func (g *Gate) remove(s *session) {
	g.due.remove(s)
	g.inside--
	g.forget(s)
}

// bury ends a session and leaves it in the maps: a crowd is out at once, and the clock
// clears up behind it.
func (g *Gate) bury(s *session) {
	g.due.remove(s)
	g.inside--
	s.gone = true
	s.prev, g.gone = g.gone, s
}

// clear takes a batch of those who went out out of the maps, and reports whether there
// are more.
func (g *Gate) clear() bool {
	for range batch {
		s := g.gone
		if s == nil {
			return false
		}
		g.gone, s.prev = s.prev, nil
		g.forget(s)
	}
	return true
}

// forget takes a session out of the maps, unless another one has its place by now.
func (g *Gate) forget(s *session) {
	if g.people[s.person] == s {
		delete(g.people, s.person)
	}
	if s.tracked() && g.cards[s.card] == s {
		delete(g.cards, s.card)
	}
	if s.room.inside--; s.room.inside == 0 {
		delete(g.rooms, s.room.roomKey)
	}
}

func (s *session) pass(need []Privilege) Pass {
	return Pass{ID: s.id, Channel: s.room.channel, User: s.user, Service: s.room.service,
		Card: s.card, End: s.end, Static: s.static, Wildcard: s.wildcard, Need: need}
}

// inside is false from the very moment of the end on, even if the clock goroutine
// has not come by yet.
func (s *session) inside(now int64) bool { return s.end == 0 || now < s.end }
