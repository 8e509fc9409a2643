package channelkey_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// sharedStore is a Store that tells other Gates.
type sharedStore struct{ others []*channelkey.Gate }

func (s *sharedStore) Put(key []byte, until time.Time) error {
	for _, g := range s.others {
		if err := g.Learn(key, until); err != nil {
			return err
		}
	}
	return nil
}
func (s *sharedStore) Load(func([]byte, time.Time) error) error { return nil }

// TestGatesShare: a session moves to another Gate, which knows what the first one revoked
// and replaced.
func TestGatesShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := channelkey.App{ID: "970ca35de60c44645bbae8a215061b33", Primary: channelkey.NewCertificate([]byte("5cfd2fd1755d40ecb72977518be15d3b"))}
		issuer, _ := channelkey.NewIssuer(app, channelkey.Legacy{})
		verifier, _ := channelkey.NewVerifier(app, channelkey.Policy{})
		mint := func(uid channelkey.User, end time.Duration) string {
			c := channelkey.Card{Format: channelkey.DK4, Channel: "room", User: uid, Issued: uint32(time.Now().Unix()), Random: channelkey.NewRandom()}
			if end != 0 {
				c.Expires = uint32(time.Now().Add(end).Unix())
			}
			key, err := issuer.Mint(c)
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
		store := &sharedStore{}
		a, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		store.others = []*channelkey.Gate{b}
		events := b.Events()

		card := mint("1", time.Minute)
		p, err := a.Enter(card, channelkey.Claims{Channel: "room", User: "1"})
		if err != nil {
			t.Fatal(err)
		}
		seat, ok := a.Seat(p)
		if !ok || seat.End != p.End || seat.Card != p.Card {
			t.Fatalf("seat %+v", seat)
		}
		q, err := b.Readmit(seat)
		if err != nil || q.End != p.End || !b.IsInside("room", "1", channelkey.Media) {
			t.Fatalf("readmitted: %+v, %v", q, err)
		}
		<-events // entered
		if _, err := b.Readmit(seat); !errors.Is(err, channelkey.Replayed) {
			t.Fatalf("twice: %v", err)
		}
		a.Leave(p)
		if _, ok := a.Seat(p); ok {
			t.Fatal("a seat of nobody")
		}
		if e := <-events; e.Kind != channelkey.Refused {
			t.Fatalf("%v", e.Kind)
		}
		if e := <-events; e.Kind != channelkey.WillExpire {
			t.Fatalf("%v", e.Kind)
		}
		if e := <-events; e.Kind != channelkey.PutOut || e.Reason != channelkey.ServiceEnded || time.Now().Unix() != seat.End {
			t.Fatalf("%v %v", e.Kind, e.Reason)
		}
		if _, err := b.Readmit(seat); !errors.Is(err, channelkey.ServiceEnded) {
			t.Fatalf("after the end: %v", err)
		}

		// A revocation at one door is one at the other, and is lifted at both.
		p, err = b.Enter(mint("2", 0), channelkey.Claims{Channel: "room", User: "2"})
		if err != nil {
			t.Fatal(err)
		}
		seat, _ = b.Seat(p)
		for e := range events {
			if e.Kind == channelkey.Entered {
				break
			}
		}
		if err := a.Revoke(channelkey.Revocation{User: "2", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if e := <-events; e.Kind != channelkey.PutOut || e.Reason != channelkey.Revoked {
			t.Fatalf("%v %v", e.Kind, e.Reason)
		}
		if !b.Barred(seat) || b.Barred(channelkey.Seat{Channel: "room", User: "3"}) {
			t.Fatal("not barred, or somebody else is")
		}
		if _, err := b.Readmit(seat); !errors.Is(err, channelkey.Revoked) {
			t.Fatalf("revoked: %v", err)
		}
		if err := a.Revoke(channelkey.Revocation{User: "2", Until: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if p, err = b.Readmit(seat); err != nil {
			t.Fatalf("lifted: %v", err)
		}
		b.Leave(p)
		if err := b.Learn(append([]byte("s"), seat.Card[:]...), time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Readmit(seat); !errors.Is(err, channelkey.Replayed) {
			t.Fatalf("replaced: %v", err)
		}
		seat.Certificate = channelkey.CertificateID{1}
		if _, err := b.Readmit(seat); !errors.Is(err, channelkey.WrongCertificate) {
			t.Fatalf("a certificate out of service: %v", err)
		}
		if b.Learn([]byte("?"), time.Now()) == nil {
			t.Fatal("learns what it does not know")
		}
	})
}
