package keyserver

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// peer is another server, as its sign of life is seen here. Clocks of other machines are
// not compared: a record that does not change is what counts.
type peer struct {
	rev     uint64
	changed time.Time
	off     bool // its clock is, and the operator was told
}

const (
	beatEvery  = 2 * time.Second
	silentFor  = 3 * beatEvery  // then a server may be dead
	sweepEvery = 15 * beatEvery // how often all seats are looked through
	watchRetry = 250 * time.Millisecond
)

// deadFor is after how long without a sign of life a server's members have left.
func (st *state) deadFor() time.Duration { return st.s.cfg.ResumeFor + silentFor }

// dead reports whether a server is known to be silent for long enough.
func (st *state) dead(id string) bool { return st.silence(id) >= st.deadFor() }

// silence is for how long a server's sign of life has not changed.
func (st *state) silence(id string) time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	p, ok := st.peers[id]
	if !ok || id == st.id {
		return 0
	}
	return time.Since(p.changed)
}

// run keeps up the sign of life and looks after those of others.
func (st *state) run() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	rev := st.first
	for n := uint64(1); ; n++ {
		st.look()
		if n%uint64(sweepEvery/beatEvery) == 1 {
			st.sweep()
		}
		select {
		case <-st.s.ctx.Done():
			return
		case <-tick.C:
		}
		rev = st.beat(rev, n)
	}
}

// beat writes the sign of life. If somebody removed it, this server was taken for dead,
// and its members' seats may be others'.
func (st *state) beat(rev, beats uint64) uint64 {
	ctx, cancel := context.WithTimeout(st.s.ctx, stateTimeout)
	defer cancel()
	next, err := st.shelf.CAS(ctx, "h/"+st.id, st.sign(beats), rev)
	switch {
	case err == nil:
		return next
	case errors.Is(err, keyring.ErrConflict):
		e, err := st.shelf.Get(ctx, "h/"+st.id)
		if err == nil { // an answer that was lost
			return e.Rev
		}
		st.checkMine(ctx)
		return 0
	}
	st.s.log.Warn("keyserver: the shared state cannot be written", "error", cause(err))
	return rev
}

// checkMine ends the members whose seats are not theirs any more.
func (st *state) checkMine(ctx context.Context) {
	st.mu.Lock()
	all := make([]string, 0, len(st.mine))
	for key := range st.mine {
		all = append(all, key)
	}
	st.mu.Unlock()
	for _, key := range all {
		st.check(ctx, key)
	}
}

// check looks at a seat that changed. One of ours that somebody else sits in now has
// moved with its member, or was taken for dead.
func (st *state) check(ctx context.Context, key string) {
	st.mu.Lock()
	m := st.mine[key]
	st.mu.Unlock()
	if m == nil {
		return
	}
	e, err := st.shelf.Get(ctx, key)
	var x seat
	switch {
	case errors.Is(err, keyring.ErrNotFound):
	case err != nil:
		return // the next change, or sweep, looks again
	case json.Unmarshal(e.Value, &x) == nil && x.Server == st.id:
		return
	}
	st.mu.Lock()
	if st.mine[key] == m {
		delete(st.mine, key)
	}
	st.mu.Unlock()
	pass := m.gatePass()
	if !st.s.cfg.Gate.Leave(pass) {
		return // put out at the same time
	}
	if x.Member == m.id && !x.Gone {
		st.s.move(m)
		return
	}
	st.s.end(m, channelkey.Superseded.String(), true)
}

// look reads the other servers' signs of life.
func (st *state) look() {
	ctx, cancel := context.WithTimeout(st.s.ctx, stateTimeout)
	defer cancel()
	all, _, err := st.shelf.List(ctx, "h/")
	if err != nil {
		return
	}
	now := time.Now()
	silent := map[string]uint64{}
	st.mu.Lock()
	for id := range st.peers {
		if !hasEntry(all, "h/"+id) && now.Sub(st.peers[id].changed) > 10*st.deadFor() {
			delete(st.peers, id)
		}
	}
	for _, e := range all {
		id := strings.TrimPrefix(e.Key, "h/")
		p := st.peers[id]
		if p.rev != e.Rev {
			st.peers[id] = peer{e.Rev, now, p.off}
			if p.rev != 0 { // an old one, at the first look, says nothing of the clock
				st.compare(id, e.Value)
			}
		} else if id != st.id && now.Sub(p.changed) >= silentFor {
			silent[id] = e.Rev
		}
	}
	st.mu.Unlock()
	if len(silent) > 0 {
		st.reap(ctx, silent)
	}
}

func hasEntry(all []keyring.Entry, key string) bool {
	for _, e := range all {
		if e.Key == key {
			return true
		}
	}
	return false
}

// reap has channels rotated whose members were at servers that are silent: at once for
// those who had left, whose service is over or who are revoked, and for all when it is
// too late to come back. The seats go after that.
func (st *state) reap(ctx context.Context, silent map[string]uint64) {
	seats, _, err := st.shelf.List(ctx, "s/")
	if err != nil {
		return
	}
	now := st.s.clock.Now().Unix()
	gone, told := map[string][]leaving{}, map[string][]audit.Entry{}
	left := map[string]int{}
	for _, e := range seats {
		var x seat
		if json.Unmarshal(e.Value, &x) != nil {
			continue
		}
		if _, ok := silent[x.Server]; !ok {
			continue
		}
		why := ""
		switch {
		case x.Gone: // on record
		case st.s.cfg.Gate.Barred(x.Gate):
			why = channelkey.Revoked.String()
		case x.Gate.End != 0 && x.Gate.End <= now:
			why = channelkey.ServiceEnded.String()
		case st.dead(x.Server):
			why = "dropped"
		default:
			left[x.Server]++
			continue
		}
		if why != "" {
			told[x.Gate.Channel] = append(told[x.Gate.Channel], st.s.lost(&x, why))
		}
		gone[x.Gate.Channel] = append(gone[x.Gate.Channel], st.leavingOf(e, &x))
	}
	for channel, all := range gone {
		if st.s.owe(ctx, channel, all) {
			st.s.later(told[channel]...)
		}
	}
	for id, rev := range silent {
		if st.dead(id) && left[id] == 0 {
			_ = st.shelf.Delete(ctx, "h/"+id, rev) // if it lives after all, it notices
		}
	}
}

func (st *state) leavingOf(e keyring.Entry, x *seat) leaving {
	l := leaving{seat: e.Key, member: x.Member, seatRev: e.Rev, leaseRev: x.LeaseRev, sender: x.Sender}
	if name, err := st.shelf.Name("channel", x.Gate.Channel); err == nil {
		l.lease = leaseKey(name, x.Sender)
	}
	return l
}

// sweep removes what nobody removed: seats and numbers of servers that have no sign of
// life any more, and revocations that are over.
func (st *state) sweep() {
	ctx, cancel := context.WithTimeout(st.s.ctx, stateTimeout)
	defer cancel()
	st.checkMine(ctx)
	st.freeNumbers(ctx)
	st.sweepNotes(ctx)
	known := map[string]bool{}
	heart, _, err := st.shelf.List(ctx, "h/")
	if err != nil {
		return
	}
	for _, e := range heart {
		known[strings.TrimPrefix(e.Key, "h/")] = true
	}
	st.mu.Lock()
	for id := range st.peers { // seen lately: it may only have lost its record
		known[id] = true
	}
	st.mu.Unlock()
	gone, used, lost := map[string][]leaving{}, map[string]bool{}, map[string]uint64{}
	seats, _, err := st.shelf.List(ctx, "s/")
	if err != nil {
		return
	}
	for _, e := range seats {
		var x seat
		if json.Unmarshal(e.Value, &x) != nil {
			continue
		}
		l := st.leavingOf(e, &x)
		used[l.lease] = true
		if !known[x.Server] || x.Server == st.id && st.isLost(e, lost) {
			gone[x.Gate.Channel] = append(gone[x.Gate.Channel], l)
		}
	}
	st.mu.Lock()
	st.lost = lost
	st.mu.Unlock()
	for channel, all := range gone {
		st.s.owe(ctx, channel, all)
	}
	if leases, _, err := st.shelf.List(ctx, "n/"); err == nil {
		for _, e := range leases {
			if !used[e.Key] && !known[string(e.Value)] {
				_ = st.shelf.Delete(ctx, e.Key, e.Rev)
			}
		}
	}
	if records, _, err := st.shelf.List(ctx, "r/"); err == nil {
		for _, e := range records {
			var r gateRecord
			if json.Unmarshal(e.Value, &r) == nil && st.s.clock.Now().Unix() > max(r.Until, -r.Until)+int64(time.Hour/time.Second) {
				_ = st.shelf.Delete(ctx, e.Key, e.Rev)
			}
		}
	}
}

// isLost reports whether a seat that says it is ours has had nobody in it for two
// sweeps: whoever takes a seat is in it a moment later. now gets those of this sweep.
func (st *state) isLost(e keyring.Entry, now map[string]uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.mine[e.Key] != nil {
		return false
	}
	if st.lost[e.Key] == e.Rev {
		return true
	}
	now[e.Key] = e.Rev
	return false
}

// watch follows what other servers do: to seats of ours, and to what is revoked.
func (st *state) watch() {
	var after uint64
	for st.s.ctx.Err() == nil {
		for ev, err := range st.shelf.Watch(st.s.ctx, "", after) {
			if errors.Is(err, keyring.ErrCompacted) {
				after = 0
			}
			if err != nil {
				break
			}
			switch {
			case strings.HasPrefix(ev.Key, "s/"):
				st.check(st.s.ctx, ev.Key)
				st.s.membersChanged()
			case strings.HasPrefix(ev.Key, "b/"):
				st.s.blindChanged(ev.Key)
			case strings.HasPrefix(ev.Key, "a/") && !ev.Deleted:
				st.takeNote(st.s.ctx, ev.Key, false)
			case strings.HasPrefix(ev.Key, "r/") && !ev.Deleted:
				err = st.learn(ev.Key)
			}
			if err != nil {
				break // and comes again
			}
			after = max(after, ev.Rev)
		}
		select {
		case <-st.s.ctx.Done():
		case <-time.After(watchRetry):
		}
	}
}

// learn tells the gate what another one wrote. An error says that the store failed.
func (st *state) learn(key string) error {
	ctx, cancel := context.WithTimeout(st.s.ctx, stateTimeout)
	defer cancel()
	e, err := st.shelf.Get(ctx, key)
	switch {
	case errors.Is(err, keyring.ErrNotFound):
		return nil // a newer change comes as an event of its own
	case errors.Is(err, keyring.ErrDamaged):
		st.s.log.Error("keyserver: a revocation of another server cannot be read", "error", cause(err))
		return nil
	case err != nil:
		return err
	}
	var r gateRecord
	if json.Unmarshal(e.Value, &r) != nil {
		return nil
	}
	if channelkey.Revokes(r.Key) {
		defer st.noteBarred()
	}
	if err := st.s.cfg.Gate.Learn(r.Key, time.Unix(r.Until, 0)); err != nil && !errors.Is(err, channelkey.ErrClosed) {
		st.s.log.Error("keyserver: a revocation of another server cannot be kept", "error", cause(err))
	}
	return nil
}
