package channelkey

import (
	"errors"
	"time"
)

// Seat is a session as another Gate of the same project may take it over: one that was
// inside of a machine that is no more, for example. It holds what the card granted.
type Seat struct {
	Channel     string
	User        User
	Service     Service
	Card        CardID
	Certificate CertificateID
	End         int64 // unix seconds of the end of service, 0 for none
	EntryUntil  int64 // unix seconds until when the card opens the door
	Wildcard    bool
}

// Seat returns what another Gate needs to let the session in again. It reports false if
// that session is not inside, or came in without a card.
func (g *Gate) Seat(p Pass) (Seat, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.find(p)
	if s == nil || s.static {
		return Seat{}, false
	}
	return Seat{Channel: s.room.channel, User: s.user, Service: s.room.service, Card: s.card, Certificate: g.certificate(s),
		End: s.end, EntryUntil: s.entryUntil, Wildcard: s.wildcard}, true
}

// Readmit lets a session in that was inside of another Gate, without its card. Whoever
// calls it has kept the Seat where nobody could alter it, and knows that it is the same
// person. What was revoked or replaced since, and whose service is over, stays outside.
func (g *Gate) Readmit(seat Seat) (Pass, error) {
	p, err := g.readmit(seat)
	if err != nil {
		g.refused(Claims{Channel: seat.Channel, User: seat.User, Service: seat.Service}, err)
	}
	return p, err
}

func (g *Gate) readmit(seat Seat) (Pass, error) {
	if g.cfg.Verifier == nil || seat.User == Anybody || seat.Service >= serviceCount {
		return Pass{}, refuse(NotInside, 0)
	}
	cert := -1
	for i := range g.cfg.Verifier.certs {
		if g.cfg.Verifier.certs[i].id == seat.Certificate {
			cert = i
		}
	}
	switch {
	case cert < 0: // it was taken out of service meanwhile
		return Pass{}, refuse(WrongCertificate, 0)
	case seat.End != 0 && g.time.Now().Unix() >= seat.End:
		return Pass{}, refuse(ServiceEnded, 0)
	}
	s := &session{card: seat.Card, end: seat.End, entryUntil: seat.EntryUntil, cert: uint8(cert),
		wildcard: seat.Wildcard, shared: g.cfg.ShareWildcards && seat.Wildcard}
	c := Claims{Channel: seat.Channel, User: seat.User, Service: seat.Service}
	g.mu.Lock()
	defer g.mu.Unlock()
	old, err := g.admit(s, &c)
	if err != nil {
		return Pass{}, err
	}
	if old != nil {
		return Pass{}, refuse(AlreadyInside, 0)
	}
	g.insert(s, &c)
	p := s.pass(nil)
	g.events.add(Event{Kind: Entered, Pass: p})
	return p, nil
}

// Learn takes over a record that another Gate put into a Store that they share: a card
// that was replaced, or a revocation, which puts out at once whom it meets. It does not
// write to the Store. A time that has passed lifts a revocation.
func (g *Gate) Learn(key []byte, until time.Time) error {
	k := string(key)
	if !validRecord(k) {
		return errors.New("channelkey: a record has an unknown form: it is of a newer version, or damaged")
	}
	end, lift := g.until(until)
	switch {
	case lift:
		g.mu.Lock()
		g.records.drop(k)
		g.mu.Unlock()
		return nil
	case k[0] == recordSpent:
		g.mu.Lock()
		defer g.mu.Unlock()
		if _, known := g.records.until[k]; !known && g.records.len() >= g.cfg.MaxRecords {
			return refuse(Full, 0)
		}
		g.records.put(k, end)
		return nil
	}
	return g.bar(k, end)
}

// Barred reports whether a session that is not inside of this Gate is revoked here: by its
// card, certificate, user or channel.
func (g *Gate) Barred(seat Seat) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.records.revoked(seat.Card, seat.Certificate, seat.Channel, seat.User, g.time.Now().Unix())
}
