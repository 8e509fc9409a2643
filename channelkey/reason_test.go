package channelkey

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReasons asks for one reason each.
func TestReasons(t *testing.T) {
	all := samples()
	dk1, dk2, dk4, dk5, signaling, v006, v007 := all[0], all[1], all[3], all[5], all[7], all[8], all[10]
	key := func(s sample) string { return mint(t, s.card) }
	claim := func(s sample, change func(*Claims)) Claims {
		c := s.claim
		if change != nil {
			change(&c)
		}
		return c
	}
	late := func(s int64) func(*Claims) { return func(c *Claims) { c.At = at(s) } }
	card := func(s sample, change func(*Card)) string {
		c := s.card
		change(&c)
		return mintWith(t, allButOrder(), c)
	}
	foreign := newIssuer(t, App{ID: testID, Primary: NewCertificate([]byte(otherCert))}, Legacy{})
	wrongly := func(s sample) string {
		k, err := foreign.Mint(s.card)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	// A 006 for (room1, 23) out of one for (room, 123), and the other way round.
	splice := func(channel, user string) string {
		s := v006
		raw, _ := base64.StdEncoding.DecodeString(key(s)[head006:])
		var w work
		binary.LittleEndian.PutUint32(raw[34:], w.crc(channel))
		binary.LittleEndian.PutUint32(raw[38:], w.crc(user))
		return prefix006 + testID + base64.StdEncoding.EncodeToString(raw)
	}
	// A dk1 out of a dk2.
	k2 := key(dk2)
	dk1FromDK2 := k2[:90]
	collision := "room" + k2[90:]

	for _, test := range []struct {
		name   string
		policy Policy
		token  string
		claims Claims
		want   Reason
	}{
		{"empty", Policy{}, "", claim(dk4, nil), UnknownFormat},
		{"prose", Policy{}, "hello", claim(dk4, nil), UnknownFormat},
		{"cut dk1", Policy{}, key(dk1)[:89], claim(dk1, nil), Malformed},
		{"cut dk4", Policy{}, key(dk4)[:102], claim(dk4, nil), Malformed},
		{"cut 007", Policy{}, key(v007)[:100], claim(v007, nil), Malformed},
		{"no dk4", Policy{Formats: FormatSet(V006, V007)}, key(dk4), claim(dk4, nil), FormatForbidden},
		{"static", Policy{}, testID, claim(dk4, nil), StaticAppID},
		{"other app", Policy{}, strings.Replace(key(dk4), "970CA", "970CB", 1), claim(dk4, nil), OtherApp},
		{"other app 006", Policy{}, strings.Replace(key(v006), "970CA", "970CB", 1), claim(v006, nil), OtherApp},
		{"certificate dk4", Policy{}, wrongly(dk4), claim(dk4, nil), NotAuthentic},
		{"certificate dk5", Policy{}, wrongly(dk5), claim(dk5, nil), NotAuthentic},
		{"certificate signaling", Policy{}, wrongly(signaling), claim(signaling, nil), NotAuthentic},
		{"certificate 006", Policy{}, wrongly(v006), claim(v006, nil), WrongCertificate},
		{"certificate 007", Policy{}, wrongly(v007), claim(v007, nil), WrongCertificate},
		{"channel dk4", Policy{}, key(dk4), claim(dk4, func(c *Claims) { c.Channel = "hall" }), NotAuthentic},
		{"channel 006", Policy{}, key(v006), claim(v006, func(c *Claims) { c.Channel = "hall" }), OtherChannel},
		{"channel 007", Policy{}, key(v007), claim(v007, func(c *Claims) { c.Channel = "hall" }), OtherChannel},
		{"user dk2", Policy{}, key(dk2), claim(dk2, func(c *Claims) { c.User = UID(9) }), OtherUser},
		{"user 006", Policy{}, key(v006), claim(v006, func(c *Claims) { c.User = UID(9) }), OtherUser},
		{"user 007", Policy{}, key(v007), claim(v007, func(c *Claims) { c.User = UID(9) }), OtherUser},
		{"account for dk4", Policy{}, key(dk4), claim(dk4, func(c *Claims) { c.User = "alice" }), OtherUser},
		{"service dk4", Policy{}, key(dk4), claim(dk4, func(c *Claims) { c.Service = Sharing }), OtherService},
		{"service dk5", Policy{}, key(dk5), claim(dk5, func(c *Claims) { c.Service = Recording }), OtherService},
		{"service 007", Policy{}, key(v007), claim(v007, func(c *Claims) { c.Service = FCDN }), OtherService},
		{"unknown service", Policy{}, tell007(signed007(t, v007, "\x63\x00\x00\x00")), claim(v007, nil), UnknownService},
		{"channel name", Policy{}, key(dk4), claim(dk4, func(c *Claims) { c.Channel = "a/b" }), BadChannel},
		{"account 0", Policy{}, key(v006), claim(v006, func(c *Claims) { c.User = "0" }), BadUser},
		{"wildcard", Policy{ForbidWildcard: true}, card(dk4, func(c *Card) { c.User = Anybody }), claim(dk4, nil), WildcardForbidden},
		{"wildcard dk1", Policy{ForbidWildcard: true}, key(dk1), claim(dk1, nil), WildcardForbidden},
		{"wildcard channel", Policy{}, card(v007, func(c *Card) {
			c.Services = []Grant007{{Service: Media, Channel: "r*m", User: UID(123), Privileges: []PrivilegeLife{{1, 0}}}}
		}), claim(v007, nil), WildcardForbidden},
		{"not yet", Policy{}, key(dk4), claim(dk4, late(-1)), NotYetValid},
		{"not yet 006", Policy{}, key(v006), claim(v006, late(-1)), NotYetValid},
		{"not yet 007", Policy{Skew: time.Second}, key(v007), claim(v007, late(-2)), NotYetValid},
		{"entry over", Policy{}, key(dk4), claim(dk4, late(300)), EntryOver},
		{"entry over 006", Policy{}, card(v006, func(c *Card) { c.Privileges = []Grant006{{JoinChannel, 0}} }), claim(v006, late(day)), EntryOver},
		{"entry over 007", Policy{}, key(v007), claim(v007, late(7200)), EntryOver},
		{"24 hours", Policy{}, card(v007, func(c *Card) { c.Expires = 0; c.Services = joinOnly(0) }), claim(v007, late(day)), EntryOver},
		{"service ended", Policy{EntryWindow: 2 * time.Hour}, key(dk4), claim(dk4, late(3600)), ServiceEnded},
		{"privilege missing", Policy{}, key(v007), claim(v007, func(c *Claims) { c.Need = []Privilege{PublishVideo} }), PrivilegeMissing},
		{"join missing", Policy{}, card(v007, func(c *Card) { c.Services = joinOnly(0); c.Services[0].Privileges[0].Privilege = 2 }), claim(v007, nil), PrivilegeMissing},
		{"privilege expired", Policy{}, key(v007), claim(v007, func(c *Claims) { c.Need, c.At = []Privilege{PublishAudio}, at(600) }), PrivilegeExpired},
		{"join expired", Policy{}, key(v006), claim(v006, late(3600)), PrivilegeExpired},
		{"splice", Policy{}, splice("room1", "23"), claim(v006, func(c *Claims) { c.Channel, c.User = "room1", UID(23) }), UnsafeSplice},
		{"splice to everybody", Policy{}, splice("room123", ""), claim(v006, func(c *Claims) { c.Channel = "room123" }), UnsafeSplice},
		{"splice to an account", Policy{}, splice("ro", "om123"), claim(v006, func(c *Claims) { c.Channel, c.User = "ro", "om123" }), UnsafeSplice},
		{"collision", Policy{}, dk1FromDK2, claim(dk1, func(c *Claims) { c.Channel = collision }), UnsafeCollision},
	} {
		v := newVerifier(t, testApp(), test.policy)
		_, err := v.Verify(test.token, test.claims)
		if !errors.Is(err, test.want) || ReasonOf(err) != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
		if err != nil && (strings.Contains(err.Error(), testCert) || test.token != "" && strings.Contains(err.Error(), test.token)) {
			t.Errorf("%s: the error holds the key or the certificate: %v", test.name, err)
		}
	}
}

// TestSwitchAdmits shows for every unsafe form that its switch admits it.
func TestSwitchAdmits(t *testing.T) {
	all := samples()
	dk2, v006 := all[1], all[8]
	k2 := mint(t, dk2.card)
	c := dk2.claim
	c.Channel = "room" + k2[90:]
	v := newVerifier(t, testApp(), Policy{Legacy: Legacy{CollidingNames: true}})
	if _, err := v.Verify(k2[:90], c); err != nil {
		t.Errorf("colliding-names: %v", err)
	}
	card := v006.card
	card.Channel, card.User = "room1", UID(23)
	c = v006.claim
	c.Channel, c.User = "room1", UID(23)
	v = newVerifier(t, testApp(), Policy{Legacy: Legacy{SplicedNames: true}})
	if _, err := v.Verify(mintWith(t, Legacy{SplicedNames: true}, card), c); err != nil {
		t.Errorf("spliced-names: %v", err)
	}

	short := App{ID: "abc", Primary: NewCertificate([]byte("secret"))}
	card = all[3].card
	padded, err := newIssuer(t, short, Legacy{LooseIDs: true, PaddedIDs: true}).Mint(card)
	if err != nil {
		t.Fatal(err)
	}
	v = newVerifier(t, short, Policy{Legacy: Legacy{LooseIDs: true}})
	if _, err := v.Verify(padded, all[3].claim); !errors.Is(err, UnsafePadding) {
		t.Errorf("padded-ids off: %v", err)
	}
	v = newVerifier(t, short, Policy{Legacy: Legacy{LooseIDs: true, PaddedIDs: true}})
	if _, err := v.Verify(padded, all[3].claim); err != nil {
		t.Errorf("padded-ids on: %v", err)
	}
}

func allButOrder() Legacy {
	l := allLegacy()
	l.PaddedIDs = false
	return l
}

func joinOnly(seconds uint32) []Grant007 {
	return []Grant007{{Service: Media, Channel: "room", User: UID(123), Privileges: []PrivilegeLife{{JoinChannel, seconds}}}}
}

// signed007 returns a well signed payload with one service in the given bytes.
func signed007(t testing.TB, s sample, service string) []byte {
	t.Helper()
	h, _, err := split007(string(unpack007(t, mint(t, s.card))))
	if err != nil {
		t.Fatal(err)
	}
	body := append([]byte(h.body[:2+idLen+12]), 1, 0)
	body = append(body, service...)
	sum, _ := sign007([]byte(testCert), h.issued, h.salt, body, nil)
	return append(appendStr(nil, string(sum[:])), body...)
}

func TestSuspects(t *testing.T) {
	for f, want := range map[Format]string{
		DK1:       "[wrong-certificate other-channel]",
		DK4:       "[wrong-certificate other-channel other-user other-service]",
		DK5:       "[wrong-certificate other-channel other-user]",
		Signaling: "[wrong-certificate other-user]",
	} {
		var r *Refusal
		if !errors.As(refuse(NotAuthentic, f), &r) {
			t.Fatal("no refusal")
		}
		got := fmt.Sprintf("%s", names(r.Suspects()))
		if got != want {
			t.Errorf("%s: %s, want %s", f, got, want)
		}
	}
}

func names(reasons []Reason) (s []string) {
	for _, r := range reasons {
		s = append(s, r.String())
	}
	return s
}

// TestCodeTable compares the table in the package's documentation with the rows.
func TestCodeTable(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	code := func(n int) string {
		if n == 0 {
			return "-"
		}
		return fmt.Sprint(n)
	}
	for _, r := range Reasons() {
		line := fmt.Sprintf("//\t%-19s %-7s %s", r.String(), code(r.NativeCode()), code(r.WebCode()))
		if !bytes.Contains(doc, []byte(line)) {
			t.Errorf("doc.go lacks the line %q", line)
		}
		if r.Hint() == "" || r.Error() == "" {
			t.Errorf("%d has no words or no hint", r)
		}
	}
}

func TestCertificateIsSecret(t *testing.T) {
	app := testApp()
	holders := []any{app, &app, app.Primary, &app.Primary, []Certificate{app.Primary},
		*newIssuer(t, app, Legacy{}), *newVerifier(t, app, Policy{})}
	for _, h := range holders[:5] {
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "holder", h)
		encoded, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{fmt.Sprint(h), fmt.Sprintf("%+v %#v %s %q %x %d", h, h, h, h, h, h), logged.String(), string(encoded)} {
			if strings.Contains(s, testCert) || strings.Contains(s, fmt.Sprintf("%x", testCert)) || strings.Contains(s, "53 67 70") {
				t.Errorf("%T tells its secret: %s", h, s)
			}
		}
	}
	c := NewCertificate([]byte(testCert))
	c.Wipe()
	if strings.Trim(string(c.Reveal()), "\x00") != "" {
		t.Error("a wiped certificate is still there")
	}
}
