package keyring

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Limits of a [Receiver], on what anybody who can send it bytes makes it do.
const (
	// MaxKIDs is how many key IDs a Receiver knows at a time.
	MaxKIDs = 4096
	// MaxUnseen is how many keys a Receiver derives in a second for frames that
	// then do not authenticate.
	MaxUnseen = 64
	// maxEvicted is how many key IDs that had to leave are remembered.
	maxEvicted = 1 << 16
	// maxReceiverSuites bounds ReceiverOptions.Suites.
	maxReceiverSuites = 8
)

// ReceiverOptions of [Channel.Receiver].
type ReceiverOptions struct {
	// Archive opens frames of every epoch that was not forgotten: for files and
	// recordings. Without it the Receiver is live, and refuses archived epochs.
	Archive bool
	// From lists the sender numbers that are accepted; none means all.
	From []uint16
	// Suites are tried beside the channel's own, at most 8: those that Senders
	// were given by SenderOptions.
	Suites []*cipher.Suite
	// Window is the size of each KID's replay window in frames; 0 stands for
	// cipher.DefaultWindow.
	Window int
	// Checkpoint is what Receiver.Checkpoint of one before this returned: what that one
	// opened does not open again. nil is none.
	Checkpoint []byte
}

// Receiver opens the frames that members of a channel sealed. It implements
// [cipher.Opener], is safe for concurrent use, and is to be closed.
//
// Each frame opens once: a Receiver remembers what it opened for as long as it
// lives, and beyond with [Receiver.Checkpoint]. Two Receivers know nothing of each other.
type Receiver struct {
	f       *follower
	archive bool
	from    []uint16
	suites  []*cipher.Suite
	window  int

	table  kidTable // written under mu
	short  shortTable
	closed atomic.Bool

	mu     sync.Mutex // one unseen KID at a time, so that no frame of it opens twice
	serial uint64     // of the last KID that entered the table
	limit  limiter
	friend limiter                 // of OpenFamiliar
	gone   map[cipher.KeyID]uint64 // evicted KIDs, with their epochs
}

var _ cipher.Opener = (*Receiver)(nil)

// Receiver makes a receiver of the channel.
func (c *Channel) Receiver(ctx context.Context, o ReceiverOptions) (*Receiver, error) {
	if o.Window == 0 {
		o.Window = cipher.DefaultWindow
	}
	if o.Window < cipher.MinWindow || o.Window > cipher.MaxWindow {
		return nil, fmt.Errorf("keyring: a replay window of %d frames: make it %d to %d", o.Window, cipher.MinWindow, cipher.MaxWindow)
	}
	if len(o.Suites) > maxReceiverSuites {
		return nil, fmt.Errorf("keyring: %d suites for one receiver: give at most %d", len(o.Suites), maxReceiverSuites)
	}
	f, err := c.follow(ctx)
	if err != nil {
		return nil, err
	}
	unseen := MaxUnseen
	if o.Archive { // one frame may be of any epoch with its low 8 bits
		unseen = max(unseen, MaxEpochs/256*(1+len(o.Suites)))
	}
	r := &Receiver{
		f: f, archive: o.Archive, from: slices.Clone(o.From), suites: slices.Clone(o.Suites), window: o.Window,
		limit: newLimiter(unseen), friend: newLimiter(unseen), gone: map[cipher.KeyID]uint64{},
	}
	if o.Checkpoint != nil {
		if err := r.restore(o.Checkpoint); err != nil {
			r.end()
			f.leave()
			return nil, err
		}
	}
	f.mu.Lock()
	closed := f.closed
	f.receivers[r] = struct{}{}
	f.mu.Unlock()
	if closed {
		r.Close()
		return nil, ErrClosed
	}
	return r, nil
}

// Open appends the frame inside sealed to dst; see [Receiver.OpenFrom].
func (r *Receiver) Open(dst, sealed, aad []byte) ([]byte, error) {
	out, _, err := r.OpenFrom(dst, sealed, aad)
	return out, err
}

// OpenFrom appends the frame inside sealed to dst, and says what its KID tells
// once it is authenticated: that some member of the channel sealed it, under that
// sender number. It allocates nothing if dst has room, unless the frame is the
// first of its KID. A first frame of an epoch that is not known yet may wait for
// the store: all such frames together a quarter of a second at most, and then a fortieth
// part of the time. Without an answer the frame is refused, and the store asked beside.
//
// The errors are those of [cipher.OpenKey.Open] and, all of them
// cipher.ErrUnknownKey as well, ErrArchived, ErrBarred, ErrForgotten, ErrLimited,
// ErrTableFull and ErrEvicted. dst then comes back as it was.
func (r *Receiver) OpenFrom(dst, sealed, aad []byte) ([]byte, Origin, error) {
	return r.openFrom(dst, sealed, aad, &r.limit)
}

// OpenFamiliar is Open for frames that come from where others authenticated before. For
// them [MaxUnseen] counts apart: whoever floods a Receiver from elsewhere with frames of
// keys that nobody has does not keep those from opening whose key is new.
func (r *Receiver) OpenFamiliar(dst, sealed, aad []byte) ([]byte, error) {
	out, _, err := r.openFrom(dst, sealed, aad, &r.friend)
	return out, err
}

func (r *Receiver) openFrom(dst, sealed, aad []byte, limit *limiter) ([]byte, Origin, error) {
	h, _, err := cipher.ParseHeader(sealed)
	if err != nil {
		return dst, Origin{}, err
	}
	if e := r.table.get(h.KID); e != nil {
		out, err := e.key.Open(dst, sealed, aad)
		if err == nil {
			if !e.used.Load() {
				e.used.Store(true)
			}
			r.announced(e)
			return out, e.origin, nil
		}
		if err != cipher.ErrUnknownKey {
			return dst, Origin{}, err
		}
	}
	if out, o, done, err := r.openShort(dst, sealed, aad, h.KID); done {
		return out, o, err
	}
	return r.openUnseen(dst, sealed, aad, h.KID, limit)
}

// OpenInPlace opens sealed where it lies, like [cipher.OpenKey.OpenInPlace], and
// says what OpenFrom says. On any error the content of sealed is destroyed.
func (r *Receiver) OpenInPlace(sealed, aad []byte) ([]byte, Origin, error) {
	h, size, err := cipher.ParseHeader(sealed)
	if err != nil {
		clear(sealed)
		return nil, Origin{}, err
	}
	if e := r.table.get(h.KID); e != nil {
		out, err := e.key.OpenInPlace(sealed, aad)
		if err != nil {
			return nil, Origin{}, err
		}
		if !e.used.Load() {
			e.used.Store(true)
		}
		r.announced(e)
		return out, e.origin, nil
	}
	// Several keys may have to be tried, and each would destroy the frame.
	out, origin, done, err := r.openShort(nil, sealed, aad, h.KID)
	if !done {
		out, origin, err = r.openUnseen(nil, sealed, aad, h.KID, &r.limit)
	}
	if err != nil {
		clear(sealed)
		return nil, Origin{}, err
	}
	n := copy(sealed[size:], out)
	clear(out)
	return sealed[size : size+n : size+n], origin, nil
}

// Condition is the worst condition of the Receiver's keys, by the frames that
// failed to authenticate; see [cipher.OpenKey.Condition]. It matters for suites
// with short tags: the channel is to be rotated when it is cipher.Rotate or worse.
func (r *Receiver) Condition() cipher.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	worst := cipher.Healthy
	for _, e := range r.table.all() {
		worst = max(worst, e.key.Condition())
		if k := e.short.Load(); k != nil {
			worst = max(worst, k.key.Condition())
		}
	}
	return worst
}

// openUnseen opens the first frame of a KID. The key is derived into scratch and
// enters the table only when the frame authenticated.
func (r *Receiver) openUnseen(dst, sealed, aad []byte, kid cipher.KeyID, limit *limiter) ([]byte, Origin, error) {
	origin := ParseKID(kid)
	if len(r.from) > 0 && !slices.Contains(r.from, origin.Sender) {
		return dst, Origin{}, cipher.ErrUnknownKey
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return dst, Origin{}, ErrClosed
	}
	if e := r.table.get(kid); e != nil { // another goroutine was faster
		out, err := e.key.Open(dst, sealed, aad)
		if err != nil {
			return dst, Origin{}, err
		}
		return out, e.origin, nil
	}
	if _, ok := r.gone[kid]; ok {
		return dst, Origin{}, ErrEvicted
	}
	now := r.f.ch.ring.now()
	if !limit.allow(now, 1) {
		return dst, Origin{}, ErrLimited
	}
	found, why := r.candidates(uint8(origin.Epoch), now)
	if len(found) == 0 {
		r.f.loadForFrame()
		now = r.f.ch.ring.now()
		found, why = r.candidates(uint8(origin.Epoch), now)
	}
	defer func() {
		for i := range found {
			found[i].secret.wipe()
		}
	}()
	if len(found) == 0 {
		if why == nil {
			why = cipher.ErrUnknownKey
		}
		return dst, Origin{}, why
	}
	err := cipher.ErrAuth
	if why == ErrForgotten {
		err = errForgottenOrForged
	}
	for i := range found {
		origin.Epoch = found[i].number
		if !r.archive && slices.Contains(found[i].barred, origin.Sender) {
			err = ErrBarred
			continue
		}
		out, done, openErr := r.try(dst, sealed, aad, origin, &found[i], now, limit)
		if done {
			if openErr != nil {
				return dst, Origin{}, openErr
			}
			return out, origin, nil
		}
		if openErr != nil {
			err = openErr
		}
	}
	return dst, Origin{}, err
}

// try opens a frame with the keys that one epoch may have for it. done says that
// err, nil or not, is the answer; otherwise the next epoch is to be tried.
func (r *Receiver) try(dst, sealed, aad []byte, o Origin, c *candidate, now time.Time, limit *limiter) (out []byte, done bool, err error) {
	own, ownErr := r.f.ch.ring.suite(c.suite)
	if ownErr != nil {
		err = ErrNoSuite
	}
	for i := -1; i < len(r.suites); i++ {
		suite := own
		if i >= 0 {
			suite = r.suites[i]
		}
		if suite == nil || i >= 0 && suite == own {
			continue
		}
		if !limit.allow(now, 1) {
			return dst, true, ErrLimited
		}
		base, baseErr := baseKey(suite, c.secret, r.f.ch.name, o)
		if baseErr != nil {
			return dst, true, baseErr
		}
		key, keyErr := suite.NewOpenKeyWindow(o.KID(), base, r.window)
		clear(base)
		if keyErr != nil {
			return dst, true, keyErr
		}
		out, openErr := key.Open(dst, sealed, aad)
		if openErr != nil {
			limit.fail(now)
			key.Retire()
			continue
		}
		if tableErr := r.admit(&kidEntry{kid: o.KID(), origin: o, key: key}); tableErr != nil {
			clear(out[len(dst):])
			key.Retire()
			return dst, true, tableErr
		}
		return out, true, nil
	}
	return dst, false, err
}

// admit puts an authenticated KID into the table. When the table is full, the KID
// that was idle for longest, a minute at least, has to leave for good: with its
// replay window goes the memory of what it played.
func (r *Receiver) admit(e *kidEntry) error {
	if r.table.count >= MaxKIDs {
		if len(r.gone) >= maxEvicted {
			return ErrTableFull
		}
		var idlest *kidEntry
		for _, old := range r.table.all() {
			if old.idle > 0 && !old.used.Load() && (idlest == nil || old.idle > idlest.idle) {
				idlest = old
			}
		}
		if idlest == nil {
			return ErrTableFull
		}
		r.gone[idlest.kid] = idlest.origin.Epoch
		r.table.remove(func(x *kidEntry) bool { return x == idlest })
		r.drop(idlest)
	}
	e.used.Store(true)
	r.serial++
	e.serial = r.serial
	r.table.put(e)
	r.announce(e)
	return nil
}

// candidate is an epoch that may have sealed a frame, with a copy of its secret.
type candidate struct {
	number uint64
	suite  cipher.SuiteID
	secret secret
	barred []uint16
}

// Format prints no secret.
func (c candidate) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "epoch %d, %s", c.number, redacted) }

// candidates returns the epochs with these low 8 bits that the Receiver opens,
// the newest first: at most one if it is live. why is nil, ErrArchived or
// ErrForgotten, if there are such epochs beside them.
func (r *Receiver) candidates(low uint8, now time.Time) (found []candidate, why error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.st == nil {
		return nil, ErrClosed
	}
	f.st.advance(now)
	top := f.st.top()
	for n := top - uint64(uint8(top)-low); n > f.st.floor && n <= top; n -= 256 {
		e := f.st.epoch(n)
		switch {
		case e.state == Forgotten:
			if why == nil {
				why = ErrForgotten
			}
		case e.live(now) || r.archive:
			found = append(found, candidate{e.number, e.suite, e.secret.clone(), e.barred})
		default:
			why = ErrArchived
		}
	}
	if why == nil && f.st.floor > 0 && (f.st.floor >= 256 || low > 0 && uint64(low) <= f.st.floor) {
		why = ErrForgotten // an epoch up to the floor has these bits
	}
	return found, why
}

// prune ends the keys of epochs that the Receiver no longer opens.
func (r *Receiver) prune() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.f.ch.ring.now()
	open := map[uint64]bool{}
	barred := map[uint64][]uint16{}
	r.f.mu.Lock()
	if r.f.st == nil {
		r.f.mu.Unlock()
		return
	}
	for i := range r.f.st.epochs {
		e := &r.f.st.epochs[i]
		open[e.number] = e.live(now) || r.archive && e.state != Forgotten
		if len(e.barred) > 0 && !r.archive {
			barred[e.number] = e.barred
		}
	}
	r.f.mu.Unlock()
	for _, e := range r.table.remove(func(e *kidEntry) bool {
		return !open[e.origin.Epoch] || slices.Contains(barred[e.origin.Epoch], e.origin.Sender)
	}) {
		r.drop(e)
	}
	for kid, number := range r.gone {
		if !open[number] {
			delete(r.gone, kid)
		}
	}
}

// sweep notes which KIDs were idle since the last sweep.
func (r *Receiver) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.table.all() {
		if e.used.Swap(false) {
			e.idle = 0
		} else {
			e.idle++
		}
	}
}

// end is Close by the Ring.
func (r *Receiver) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Swap(true) {
		return false
	}
	for _, e := range r.table.remove(func(*kidEntry) bool { return true }) {
		r.drop(e)
	}
	r.gone = nil
	return true
}

// Close ends the Receiver and wipes its keys once the last call has left them.
func (r *Receiver) Close() error {
	if r.end() {
		r.f.mu.Lock()
		delete(r.f.receivers, r)
		r.f.mu.Unlock()
		r.f.leave()
	}
	return nil
}

// Format prints no key.
func (r *Receiver) Format(w fmt.State, _ rune) { io.WriteString(w, "keyring.Receiver("+redacted+")") }
