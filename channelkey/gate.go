package channelkey

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/chanseal/chanseal/internal/clock"
)

// GateConfig says how a Gate works. The zero value of every field but Verifier is
// useful.
type GateConfig struct {
	// Verifier checks the cards. It may be nil only with AllowStaticAppID.
	Verifier *Verifier
	// Store keeps replaced cards and revocations over a restart; nil keeps them
	// in memory only.
	Store Store
	// Replace lets a user who is inside enter again with another card: the first
	// session is put out and its card is worth no more. Otherwise the second
	// entry is refused.
	Replace bool
	// ShareWildcards lets several users be inside with one card that is for
	// everybody (uid 0, dk1); such cards are never replayed, but can be revoked.
	ShareWildcards bool
	// WarnBefore is how long before the end of service WillExpire comes, in whole
	// seconds; 0 for 30 seconds, negative for never.
	WarnBefore time.Duration
	// MaxInside bounds the sessions; 0 for 1,000,000.
	MaxInside int
	// MaxRecords bounds the replaced cards and revocations that are remembered;
	// 0 for 1,000,000.
	MaxRecords int
	// EventBacklog bounds the events that wait for the reader of Events and that
	// may be missed; 0 for 10,000. See Events.
	EventBacklog int
	// AllowStaticAppID lets everybody in who shows the bare App ID. It keeps
	// nobody out: for tests only. NewGate warns of it.
	AllowStaticAppID bool
	// AppID is the project's, for a Gate without Verifier.
	AppID string
	// Logger gets the warning; nil for slog.Default.
	Logger *slog.Logger
	// Now is the wall clock, for tests; nil for the system's.
	Now func() time.Time
}

const (
	defaultWarnBefore = 30 * time.Second
	defaultLimit      = 1_000_000
	defaultBacklog    = 10_000
)

// Gate is the door of a project's channels and the clock inside: it lets people in
// with a card while the card is good for entering, and puts them out at the end of
// service the card names. A card admits one session at a time; it may be used
// again by the same user after leaving, while it is good for entering. A Gate may
// be used by many goroutines. All times are the wall clock's. When that is set forward,
// who is over meanwhile is put out within a second. When it is set back, the gate goes on
// by the time that was: no card opens the door again, nobody stays longer. Cards that it
// refuses for that reason alone are refused as ClockSetBack. A new Gate believes the clock.
//
// Who is inside is forgotten at a restart: people enter again with their card
// or a new one.
type Gate struct {
	cfg   GateConfig
	time  *clock.Clock
	appID string
	warn  int64 // seconds

	mu      sync.Mutex
	closed  bool
	lastID  uint64
	inside  int      // sessions that are inside
	gone    *session // those that went out and are still in the maps, chained by prev
	rooms   map[roomKey]*room
	people  map[person]*session
	cards   map[CardID]*session
	due     schedule
	records records
	events  eventQueue

	wake chan struct{} // the clock must look again
	done chan struct{} // closed by Close
	wg   sync.WaitGroup
}

// Pass is the proof of being inside that Enter gives; Leave and Renew want it
// back. It names one session, so that the late Leave of a connection that was
// superseded does not end the new one.
type Pass struct {
	ID       uint64
	Channel  string
	User     User
	Service  Service
	Card     CardID // zero for a static App ID
	End      int64  // unix seconds of the end of service, 0 for none
	Static   bool   // entered with a bare App ID
	Wildcard bool   // the card does not bind the user
	Need     []Privilege
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("channelkey: gate is closed")

// NewGate opens a gate, with what its Store remembers. Close it after use.
func NewGate(cfg GateConfig) (*Gate, error) {
	g := &Gate{cfg: cfg, time: clock.New(cfg.Now), appID: cfg.AppID,
		rooms: map[roomKey]*room{}, people: map[person]*session{}, cards: map[CardID]*session{},
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	g.events.time = g.time
	switch v := cfg.Verifier; {
	case v == nil && !cfg.AllowStaticAppID:
		return nil, errors.New("channelkey: gate has no verifier, set GateConfig.Verifier")
	case v == nil:
		if err := checkAppID(cfg.AppID, Legacy{}); err != nil {
			return nil, err
		}
	case v.policy.IgnoreTime:
		return nil, errors.New("channelkey: gate cannot work without time, clear IgnoreTime in the verifier's policy")
	default:
		g.appID = v.app.ID
	}
	for _, limit := range []*int{&g.cfg.MaxInside, &g.cfg.MaxRecords} {
		if *limit <= 0 {
			*limit = defaultLimit
		}
	}
	if g.cfg.EventBacklog <= 0 {
		g.cfg.EventBacklog = defaultBacklog
	}
	switch {
	case cfg.WarnBefore == 0:
		g.warn = int64(defaultWarnBefore / time.Second)
	case cfg.WarnBefore > 0:
		g.warn = max(1, int64(cfg.WarnBefore/time.Second))
	}
	if cfg.AllowStaticAppID {
		log := cfg.Logger
		if log == nil {
			log = slog.Default()
		}
		log.Warn("channelkey: the gate lets everybody in who shows the App ID; this is for tests only")
	}
	if err := g.records.load(cfg.Store, g.time.Now().Unix(), g.cfg.MaxRecords); err != nil {
		return nil, err
	}
	g.wg.Go(g.clock)
	return g, nil
}

// Close ends the gate. Nobody is put out; Events ends.
func (g *Gate) Close() {
	g.mu.Lock()
	closed := g.closed
	g.closed = true
	g.mu.Unlock()
	if !closed {
		close(g.done)
	}
	g.wg.Wait()
}

// Enter lets a person in with a card. Claims name the person (uid 0 is nobody in
// particular and does not enter) and the channel; their At is ignored. The error is
// a *Refusal, or says that the Store failed.
func (g *Gate) Enter(card string, c Claims) (Pass, error) {
	p, err := g.enter(card, c)
	if err != nil {
		g.refused(c, err)
	}
	return p, err
}

func (g *Gate) enter(card string, c Claims) (Pass, error) {
	grant, static, err := g.check(card, &c)
	if err != nil {
		return Pass{}, err
	}
	s := &session{card: grant.CardID(), end: grant.ServiceEnd, entryUntil: grant.EntryUntil,
		cert: grant.cert, static: static, wildcard: grant.Wildcard, shared: g.cfg.ShareWildcards && grant.Wildcard}
	if static {
		s.card = CardID{}
	}

	// A session that is superseded loses its card, durably, before the new one
	// begins; the store is not waited for under the lock.
	var spent CardID
	for {
		g.mu.Lock()
		old, err := g.admit(s, &c)
		if err == nil && old != nil && g.mustSpend(old) && old.card != spent {
			spent = old.card
			until := old.entryUntil
			g.mu.Unlock()
			if err := g.spend(spent, until); err != nil {
				return Pass{}, err
			}
			continue
		}
		if err != nil {
			g.mu.Unlock()
			return Pass{}, err
		}
		if old != nil {
			g.putOut(old, Superseded, g.time.Now())
		}
		g.insert(s, &c)
		p := s.pass(c.Need)
		g.events.add(Event{Kind: Entered, Pass: p})
		g.mu.Unlock()
		return p, nil
	}
}

// check verifies a card at this moment. A bare App ID is good only where it is
// allowed.
func (g *Gate) check(card string, c *Claims) (grant Grant, static bool, err error) {
	c.At = g.time.Now()
	switch {
	case c.User == Anybody:
		return grant, false, refuse(BadUser, 0)
	case c.Service >= serviceCount: // Opaque is no service to be inside of
		return grant, false, refuse(UnknownService, 0)
	}
	if g.cfg.AllowStaticAppID && card == g.appID {
		if !validChannel(c.Channel, Legacy{}) {
			return grant, false, refuse(BadChannel, StaticID)
		}
		if !validUser(c.User, Legacy{}) {
			return grant, false, refuse(BadUser, StaticID)
		}
		return grant, true, nil
	}
	if g.cfg.Verifier == nil {
		f, _ := Recognise(card)
		if f == StaticID {
			return grant, false, refuse(OtherApp, f)
		}
		return grant, false, refuse(KeyForStaticApp, f)
	}
	grant, err = g.cfg.Verifier.Verify(card, *c)
	if behind := g.time.Behind(); err != nil && behind >= time.Second && overBy(ReasonOf(err)) {
		then := *c
		then.At = c.At.Add(-behind)
		if _, e := g.cfg.Verifier.Verify(card, then); e == nil {
			err = refuse(ClockSetBack, err.(*Refusal).Format())
		}
	}
	return grant, false, err
}

// overBy reports whether a reason is that some time is over.
func overBy(r Reason) bool { return r == EntryOver || r == ServiceEnded || r == PrivilegeExpired }

// admit decides whether a session may begin; old is the one that it supersedes.
// The lock is held.
func (g *Gate) admit(s *session, c *Claims) (old *session, err error) {
	if g.closed {
		return nil, ErrClosed
	}
	if err := g.barred(s, c.Channel, c.User); err != nil {
		return nil, err
	}
	if r := g.rooms[roomKey{c.Channel, c.Service}]; r != nil {
		old = g.session(person{r, c.User})
	}
	switch {
	case old != nil && !g.cfg.Replace:
		return nil, refuse(AlreadyInside, 0)
	case old == nil && g.inside >= g.cfg.MaxInside, g.events.full(g.cfg.EventBacklog + g.cfg.MaxInside):
		return nil, refuse(Full, 0)
	}
	return old, nil
}

// barred refuses revoked people and cards, and cards that are in use or were
// replaced.
func (g *Gate) barred(s *session, channel string, user User) error {
	now := g.time.Now().Unix()
	if g.records.revoked(s.card, g.certificate(s), channel, user, now) {
		return refuse(Revoked, 0)
	}
	if s.tracked() {
		if g.holder(s.card) != nil || g.records.spent(s.card, now) {
			return refuse(Replayed, 0)
		}
	}
	return nil
}

func (g *Gate) certificate(s *session) CertificateID {
	if s.static {
		return CertificateID{}
	}
	return g.cfg.Verifier.certs[s.cert].id
}

// putOut ends a session against its will.
func (g *Gate) putOut(s *session, why Reason, now time.Time) {
	if why == Superseded {
		if g.mustSpend(s) {
			g.records.put(spentKey(s.card), s.entryUntil+spentMargin)
		}
		g.remove(s)
	} else {
		g.bury(s)
	}
	g.events.addOut(PutOut, s, why, now)
}

// Leave ends a session. It reports false if that session is not inside any more.
func (g *Gate) Leave(p Pass) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.find(p)
	if s == nil {
		return false
	}
	g.remove(s)
	g.events.addOut(Left, s, 0, time.Time{})
	return true
}

// find returns the session of a pass.
func (g *Gate) find(p Pass) *session {
	if r := g.rooms[roomKey{p.Channel, p.Service}]; r != nil {
		if s := g.session(person{r, p.User}); s != nil && s.id == p.ID {
			return s
		}
	}
	return nil
}

// Renew gives a session a new card without leaving; from then on the new card's
// end of service holds, and the old card is worth no more. If it fails, the session
// goes on as before.
func (g *Gate) Renew(p Pass, card string) (Pass, error) {
	c := Claims{Channel: p.Channel, User: p.User, Service: p.Service, Need: p.Need}
	renewed, err := g.renew(p, card, c)
	if err != nil {
		g.refused(c, err)
	}
	return renewed, err
}

func (g *Gate) renew(p Pass, card string, c Claims) (Pass, error) {
	grant, static, err := g.check(card, &c)
	if err != nil {
		return Pass{}, err
	}
	next := session{card: grant.CardID(), cert: grant.cert, static: static, shared: g.cfg.ShareWildcards && grant.Wildcard}
	if static {
		next.card = CardID{}
	}
	var spent CardID
	for {
		g.mu.Lock()
		s := g.find(p)
		if g.closed {
			err = ErrClosed
		} else if s == nil {
			err = refuse(NotInside, 0)
		} else {
			err = g.barred(&next, p.Channel, p.User)
		}
		if err != nil {
			g.mu.Unlock()
			return Pass{}, err
		}
		if g.mustSpend(s) {
			if s.card != spent {
				spent = s.card
				until := s.entryUntil
				g.mu.Unlock()
				if err := g.spend(spent, until); err != nil {
					return Pass{}, err
				}
				continue
			}
			g.records.put(spentKey(s.card), s.entryUntil+spentMargin)
		}
		if s.tracked() {
			delete(g.cards, s.card)
		}
		s.card, s.shared, s.cert, s.static, s.wildcard = next.card, next.shared, next.cert, static, grant.Wildcard
		s.end, s.entryUntil = grant.ServiceEnd, grant.EntryUntil
		if s.tracked() {
			g.cards[s.card] = s
		}
		g.plan(s)
		renewed := s.pass(p.Need)
		g.events.add(Event{Kind: Renewed, Pass: renewed})
		g.mu.Unlock()
		return renewed, nil
	}
}

// mustSpend reports whether a card that is given up could still open the door.
func (g *Gate) mustSpend(s *session) bool {
	return s.tracked() && g.time.Now().Unix() < s.entryUntil
}

// spend writes down durably that a card is worth no more.
func (g *Gate) spend(card CardID, until int64) error {
	g.mu.Lock()
	full := g.records.len() >= g.cfg.MaxRecords
	g.mu.Unlock()
	if full {
		return refuse(Full, 0)
	}
	if g.cfg.Store == nil {
		return nil
	}
	if err := g.cfg.Store.Put([]byte(spentKey(card)), time.Unix(until+spentMargin, 0)); err != nil {
		return fmt.Errorf("channelkey: gate cannot record a replaced card: %w", err)
	}
	return nil
}

// Inside returns who is inside, in no order.
func (g *Gate) Inside() []Pass {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.time.Now().Unix()
	all := make([]Pass, 0, g.inside)
	for _, s := range g.people {
		if !s.gone && s.inside(now) {
			all = append(all, s.pass(nil))
		}
	}
	return all
}

// IsInside reports whether a user is inside a channel for a service.
func (g *Gate) IsInside(channel string, user User, service Service) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.rooms[roomKey{channel, service}]
	if r == nil {
		return false
	}
	s := g.session(person{r, user})
	return s != nil && s.inside(g.time.Now().Unix())
}

// Len returns how many sessions are inside.
func (g *Gate) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}
