package keyserver

import (
	"crypto/hpke"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// member is somebody inside a channel.
type member struct {
	s      *Server
	hub    *hub
	id     string // opaque
	actor  string // the user's ID in the audit record
	passID uint64
	sender uint16
	first  uint64 // the first epoch that they may be given

	lastSeen atomic.Int64 // of the last request, in nanoseconds since the server began

	mu       sync.Mutex
	pass     channelkey.Pass
	token    tokenHash
	resume   tokenHash
	wrapKey         // zero: secrets come as they are
	handed   uint64 // the newest epoch that was handed out and is recorded
	stream   *stream
	out      string // why the membership ended; "": it did not
	expires  int64  // an end of service that the stream has to tell of
	timer    *time.Timer
	requests bucket
	leaving  leaving // the member's records in the shared state

	parting sync.Mutex // held while these are changed because the member went
}

// wrapKey is what secrets are wrapped to.
type wrapKey struct {
	to        hpke.PublicKey
	kem       string
	recipient string  // of bundles, for blind channels
	hint      [8]byte // of the recipient
}

// place returns the member's records in the shared state.
func (m *member) place() leaving {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leaving
}

func (m *member) setSeatRev(rev uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leaving.seatRev = rev
}

// gatePass returns what the gate knows the member by.
func (m *member) gatePass() channelkey.Pass {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pass
}

// stream is a member's watch. The newest one lives.
type stream struct {
	wake  chan struct{} // something is to be told
	ended chan struct{} // closed when another stream took its place
}

// nudge wakes the member's stream, if there is one. It never blocks.
func (m *member) nudge() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nudgeLocked()
}

func (m *member) nudgeLocked() {
	if m.stream == nil {
		return
	}
	select {
	case m.stream.wake <- struct{}{}:
	default:
	}
}

// markOut ends the membership, once.
func (m *member) markOut(why string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out != "" {
		return false
	}
	m.out = why
	if m.timer != nil {
		m.timer.Stop()
	}
	m.nudgeLocked()
	return true
}

// ended returns an *endedError if the membership has ended. Whoever hands something out
// asks after taking it: see the package documentation.
func (m *member) ended() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out == "" {
		return nil
	}
	return &endedError{m.out}
}

// endedError says why a membership ended.
type endedError struct{ why string }

func (e *endedError) Error() string { return "keyserver: the membership ended: " + e.why }

// wrapTo returns the member's public key; nil for none.
func (m *member) wrapTo() hpke.PublicKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.to
}

func (m *member) warn(end int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expires = end
	m.nudgeLocked()
}

// takeWarning returns the end of service to tell of, once.
func (m *member) takeWarning() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.expires
	m.expires = 0
	return end
}

// open begins a stream, in place of one that there may be.
func (m *member) open() *stream {
	st := &stream{wake: make(chan struct{}, 1), ended: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stream != nil {
		close(m.stream.ended)
	}
	m.stream = st
	if m.timer != nil {
		m.timer.Stop()
	}
	return st
}

// limit bounds the member's requests.
func (m *member) limit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return limited(m.requests.take(time.Now(), m.s.cfg.Limits.MemberRate))
}

// closed ends a stream. If it was the member's, the time begins in which they must come
// back.
func (m *member) closed(st *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stream == st {
		m.stream = nil
		m.seen()
		m.wait(m.s.cfg.ResumeFor)
	}
}

// seen notes that the member made a request.
func (m *member) seen() { m.lastSeen.Store(int64(time.Since(m.s.began))) }

// wait looks after a while whether the member has left. m.mu is held.
func (m *member) wait(d time.Duration) {
	switch {
	case m.out != "":
	case m.timer == nil:
		m.timer = time.AfterFunc(d, m.due)
	default:
		m.timer.Reset(d)
	}
}

// due is called when a member without a stream may have been silent for too long.
func (m *member) due() {
	m.mu.Lock()
	silent := time.Since(m.s.began) - time.Duration(m.lastSeen.Load())
	if m.out != "" || m.stream != nil || m.s.ctx.Err() != nil {
		m.mu.Unlock()
		return
	}
	if left := m.s.cfg.ResumeFor - silent; left > 0 {
		m.wait(left)
		m.mu.Unlock()
		return
	}
	pass := m.pass
	m.mu.Unlock()
	if m.s.cfg.Gate.Leave(pass) {
		m.s.end(m, "dropped", false)
	}
}

func (m *member) stopTimer() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
	}
}

// handOut takes the channel's epochs for the member, on record. An *endedError says that
// the membership has ended; whoever gets a snapshot releases it.
func (m *member) handOut() (*snapshot, error) {
	snap := m.hub.acquire()
	if snap == nil {
		return nil, errors.Join(m.ended(), errUnavailable)
	}
	err := m.ended() // no record of what will not be
	if err == nil {
		err = m.recordHandOut(snap)
	}
	if err == nil {
		// Again, last of all: the epoch was drawn before it was taken, so that whoever
		// was put out before it was drawn is seen to be out here.
		err = m.ended()
	}
	if err != nil {
		snap.release()
		return nil, err
	}
	return snap, nil
}

// recordHandOut records which epochs a member is given for the first time.
func (m *member) recordHandOut(snap *snapshot) error {
	var mine blindBundle
	if snap.blind != nil {
		mine = snap.blind.bundleOf(m)
	}
	m.mu.Lock()
	var entries []audit.Entry
	if snap.blind != nil && mine.revision > m.handed {
		entries = append(entries, audit.Entry{Event: "hand-out", Actor: m.actor, Channel: m.hub.id, Subject: m.id, Epoch: mine.revision, Reason: "bundle"})
	}
	for _, e := range snap.keys.Epochs {
		if len(e.Secret) > 0 && e.Epoch >= m.first && e.Epoch > m.handed {
			entries = append(entries, audit.Entry{Event: "hand-out", Actor: m.actor, Channel: m.hub.id, Subject: m.id, Epoch: e.Epoch})
		}
	}
	m.mu.Unlock()
	if len(entries) == 0 {
		return nil
	}
	if err := m.s.record(entries...); err != nil {
		return err
	}
	m.s.counters.handedOut.Add(uint64(len(entries)))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handed = max(m.handed, entries[len(entries)-1].Epoch)
	return nil
}
