package keyserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chanseal/chanseal/keyserver/audit"
)

// Whoever can open the ring administers its servers without asking one. What they do is
// audited, too: a note lies on the servers' shelf, under a/ID, before it is done. A server
// claims it, puts it into its record, and removes it; if none runs it waits for one.

// note is what somebody did on the ring itself.
type note struct {
	Op, Person, Reason string
	Refused            string `json:",omitempty"` // why it was not done
	At                 int64  // unix seconds
	By                 string `json:",omitempty"` // the server that claimed it
}

// OnRing does something to a person on the ring itself, as a command does where the
// servers run, and leaves a note of it for their audit records. op is the call's name as
// in the administration, such as "appoint"; reason is more of it, such as the role.
func (p *Persons) OnRing(ctx context.Context, op, name, reason string, do func() error) error {
	if err := p.note(ctx, note{Op: op, Person: name, Reason: reason}); err != nil {
		return err
	}
	err := do()
	if err != nil {
		return errors.Join(err, p.note(ctx, note{Op: op, Person: name, Reason: reason, Refused: adminProblem(err)}))
	}
	return nil
}

func (p *Persons) note(ctx context.Context, n note) error {
	shelf, err := p.ring.Shelf(shelfName)
	if err != nil {
		return err
	}
	n.At, n.Reason = time.Now().Unix(), n.Reason[:min(len(n.Reason), 64)] // a line of the record is bounded
	value, err := json.Marshal(&n)
	if err != nil {
		return fmt.Errorf("keyserver: %w", err)
	}
	_, err = shelf.CAS(ctx, "a/"+newID(""), value, 0)
	return err
}

// takeNote puts a note into the record, unless another server does.
// orphans says that one which a server claimed that is no more may be taken, too.
func (st *state) takeNote(ctx context.Context, key string, orphans bool) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	e, err := st.shelf.Get(ctx, key)
	if err != nil { // gone, or sweep finds it
		return
	}
	var n note
	if json.Unmarshal(e.Value, &n) != nil || n.By != "" && (!orphans || st.alive(n.By)) {
		return
	}
	n.By = st.id
	value, err := json.Marshal(&n)
	if err != nil {
		return
	}
	rev, err := st.shelf.CAS(ctx, key, value, e.Rev)
	if err != nil {
		return
	}
	entry := audit.Entry{Event: "admin " + n.Op, Subject: st.s.cfg.Audit.ID("p", n.Person), Reason: "on the ring at " + time.Unix(n.At, 0).UTC().Format(time.RFC3339)}
	if n.Reason != "" {
		entry.Reason = n.Reason + ", " + entry.Reason
	}
	if n.Refused != "" {
		entry.Outcome, entry.Reason = "refused", n.Refused+", "+entry.Reason
	}
	if st.s.record(entry) != nil {
		return // claimed by a server that can record nothing, until it is started anew
	}
	_ = st.shelf.Delete(ctx, key, rev)
}

// alive reports whether a server has shown a sign of life lately; this one's own notes are
// its own business.
func (st *state) alive(id string) bool {
	if id == st.id {
		return true
	}
	st.mu.Lock()
	_, known := st.peers[id]
	st.mu.Unlock()
	return known && !st.dead(id)
}

// sweepNotes takes notes that their server did not get to.
func (st *state) sweepNotes(ctx context.Context) {
	all, _, err := st.shelf.List(ctx, "a/")
	if err != nil {
		return
	}
	for _, e := range all {
		st.takeNote(ctx, e.Key, true)
	}
}
