package keyserver

import (
	"context"
	"net/http"
	"strings"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

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
	switch {
	case s.isDraining():
		return refuse("draining")
	case s.failed.Load():
		return refuse("unavailable")
	}
	if err := s.limit(r, token); err != nil {
		s.counters.refused("rate")
		return err
	}
	visit := visit{s: s, ctx: r.Context(), bearer: token, channel: r.PathValue("channel"), user: channelkey.User(req.UID)}
	visit.to, visit.kem = to, string(req.Kem)
	if req.Recipient != "" {
		to, err := keyring.ParseRecipient(req.Recipient)
		if err != nil || len(req.Recipient) > maxRecipient {
			return refuse("bad-key")
		}
		visit.recipient, visit.hint = req.Recipient, to.Hint()
	}
	var m *member
	if strings.HasPrefix(token, resumePrefix) {
		m, err = visit.resume()
	} else {
		m, err = visit.admit()
	}
	if err != nil {
		return err
	}
	snap, err := m.handOut()
	if err != nil {
		s.leaveNow(m, "failed")
		return err
	}
	defer snap.release()
	keys, err := snap.forMember(m, m.wrapTo())
	if err != nil {
		s.leaveNow(m, "failed")
		return err
	}
	w.Header().Set("Location", r.URL.EscapedPath()+"/me")
	return writeJSON(w, http.StatusCreated, &api.Membership{Member: m.id, Token: api.Token(visit.token), Resume: api.Token(visit.resumeToken),
		ResumeSeconds: int(s.cfg.ResumeFor.Seconds()), Sender: m.sender, ServiceEnd: m.gatePass().End, Keys: keys})
}

// maxRecipient bounds the text of a recipient in bytes.
const maxRecipient = 4096

// limit bounds the attempts to enter, from one address and with one card.
func (s *Server) limit(r *http.Request, token string) error {
	return limited(max(s.byAddr.take(client(r.RemoteAddr)), s.byCard.take(hashToken(token))))
}

// visit is somebody at the door, and the tokens they get.
type visit struct {
	s       *Server
	ctx     context.Context
	bearer  string
	channel string
	user    channelkey.User
	wrapKey

	token, resumeToken string
}

// admit lets somebody in with a card. What fails on the way is undone.
func (v *visit) admit() (_ *member, err error) {
	s := v.s
	m := &member{s: s, id: newID("m-"), actor: s.cfg.Audit.ID("u", string(v.user)), wrapKey: v.wrapKey}
	entry := audit.Entry{Event: "enter", Actor: m.actor, Channel: s.cfg.Audit.ID("c", v.channel)}
	m.pass, err = s.cfg.Gate.Enter(v.bearer, channelkey.Claims{Channel: v.channel, User: v.user})
	if err != nil {
		s.refused(entry, problemOf(err).Reason)
		return nil, byTime(err, v.bearer, s.clock.Now())
	}
	m.passID = m.pass.ID
	if err := v.sit(m); err != nil {
		s.cfg.Gate.Leave(m.pass)
		s.mu.Lock()
		delete(s.early, m.passID)
		s.mu.Unlock()
		s.refused(entry, problemOf(err).Reason)
		return nil, err
	}
	v.settle(m)
	entry.Subject = m.id
	if err := s.record(entry); err != nil {
		s.leaveNow(m, "failed")
		return nil, err
	}
	s.counters.entered.Add(1)
	return m, nil
}

// sit finds the member a place in the channel, here and in the shared state.
func (v *visit) sit(m *member) error {
	st := v.s.state
	if err := v.s.enterHub(v.ctx, v.channel, m, false); err != nil {
		return err
	}
	err := st.place(m)
	if err == nil {
		err = st.lease(v.ctx, m)
	}
	if err == nil {
		m.first, err = m.hub.from.joined(v.ctx)
	}
	var owed bool
	if err == nil {
		v.draw(m)
		owed, err = st.claim(v.ctx, m, m.resume)
	}
	if err == nil && owed { // whoever sat here before may know the next epoch
		err = m.hub.from.putOut(v.ctx)
	}
	if err != nil {
		m.hub.drop(m)
		st.forget(m)
	}
	return err
}

// draw draws the member's tokens.
func (v *visit) draw(m *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v.token, m.token = newToken(memberPrefix)
	v.resumeToken, m.resume = v.s.state.resumeToken(m.leaving.seat)
}

// settle makes the member known under their tokens. What the gate said of them meanwhile
// is done now.
func (v *visit) settle(m *member) {
	s := v.s
	s.mu.Lock()
	was := s.early[m.passID]
	delete(s.early, m.passID)
	s.passes[m.passID] = m
	s.tokens[m.token], s.resumes[m.resume] = m, m
	s.mu.Unlock()
	s.membersChanged()
	m.mu.Lock()
	m.seen()
	m.wait(s.cfg.ResumeFor)
	m.mu.Unlock()
	if was.warn != 0 {
		m.warn(was.warn)
	}
	if was.out {
		s.end(m, was.why.String(), true)
	}
}

// resume brings a membership back, with new tokens. The token is good once.
func (v *visit) resume() (*member, error) {
	s := v.s
	hash := hashToken(v.bearer)
	s.mu.Lock()
	m := s.resumes[hash]
	if m != nil && (m.hub.name != v.channel || v.user != "" && v.user != m.gatePass().User) {
		s.mu.Unlock()
		return nil, v.unknown()
	}
	if m != nil {
		m.mu.Lock()
		delete(s.tokens, m.token)
		m.mu.Unlock()
		delete(s.resumes, hash)
	}
	s.mu.Unlock()
	var err error
	if m == nil {
		if m, err = v.takeOver(); err != nil {
			return nil, err
		}
	} else {
		v.draw(m)
		v.rewrap(m)
		if err := s.state.update(v.ctx, m, hashToken(v.resumeToken)); err != nil {
			s.leaveNow(m, "failed")
			return nil, err
		}
		if err := v.register(m); err != nil {
			return nil, err
		}
		m.seen()
	}
	if err := s.record(audit.Entry{Event: "resume", Actor: m.actor, Channel: m.hub.id, Subject: m.id}); err != nil {
		return nil, err
	}
	s.counters.resumed.Add(1)
	return m, nil
}

// register makes the member known under their tokens, unless the membership has ended.
func (v *visit) register(m *member) error {
	s := v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := m.ended(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.tokens[m.token], s.resumes[m.resume] = m, m
	return nil
}

func (v *visit) unknown() error {
	v.s.refused(audit.Entry{Event: "resume", Channel: v.s.cfg.Audit.ID("c", v.channel)}, "unknown-token")
	return refuse("unknown-token")
}

// rewrap takes the new public keys, if there are any.
func (v *visit) rewrap(m *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v.to != nil {
		m.to, m.kem = v.to, v.kem
	}
	if v.recipient != "" {
		m.recipient, m.hint = v.recipient, v.hint
	}
}

// takeOver brings a membership of another server here.
func (v *visit) takeOver() (*member, error) {
	s := v.s
	m, old, err := s.state.takeOver(v.ctx, v.bearer, v.channel, v.user)
	if err != nil {
		if problemOf(err).Reason == "unknown-token" {
			return nil, v.unknown()
		}
		return nil, err
	}
	v.rewrap(m)
	if err := s.enterHub(v.ctx, v.channel, m, true); err != nil {
		return nil, err // the seat is ours, with nobody in it: sweep finds it
	}
	m.pass, err = s.cfg.Gate.Readmit(old.Gate)
	if err != nil { // revoked, or over: whoever sat there may know the next epoch
		m.hub.drop(m)
		s.owe(v.ctx, v.channel, []leaving{m.place()})
		s.refused(audit.Entry{Event: "resume", Actor: m.actor, Channel: m.hub.id, Subject: m.id}, problemOf(err).Reason)
		return nil, err
	}
	m.passID = m.pass.ID
	v.draw(m)
	if err := s.state.update(v.ctx, m, m.resume); err != nil {
		s.cfg.Gate.Leave(m.pass)
		m.hub.drop(m)
		s.owe(v.ctx, v.channel, []leaving{m.place()})
		return nil, err
	}
	v.settle(m)
	return m, nil
}
