package keyserver

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// maxBody bounds the body of a request in bytes: a card of 4 KiB, or a public key of
// 1.2 KiB in base64, and room.
const maxBody = 16 << 10

// handler is one that may fail before it wrote anything.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) routes() http.Handler {
	return s.patterns(map[string]handler{
		"POST /v1/channels/{channel}/members":      s.enter,
		"DELETE /v1/channels/{channel}/members/me": s.leave,
		"GET /v1/channels/{channel}/keys":          s.keys,
		"GET /v1/channels/{channel}/watch":         s.watch,
		"POST /v1/channels/{channel}/renew":        s.renew,
		"GET /v1/openapi.yaml":                     openapi,
		"GET /healthz":                             healthz,
		"GET /readyz":                              s.readyz,
	})
}

// patterns serves all of these, each a method and a path, and answers what is none of them
// with a problem document.
func (s *Server) patterns(all map[string]handler) http.Handler {
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for pattern, h := range all {
		mux.Handle(pattern, s.wrap(h))
		method, path, _ := strings.Cut(pattern, " ")
		allowed[path] = append(allowed[path], method)
	}
	for path, methods := range allowed {
		slices.Sort(methods)
		mux.Handle(path, s.wrap(func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return refuse("method")
		}))
	}
	mux.Handle("/", s.wrap(func(http.ResponseWriter, *http.Request) error { return refuse("not-found") }))
	return mux
}

// wrap sets what every reply has, and makes problem documents of errors.
func (s *Server) wrap(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Date", s.clock.Now().UTC().Format(http.TimeFormat)) // what the epochs' moments are by
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // a test's recorder has none
			limit := int64(maxBody)
			if strings.HasSuffix(r.Pattern, " /v1/admin/blind/{channel}") {
				limit = maxBundles
			}
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		}
		if err := h(w, r); err != nil {
			p := problemOf(err)
			if p.Reason == "unavailable" { // nobody but the operator can do something about it
				s.log.Warn("keyserver: a request was answered 503", "error", cause(err))
			}
			writeProblem(w, p)
		}
	})
}

func bearer(r *http.Request) (string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", refuse("no-token")
	}
	return token, nil
}

// readJSON reads one object and nothing after it. Nothing of what it could not read
// stands in its error: it may be a secret.
func readJSON(r *http.Request, into any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return refuse("media-type")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refuse("too-large")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse("timeout")
	}
	return refuse("bad-request")
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writeBody(w, status, body)
	clear(body)
	return nil
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// leaveNow ends a membership that the member or the server gives up.
func (s *Server) leaveNow(m *member, why string) {
	m.mu.Lock()
	pass := m.pass
	m.mu.Unlock()
	if s.cfg.Gate.Leave(pass) {
		s.end(m, why, false)
	}
}

// member finds whose token a request shows, for the channel in its path.
func (s *Server) member(r *http.Request) (*member, error) {
	token, err := bearer(r)
	if err != nil {
		return nil, err
	}
	hash := hashToken(token)
	s.mu.RLock()
	m := s.tokens[hash]
	s.mu.RUnlock()
	if m == nil || m.hub.name != r.PathValue("channel") {
		if err := limited(s.byAddr.take(client(r.RemoteAddr))); err != nil {
			return nil, err
		}
		s.counters.refused("unknown-token")
		return nil, refuse("unknown-token")
	}
	if err := m.limit(); err != nil {
		s.counters.refused("rate")
		return nil, err
	}
	if err := m.ended(); err != nil {
		return nil, err
	}
	m.seen()
	return m, nil
}

func (s *Server) keys(w http.ResponseWriter, r *http.Request) error {
	m, err := s.member(r)
	if err != nil {
		return err
	}
	snap, err := m.handOut()
	if err != nil {
		return err
	}
	defer snap.release()
	etag := snap.etag(m)
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	body, err := snap.body(m)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, body)
	return nil
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) error {
	m, err := s.member(r)
	if err != nil {
		return err
	}
	var req api.RenewRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	m.mu.Lock()
	pass := m.pass
	m.mu.Unlock()
	entry := audit.Entry{Event: "renew", Actor: m.actor, Channel: m.hub.id, Subject: m.id}
	renewed, err := s.cfg.Gate.Renew(pass, req.Card.Reveal())
	if err != nil {
		s.refused(entry, problemOf(err).Reason)
		return byTime(err, req.Card.Reveal(), s.clock.Now())
	}
	m.mu.Lock()
	m.pass = renewed
	m.expires = 0
	resume := m.resume
	m.mu.Unlock()
	if err := s.state.update(r.Context(), m, resume); err != nil {
		return err
	}
	if err := s.record(entry); err != nil {
		return err
	}
	s.counters.renewed.Add(1)
	return writeJSON(w, http.StatusOK, &api.Expiry{ServiceEnd: renewed.End})
}

func (s *Server) leave(w http.ResponseWriter, r *http.Request) error {
	m, err := s.member(r)
	if err != nil {
		return err
	}
	s.leaveNow(m, "left")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(api.Document)
	return nil
}

func healthz(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "ok\n")
	return nil
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) error {
	if s.isDraining() {
		return refuse("draining")
	}
	if s.failed.Load() {
		return refuse("unavailable")
	}
	if s.clock.Behind() >= unreadyBehind {
		return refuse("clock")
	}
	return healthz(w, nil)
}
