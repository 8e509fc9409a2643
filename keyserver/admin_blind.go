package keyserver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/chanseal/chanseal/keyserver/api/admin"
)

// bundles takes bundles from who keeps a blind channel.
func (a *administration) bundles(replace bool) func(*adminCall) error {
	return func(c *adminCall) error {
		name := c.r.PathValue("channel")
		c.entry.Channel = a.s.cfg.Audit.ID("c", name)
		body, err := io.ReadAll(c.r.Body)
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return refuse("too-large")
		case err != nil:
			return refuse("bad-request")
		}
		if err := c.begin(a.s); err != nil {
			return err
		}
		revision, err := a.s.putBundles(c.r.Context(), name, body, replace)
		if err != nil {
			return err
		}
		return writeJSON(c.w, http.StatusOK, &admin.Stored{Revision: revision})
	}
}

const (
	membersPiece = 256                   // in one event: each may have a public key of 1.6 KiB
	membersPause = 50 * time.Millisecond // in which changes come together
)

// members streams the list of a channel's members to who keeps it: at once, and what
// changed of it. There is no queue, as with the members' own streams.
func (a *administration) members(c *adminCall) error {
	s, name := a.s, c.r.PathValue("channel")
	c.entry.Channel = s.cfg.Audit.ID("c", name)
	if c.r.Method != http.MethodGet {
		return refuse("method")
	}
	wake, stop := s.watchMembers()
	defer stop()
	list, err := s.present(c.r.Context(), name)
	if err == nil {
		err = c.begin(s)
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(c.w)
	out := &eventWriter{s: s, write: func(b []byte) error {
		if _, err := c.w.Write(b); err != nil {
			return err
		}
		return rc.Flush()
	}, deadline: rc.SetWriteDeadline}
	l := &memberList{out: out}
	if l.tell("members", list) != nil {
		return nil // the status is sent: there is nothing more to say
	}
	heartbeat := time.NewTimer(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	for {
		heartbeat.Reset(s.cfg.Heartbeat)
		select {
		case <-wake:
			pause := time.NewTimer(membersPause)
			select {
			case <-pause.C:
			case <-c.r.Context().Done():
				pause.Stop()
				return nil
			}
			if list, err := s.present(c.r.Context(), name); err == nil && l.tell("changed", list) != nil {
				return nil
			}
		case <-heartbeat.C:
			if out.comment("") != nil {
				return nil
			}
		case <-c.r.Context().Done():
			return nil
		case <-s.draining:
			return nil
		}
	}
}

// memberList is what a keeper was told.
type memberList struct {
	out  *eventWriter
	n    uint64
	told map[string]admin.Member
}

// tell writes what the keeper has not been told, in pieces.
func (l *memberList) tell(event string, list []admin.Member) error {
	now := make(map[string]admin.Member, len(list))
	came := []admin.Member{}
	for _, m := range list {
		now[m.Member] = m
		if l.told[m.Member] != m { // or came back with another key
			came = append(came, m)
		}
	}
	var gone []string
	for id := range l.told {
		if _, stays := now[id]; !stays {
			gone = append(gone, id)
		}
	}
	l.told = now
	if event == "changed" && len(came)+len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	for {
		piece := admin.Members{Members: came[:min(len(came), membersPiece)], Gone: gone[:min(len(gone), 16*membersPiece)]}
		came, gone = came[len(piece.Members):], gone[len(piece.Gone):]
		piece.More = len(came)+len(gone) > 0
		body, err := json.Marshal(&piece)
		if err != nil {
			return err
		}
		l.n++
		if err := l.out.event(event, strconv.FormatUint(l.n, 10), body); err != nil || !piece.More {
			return err
		}
		event = "changed"
	}
}
