package keyserver

import (
	"context"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// hub is a channel that has members, or had some lately.
type hub struct {
	s    *Server
	name string
	id   string // opaque, as in the audit record
	ch   *keyring.Channel
	feed *keyring.Feed

	mu       sync.Mutex
	snap     *snapshot // nil once closed, or if the channel was forgotten
	members  map[*member]struct{}
	senders  numbers
	rotateAt time.Time // when a fresh epoch is due; zero: it is not
	stageAt  time.Time // when the next one is to be staged; zero: it is
	going    []*member // whom the next rotation excludes
	owed     []leaving // the same, of other servers
	why      string    // of that rotation
	idle     time.Time // since when nobody is inside
	shut     bool
	wake     chan struct{}
}

// snapshot is what members are given at a moment. Its secrets are wiped when the last
// one who uses it has released it.
type snapshot struct {
	mu   sync.Mutex
	refs int

	keys    api.Keys // with secrets
	secrets []byte   // all of them, as they are wrapped
	aad     []byte
	staged  bool   // the next epoch is there
	plain   []byte // keys in JSON
}

func (s *snapshot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs--; s.refs > 0 {
		return
	}
	clear(s.secrets)
	clear(s.plain)
	for i := range s.keys.Epochs {
		clear(s.keys.Epochs[i].Secret)
	}
}

func newSnapshot(h *keyring.Handout) (*snapshot, error) {
	s := &snapshot{refs: 1, keys: api.Keys{Channel: h.Channel, Revision: h.Revision, Epochs: []api.Epoch{}}}
	for i := range h.Keys {
		k := &h.Keys[i]
		e := api.Epoch{Epoch: k.Number, State: api.StateActive, Suite: k.SuiteName, SuiteID: uint16(k.Suite), Fingerprint: k.Fingerprint, Secret: k.Secret()}
		if k.State == keyring.Staged {
			e.State = api.StateStaged
			s.staged = true
		} else {
			e.Activated = k.Activated.UnixMilli()
		}
		s.keys.Epochs = append(s.keys.Epochs, e)
		s.secrets = append(s.secrets, e.Secret...)
	}
	for _, g := range h.Retiring {
		s.keys.Epochs = append(s.keys.Epochs, api.Epoch{Epoch: g.Number, State: api.StateRetiring, Until: g.Until.UnixMilli()})
	}
	s.aad = wrapAAD(s.keys.Epochs)
	var err error
	if s.plain, err = json.Marshal(&s.keys); err != nil {
		return nil, fmt.Errorf("keyserver: %w", err)
	}
	return s, nil
}

// body returns the epochs as this member gets them, in JSON. The caller does not change
// it, and uses it before it releases the snapshot.
func (s *snapshot) body(m *member) ([]byte, error) {
	to := m.wrapTo()
	if to == nil {
		return s.plain, nil
	}
	k, err := s.wrapped(m.id, to)
	if err != nil {
		return nil, err
	}
	return json.Marshal(k)
}

// wrapped returns the epochs without their secrets, which are wrapped to the member.
func (s *snapshot) wrapped(member string, to hpke.PublicKey) (k api.Keys, err error) {
	k = s.keys
	k.Epochs = make([]api.Epoch, len(s.keys.Epochs))
	for i, e := range s.keys.Epochs {
		e.Secret = nil
		k.Epochs[i] = e
	}
	k.Wrapped, err = wrap(to, k.Channel, member, s)
	return k, err
}

var errUnavailable = errors.New("keyserver: the channel's keys are not available")

// enterHub gives the member a place in the channel's hub; one who is back has a number.
// The first to enter a
// channel gets a fresh epoch: nobody knows who of those that were inside before has left
// since.
func (s *Server) enterHub(ctx context.Context, name string, m *member, back bool) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	s.mu.RLock()
	h := s.hubs[name]
	s.mu.RUnlock()
	if h == nil {
		var err error
		if h, err = s.openHub(ctx, name); err != nil {
			return err
		}
		s.mu.Lock()
		s.hubs[name] = h
		s.mu.Unlock()
	}
	if back {
		h.seat(m)
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	number, ok := h.senders.take()
	if !ok {
		return errFull
	}
	m.hub, m.sender = h, number
	h.members[m] = struct{}{}
	return nil
}

// excluded removes the seats of those whom a rotation excluded.
func (s *Server) excluded(going []*member, owed []leaving) {
	if s.state == nil || len(going)+len(owed) == 0 {
		return
	}
	s.start(func() {
		for _, m := range going {
			owed = append(owed, m.place())
		}
		s.state.release(owed)
	})
}

func (s *Server) openHub(ctx context.Context, name string) (*hub, error) {
	ch, err := s.cfg.Ring.Channel(ctx, name)
	if err != nil {
		return nil, err
	}
	h := &hub{s: s, name: name, id: s.cfg.Audit.ID("c", name), ch: ch, members: map[*member]struct{}{},
		wake: make(chan struct{}, 1), idle: time.Now()}
	if s.state != nil { // other servers give out numbers, too
		h.senders.next = uint16(rand.N(1 << 16))
	}
	if err := h.rotate(ctx, "opened"); err != nil {
		return nil, err
	}
	if err := h.stage(ctx); err != nil {
		return nil, err
	}
	if h.feed, err = ch.Feed(ctx); err != nil {
		return nil, err
	}
	if err := h.refresh(); err != nil {
		h.feed.Close()
		return nil, err
	}
	s.running.Go(h.run)
	return h, nil
}

// acquire returns what members are given now; nil if there is nothing.
func (h *hub) acquire() *snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.snap == nil {
		return nil
	}
	h.snap.mu.Lock()
	defer h.snap.mu.Unlock()
	h.snap.refs++
	return h.snap
}

// refresh takes what the ring has now.
func (h *hub) refresh() error {
	handout, err := h.feed.Current()
	if err != nil {
		return err
	}
	defer handout.Wipe()
	var next *snapshot
	if len(handout.Keys) > 0 {
		if next, err = newSnapshot(&handout); err != nil {
			return err
		}
	}
	h.mu.Lock()
	old := h.snap
	if h.shut || old != nil && next != nil && old.keys.Revision >= next.keys.Revision {
		h.mu.Unlock()
		if next != nil {
			next.release()
		}
		return nil
	}
	h.snap = next
	if next != nil && !next.staged && h.stageAt.IsZero() {
		h.stageAt = time.Now().Add(stageAfter)
	} else if next == nil || next.staged {
		h.stageAt = time.Time{}
	}
	all := make([]*member, 0, len(h.members))
	for m := range h.members {
		all = append(all, m)
	}
	h.mu.Unlock()
	if old != nil {
		old.release()
	}
	for _, m := range all {
		m.nudge()
	}
	return nil
}

// gone takes a member out, and has the channel rotated: at once if they were put out.
func (h *hub) gone(m *member, now bool) {
	h.mu.Lock()
	delete(h.members, m)
	h.senders.give(m.sender)
	if h.s.state != nil {
		h.going = append(h.going, m)
	}
	at, why := time.Now(), "put-out"
	if !now {
		at, why = at.Add(h.s.cfg.LeaveDelay), "left"
	}
	if h.rotateAt.IsZero() || at.Before(h.rotateAt) {
		h.rotateAt, h.why = at, why
	}
	if len(h.members) == 0 {
		h.idle = time.Now()
	}
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// owe has the channel rotated at once for members of other servers.
func (h *hub) owe(gone []leaving) {
	h.mu.Lock()
	h.owed = append(h.owed, gone...)
	h.rotateAt, h.why = time.Now(), "left"
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// renumber gives a member the next number; the old one is another server's.
func (h *hub) renumber(m *member) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := m.sender
	number, ok := h.senders.take()
	if ok {
		m.sender = number
		h.senders.give(old)
	}
	return ok
}

// seat gives a member of before a place with the number they had.
func (h *hub) seat(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.members[m] = struct{}{}
	h.senders.mark(m.sender)
	m.hub = h
}

// drop gives back the place of a member whom no rotation needs to exclude.
func (h *hub) drop(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.members, m)
	h.senders.give(m.sender)
}

// rotate makes a fresh epoch that nobody was handed before. The one after it is staged
// a little later, when members have this one.
func (h *hub) rotate(ctx context.Context, why string) error {
	info, err := h.ch.Revoke(ctx, why)
	if err != nil {
		return err
	}
	h.s.counters.rotated.Add(1)
	h.s.later(audit.Entry{Event: "rotate", Channel: h.id, Epoch: info.Epoch, Reason: why})
	return nil
}

// stage makes the next epoch, so that members hold it before it is needed.
func (h *hub) stage(ctx context.Context) error {
	_, err := h.ch.Stage(ctx, "next")
	if errors.Is(err, keyring.ErrStaged) {
		return nil
	}
	return err
}

func (h *hub) stageNow() bool {
	err := h.stage(h.s.ctx)
	return err == nil || errors.Is(err, keyring.ErrForgotten) || h.s.ctx.Err() != nil
}

// stageAfter is how long after a rotation the next epoch is staged: what is urgent is
// handed out by then.
const stageAfter = time.Second

const retryAfter = 250 * time.Millisecond // a ring that failed

// run follows the channel and rotates it when that is due.
func (h *hub) run() {
	timer := time.NewTimer(h.s.cfg.IdleChannel)
	defer timer.Stop()
	for {
		h.mu.Lock()
		due, why, stage := h.rotateAt, h.why, h.stageAt
		idle := len(h.members) == 0 && due.IsZero() && time.Since(h.idle) >= h.s.cfg.IdleChannel
		h.mu.Unlock()
		if idle && h.retire() {
			return
		}
		wait := h.s.cfg.IdleChannel
		for _, task := range []struct {
			at time.Time
			do func() bool
		}{{due, func() bool { return h.rotateNow(due, why) }}, {stage, h.stageNow}} {
			switch left := time.Until(task.at); {
			case task.at.IsZero():
			case left > 0:
				wait = min(wait, left)
			case !task.do():
				wait = retryAfter
			}
		}
		timer.Reset(wait)
		select {
		case <-h.s.ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		case <-h.feed.Changed():
			if err := h.refresh(); err != nil {
				h.s.log.Warn("keyserver: a channel cannot be read", "channel", h.id, "error", err)
			}
		}
	}
}

// rotateNow rotates for all who went before it, and reports whether that worked.
func (h *hub) rotateNow(due time.Time, why string) bool {
	// Who goes from here on is not covered: the record may have been read already.
	h.mu.Lock()
	h.rotateAt = time.Time{}
	going, owed := h.going, h.owed
	h.going, h.owed = nil, nil
	h.mu.Unlock()
	err := h.rotate(h.s.ctx, why)
	switch {
	case err == nil:
		h.s.excluded(going, owed)
		return true
	case errors.Is(err, keyring.ErrForgotten), h.s.ctx.Err() != nil:
		return true // nothing is left that could be known
	}
	h.s.log.Error("keyserver: a channel cannot be rotated, trying again", "channel", h.id, "error", err)
	h.mu.Lock()
	h.rotateAt, h.why = due, why
	h.going, h.owed = append(going, h.going...), append(owed, h.owed...)
	h.mu.Unlock()
	return false
}

// retire ends a hub that nobody uses.
func (h *hub) retire() bool {
	h.s.opening.Lock() // nobody enters meanwhile
	defer h.s.opening.Unlock()
	h.mu.Lock()
	empty := len(h.members) == 0 && h.rotateAt.IsZero() && len(h.going)+len(h.owed) == 0
	h.mu.Unlock()
	if !empty {
		return false
	}
	h.s.mu.Lock()
	delete(h.s.hubs, h.name)
	h.s.mu.Unlock()
	h.close()
	return true
}

func (h *hub) close() {
	h.mu.Lock()
	snap := h.snap
	h.snap, h.shut = nil, true
	h.mu.Unlock()
	if snap != nil {
		snap.release()
	}
	h.feed.Close()
}
