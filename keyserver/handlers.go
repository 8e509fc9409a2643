package keyserver

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// maxBody bounds the body of a request in bytes: a card of 4 KiB, or a public key of
// 1.2 KiB in base64, and room.
const maxBody = 16 << 10

// handler is one that may fail before it wrote anything.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"POST /v1/channels/{channel}/members":      s.enter,
		"DELETE /v1/channels/{channel}/members/me": s.leave,
		"GET /v1/channels/{channel}/keys":          s.keys,
		"GET /v1/channels/{channel}/watch":         s.watch,
		"POST /v1/channels/{channel}/renew":        s.renew,
		"GET /v1/openapi.yaml":                     openapi,
		"GET /healthz":                             healthz,
		"GET /readyz":                              s.readyz,
	} {
		mux.Handle(pattern, s.wrap(h))
	}
	return mux
}

// wrap sets what every reply has, and makes problem documents of errors.
func (s *Server) wrap(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // a test's recorder has none
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		if err := h(w, r); err != nil {
			writeProblem(w, problemOf(err))
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
	if errors.As(err, &tooLarge) {
		return refuse("too-large")
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

// enter lets somebody in with a card, or back in with a resume token.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) error {
	token, err := bearer(r)
	if err != nil {
		return err
	}
	var req api.EnterRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	to, err := recipient(&req)
	if err != nil {
		return refuse("bad-key")
	}
	channel := r.PathValue("channel")
	if s.isDraining() {
		return refuse("draining")
	}
	if s.failed.Load() {
		return refuse("unavailable")
	}
	var (
		m       *member
		secrets [2]string
	)
	if err := s.limit(r, token); err != nil {
		s.counters.refused("rate")
		return err
	}
	if strings.HasPrefix(token, resumePrefix) {
		m, secrets, err = s.resume(token, channel, &req)
	} else {
		m, secrets, err = s.admit(r, token, channel, &req)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	if to == nil {
		to = m.recipient // of before, if the membership was brought back
	}
	m.recipient = to
	m.mu.Unlock()
	snap, err := m.handOut()
	if err != nil {
		s.leaveNow(m, "failed")
		return err
	}
	defer snap.release()
	keys := snap.keys
	if to != nil {
		if keys, err = snap.wrapped(m.id, to); err != nil {
			s.leaveNow(m, "failed")
			return err
		}
	}
	w.Header().Set("Location", r.URL.EscapedPath()+"/me")
	return writeJSON(w, http.StatusCreated, &api.Membership{Member: m.id, Token: api.Token(secrets[0]), Resume: api.Token(secrets[1]),
		ResumeSeconds: int(s.cfg.ResumeFor.Seconds()), Sender: m.sender, ServiceEnd: m.serviceEnd(), Keys: keys})
}

// limit bounds the attempts to enter, from one address and with one card.
func (s *Server) limit(r *http.Request, token string) error {
	return limited(max(s.byAddr.take(client(r.RemoteAddr)), s.byCard.take(hashToken(token))))
}

// admit lets somebody in with a card.
func (s *Server) admit(r *http.Request, card, channel string, req *api.EnterRequest) (m *member, tokens [2]string, err error) {
	claims := channelkey.Claims{Channel: channel, User: channelkey.User(req.UID)}
	m = &member{s: s, id: newID("m-"), actor: s.cfg.Audit.ID("u", req.UID)}
	entry := audit.Entry{Event: "enter", Actor: m.actor, Channel: s.cfg.Audit.ID("c", channel)}
	pass, err := s.cfg.Gate.Enter(card, claims)
	if err != nil {
		s.refused(entry, problemOf(err).Reason)
		return nil, tokens, err
	}
	m.pass, m.passID = pass, pass.ID
	if _, err := s.enterHub(r.Context(), channel, m); err != nil {
		s.cfg.Gate.Leave(pass)
		s.mu.Lock()
		delete(s.early, pass.ID)
		s.mu.Unlock()
		s.refused(entry, problemOf(err).Reason)
		return nil, tokens, err
	}
	s.mu.Lock()
	why, out := s.early[pass.ID]
	delete(s.early, pass.ID)
	s.passes[pass.ID] = m
	tokens[0], tokens[1] = m.newTokens(s)
	s.mu.Unlock()
	m.mu.Lock()
	m.seen()
	m.wait(s.cfg.ResumeFor)
	m.mu.Unlock()
	if out {
		s.end(m, why.String(), true)
	}
	entry.Subject = m.id
	if err := s.record(entry); err != nil {
		s.leaveNow(m, "failed")
		return nil, tokens, err
	}
	s.counters.entered.Add(1)
	return m, tokens, nil
}

// resume brings a membership back, with new tokens. The token is good once.
func (s *Server) resume(token, channel string, req *api.EnterRequest) (m *member, tokens [2]string, err error) {
	hash := hashToken(token)
	s.mu.Lock()
	m = s.resumes[hash]
	if m == nil || m.hub.name != channel || req.UID != "" && channelkey.User(req.UID) != m.pass.User {
		s.mu.Unlock()
		s.refused(audit.Entry{Event: "resume", Channel: s.cfg.Audit.ID("c", channel)}, "unknown-token")
		return nil, tokens, refuse("unknown-token")
	}
	if err := m.ended(); err != nil {
		s.mu.Unlock()
		return nil, tokens, err
	}
	tokens[0], tokens[1] = m.newTokens(s)
	s.mu.Unlock()
	m.seen()
	if err := s.record(audit.Entry{Event: "resume", Actor: m.actor, Channel: m.hub.id, Subject: m.id}); err != nil {
		return nil, tokens, err
	}
	s.counters.resumed.Add(1)
	return m, tokens, nil
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

func (m *member) serviceEnd() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pass.End
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
	etag := `"` + strconv.FormatUint(snap.keys.Revision, 10) + `"`
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
		return err
	}
	m.mu.Lock()
	m.pass = renewed
	m.expires = 0
	m.mu.Unlock()
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
	return healthz(w, nil)
}
