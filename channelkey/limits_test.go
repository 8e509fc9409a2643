package channelkey

import (
	"encoding/binary"
	"strings"
	"testing"
)

// TestLimits: at a limit a key is written, read and admitted; one beyond it is not.
func TestLimits(t *testing.T) {
	all := samples()
	dk4, dk5, v006, v007 := all[3], all[5], all[8], all[10]
	name := func(n int) string { return strings.Repeat("a", n) }
	rtm2 := func(r ...Resource) func(*Card, *Claims) {
		return func(c *Card, claim *Claims) {
			c.Services = []Grant007{{Service: RTM2, User: "alice", Privileges: []PrivilegeLife{{LoginRTM, 0}}, Resources: r}}
			claim.Channel, claim.User, claim.Service, claim.Need = "", "alice", RTM2, nil
		}
	}
	for _, test := range []struct {
		name   string
		base   sample
		legacy Legacy
		good   int
		change func(n int, c *Card, claim *Claims)
	}{
		{"bytes of a channel", dk4, Legacy{}, 63, func(n int, c *Card, claim *Claims) { c.Channel = name(n); claim.Channel = c.Channel }},
		{"bytes of a channel by 16 bits", dk4, Legacy{Names: true}, 65535, func(n int, c *Card, claim *Claims) { c.Channel = name(n); claim.Channel = c.Channel }},
		{"bytes of an account", v007, Legacy{}, 255, func(n int, c *Card, claim *Claims) {
			c.Services = joinOnly(0)
			c.Services[0].User, claim.User = User(name(n)), User(name(n))
		}},
		{"entries of extra", dk5, Legacy{}, maxExtra, func(n int, c *Card, claim *Claims) {
			c.Extra = nil
			for i := range n {
				c.Extra = append(c.Extra, Extra{uint16(i + 2), "x"})
			}
		}},
		{"privileges of a 006", v006, Legacy{Incomplete: true}, maxPrivileges, func(n int, c *Card, claim *Claims) {
			c.Privileges = nil
			for i := range n {
				c.Privileges = append(c.Privileges, Grant006{Privilege(i + 1), 0})
			}
		}},
		{"privileges of a 007", v007, Legacy{Incomplete: true}, maxPrivileges, func(n int, c *Card, claim *Claims) {
			c.Services = joinOnly(0)
			c.Services[0].Privileges = nil
			for i := range n {
				c.Services[0].Privileges = append(c.Services[0].Privileges, PrivilegeLife{Privilege(i + 1), 0})
			}
		}},
		{"kinds of resource", v007, Legacy{}, 256, func(n int, c *Card, claim *Claims) {
			var r []Resource
			for i := range n {
				r = append(r, Resource{Kind: uint16(i)})
			}
			rtm2(r...)(c, claim)
		}},
		{"rights", v007, Legacy{}, 256, func(n int, c *Card, claim *Claims) {
			var r []Right
			for i := range n {
				r = append(r, Right{Right: uint16(i)})
			}
			rtm2(Resource{Rights: r})(c, claim)
		}},
	} {
		for n := test.good; n <= test.good+1; n++ {
			c, claim := test.base.card, test.base.claim
			test.change(n, &c, &claim)
			token, err := newIssuer(t, testApp(), test.legacy).Mint(c)
			if (err == nil) != (n == test.good) {
				t.Errorf("%d %s: %v", n, test.name, err)
			}
			if err != nil {
				continue
			}
			if _, err := Parse(token, test.legacy); err != nil {
				t.Errorf("%d %s: %v", n, test.name, err)
			}
			if _, err := newVerifier(t, testApp(), Policy{Legacy: test.legacy}).Verify(token, claim); err != nil {
				t.Errorf("%d %s: %v", n, test.name, err)
			}
		}
	}
}

// TestTwice: what comes twice in a map has no one meaning and is refused, although the
// signature fits. Mint does not write it, so it is put together here.
func TestTwice(t *testing.T) {
	le := binary.LittleEndian
	u16 := func(n ...uint16) (b []byte) {
		for _, n := range n {
			b = le.AppendUint16(b, n)
		}
		return b
	}
	service := func(parts ...[]byte) string {
		var b []byte
		for _, p := range parts {
			b = append(b, p...)
		}
		return string(b)
	}
	login := append(u16(8, 1, 1), 0, 0, 0, 0)
	user := appendStr(nil, "alice")
	v := newVerifier(t, testApp(), Policy{IgnoreTime: true})
	claim := Claims{User: "alice", Service: RTM2}
	card := samples()[10]
	for name, s := range map[string]struct {
		payload string
		twice   bool
	}{
		"two kinds":          {service(login, user, u16(2, 0, 0, 1, 0)), false},
		"a kind twice":       {service(login, user, u16(2, 1, 0, 1, 0)), true},
		"two rights":         {service(login, user, u16(1, 0, 2, 0, 0, 1, 0)), false},
		"a right twice":      {service(login, user, u16(1, 0, 2, 1, 0, 1, 0)), true},
		"a privilege twice":  {service(u16(8, 2, 1), make([]byte, 4), u16(1), make([]byte, 4), user, u16(0)), true},
		"one privilege":      {service(login, user, u16(0)), false},
		"more than there is": {service(login, user, u16(9)), true},
	} {
		token := tell007(signed007(t, card, s.payload))
		_, err := v.Verify(token, claim)
		_, parseErr := Parse(token, Legacy{})
		if s.twice != (ReasonOf(err) == Malformed) || s.twice != (ReasonOf(parseErr) == Malformed) || !s.twice && err != nil {
			t.Errorf("%s: %v, %v", name, err, parseErr)
		}
	}
}
