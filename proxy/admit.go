package proxy

import (
	"errors"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// errNoApp says that a card is of no project that is served here.
var errNoApp = errors.New("proxy: the card is of no project that is served here")

// admit verifies a card and returns its holder, whose end is the end of service, or
// what the configuration bounds tickets to. The error is a *channelkey.Refusal where
// the card is refused.
func (s *Server) admit(card string, c channelkey.Claims) (holder, error) {
	v, err := s.verifierOf(card)
	if err != nil {
		return holder{}, err
	}
	grant, err := v.Verify(card, c)
	if err != nil {
		return holder{}, err
	}
	h := holder{customer: v.customer, card: grant.CardID(), cert: grant.Certificate,
		channel: s.tickets.pseudonym("channel", grant.Channel), user: s.tickets.pseudonym("user", string(grant.User)),
		end: time.Now().Add(time.Duration(s.cfg.TicketLife)).Unix()}
	if grant.ServiceEnd != 0 {
		h.end = min(h.end, grant.ServiceEnd)
	}
	if err := s.check(&h); err != nil {
		return holder{}, err
	}
	return h, nil
}

// verifierOf finds the project that a card says it is of. One project needs no search,
// whatever the card says.
func (s *Server) verifierOf(card string) (*verifier, error) {
	if len(s.verifiers) == 1 {
		for _, v := range s.verifiers {
			return v, nil
		}
	}
	c, err := channelkey.Parse(card, channelkey.Legacy{})
	if err != nil {
		return nil, err
	}
	v := s.verifiers[strings.ToLower(c.AppID)]
	if v == nil {
		return nil, errNoApp
	}
	return v, nil
}

// check refuses holders that are revoked or of a customer who is served no more.
func (s *Server) check(h *holder) error {
	if !s.apps[h.customer] {
		return errNoApp
	}
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if s.reg.isRevoked(h, time.Now()) {
		return errRevoked
	}
	return nil
}

// user reads a user's name: a number is a uid.
func user(name string) channelkey.User { return channelkey.User(name) }
