package channelkey

import (
	"strings"
	"testing"
)

// TestMintRefuses gives Mint what it must not write, and the switch that lets it.
func TestMintRefuses(t *testing.T) {
	all := samples()
	dk1, dk4, dk5, signaling, v006, rtm006, v007 := all[0], all[3], all[5], all[7], all[8], all[9], all[10]
	media := func(change func(*Grant007)) func(*Card) {
		return func(c *Card) {
			g := c.Services[0]
			change(&g)
			c.Services = []Grant007{g}
		}
	}
	for _, test := range []struct {
		name   string
		base   sample
		change func(*Card)
		words  string
		by     *Legacy // admits it; nil: nothing does
	}{
		{"no format", dk4, func(c *Card) { c.Format = 0 }, "needs a format", nil},
		{"static", dk4, func(c *Card) { c.Format = StaticID }, "needs a format", nil},
		{"other app", dk4, func(c *Card) { c.AppID = strings.Repeat("a", 32) }, "card is for app ID", nil},
		{"empty channel", dk4, func(c *Card) { c.Channel = "" }, "channel name is empty", &Legacy{Names: true}},
		{"64 bytes", dk4, func(c *Card) { c.Channel = strings.Repeat("a", 64) }, "64 bytes", &Legacy{Names: true}},
		{"UTF-8", dk4, func(c *Card) { c.Channel = "频道" }, `character '频' at byte 0`, &Legacy{Names: true}},
		{"slash", dk5, func(c *Card) { c.Channel = "a/b" }, `character '/' at byte 1`, &Legacy{Names: true}},
		{"too long for 16 bits", dk5, func(c *Card) { c.Channel = strings.Repeat("a", 65536) }, "at most 65535", nil},
		{"account in dk4", dk4, func(c *Card) { c.User = "alice" }, "users by number", nil},
		{"big uid", dk4, func(c *Card) { c.User = "4294967296" }, "users by number", nil},
		{"padded uid", dk4, func(c *Card) { c.User = "0123" }, "users by number", nil},
		{"account 0 in dk4", dk4, func(c *Card) { c.User = "0" }, `"0" is not uid 0`, nil},
		{"service of dk4", dk4, func(c *Card) { c.Service = RTM }, "media, recording and sharing", nil},
		{"service of dk5", dk5, func(c *Card) { c.Service = Chat }, "in-channel", nil},
		{"uid in dk1", dk1, func(c *Card) { c.User = UID(1) }, "no field User", nil},
		{"privileges in dk4", dk4, func(c *Card) { c.Privileges = []Grant006{{1, 1}} }, "no field Privileges", nil},
		{"colliding dk1", dk1, func(c *Card) { c.Channel = "ABC00000001231446455471" }, "twenty digits", &Legacy{CollidingNames: true}},
		{"upload 7", dk5, func(c *Card) { c.Service, c.Extra = InChannel, []Extra{{1, "7"}} }, "upload permission", &Legacy{Incomplete: true}},
		{"extra twice", dk5, func(c *Card) { c.Extra = []Extra{{1, "0"}, {1, "3"}} }, "twice", nil},
		{"channel in signaling", signaling, func(c *Card) { c.Channel = "room" }, "no field Channel", nil},
		{"nobody in signaling", signaling, func(c *Card) { c.User = "" }, "one account", &Legacy{Names: true}},
		{"account 0", v006, func(c *Card) { c.User = "0" }, `"0" is not uid 0`, &Legacy{ZeroAccount: true}},
		{"digit tail", v006, func(c *Card) { c.Channel = "room1" }, "run together", &Legacy{SplicedNames: true}},
		{"text account", v006, func(c *Card) { c.User = "alice" }, "run together", &Legacy{SplicedNames: true}},
		{"long account", v006, func(c *Card) { c.User = User(strings.Repeat("a", 256)) }, "256 bytes", nil},
		{"unknown privilege", v006, func(c *Card) { c.Privileges = []Grant006{{55, 0}} }, "no known number", &Legacy{Incomplete: true}},
		{"privilege twice", v006, func(c *Card) { c.Privileges = []Grant006{{1, 0}, {1, 1}} }, "twice", nil},
		{"mixed", rtm006, func(c *Card) { c.Privileges = []Grant006{{1000, 0}, {1, 0}} }, "no other privilege", &Legacy{Incomplete: true}},
		{"no service", v007, func(c *Card) { c.Services = nil }, "no service", &Legacy{Incomplete: true}},
		{"unknown service", v007, media(func(g *Grant007) { g.Service = 77 }), "no service unknown", nil},
		{"a dk service", v007, media(func(g *Grant007) { g.Service = Recording }), "no service recording", nil},
		{"empty channel 007", v007, media(func(g *Grant007) { g.Channel = "" }), "channel name is empty", &Legacy{Names: true}},
		{"role", v007, media(func(g *Grant007) { g.Role = 1 }), "no role", nil},
		{"privilege 9", v007, media(func(g *Grant007) { g.Privileges = []PrivilegeLife{{9, 0}} }), "no such privilege", &Legacy{Incomplete: true}},
		{"privilege twice 007", v007, media(func(g *Grant007) { g.Privileges = []PrivilegeLife{{1, 0}, {1, 1}} }), "twice", nil},
		{"channel in 007", v007, func(c *Card) { c.Channel = "room" }, "no field Channel", nil},
		{"too long", v007, func(c *Card) {
			c.Services = []Grant007{{Service: RTM2, User: "alice", Resources: []Resource{{0, []Right{{0, []string{strings.Repeat("a", 65000), strings.Repeat("b", 600)}}}}}}}
		}, "longer than 64 KiB", nil},
	} {
		c := test.base.card
		test.change(&c)
		_, err := newIssuer(t, testApp(), Legacy{}).Mint(c)
		if err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v, want %q", test.name, err, test.words)
		}
		if test.by == nil {
			continue
		}
		if _, err := newIssuer(t, testApp(), *test.by).Mint(c); err != nil {
			t.Errorf("%s: with its switch: %v", test.name, err)
		}
	}
}

func TestAppForm(t *testing.T) {
	cert := NewCertificate([]byte(testCert))
	for _, test := range []struct {
		name  string
		app   App
		words string
	}{
		{"no ID", App{Primary: cert}, "0 characters"},
		{"short ID", App{ID: "abc", Primary: cert}, "3 characters"},
		{"no hex", App{ID: strings.Repeat("g", 32), Primary: cert}, "not hexadecimal"},
		{"no certificate", App{ID: testID}, "no primary certificate"},
		{"line break", App{ID: testID, Primary: NewCertificate([]byte(testCert + "\n"))}, "line break"},
		{"secondary", App{ID: testID, Primary: cert, Secondary: NewCertificate([]byte("x"))}, "another form"},
	} {
		if _, err := NewIssuer(test.app, Legacy{}); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v, want %q", test.name, err, test.words)
		}
		if _, err := NewVerifier(test.app, Policy{}); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v, want %q", test.name, err, test.words)
		}
	}
	a, b := NewApp(), NewApp()
	if a.ID == b.ID || string(a.Primary.Reveal()) == string(a.Secondary.Reveal()) {
		t.Error("two new apps are alike")
	}
	if _, err := NewIssuer(a, Legacy{}); err != nil {
		t.Error(err)
	}
}

func TestUint32(t *testing.T) {
	for _, n := range []int64{-1, 1 << 32, -1 << 63, 1<<63 - 1} {
		if _, err := Uint32(n, Legacy{}); err == nil {
			t.Errorf("%d fits", n)
		}
	}
	if n, err := Uint32(-1, Legacy{WrappedIntegers: true}); err != nil || n != 1<<32-1 {
		t.Errorf("-1 wraps to %d, %v", n, err)
	}
	if n, err := Uint32(1<<32-1, Legacy{}); err != nil || n != 1<<32-1 {
		t.Errorf("%d, %v", n, err)
	}
}

// TestSecondaryCertificate rotates a certificate: both are accepted, and told apart.
func TestSecondaryCertificate(t *testing.T) {
	second := App{ID: testID, Primary: NewCertificate([]byte(otherCert))}
	both := testApp()
	both.Secondary = second.Primary
	v := newVerifier(t, both, Policy{})
	issuer := newIssuer(t, second, Legacy{})
	for _, s := range samples() {
		g, err := v.Verify(mint(t, s.card), s.claim)
		if err != nil || g.Secondary() || g.Certificate != both.CertificateID(both.Primary) {
			t.Errorf("%s primary: %v, %v", s.card.Format, g.Secondary(), err)
		}
		k, err := issuer.Mint(s.card)
		if err != nil {
			t.Fatal(err)
		}
		h, err := v.Verify(k, s.claim)
		if err != nil || !h.Secondary() || h.Certificate != both.CertificateID(both.Secondary) {
			t.Errorf("%s secondary: %v, %v", s.card.Format, h.Secondary(), err)
		}
		if g.CardID() == h.CardID() {
			t.Errorf("%s: two keys have one name", s.card.Format)
		}
		card, err := Parse(k, Legacy{})
		if err != nil || card.ID() != h.CardID() {
			t.Errorf("%s: Parse and Verify name the card differently", s.card.Format)
		}
	}
	v.Wipe()
	if _, err := v.Verify(mint(t, samples()[3].card), samples()[3].claim); err == nil {
		t.Error("a wiped verifier accepts")
	}
}
