package channelkey

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// door is the thing that the examiner examines: it says whether a claim may enter.
type door func(token string, c Claims) error

// examine tries a door with good keys and with everything that must not open it,
// and returns what it got wrong.
func examine(t *testing.T, d door) (faults []string) {
	t.Helper()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for n, s := range samples() {
		f := s.card.Format
		name := fmt.Sprintf("%s #%d", f, n)
		token := mint(t, s.card)
		if err := d(token, s.claim); err != nil {
			fault("%s: a good key is refused: %v", name, err)
		}
		refused := func(what, token string, change func(*Claims)) {
			c := s.claim
			if change != nil {
				change(&c)
			}
			if d(token, c) == nil {
				fault("%s: %s is accepted", name, what)
			}
		}

		// The claim is another.
		if s.claim.Service != RTM {
			refused("another channel", token, func(c *Claims) { c.Channel = "hall" })
		}
		if f != DK1 {
			refused("another user", token, func(c *Claims) { c.User = UID(124) })
			refused("nobody in particular", token, func(c *Claims) { c.User = Anybody })
		}
		refused("another service", token, func(c *Claims) {
			if c.Service = RTM; s.claim.Service == RTM {
				c.Service, c.Channel = Media, "room"
			}
		})
		refused("a privilege that is not granted", token, func(c *Claims) {
			if f == V006 || f == V007 {
				c.Need = []Privilege{PublishVideo}
			} else {
				c.Channel, c.User = "hall", "bob"
			}
		})

		// The time is another.
		after := int64(300)
		switch f {
		case Signaling, V006, V007:
			after = 3600
		}
		refused("a key after its time", token, func(c *Claims) { c.At = at(after) })
		if f != Signaling {
			refused("a key before its time", token, func(c *Claims) { c.At = at(-1) })
		}

		// The key is signed with another certificate.
		foreign := newIssuer(t, App{ID: testID, Primary: NewCertificate([]byte(otherCert))}, Legacy{})
		other, err := foreign.Mint(s.card)
		if err != nil {
			t.Fatal(err)
		}
		refused("another certificate", other, nil)

		// Every character and every length matters.
		for i := range len(token) {
			c := byte('0')
			if token[i] == '0' {
				c = '1'
			}
			refused(fmt.Sprintf("a changed character %d", i), token[:i]+string(c)+token[i+1:], nil)
			refused(fmt.Sprintf("a cut at %d", i), token[:i], nil)
		}
		for _, tail := range []string{"0", "A", "=", "\n", "\x00", "AAAA"} {
			refused(fmt.Sprintf("a tail %q", tail), token+tail, nil)
			refused(fmt.Sprintf("a head %q", tail), tail+token, nil)
		}
		if f == V006 || f == V007 || f == DK5 {
			refused("a line break", token[:60]+"\n"+token[60:], nil)
			refused("a line break", token[:60]+"\r\n"+token[60:], nil)
		}
		if strings.HasSuffix(token, "=") {
			refused("no padding", strings.TrimRight(token, "="), nil)
		}
	}

	// A 007 that inflates without end, one whose stream is cut, one with a tail.
	good := samples()[10]
	payload := unpack007(t, mint(t, good.card))
	if d(tell007(append(payload, 0)), good.claim) == nil {
		fault("007: a byte behind the payload is accepted")
	}
	for _, size := range []int{MaxPayload + 1, 20 * MaxPayload} {
		if d(tell007(append(payload, make([]byte, size-len(payload))...)), good.claim) == nil {
			fault("007: a bomb is accepted")
		}
	}
	return faults
}

func TestExaminer(t *testing.T) {
	v := newVerifier(t, testApp(), Policy{})
	verify := func(token string, c Claims) error { _, err := v.Verify(token, c); return err }
	for _, f := range examine(t, verify) {
		t.Error(f)
	}
}

// TestExaminerFinds gives the examiner doors that are wrong in one thing each.
func TestExaminerFinds(t *testing.T) {
	strict := newVerifier(t, testApp(), Policy{})
	lax := newVerifier(t, testApp(), Policy{IgnoreTime: true})
	wild := newVerifier(t, testApp(), Policy{EntryWindow: time.Hour})
	forgiving := func(reasons ...Reason) door {
		return func(token string, c Claims) error {
			_, err := strict.Verify(token, c)
			for _, r := range reasons {
				if errors.Is(err, r) {
					return nil
				}
			}
			return err
		}
	}
	for name, d := range map[string]door{
		"lets everybody in":   func(string, Claims) error { return nil },
		"lets nobody in":      func(string, Claims) error { return errors.New("no") },
		"looks at no clock":   func(k string, c Claims) error { _, err := lax.Verify(k, c); return err },
		"an hour to enter":    func(k string, c Claims) error { _, err := wild.Verify(k, c); return err },
		"any channel":         forgiving(OtherChannel),
		"any user":            forgiving(OtherUser),
		"any service":         forgiving(OtherService),
		"any privilege":       forgiving(PrivilegeMissing),
		"any certificate":     forgiving(WrongCertificate),
		"no signature at all": forgiving(NotAuthentic),
		"from the future":     forgiving(NotYetValid),
		"trims":               func(k string, c Claims) error { _, err := strict.Verify(strings.TrimSpace(k), c); return err },
		"pads": func(k string, c Claims) error {
			for len(k)%4 != 3 && len(k) > 103 && !strings.HasPrefix(k, "006") {
				k += "="
			}
			_, err := strict.Verify(k, c)
			return err
		},
		"reads the front only": func(k string, c Claims) error {
			_, err := strict.Verify(k, c)
			var r *Refusal
			if errors.As(err, &r) && r.Reason() == Malformed {
				if n, _ := r.Byte(); n < len(k) {
					_, err = strict.Verify(k[:n], c)
				}
			}
			return err
		},
	} {
		if len(examine(t, d)) == 0 {
			t.Errorf("a door that %s passes", name)
		}
	}
}
