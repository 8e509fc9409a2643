package channelkey

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// gateStep is one thing that is done to a Gate and to the model.
type gateStep struct {
	Do   string // mint, enter, leave, renew, revoke, wait
	User int    // 1 … 3
	Card int    // of those minted so far, modulo their number
	Time int    // seconds
}

var gateDoings = []string{"mint", "mint", "enter", "enter", "enter", "leave", "renew", "renew", "revoke", "wait", "wait"}

func drawSteps(t *rapid.T) []gateStep {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) gateStep {
		return gateStep{rapid.SampledFrom(gateDoings).Draw(t, "do"), rapid.IntRange(1, 3).Draw(t, "user"),
			rapid.IntRange(0, 9).Draw(t, "card"), rapid.SampledFrom([]int{0, 1, 20, 29, 30, 31, 100, 299, 300}).Draw(t, "time")}
	}), 1, 60).Draw(t, "steps")
}

// gateModel says in the simplest words what a Gate must do.
type gateModel struct {
	replace bool
	now     int64
	cards   []modelCard
	inside  map[int]*modelSession // by user
	spent   map[int]bool          // by card
	revoked map[int]int64         // user → until
	events  []string
}

type modelCard struct {
	user        int
	issued, end int64
}

type modelSession struct {
	card   int
	end    int64
	warned bool
}

func (m *gateModel) tell(kind EventKind, user int, reason string) {
	m.events = append(m.events, strings.TrimSpace(fmt.Sprintf("%s %d %s", kind, user, reason)))
}

// usable returns why a card does not open the door for a user, or "".
func (m *gateModel) usable(card, user int) string {
	c := m.cards[card]
	switch {
	case c.user != user:
		return "not-authentic"
	case m.now >= c.issued+300:
		return "entry-over"
	case c.end != 0 && m.now >= c.end:
		return "service-ended"
	}
	return ""
}

func (m *gateModel) barred(card, user int) string {
	if m.now < m.revoked[user] {
		return "revoked"
	}
	for _, s := range m.inside {
		if s.card == card {
			return "replayed"
		}
	}
	if m.spent[card] {
		return "replayed"
	}
	return ""
}

func (m *gateModel) enter(card, user int) string {
	why := m.usable(card, user)
	if why == "" {
		why = m.barred(card, user)
	}
	old := m.inside[user]
	if why == "" && old != nil && !m.replace {
		why = "already-inside"
	}
	if why != "" {
		m.tell(Refused, user, why)
		return why
	}
	if old != nil {
		m.spent[old.card] = true
		m.tell(PutOut, user, "superseded")
	}
	m.inside[user] = &modelSession{card: card, end: m.cards[card].end}
	m.tell(Entered, user, "")
	m.tick()
	return ""
}

func (m *gateModel) leave(user int) bool {
	if m.inside[user] == nil {
		return false
	}
	delete(m.inside, user)
	m.tell(Left, user, "")
	return true
}

func (m *gateModel) renew(card, user int) string {
	why := m.usable(card, user)
	if why == "" && m.inside[user] == nil {
		why = "not-inside"
	}
	if why == "" {
		why = m.barred(card, user)
	}
	if why != "" {
		m.tell(Refused, user, why)
		return why
	}
	s := m.inside[user]
	m.spent[s.card] = true
	s.card, s.end, s.warned = card, m.cards[card].end, false
	m.tell(Renewed, user, "")
	m.tick()
	return ""
}

func (m *gateModel) revoke(user int, until int64) {
	if until <= m.now {
		delete(m.revoked, user)
		return
	}
	m.revoked[user] = until
	if m.inside[user] != nil {
		delete(m.inside, user)
		m.tell(PutOut, user, "revoked")
	}
}

// tick does what the clock does at this second.
func (m *gateModel) tick() {
	for user := 1; user <= 3; user++ {
		s := m.inside[user]
		switch {
		case s == nil || s.end == 0:
		case m.now >= s.end:
			delete(m.inside, user)
			m.tell(PutOut, user, "service-ended")
		case m.now >= s.end-30 && !s.warned:
			s.warned = true
			m.tell(WillExpire, user, "")
		}
	}
}

// against runs the steps on a Gate and on the model and returns the first
// difference. broken is done to the Gate before each step.
func against(t *testing.T, steps []gateStep, replace bool, broken func(*Gate)) (difference string) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{}
		cfg := GateConfig{Verifier: newVerifier(t, testApp(), Policy{}), Replace: replace, Store: store}
		g, err := NewGate(cfg)
		if err != nil {
			t.Fatal(err)
		}
		stream := g.Events()
		d := newDesk(t)
		m := &gateModel{replace: replace, now: time.Now().Unix(), inside: map[int]*modelSession{}, spent: map[int]bool{}, revoked: map[int]int64{}}
		var tokens []string
		passes := map[int]Pass{}
		reason := func(err error) string {
			if err == nil {
				return ""
			}
			return ReasonOf(err).String()
		}
		for n, s := range steps {
			if broken != nil {
				broken(g)
			}
			if len(tokens) == 0 {
				s.Do = "mint"
			}
			user := UID(uint32(s.User))
			var got, want string
			switch s.Do {
			case "mint":
				tokens = append(tokens, d.card("ABC", user, time.Duration(s.Time)*time.Second))
				c := modelCard{user: s.User, issued: m.now}
				if s.Time > 0 {
					c.end = m.now + int64(s.Time)
				}
				m.cards = append(m.cards, c)
			case "enter":
				p, err := g.Enter(tokens[s.Card%len(tokens)], in("ABC", user))
				if err == nil {
					passes[s.User] = p
				}
				got, want = reason(err), m.enter(s.Card%len(tokens), s.User)
			case "leave":
				got, want = fmt.Sprint(g.Leave(passes[s.User])), fmt.Sprint(m.leave(s.User))
			case "renew":
				p := passes[s.User]
				p.Channel, p.User = "ABC", user
				_, err := g.Renew(p, tokens[s.Card%len(tokens)])
				got, want = reason(err), m.renew(s.Card%len(tokens), s.User)
			case "revoke":
				until := m.now + int64(s.Time)
				got, want = reason(g.Revoke(Revocation{User: user, Until: time.Unix(until, 0)})), ""
				m.revoke(s.User, until)
			case "wait":
				for range s.Time {
					m.now++
					m.tick()
				}
				time.Sleep(time.Duration(s.Time) * time.Second)
			}
			synctest.Wait()
			var told []string
			for len(stream) > 0 {
				e := <-stream
				line := fmt.Sprintf("%s %s ", e.Kind, e.Pass.User)
				if e.Reason != 0 {
					line += e.Reason.String()
				}
				told = append(told, strings.TrimSpace(line))
				synctest.Wait()
			}
			// Within a second the order of different users is open.
			slices.SortStableFunc(told, byUser)
			slices.SortStableFunc(m.events, byUser)
			inside := ""
			for u := 1; u <= 3; u++ {
				if g.IsInside("ABC", UID(uint32(u)), Media) != (m.inside[u] != nil) {
					inside = fmt.Sprintf("user %d is inside: %v", u, m.inside[u] == nil)
				}
			}
			if got != want || !slices.Equal(told, m.events) || inside != "" {
				difference = fmt.Sprintf("step %d %+v: %q, want %q; events %q, want %q; %s", n, s, got, want, told, m.events, inside)
				break
			}
			m.events = nil
		}
		g.Close()
	})
	return difference
}

// byUser orders event lines by their second word.
func byUser(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) }

func TestGateModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps, replace := drawSteps(rt), rapid.Bool().Draw(rt, "replace")
		if diff := against(t, steps, replace, nil); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// TestGateModelFinds gives the model gates that are wrong in one thing each.
func TestGateModelFinds(t *testing.T) {
	locked := func(f func(*Gate)) func(*Gate) {
		return func(g *Gate) { g.mu.Lock(); defer g.mu.Unlock(); f(g) }
	}
	long := newVerifier(t, testApp(), Policy{EntryWindow: 10 * time.Minute})
	for name, broken := range map[string]func(*Gate){
		"forgets":              locked(func(g *Gate) { g.records = records{} }),
		"lets cards be shared": locked(func(g *Gate) { clear(g.cards) }),
		"does not warn":        locked(func(g *Gate) { g.warn = 0 }),
		"warns late":           locked(func(g *Gate) { g.warn = 29 }),
		"has no clock":         locked(func(g *Gate) { g.due = schedule{} }),
		"ten minutes to enter": func(g *Gate) { g.cfg.Verifier = long },
		"replaces":             func(g *Gate) { g.cfg.Replace = true },
		"never expires a session": locked(func(g *Gate) {
			for _, s := range g.people {
				s.end = 0
			}
		}),
	} {
		rnd := rand.New(rand.NewPCG(3, 4))
		found := false
		for range 200 {
			steps := make([]gateStep, 60)
			for i := range steps {
				steps[i] = gateStep{gateDoings[rnd.IntN(len(gateDoings))], 1 + rnd.IntN(3), rnd.IntN(10), []int{0, 1, 20, 29, 30, 31, 100, 299, 300}[rnd.IntN(9)]}
			}
			if found = against(t, steps, false, broken) != ""; found {
				break
			}
		}
		if !found {
			t.Errorf("a gate that %s passes", name)
		}
	}
}
