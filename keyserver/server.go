package keyserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/internal/clock"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// Config says how a Server works. Ring, Gate and Audit are needed; the zero value of
// everything else is useful.
type Config struct {
	// Ring holds the channels. Members enter those that it has.
	Ring *keyring.Ring
	// Gate decides who may be inside. The Server reads its Events, which are nobody
	// else's then, and does not close it.
	Gate *channelkey.Gate
	// Audit keeps the record. Nothing is handed out that cannot be recorded.
	Audit *audit.Log
	// Logger gets what an operator should know; nil for none.
	Logger *slog.Logger
	// ResumeFor is how long a membership without a stream or request can be brought
	// back; then it has left. 0 for 30 seconds.
	ResumeFor time.Duration
	// Heartbeat is how often a stream without events gets a comment, and is found to
	// be dead; 0 for 15 seconds.
	Heartbeat time.Duration
	// WriteTimeout bounds how long a reader may take for one event or reply; one that
	// is slower loses its stream. 0 for 10 seconds.
	WriteTimeout time.Duration
	// IdleChannel is after how long without a member the Server stops to follow a
	// channel; 0 for 10 minutes.
	IdleChannel time.Duration
	// Shared keeps who is inside in the ring's store: several servers on one store then
	// serve the same members, and members stay when a server is started anew. The
	// Gate's Store is to be GateStore then.
	Shared bool
	// Replace says that the Gate's Replace is set.
	Replace bool
	// Limits bound what anybody can ask for.
	Limits Limits
	// Now is the wall clock, for tests; nil for the system's. See [Server].
	Now func() time.Time
}

func (c *Config) complete() error {
	switch {
	case c.Ring == nil:
		return errors.New("keyserver: no ring: set Config.Ring")
	case c.Gate == nil:
		return errors.New("keyserver: no gate: set Config.Gate")
	case c.Audit == nil:
		return errors.New("keyserver: no audit record: set Config.Audit")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{{&c.ResumeFor, 30 * time.Second}, {&c.Heartbeat, 15 * time.Second},
		{&c.WriteTimeout, 10 * time.Second}, {&c.IdleChannel, 10 * time.Minute}} {
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	c.Limits.complete()
	return nil
}

// Server is a key server. It is an http.Handler, and safe for concurrent use.
//
// Where times of day count, a wall clock that is set forward counts at once; of one that is
// set back it takes no notice, as the Gate and the Ring, but tells the operator. How long
// something takes (streams, resume tokens, rates, signs of life) is measured by the
// monotonic clock.
type Server struct {
	cfg   Config
	log   *slog.Logger
	clock *clock.Clock
	mux   http.Handler

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	draining chan struct{} // closed by Drain
	drain    sync.Once
	running  sync.WaitGroup
	failed   atomic.Bool // the audit record does not work
	began    time.Time   // by the monotonic clock: when it is set nobody has left

	opening  sync.Mutex // one hub is opened at a time
	mu       sync.RWMutex
	hubs     map[string]*hub // by the channel's name
	tokens   map[tokenHash]*member
	resumes  map[tokenHash]*member
	passes   map[uint64]*member // by the pass's ID
	early    map[uint64]early   // of who was not in passes yet
	watching watchers

	state    *state // nil: not shared
	entries  entryQueue
	refusals refusals
	counters counters
	streams  atomic.Int64
	byAddr   buckets[netip.Prefix]
	byCard   buckets[tokenHash]
}

// New makes a server. Close it after use, before its Gate, Ring and Audit.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, log: cfg.Logger, clock: clock.New(cfg.Now), ctx: ctx, cancel: cancel, draining: make(chan struct{}), began: time.Now(),
		hubs: map[string]*hub{}, tokens: map[tokenHash]*member{}, resumes: map[tokenHash]*member{},
		passes: map[uint64]*member{}, early: map[uint64]early{}}
	s.entries.wake = make(chan struct{}, 1)
	s.byAddr.rate, s.byCard.rate = cfg.Limits.AddressRate, cfg.Limits.CardRate
	s.mux = s.routes()
	if cfg.Shared {
		var err error
		if s.state, err = newState(s); err != nil {
			cancel()
			return nil, err
		}
		s.running.Go(s.state.run)
		s.running.Go(s.state.watch)
		s.running.Go(s.state.takeStranded)
	}
	if behind := cfg.Audit.Behind(); behind > 0 {
		s.log.Warn("keyserver: the clock is behind the newest entry of the audit record: it was set back since, or was wrong then", "by", behind)
	}
	events := cfg.Gate.Events()
	s.running.Go(func() { s.follow(events) })
	s.running.Go(s.writeEntries)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Drain ends all streams, so that members go to another server or come back, and refuses
// new members from then on. Nobody leaves by it.
func (s *Server) Drain() { s.drain.Do(func() { close(s.draining) }) }

func (s *Server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// Close drains, ends everything the Server runs and wipes what it holds.
func (s *Server) Close() error {
	s.Drain()
	s.mu.Lock() // nothing is started from here on
	s.cancel()
	s.mu.Unlock()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.everybody() {
		m.stopTimer()
	}
	for _, h := range s.hubs {
		h.close()
	}
	clear(s.hubs)
	return nil
}

// everybody yields all members. s.mu is held.
func (s *Server) everybody() map[*member]struct{} {
	all := make(map[*member]struct{}, len(s.passes))
	for _, m := range s.passes {
		all[m] = struct{}{}
	}
	return all
}

// Members returns how many are inside.
func (s *Server) Members() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.passes)
}

// follow does what the Gate says: whoever is put out is out before anything else.
func (s *Server) follow(events <-chan channelkey.Event) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case e, ok := <-events:
			switch {
			case !ok:
				return
			case e.Kind == channelkey.PutOut:
				s.putOut(e)
			case e.Kind == channelkey.WillExpire:
				if m := s.passOf(e); m != nil {
					m.warn(e.Pass.End)
				}
			}
		}
	}
}

// early is what the Gate said of somebody who is on their way in, or was never let in.
type early struct {
	out  bool
	why  channelkey.Reason // of out
	warn int64             // the end of service that is near; 0 for none
}

// passOf returns whom an event is about. Of who is not known yet it is kept for a while.
func (s *Server) passOf(e channelkey.Event) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.passes[e.Pass.ID]
	if m == nil {
		was := s.early[e.Pass.ID]
		if e.Kind == channelkey.PutOut {
			was.out, was.why = true, e.Reason
		} else {
			was.warn = e.Pass.End
		}
		s.early[e.Pass.ID] = was
		time.AfterFunc(tellWhyFor, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.early, e.Pass.ID)
		})
	}
	return m
}

func (s *Server) putOut(e channelkey.Event) {
	if m := s.passOf(e); m != nil {
		s.end(m, e.Reason.String(), true)
	}
}

// end takes a member out of everything, and has the channel rotated. It reports false if
// somebody else did so before.
func (s *Server) end(m *member, why string, putOut bool) bool {
	if !m.markOut(why) { // first: from here on nothing is handed to them
		return false
	}
	s.mu.Lock()
	m.mu.Lock()
	token, resume := m.token, m.resume
	m.mu.Unlock()
	delete(s.passes, m.passID)
	delete(s.resumes, resume)
	s.mu.Unlock()
	// The member token opens nothing any more, but tells why for a while.
	time.AfterFunc(tellWhyFor, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.tokens, token)
	})
	s.counters.over(why)
	event := "leave"
	if putOut {
		event = "put-out"
	}
	s.later(audit.Entry{Event: event, Actor: m.actor, Channel: m.hub.id, Subject: m.id, Reason: why})
	m.hub.gone(m, putOut)
	if s.state != nil {
		s.start(func() { s.state.gone(m) })
	}
	s.membersChanged()
	return true
}

// move takes a member out who went to another server: nobody has left.
func (s *Server) move(m *member) {
	if !m.markOut("moved") {
		return
	}
	s.counters.over("moved")
	s.mu.Lock()
	m.mu.Lock()
	token, resume := m.token, m.resume
	m.mu.Unlock()
	delete(s.passes, m.passID)
	delete(s.resumes, resume)
	delete(s.tokens, token)
	s.mu.Unlock()
	m.hub.drop(m)
}

// owe has the ring told of members of other servers who are gone, removes their seats, and
// reports whether that worked.
func (s *Server) owe(ctx context.Context, channel string, gone []leaving) bool {
	ch, err := s.cfg.Ring.Channel(ctx, channel)
	if err == nil {
		senders := make([]uint16, len(gone))
		for i, l := range gone {
			senders[i] = l.sender
		}
		_, err = ch.PutOut(ctx, senders...)
	}
	switch {
	case err == nil, errors.Is(err, keyring.ErrNoChannel), errors.Is(err, keyring.ErrForgotten): // a blind channel, whose keeper sees it, or nothing that they could know
		s.state.release(gone)
		return true
	}
	s.log.Error("keyserver: the ring cannot be told who went", "channel", s.cfg.Audit.ID("c", channel), "error", cause(err))
	return false
}

// tellWhyFor is how long the token of a membership that ended tells why it did.
const tellWhyFor = time.Minute

// cause is the innermost error: what wraps it may name a channel.
func cause(err error) error {
	for {
		switch x := err.(type) {
		case interface{ Unwrap() error }:
			if x.Unwrap() == nil {
				return err
			}
			err = x.Unwrap()
		case interface{ Unwrap() []error }:
			if len(x.Unwrap()) == 0 {
				return err
			}
			err = x.Unwrap()[0]
		default:
			return err
		}
	}
}

// tokenHash is what the server keeps of a token: who reads its memory or state cannot
// use it, and looking one up takes no time that depends on it.
type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// The kinds of token, which their first bytes show.
const (
	memberPrefix = "csm_"
	resumePrefix = "csr_"
)

// newToken draws a token of 128 bits.
func newToken(prefix string) (token string, hash tokenHash) {
	token = prefix + rand.Text()
	return token, hashToken(token)
}

// newID draws an opaque ID.
func newID(prefix string) string {
	var b [8]byte
	rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}

// record writes entries; nothing they are about may happen before it returns nil.
func (s *Server) record(entries ...audit.Entry) error {
	if err := s.cfg.Audit.Append(entries...); err != nil {
		if !s.failed.Swap(true) {
			s.log.Error("keyserver: the audit record cannot be written: nobody is let in any more", "error", cause(err))
		}
		return fmt.Errorf("keyserver: %w", err)
	}
	return nil
}

// entryQueue holds entries of what happened already and is not to wait for storage.
type entryQueue struct {
	mu      sync.Mutex
	waiting []audit.Entry
	wake    chan struct{}
}

// later has entries written soon.
func (s *Server) later(entries ...audit.Entry) {
	q := &s.entries
	q.mu.Lock()
	q.waiting = append(q.waiting, entries...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// writeEntries writes what later was given, until Close, and the rest then.
func (s *Server) writeEntries() {
	q := &s.entries
	var behind time.Duration
	skipped := time.NewTicker(skippedEvery)
	defer skipped.Stop()
	for done := false; !done; {
		var more []audit.Entry
		select {
		case <-q.wake:
		case <-skipped.C:
			more = append(s.skippedRefusals(), s.clockEntries(&behind)...)
		case <-s.ctx.Done():
			done, more = true, s.skippedRefusals()
		}
		q.mu.Lock()
		batch := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		_ = s.record(append(batch, more...)...) // it says so itself
	}
}
