package keyserver

import (
	"context"
	"encoding/json"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// A revocation is acted on by the server at which the member is. If that is dead, another
// one does: all look which seats a revocation bars, and take those whose server has not
// taken its member out in a moment, or is silent anyway. That a server which is alive may
// come late costs a rotation more, and nobody gets in by it: it puts its member out, too,
// and has the channel rotated after that.

// ownerPatience is how long a server is given to put out a member of its own.
const ownerPatience = 500 * time.Millisecond

// overdue is after how long without a sign of life a server is given no more time. One that
// lives can look silent for two beats: each looks at the others' as rarely as they beat.
const overdue = 2*beatEvery + time.Second

// takeStranded waits for revocations, and takes the seats that they leave behind.
func (st *state) takeStranded() {
	seen := map[string]uint64{} // barred seats, at the last look
	for {
		select {
		case <-st.s.ctx.Done():
			return
		case <-st.barred:
		}
		seen = st.stranded(seen)
		select {
		case <-st.s.ctx.Done():
			return
		case <-time.After(ownerPatience):
		}
		seen = st.stranded(seen)
	}
}

// noteBarred says that there is a revocation to be looked after.
func (st *state) noteBarred() {
	select {
	case st.barred <- struct{}{}:
	default:
	}
}

// stranded takes the barred seats that have not changed since they were seen, and those of
// servers that are silent, and returns the others.
func (st *state) stranded(seen map[string]uint64) map[string]uint64 {
	ctx, cancel := context.WithTimeout(st.s.ctx, stateTimeout)
	defer cancel()
	now := map[string]uint64{}
	seats, _, err := st.shelf.List(ctx, "s/")
	if err != nil {
		st.noteBarred()
		return seen
	}
	gone := map[string][]leaving{}
	for _, e := range seats {
		var x seat
		if json.Unmarshal(e.Value, &x) != nil || x.Server == st.id || !st.s.cfg.Gate.Barred(x.Gate) {
			continue
		}
		if seen[e.Key] != e.Rev && st.silence(x.Server) < overdue {
			now[e.Key] = e.Rev
			continue
		}
		// Of several servers that look one takes it.
		x.Server, x.Gone = st.id, true
		value, err := json.Marshal(&x)
		if err != nil {
			continue
		}
		if e.Rev, err = st.shelf.CAS(ctx, e.Key, value, e.Rev); err != nil {
			continue // who changed it acts on it, or the next look does
		}
		gone[x.Gate.Channel] = append(gone[x.Gate.Channel], st.leavingOf(e, &x))
		st.s.later(st.s.lost(&x, channelkey.Revoked.String()))
	}
	for channel, all := range gone {
		st.s.owe(ctx, channel, all)
	}
	return now
}

// lost is the entry for somebody who was at another server, which cannot tell any more.
func (s *Server) lost(x *seat, why string) audit.Entry {
	return audit.Entry{Event: "put-out", Actor: s.cfg.Audit.ID("u", string(x.Gate.User)), Channel: s.cfg.Audit.ID("c", x.Gate.Channel), Subject: x.Member, Reason: why}
}
