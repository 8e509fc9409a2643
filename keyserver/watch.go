package keyserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/chanseal/chanseal/keyserver/api"
)

// watch is a member's stream of server-sent events. There is no queue: the stream is
// woken, and looks what there is to tell now. So a slow reader costs no memory, and
// misses nothing but what is over.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet { // a pattern with GET takes HEAD, too
		return refuse("method")
	}
	m, err := s.member(r)
	if err != nil {
		return err
	}
	if s.isDraining() {
		return refuse("draining")
	}
	sent, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)
	w.Header().Set("Content-Type", "text/event-stream")
	// A connection of HTTP/1.1 is taken over: net/http would keep its buffers, its
	// request and a large stack for each, as long as the stream lives.
	if r.ProtoMajor == 1 && r.ProtoMinor > 0 {
		if conn, rw, err := http.NewResponseController(w).Hijack(); err == nil {
			header := w.Header()
			if rw.Reader.Buffered() > 0 || !s.start(func() { s.take(conn, header, m, sent) }) {
				conn.Close()
			}
			return nil
		}
	}
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	s.stream(m, sent, &eventWriter{s: s, write: func(b []byte) error {
		if _, err := w.Write(b); err != nil {
			return err
		}
		return rc.Flush()
	}, deadline: rc.SetWriteDeadline}, r.Context().Done())
	return nil
}

// start runs something that Close waits for, unless Close was called.
func (s *Server) start(f func()) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.running.Go(f)
	return true
}

// take streams on a connection of its own, in the chunks of HTTP/1.1 (RFC 9112,
// Section 7.1), and closes it.
func (s *Server) take(conn net.Conn, header http.Header, m *member, sent uint64) {
	gone := make(chan struct{})
	defer func() {
		conn.Close()
		<-gone
	}()
	go func() { // a client that closes is found at once; one that goes on talking is not served
		defer close(gone)
		var one [1]byte
		_, _ = conn.Read(one[:])
	}()
	header.Set("Transfer-Encoding", "chunked")
	header.Set("Connection", "close")
	header.Set("Date", s.clock.Now().UTC().Format(http.TimeFormat))
	out := &eventWriter{s: s, deadline: conn.SetWriteDeadline}
	out.write = func(b []byte) error {
		_, err := conn.Write(append([]byte("HTTP/1.1 200 OK\r\n"), b...))
		return err
	}
	var head headerBytes
	_ = header.Write(&head) // into memory
	if out.send(append(head, "\r\n"...)) != nil {
		return
	}
	out.write = func(b []byte) error {
		chunk := make([]byte, 0, len(b)+16)
		chunk = fmt.Appendf(chunk, "%x\r\n", len(b))
		chunk = append(append(chunk, b...), "\r\n"...)
		defer clear(chunk)
		_, err := conn.Write(chunk)
		return err
	}
	if s.stream(m, sent, out, gone) {
		out.write = func(b []byte) error { _, err := conn.Write(b); return err }
		_ = out.send([]byte("0\r\n\r\n"))
	}
}

type headerBytes []byte

func (b *headerBytes) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

var _ io.Writer = (*headerBytes)(nil)

// stream tells the member what there is to tell until the membership, the client or the
// server ends it. It reports whether the client is there still.
func (s *Server) stream(m *member, sent uint64, out *eventWriter, gone <-chan struct{}) bool {
	st := m.open()
	defer m.closed(st)
	s.streams.Add(1)
	defer s.streams.Add(-1)
	if out.comment("chanseal") != nil {
		return false
	}
	heartbeat := time.NewTimer(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	for {
		again, err := s.tell(m, out, &sent)
		if err != nil || !again {
			return err == nil // the status is sent: there is nothing more to say
		}
		heartbeat.Reset(s.cfg.Heartbeat)
		select {
		case <-st.wake:
		case <-heartbeat.C:
			if out.comment("") != nil {
				return false
			}
		case <-st.ended:
			return true
		case <-gone:
			return false
		case <-s.draining:
			return true
		}
	}
}

// tell writes what the member has not been told, and reports whether the membership
// goes on.
func (s *Server) tell(m *member, out *eventWriter, sent *uint64) (bool, error) {
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
	revision := snap.revision(m) // before the body: what comes between is told again
	if revision == *sent || snap.blind != nil && revision == 0 {
		return true, nil
	}
	body, err := snap.body(m)
	if err != nil {
		return false, err
	}
	*sent = revision
	return true, out.event("keys", strconv.FormatUint(*sent, 10), body)
}

// eventWriter writes server-sent events, each within a deadline.
type eventWriter struct {
	s        *Server
	write    func([]byte) error
	deadline func(time.Time) error
}

func (e *eventWriter) event(name, id string, data []byte) error {
	b := make([]byte, 0, len(data)+len(name)+len(id)+32)
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	b = append(append(append(b, "event: "...), name...), "\ndata: "...)
	b = append(append(b, data...), "\n\n"...)
	defer clear(b)
	return e.send(b)
}

func (e *eventWriter) comment(text string) error { return e.send([]byte(": " + text + "\n\n")) }

func (e *eventWriter) send(b []byte) error {
	// A writer that has no deadlines (a test's recorder) is never slow.
	began, timeout := time.Now(), e.s.cfg.WriteTimeout
	_ = e.deadline(began.Add(timeout))
	if err := e.write(b); err != nil {
		if time.Since(began) >= timeout {
			e.s.counters.slow.Add(1)
		}
		return err
	}
	_ = e.deadline(time.Time{}) // HTTP/2 would end an idle stream by it
	return nil
}
