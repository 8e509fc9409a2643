package proxy

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// Why a session ended.
const (
	endedByClient  = "client"
	endedExpired   = "expired"
	endedRevoked   = "revoked"
	endedShutdown  = "shutdown"
	endedIdle      = "idle"
	endedByNetwork = "network"
)

// Transports of a session towards its client.
const (
	overUDP      = "udp"
	overTCP      = "tcp"
	overTLS      = "tls"
	overSOCKSTCP = "socks5-tcp"
	overSOCKSUDP = "socks5-udp"
)

var (
	errQuota    = errors.New("proxy: the customer's sessions are all in use")
	errCardFull = errors.New("proxy: the card's sessions are all in use")
	errFull     = errors.New("proxy: the relay's sessions are all in use")
	errDraining = errors.New("proxy: the relay takes no new sessions")
	errRevoked  = errors.New("proxy: the card is revoked")
)

// session is one TURN allocation, SOCKS5 connection or SOCKS5 association.
type session struct {
	holder
	id      uint64
	began   time.Time
	over    string // transport
	timer   *time.Timer
	stop    func() // ends what the session is for; called once
	reason  atomic.Pointer[string]
	traffic traffic
}

// traffic counts what was relayed, in the client's view.
type traffic struct {
	sentPackets, sentBytes         atomic.Uint64 // from the client
	receivedPackets, receivedBytes atomic.Uint64 // to the client
	dropped                        atomic.Uint64 // over the bit rate, or nowhere to go
}

func (t *traffic) add(o *traffic) {
	t.sentPackets.Add(o.sentPackets.Load())
	t.sentBytes.Add(o.sentBytes.Load())
	t.receivedPackets.Add(o.receivedPackets.Load())
	t.receivedBytes.Add(o.receivedBytes.Load())
	t.dropped.Add(o.dropped.Load())
}

// end ends the session because of this; the first reason stays.
func (s *session) end(why string) {
	if s.reason.CompareAndSwap(nil, &why) {
		s.stop()
	}
}

// Quota bounds the sessions of a customer. Zero fields do not bound.
type Quota struct {
	// Sessions is how many sessions a customer may have at a time, as bought.
	Sessions int `json:"sessions,omitempty"`
	// SessionsPerCard is how many of them one card may have; a WebRTC client uses
	// several while it looks for the best path.
	SessionsPerCard int `json:"sessions_per_card,omitempty"`
	// BitsPerSecond bounds one session in each direction.
	BitsPerSecond int64 `json:"bits_per_second,omitempty"`
}

// registry knows all sessions. It may be used by many goroutines.
type registry struct {
	max int // sessions altogether, 0 for no bound

	mu       sync.Mutex
	next     uint64
	sessions map[uint64]*session
	byApp    map[uint32]int
	byCard   map[cardOf]int
	quotas   map[uint32]Quota
	revoked  map[revocationKey]int64 // until, unix seconds
	draining bool
	idle     chan struct{} // closed when draining and nobody is left

	ended      traffic // of sessions that are over
	startedBy  map[string]uint64
	endedBy    map[string]uint64
	refusedFor map[string]uint64
}

type cardOf struct {
	customer uint32
	card     channelkey.CardID
	user     pseudonym
}

func (h *holder) cardOf() cardOf { return cardOf{h.customer, h.card, h.user} }

func newRegistry(limit int, quotas map[uint32]Quota) *registry {
	return &registry{max: limit, quotas: quotas, sessions: map[uint64]*session{}, byApp: map[uint32]int{}, byCard: map[cardOf]int{},
		revoked: map[revocationKey]int64{}, idle: make(chan struct{}),
		startedBy: map[string]uint64{}, endedBy: map[string]uint64{}, refusedFor: map[string]uint64{}}
}

// room reports whether one more session of this holder may begin. The lock is held.
func (r *registry) room(h *holder, now time.Time) error {
	q := r.quotas[h.customer]
	switch {
	case r.draining:
		return errDraining
	case h.end != 0 && now.Unix() >= h.end:
		return errTicket
	case r.isRevoked(h, now):
		return errRevoked
	case r.max > 0 && len(r.sessions) >= r.max:
		return errFull
	case q.Sessions > 0 && r.byApp[h.customer] >= q.Sessions:
		return errQuota
	case q.SessionsPerCard > 0 && r.byCard[h.cardOf()] >= q.SessionsPerCard:
		return errCardFull
	}
	return nil
}

// may reports whether one more session of this holder may begin.
func (r *registry) may(h *holder) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.room(h, time.Now())
	r.count(err)
	return err
}

// count counts a refusal. The lock is held.
func (r *registry) count(err error) {
	switch {
	case err == nil:
	case errors.Is(err, errTicket):
		r.refusedFor["expired"]++
	case errors.Is(err, errRevoked):
		r.refusedFor["revoked"]++
	case errors.Is(err, errDraining):
		r.refusedFor["draining"]++
	default:
		r.refusedFor["quota"]++
	}
}

// refused counts a refusal that is none of the registry's own.
func (r *registry) refused(why string) {
	r.mu.Lock()
	r.refusedFor[why]++
	r.mu.Unlock()
}

// begin enters a session; stop is called once when it must end before its client
// ends it. The session ends by itself at the end of its holder.
func (r *registry) begin(h holder, over string, stop func()) (*session, error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.room(&h, now); err != nil {
		r.count(err)
		return nil, err
	}
	r.next++
	s := &session{holder: h, id: r.next, began: now, over: over, stop: stop}
	r.sessions[s.id] = s
	r.byApp[h.customer]++
	r.byCard[h.cardOf()]++
	r.startedBy[over]++
	if h.end != 0 {
		s.timer = time.AfterFunc(time.Until(time.Unix(h.end, 0)), func() { s.end(endedExpired) })
	}
	return s, nil
}

// done takes a session out, which is over. It returns why, and does nothing the second
// time.
func (r *registry) done(s *session, why string) (reason string, first bool) {
	s.reason.CompareAndSwap(nil, &why)
	reason = *s.reason.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[s.id] != s {
		return reason, false
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	delete(r.sessions, s.id)
	if r.byApp[s.customer]--; r.byApp[s.customer] == 0 {
		delete(r.byApp, s.customer)
	}
	if r.byCard[s.cardOf()]--; r.byCard[s.cardOf()] == 0 {
		delete(r.byCard, s.cardOf())
	}
	r.ended.add(&s.traffic)
	r.endedBy[reason]++
	if r.draining && len(r.sessions) == 0 {
		close(r.idle)
	}
	return reason, true
}

// drain refuses new sessions; idle is closed when the last one is over.
func (r *registry) drain() (idle <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.draining {
		r.draining = true
		if len(r.sessions) == 0 {
			close(r.idle)
		}
	}
	return r.idle
}

// endAll ends every session that fits.
func (r *registry) endAll(why string, fits func(*session) bool) int {
	r.mu.Lock()
	var hit []*session
	for _, s := range r.sessions {
		if fits(s) {
			hit = append(hit, s)
		}
	}
	r.mu.Unlock()
	for _, s := range hit {
		s.end(why)
	}
	return len(hit)
}

func (r *registry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// maxRevocations bounds what an operator's list can grow to.
const maxRevocations = 1_000_000

// revocationKey is what a revocation is of, by pseudonyms.
type revocationKey struct {
	kind byte // 'c' card, 'k' certificate, 'u' user, 'r' channel, 'p' user in a channel
	a, b pseudonym
}

func (t *tickets) revocationKey(r *channelkey.Revocation) (revocationKey, error) {
	card, cert, named := r.Card != channelkey.CardID{}, r.Certificate != channelkey.CertificateID{}, r.User != "" || r.Channel != ""
	switch {
	case card && !cert && !named:
		return revocationKey{kind: 'c', a: pseudonym(r.Card)}, nil
	case cert && !card && !named:
		return revocationKey{kind: 'k', a: pseudonym(r.Certificate)}, nil
	case card || cert || !named:
		return revocationKey{}, errors.New("proxy: revocation is of nothing or of too much, set one of card and certificate, or user, channel or both")
	case r.Channel == "":
		return revocationKey{kind: 'u', a: t.pseudonym("user", string(r.User))}, nil
	case r.User == "":
		return revocationKey{kind: 'r', a: t.pseudonym("channel", r.Channel)}, nil
	}
	return revocationKey{kind: 'p', a: t.pseudonym("channel", r.Channel), b: t.pseudonym("user", string(r.User))}, nil
}

// revocationKeys are all that a holder can be hit by.
func (h *holder) revocationKeys() [5]revocationKey {
	return [5]revocationKey{{kind: 'c', a: pseudonym(h.card)}, {kind: 'k', a: pseudonym(h.cert)}, {kind: 'u', a: h.user},
		{kind: 'r', a: h.channel}, {kind: 'p', a: h.channel, b: h.user}}
}

func (r *registry) isRevoked(h *holder, now time.Time) bool {
	if len(r.revoked) == 0 {
		return false
	}
	for _, k := range h.revocationKeys() {
		if until, ok := r.revoked[k]; ok && now.Unix() < until {
			return true
		}
	}
	return false
}

// revoke bars until a time, and ends at once what it meets.
func (r *registry) revoke(k revocationKey, until time.Time) (int, error) {
	now := time.Now()
	r.mu.Lock()
	for old, end := range r.revoked {
		if len(r.revoked) < maxRevocations {
			break
		}
		if end <= now.Unix() {
			delete(r.revoked, old)
		}
	}
	if !until.After(now) {
		delete(r.revoked, k)
		r.mu.Unlock()
		return 0, nil
	}
	if _, known := r.revoked[k]; !known && len(r.revoked) >= maxRevocations {
		r.mu.Unlock()
		return 0, fmt.Errorf("proxy: %d revocations are in force, no more can be remembered", maxRevocations)
	}
	r.revoked[k] = until.Unix()
	r.mu.Unlock()
	return r.endAll(endedRevoked, func(s *session) bool {
		for _, x := range s.revocationKeys() {
			if x == k {
				return true
			}
		}
		return false
	}), nil
}
