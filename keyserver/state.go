package keyserver

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
)

// The shared state, on the ring's shelf "keyserver", lets several servers on one store
// serve the same members, and a server that starts anew find those of before:
//
//	s/NAME           a seat: who is inside of which channel, and at which server
//	n/NAME/NUMBER    a sender number that is in use
//	r/NAME           a revocation, or a card that was replaced
//	h/SERVER         a server's sign of life
//	b/NAME           a blind channel's bundles: see blind.go
//	a/ID             a note for the audit record: see notes.go
//
// NAME is a keyed hash. A seat goes after the rotation that excludes who sat there: if
// its server dies before, another one finds the seat, and rotates.
const shelfName = "keyserver"

// seat is a member's record.
type seat struct {
	Server    string // its heartbeat's name
	Member    string
	Gate      channelkey.Seat
	Sender    uint16
	First     uint64 // the first epoch that they may be given
	LeaseRev  uint64 // of the sender number's record
	Kem       string `json:",omitempty"`
	Key       []byte `json:",omitempty"` // the member's public key
	Recipient string `json:",omitempty"` // of bundles
	Resume    []byte // hash of the resume token
	Gone      bool   // left or put out; the rotation is still to come
}

// leaving is what is to be removed once a rotation has excluded somebody.
type leaving struct {
	seat, lease       string
	member            string
	seatRev, leaseRev uint64
	sender            uint16
}

// state is the shared state as this server works on it. A nil *state keeps nothing.
type state struct {
	s     *Server
	shelf *keyring.Shelf
	id    string

	mu    sync.Mutex
	mine  map[string]*member // by the seat's key
	first uint64             // revision of the first sign of life
	free  []freeing
	lost  map[string]uint64 // seats that say they are ours and that nobody sits in, at the last sweep
	peers map[string]peer   // by their ID

	barred chan struct{} // there is a revocation
}

// stateTimeout bounds an operation on the store.
const stateTimeout = 5 * time.Second

func newState(s *Server) (*state, error) {
	shelf, err := s.cfg.Ring.Shelf(shelfName)
	if err != nil {
		return nil, err
	}
	st := &state{s: s, shelf: shelf, id: newID("k-"), mine: map[string]*member{}, peers: map[string]peer{}, barred: make(chan struct{}, 1)}
	// A sign of life comes before the first seat: others remove seats of nobody.
	ctx, cancel := context.WithTimeout(s.ctx, stateTimeout)
	defer cancel()
	if st.first, err = shelf.CAS(ctx, "h/"+st.id, st.sign(0), 0); err != nil {
		return nil, err
	}
	return st, nil
}

func seatKey(shelf *keyring.Shelf, channel string, user channelkey.User) (string, error) {
	name, err := shelf.Name("seat", channel, string(user))
	return "s/" + name, err
}

// write makes the member's record of what it is now. m.mu is not held.
func (st *state) write(ctx context.Context, m *member, resume tokenHash, rev uint64) (uint64, error) {
	gate, ok := st.s.cfg.Gate.Seat(m.gatePass())
	if !ok { // put out just now
		return 0, refuse("unavailable")
	}
	m.mu.Lock()
	x := seat{Server: st.id, Member: m.id, Gate: gate, Sender: m.sender, First: m.first, LeaseRev: m.leaving.leaseRev, Recipient: m.recipient, Resume: resume[:]}
	if m.to != nil {
		x.Kem, x.Key = m.kem, m.to.Bytes()
	}
	m.mu.Unlock()
	value, err := json.Marshal(&x)
	if err != nil {
		return 0, fmt.Errorf("keyserver: %w", err)
	}
	return st.shelf.CAS(ctx, m.leaving.seat, value, rev)
}

// leaseKey is where a sender number of a channel is taken.
func leaseKey(channel string, number uint16) string { return fmt.Sprintf("n/%s/%05d", channel, number) }

// place names the member's seat.
func (st *state) place(m *member) (err error) {
	if st != nil {
		m.leaving.member = m.id
		m.leaving.seat, err = seatKey(st.shelf, m.pass.Channel, m.pass.User)
	}
	return err
}

// lease takes a sender number that no other server's member of the channel has.
func (st *state) lease(ctx context.Context, m *member) error {
	if st == nil {
		return nil
	}
	channel, err := st.shelf.Name("channel", m.hub.name)
	if err != nil {
		return err
	}
	const tries = 256
	for range tries {
		key := leaseKey(channel, m.sender)
		rev, err := st.shelf.CAS(ctx, key, []byte(st.id), 0)
		if err == nil {
			m.leaving.lease, m.leaving.leaseRev, m.leaving.sender = key, rev, m.sender
			return nil
		}
		if !errors.Is(err, keyring.ErrConflict) {
			return err
		}
		if !m.hub.renumber(m) {
			return errFull
		}
	}
	return errFull
}

// claim makes the seat of somebody whom the gate let in theirs. owed reports that
// somebody sat there before whom no rotation has excluded yet.
func (st *state) claim(ctx context.Context, m *member, resume tokenHash) (owed bool, err error) {
	if st == nil {
		return false, nil
	}
	var rev uint64
	for range 8 { // it changes under our hands only if somebody else claims it, too
		next, err := st.write(ctx, m, resume, rev)
		if err == nil {
			m.leaving.seatRev = next
			st.mu.Lock()
			st.mine[m.leaving.seat] = m
			st.mu.Unlock()
			return rev != 0, nil
		}
		if !errors.Is(err, keyring.ErrConflict) {
			return false, err
		}
		e, err := st.shelf.Get(ctx, m.leaving.seat)
		if errors.Is(err, keyring.ErrNotFound) {
			rev = 0
			continue
		}
		if err != nil {
			return false, err
		}
		var old seat
		if err := json.Unmarshal(e.Value, &old); err != nil {
			return false, fmt.Errorf("keyserver: a seat cannot be read: %w", err)
		}
		if !old.Gone && old.Server != st.id && !st.dead(old.Server) && !st.s.cfg.Replace {
			return false, channelkey.AlreadyInside
		}
		rev = e.Rev
	}
	return false, channelkey.AlreadyInside
}

// update records new tokens, or a new card. A seat that somebody else has by now is a
// *endedError.
func (st *state) update(ctx context.Context, m *member, resume tokenHash) error {
	if st == nil {
		return nil
	}
	st.mu.Lock()
	st.mine[m.leaving.seat] = m
	st.mu.Unlock()
	rev := m.place().seatRev
	for range 3 {
		next, err := st.write(ctx, m, resume, rev)
		if err == nil {
			m.setSeatRev(next)
			return nil
		}
		if !errors.Is(err, keyring.ErrConflict) {
			return err
		}
		// Somebody else's by now, or a write of ours whose answer was lost.
		if _, now, ok := st.stillOurs(ctx, m.place()); ok {
			rev = now
			continue
		}
		st.check(ctx, m.leaving.seat)
		return errors.Join(m.ended(), err)
	}
	return errUnavailable
}

// stillOurs returns a seat that this server's member sits in, and its revision.
func (st *state) stillOurs(ctx context.Context, l leaving) (x seat, rev uint64, ok bool) {
	e, err := st.shelf.Get(ctx, l.seat)
	if err != nil || json.Unmarshal(e.Value, &x) != nil {
		return x, 0, false
	}
	return x, e.Rev, x.Server == st.id && x.Member == l.member
}

// gone marks the seat of somebody who left or was put out, so that they may come in at
// another server meanwhile.
func (st *state) gone(m *member) {
	if st == nil {
		return
	}
	st.mu.Lock()
	mine := st.mine[m.leaving.seat] == m
	if mine {
		delete(st.mine, m.leaving.seat)
	}
	st.mu.Unlock()
	if !mine {
		return
	}
	m.parting.Lock()
	defer m.parting.Unlock()
	ctx, cancel := context.WithTimeout(st.s.ctx, stateTimeout)
	defer cancel()
	x, rev, ok := st.stillOurs(ctx, m.place())
	if !ok {
		return // somebody else's by now
	}
	m.setSeatRev(rev)
	x.Gone = true
	value, err := json.Marshal(&x)
	if err != nil {
		return
	}
	if rev, err := st.shelf.CAS(ctx, m.leaving.seat, value, rev); err == nil {
		m.setSeatRev(rev)
	}
}

// release removes what is left of those of whom the ring was told. What cannot be
// removed is found by sweep. A sender number is kept for a while: receivers refuse it in
// the epochs that its holder had.
func (st *state) release(all []leaving) {
	if st == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.s.ctx), stateTimeout)
	defer cancel()
	for _, l := range all {
		if l.seat != "" && l.seatRev != 0 {
			err := st.shelf.Delete(ctx, l.seat, l.seatRev)
			if errors.Is(err, keyring.ErrConflict) { // somebody else sits there, or the answer to a write of ours was lost
				if _, rev, ok := st.stillOurs(ctx, l); ok {
					_ = st.shelf.Delete(ctx, l.seat, rev)
				}
			}
		}
		if l.lease != "" && l.leaseRev != 0 {
			st.mu.Lock()
			st.free = append(st.free, freeing{l.lease, l.leaseRev, time.Now().Add(numberRests)})
			st.mu.Unlock()
		}
	}
}

// freeing is a sender number that is to be free again at a moment.
type freeing struct {
	key string
	rev uint64
	at  time.Time
}

// numberRests is how long a sender number is not given to anybody else: longer than the
// delay and the grace of most policies.
const numberRests = 2 * time.Minute

// freeNumbers frees those whose time has come.
func (st *state) freeNumbers(ctx context.Context) {
	now := time.Now()
	st.mu.Lock()
	var due []freeing
	st.free = slices.DeleteFunc(st.free, func(f freeing) bool {
		over := !now.Before(f.at)
		if over {
			due = append(due, f)
		}
		return over
	})
	st.mu.Unlock()
	for _, f := range due {
		_ = st.shelf.Delete(ctx, f.key, f.rev)
	}
}

// forget removes the records of somebody who was never given anything.
func (st *state) forget(m *member) {
	if st == nil {
		return
	}
	l := m.place()
	st.mu.Lock()
	if st.mine[l.seat] == m {
		delete(st.mine, l.seat)
	}
	st.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.s.ctx), stateTimeout)
	defer cancel()
	if l.seatRev != 0 {
		_ = st.shelf.Delete(ctx, l.seat, l.seatRev)
	}
	if l.leaseRev != 0 {
		_ = st.shelf.Delete(ctx, l.lease, l.leaseRev)
	}
}

// resumeToken draws a resume token. The seat's name in it is how another server finds it.
func (st *state) resumeToken(seat string) (string, tokenHash) {
	if st == nil || seat == "" {
		return newToken(resumePrefix)
	}
	return newToken(resumePrefix + strings.TrimPrefix(seat, "s/") + "_")
}

// takeOver makes a membership of another server, or of this one before it was started
// anew, ours. The resume token is used up by it: of two servers that try, one does.
func (st *state) takeOver(ctx context.Context, token, channel string, user channelkey.User) (m *member, old seat, err error) {
	unknown := refuse("unknown-token")
	name, _, ok := strings.Cut(strings.TrimPrefix(token, resumePrefix), "_")
	if st == nil || !ok || len(name) != 32 {
		return nil, old, unknown
	}
	e, err := st.shelf.Get(ctx, "s/"+name)
	if errors.Is(err, keyring.ErrNotFound) || errors.Is(err, keyring.ErrTooLarge) {
		return nil, old, unknown
	} else if err != nil {
		return nil, old, err
	}
	if err := json.Unmarshal(e.Value, &old); err != nil {
		return nil, old, fmt.Errorf("keyserver: a seat cannot be read: %w", err)
	}
	hash := hashToken(token)
	if subtle.ConstantTimeCompare(hash[:], old.Resume) != 1 || old.Gone || old.Gate.Channel != channel || user != "" && old.Gate.User != user {
		return nil, old, unknown
	}
	// Used up, before anything is given for it.
	x := old
	x.Server = st.id
	x.Resume = make([]byte, len(hash))
	rand.Read(x.Resume) // no token has this hash
	value, err := json.Marshal(&x)
	if err != nil {
		return nil, old, fmt.Errorf("keyserver: %w", err)
	}
	rev, err := st.shelf.CAS(ctx, e.Key, value, e.Rev)
	if errors.Is(err, keyring.ErrConflict) {
		return nil, old, unknown
	} else if err != nil {
		return nil, old, err
	}
	lease, err := st.shelf.Name("channel", channel)
	if err != nil {
		return nil, old, err
	}
	m = &member{s: st.s, id: old.Member, sender: old.Sender, actor: st.s.cfg.Audit.ID("u", string(old.Gate.User)),
		leaving: leaving{seat: e.Key, member: old.Member, seatRev: rev, lease: leaseKey(lease, old.Sender), leaseRev: old.LeaseRev, sender: old.Sender}, first: old.First}
	if m.recipient = old.Recipient; m.recipient != "" {
		to, err := keyring.ParseRecipient(m.recipient)
		if err != nil {
			return nil, old, err
		}
		m.hint = to.Hint()
	}
	if len(old.Key) > 0 {
		m.kem = old.Kem
		if m.to, err = recipient(&api.EnterRequest{Kem: api.EnterRequestKem(old.Kem), PublicKey: old.Key}); err != nil {
			return nil, old, err
		}
	}
	return m, old, nil
}

// GateStore returns the store for the Gate of a Server whose state is shared: what one
// server's Gate revokes, all know.
func GateStore(ring *keyring.Ring) (channelkey.Store, error) {
	shelf, err := ring.Shelf(shelfName)
	if err != nil {
		return nil, err
	}
	return gateStore{shelf}, nil
}

type gateStore struct{ shelf *keyring.Shelf }

// gateRecord is a record of a Gate. A lifted revocation stays for a while, so that the
// others learn of it.
type gateRecord struct {
	Key   []byte
	Until int64 // unix seconds; negative: lifted then
}

func (g gateStore) Put(key []byte, until time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), stateTimeout)
	defer cancel()
	name, err := g.shelf.Name("gate", string(key))
	if err != nil {
		return err
	}
	r := gateRecord{key, until.Unix()}
	if now := time.Now().Unix(); r.Until <= now {
		r.Until = -now
	}
	value, err := json.Marshal(&r)
	if err != nil {
		return fmt.Errorf("keyserver: %w", err)
	}
	for {
		e, err := g.shelf.Get(ctx, "r/"+name)
		if err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
		if _, err = g.shelf.CAS(ctx, "r/"+name, value, e.Rev); !errors.Is(err, keyring.ErrConflict) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("keyserver: %w", ctx.Err())
		}
	}
}

func (g gateStore) Load(yield func(key []byte, until time.Time) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stateTimeout)
	defer cancel()
	all, _, err := g.shelf.List(ctx, "r/")
	if err != nil {
		return err
	}
	for _, e := range all {
		var r gateRecord
		if err := json.Unmarshal(e.Value, &r); err != nil {
			return fmt.Errorf("keyserver: a revocation cannot be read: %w", err)
		}
		if r.Until > time.Now().Unix() {
			if err := yield(r.Key, time.Unix(r.Until, 0)); err != nil {
				return err
			}
		}
	}
	return nil
}
