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

// bundle takes a bundle from who keeps a blind channel.
func (a *administration) bundle(c *adminCall) error {
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
	revision, err := a.s.putBundle(c.r.Context(), name, body)
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, &admin.Stored{Revision: revision})
}

// members streams the list of a channel's members to who keeps it: at once, and whenever
// it changed. There is no queue, as with the members' own streams.
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
	heartbeat := time.NewTimer(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	var last []admin.Member
	for n := uint64(1); ; n++ {
		if last == nil || !slices.Equal(last, list) {
			body, err := json.Marshal(&admin.Members{Members: list})
			if err != nil || out.event("members", strconv.FormatUint(n, 10), body) != nil {
				return nil // the status is sent: there is nothing more to say
			}
			last = list
		}
		heartbeat.Reset(s.cfg.Heartbeat)
		select {
		case <-wake:
			if next, err := s.present(c.r.Context(), name); err == nil {
				list = next
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
