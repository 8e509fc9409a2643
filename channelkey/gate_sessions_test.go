package channelkey

import (
	"testing"
	"testing/synctest"
	"time"
)

// maps returns how many sessions each of the gate's maps holds.
func (g *Gate) maps() (people, cards, rooms int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.people), len(g.cards), len(g.rooms)
}

// TestGateClears: who was put out is out at once and in no map a moment later; who
// comes in between keeps their place when the clock clears up.
func TestGateClears(t *testing.T) {
	bubble(t, nil, func(t *testing.T, g *Gate, d *desk, events func() string) {
		cards := map[User]string{}
		for n := range 3 * batch {
			user := UID(uint32(n + 1))
			cards[user] = d.card("ABC", user, time.Hour)
			enter(t, g, cards[user], in("ABC", user))
		}
		synctest.Wait()

		// Everybody is put out by hand, so that the clock does not know yet.
		g.mu.Lock()
		for _, s := range g.people {
			g.putOut(s, Revoked, time.Now())
		}
		g.mu.Unlock()
		if people, _, _ := g.maps(); people != 3*batch || g.Len() != 0 || len(g.Inside()) != 0 || g.IsInside("ABC", UID(1), Media) {
			t.Fatalf("%d in the map, %d inside", people, g.Len())
		}
		again := enter(t, g, cards[UID(1)], in("ABC", UID(1)))                  // with the same card
		other := enter(t, g, d.card("ABC", UID(2), 0), in("ABC", UID(2)))       // with another
		elsewhere := enter(t, g, d.card("hall", UID(3), 0), in("hall", UID(3))) // and in another room
		if _, err := g.Enter(cards[UID(1)], in("ABC", UID(1))); ReasonOf(err) != Replayed {
			t.Errorf("a card that is in use: %v", err)
		}
		g.mu.Lock()
		g.wakeClock()
		g.mu.Unlock()
		synctest.Wait()
		if people, cards, rooms := g.maps(); people != 3 || cards != 3 || rooms != 2 || g.Len() != 3 {
			t.Errorf("%d people, %d cards, %d rooms, %d inside, want 3, 3, 2, 3", people, cards, rooms, g.Len())
		}
		for _, p := range []Pass{again, other, elsewhere} {
			if !g.IsInside(p.Channel, p.User, Media) || !g.Leave(p) || g.Leave(p) {
				t.Errorf("%s is not inside as they should", p.User)
			}
		}
		if people, cards, rooms := g.maps(); people+cards+rooms != 0 {
			t.Errorf("%d people, %d cards, %d rooms are left", people, cards, rooms)
		}

		// A crowd whose service ends leaves nothing either.
		for n := range 3 * batch {
			enter(t, g, d.card("ABC", UID(uint32(n+1)), time.Minute), in("ABC", UID(uint32(n+1))))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if people, cards, rooms := g.maps(); people+cards+rooms+g.Len() != 0 {
			t.Errorf("%d people, %d cards, %d rooms are left", people, cards, rooms)
		}
	})
}
