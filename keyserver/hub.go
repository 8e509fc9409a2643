package keyserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// hub is a channel that has members, or had some lately.
type hub struct {
	s    *Server
	name string
	id   string // opaque, as in the audit record
	from source

	mu      sync.Mutex
	snap    *snapshot // nil once closed, or if the channel was forgotten
	members map[*member]struct{}
	senders numbers
	left    []*member // of whom the ring is to be told
	putOut  []*member // the same, at once
	stageAt time.Time // when the next epoch is to be staged; zero: it is
	idle    time.Time // since when nobody is inside
	shut    bool
	wake    chan struct{}
}

var errUnavailable = errors.New("keyserver: the channel's keys are not available")

// enterHub gives the member a place in the channel's hub; one who is back has a number.
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
	h.mu.Lock()
	defer h.mu.Unlock()
	m.hub = h
	if _, blind := h.from.(*blindSource); blind && m.recipient == "" {
		return refuse("no-recipient")
	}
	if back {
		h.senders.mark(m.sender)
	} else {
		number, ok := h.number()
		if !ok {
			return errFull
		}
		m.sender = number
	}
	h.members[m] = struct{}{}
	return nil
}

// openHub begins to follow a channel: one of the ring, or a blind one.
func (s *Server) openHub(ctx context.Context, name string) (*hub, error) {
	from, err := s.openRing(ctx, name)
	if errors.Is(err, keyring.ErrNoChannel) {
		from, err = s.openBlind(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	h := &hub{s: s, name: name, id: s.cfg.Audit.ID("c", name), from: from, members: map[*member]struct{}{},
		wake: make(chan struct{}, 1), idle: time.Now()}
	if s.state != nil {
		h.senders.next = uint16(rand.N(1 << 16)) // other servers give out numbers, too
	}
	if err := h.refresh(); err != nil {
		from.close()
		return nil, err
	}
	if !s.start(h.run) {
		h.close()
		return nil, errUnavailable
	}
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
	next, err := h.from.snapshot()
	if err != nil {
		return err
	}
	h.mu.Lock()
	old := h.snap
	if h.shut || next != nil && !next.newer(old) {
		h.mu.Unlock()
		if next != nil {
			next.release()
		}
		return nil
	}
	h.snap = next
	switch {
	case next == nil || next.staged || next.active == 0:
		h.stageAt = time.Time{}
	case h.stageAt.IsZero():
		h.stageAt = time.Now().Add(stageAfter)
	}
	all := make([]*member, 0, len(h.members))
	for m := range h.members {
		if old != nil && next != nil && next.blind != nil && next.revision(m) <= old.keys.Revision {
			continue // theirs is as it was
		}
		all = append(all, m)
	}
	h.mu.Unlock()
	// Whoever opens a channel without a shared state has it rotated: see openRing.
	if next != nil && next.active != 0 && (old == nil && h.s.state == nil || old != nil && old.active != next.active) {
		h.s.counters.rotated.Add(1)
		h.s.later(audit.Entry{Event: "rotate", Channel: h.id, Epoch: next.active})
	}
	if old != nil {
		old.release()
	}
	for _, m := range all {
		m.nudge()
	}
	return nil
}

// gone takes a member out, and has the ring told, whose policy makes the next epoch.
func (h *hub) gone(m *member, putOut bool) {
	h.mu.Lock()
	delete(h.members, m)
	h.senders.give(m.sender)
	if putOut {
		h.putOut = append(h.putOut, m)
	} else {
		h.left = append(h.left, m)
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

// number takes a sender number that nobody has, and that no epoch bars. h.mu is held.
func (h *hub) number() (uint16, bool) {
	var barred []uint16
	defer func() {
		for _, n := range barred {
			h.senders.give(n)
		}
	}()
	for {
		n, ok := h.senders.take()
		if !ok || h.snap == nil || !h.snap.bars(n) {
			return n, ok
		}
		barred = append(barred, n)
	}
}

// renumber gives a member the next number; the old one is another server's.
func (h *hub) renumber(m *member) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := m.sender
	h.senders.next = uint16(rand.N(1 << 16)) // out of the other's range
	number, ok := h.number()
	if ok {
		m.sender = number
		h.senders.give(old)
	}
	return ok
}

// drop gives back the place of a member of whom the ring need not be told.
func (h *hub) drop(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.members, m)
	h.senders.give(m.sender)
}

func (h *hub) stageNow() bool {
	err := h.from.stage(h.s.ctx)
	return err == nil || errors.Is(err, keyring.ErrForgotten) || h.s.ctx.Err() != nil
}

// stageAfter is how long after a rotation the next epoch is staged: what is urgent is
// handed out by then.
const stageAfter = time.Second

const retryAfter = 250 * time.Millisecond // a ring that failed

// run follows the channel.
func (h *hub) run() {
	timer := time.NewTimer(h.s.cfg.IdleChannel)
	defer timer.Stop()
	for {
		wait := h.s.cfg.IdleChannel
		told := h.tell(&h.putOut, h.from.putOut)
		if !h.tell(&h.left, h.from.left) || !told {
			wait = retryAfter
		}
		h.mu.Lock()
		stage := h.stageAt
		idle := len(h.members) == 0 && time.Since(h.idle) >= h.s.cfg.IdleChannel
		h.mu.Unlock()
		if idle && h.retire() {
			return
		}
		switch left := time.Until(stage); {
		case stage.IsZero():
		case left > 0:
			wait = min(wait, left)
		case !h.stageNow():
			wait = retryAfter
		}
		timer.Reset(wait)
		select {
		case <-h.s.ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		case <-h.from.changed():
			if err := h.refresh(); err != nil {
				h.s.log.Warn("keyserver: a channel cannot be read", "channel", h.id, "error", cause(err))
			}
		}
	}
}

// tell tells the ring of members who went, and reports whether that worked. From then on
// the ring's own record says that an epoch is owed, whoever lives to make it.
func (h *hub) tell(list *[]*member, call func(context.Context, ...uint16) error) bool {
	h.mu.Lock()
	who := *list
	*list = nil
	h.mu.Unlock()
	if len(who) == 0 {
		return true
	}
	senders := make([]uint16, len(who))
	for i, m := range who {
		senders[i] = m.sender
	}
	err := call(h.s.ctx, senders...)
	if err == nil || errors.Is(err, keyring.ErrForgotten) { // then nothing is left that could be known
		h.s.excluded(who)
		return true
	}
	if h.s.ctx.Err() == nil {
		h.s.log.Error("keyserver: the ring cannot be told who went, trying again", "channel", h.id, "error", cause(err))
	}
	h.mu.Lock()
	*list = append(who, *list...)
	h.mu.Unlock()
	return false
}

// excluded removes the seats of those of whom the ring was told.
func (s *Server) excluded(who []*member) {
	if s.state == nil {
		return
	}
	s.start(func() {
		for _, m := range who {
			m.parting.Lock() // gone changes the seat's revision
			s.state.release([]leaving{m.place()})
			m.parting.Unlock()
		}
	})
}

// retire ends a hub that nobody uses.
func (h *hub) retire() bool {
	h.s.opening.Lock() // nobody enters meanwhile
	defer h.s.opening.Unlock()
	h.mu.Lock()
	empty := len(h.members)+len(h.left)+len(h.putOut) == 0
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
	h.from.close()
}
