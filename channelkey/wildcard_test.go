package channelkey

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "anything", true}, {"*", "", true}, {"*", "x", true}, {"1*a*2", "1a2", true}, {"1*a*2", "1xxaxx2", true},
		{"1*a*2", "1xx2", false}, {"1*a*2", "1a2x", false}, {"a*", "a", true}, {"a*", "ba", false}, {"*a", "ba", true},
		{"*a", "ab", false}, {"a*b", "aab", true}, {"a**b", "ab", true}, {"*ab*", "aab", true}, {"a*a", "a", false},
	} {
		if matches(test.pattern, test.name) != test.want {
			t.Errorf("%q and %q: %v", test.pattern, test.name, !test.want)
		}
	}
	// The same in other words.
	var plain func(p, s string) bool
	plain = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return plain(p[1:], s) || s != "" && plain(p, s[1:])
		}
		return s != "" && p[0] == s[0] && plain(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		p, s := rapid.StringMatching(`[ab*]{1,8}`).Draw(t, "pattern"), rapid.StringMatching(`[ab]{0,10}`).Draw(t, "name")
		if matches(p, s) != plain(p, s) {
			t.Fatalf("%q and %q: %v", p, s, matches(p, s))
		}
	})
}

// TestWildcards: uid 0 is admitted as documented unless it is forbidden, channel
// patterns only where they are allowed, and an empty user is a wildcard in those
// services only that say so.
func TestWildcards(t *testing.T) {
	card := func(s Service, channel string, user User) string {
		return mintWith(t, Legacy{Names: true}, Card{Format: V007, Issued: testTime, Expires: 600,
			Services: []Grant007{{Service: s, Channel: channel, User: user, Privileges: []PrivilegeLife{{1, 0}}}}})
	}
	for _, test := range []struct {
		token  string
		claims Claims
		policy Policy
		want   Reason // 0: admitted
	}{
		{card(Media, "room", ""), Claims{Channel: "room", User: "alice"}, Policy{}, 0},
		{card(Media, "room", "*"), Claims{Channel: "room", User: "alice"}, Policy{}, 0},
		{card(Media, "room", ""), Claims{Channel: "room", User: "alice"}, Policy{ForbidWildcard: true}, WildcardForbidden},
		{card(Media, "r*m", "alice"), Claims{Channel: "room", User: "alice"}, Policy{}, WildcardForbidden},
		{card(Media, "r*m", "alice"), Claims{Channel: "room", User: "alice"}, Policy{ChannelWildcards: true}, 0},
		{card(Media, "r*m", "alice"), Claims{Channel: "hall", User: "alice"}, Policy{ChannelWildcards: true}, OtherChannel},
		{card(Media, "", "alice"), Claims{Channel: "room", User: "alice"}, Policy{ChannelWildcards: true}, 0},
		{card(Media, "", "alice"), Claims{Channel: "room", User: "alice"}, Policy{}, WildcardForbidden},
		{card(RTM, "", ""), Claims{User: "alice", Service: RTM}, Policy{}, OtherUser},
		{card(Chat, "", ""), Claims{User: "alice", Service: Chat}, Policy{}, OtherUser},
		{card(APaaS, "", "alice"), Claims{Channel: "room", User: "alice", Service: APaaS}, Policy{ChannelWildcards: true}, OtherChannel},
		{card(FCDN, "room", ""), Claims{Channel: "room", User: "alice", Service: FCDN}, Policy{}, 0},
	} {
		test.claims.At = at(1)
		g, err := newVerifier(t, testApp(), test.policy).Verify(test.token, test.claims)
		if test.want == 0 && err != nil || test.want != 0 && !errors.Is(err, test.want) {
			t.Errorf("%+v: %v, want %s", test.claims, err, test.want.String())
		}
		if err == nil && g.Wildcard != (g.User == "alice" && test.policy.ForbidWildcard == false && !test.policy.ChannelWildcards) {
			t.Errorf("%+v: wildcard is %v", test.claims, g.Wildcard)
		}
	}
}
