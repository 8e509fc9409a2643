package keyserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/keyserver/api"
)

// watch is a member's stream of server-sent events. There is no queue: the stream is
// woken, and looks what there is to tell now. So a slow reader costs no memory, and
// misses nothing but what is over.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) error {
	m, err := s.member(r)
	if err != nil {
		return err
	}
	if s.isDraining() {
		return refuse("draining")
	}
	sent, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)
	st := m.open()
	defer m.closed(st)
	s.streams.Add(1)
	defer s.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := eventWriter{w, http.NewResponseController(w), s.cfg.WriteTimeout, &s.counters.slow}
	if out.comment("chanseal") != nil {
		return nil
	}
	heartbeat := time.NewTimer(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	for {
		again, err := s.tell(m, out, &sent)
		if err != nil || !again {
			return nil // the status is sent: there is nothing more to say
		}
		heartbeat.Reset(s.cfg.Heartbeat)
		select {
		case <-st.wake:
		case <-heartbeat.C:
			if out.comment("") != nil {
				return nil
			}
		case <-st.ended:
			return nil
		case <-r.Context().Done():
			return nil
		case <-s.draining:
			return nil
		}
	}
}

// tell writes what the member has not been told, and reports whether the membership
// goes on.
func (s *Server) tell(m *member, out eventWriter, sent *uint64) (bool, error) {
	if end := m.takeWarning(); end != 0 {
		body, err := json.Marshal(&api.Expiry{ServiceEnd: end})
		if err == nil {
			err = out.event("will-expire", "", body)
		}
		if err != nil {
			return false, err
		}
	}
	snap, err := m.handOut()
	if ended := (*endedError)(nil); errors.As(err, &ended) {
		body, err := json.Marshal(problemOf(err))
		if err == nil {
			err = out.event("put-out", "", body)
		}
		return false, err
	}
	if err != nil {
		return false, err
	}
	defer snap.release()
	if snap.keys.Revision == *sent {
		return true, nil
	}
	body, err := snap.body(m)
	if err != nil {
		return false, err
	}
	*sent = snap.keys.Revision
	return true, out.event("keys", strconv.FormatUint(*sent, 10), body)
}

// eventWriter writes server-sent events, each within a deadline.
type eventWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
	slow    *atomic.Uint64
}

func (e eventWriter) event(name, id string, data []byte) error {
	b := make([]byte, 0, len(data)+len(name)+len(id)+32)
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	b = append(append(append(b, "event: "...), name...), "\ndata: "...)
	b = append(append(b, data...), "\n\n"...)
	defer clear(b)
	return e.write(b)
}

func (e eventWriter) comment(text string) error { return e.write([]byte(": " + text + "\n\n")) }

func (e eventWriter) write(b []byte) error {
	// A writer that has no deadlines (a test's recorder) is never slow.
	began := time.Now()
	_ = e.rc.SetWriteDeadline(began.Add(e.timeout))
	_, err := e.w.Write(b)
	if err == nil {
		err = e.rc.Flush()
	}
	if err != nil {
		if time.Since(began) >= e.timeout {
			e.slow.Add(1)
		}
		return err
	}
	_ = e.rc.SetWriteDeadline(time.Time{}) // HTTP/2 would end an idle stream by it
	return nil
}
