package channelkey

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The benchmarks verify at one moment, with the certificate's state prepared, and
// beside them what a JSON web token costs: golang-jwt, HS256, three claims of its
// own and an expiry.

func benchmarkVerify(b *testing.B, s sample) {
	v := newVerifier(b, testApp(), Policy{})
	token := mint(b, s.card)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(token, s.claim); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	all := samples()
	for _, n := range []int{0, 1, 2, 3, 5, 7, 8, 10} {
		b.Run("op=verify/format="+all[n].card.Format.String(), func(b *testing.B) { benchmarkVerify(b, all[n]) })
	}
	wide := wideSample()
	b.Logf("the wide 007 inflates to %d bytes", len(unpack007(b, mint(b, wide.card))))
	b.Run("op=verify/format=007-wide", func(b *testing.B) { benchmarkVerify(b, wide) })

	benchmarkJWT(b, "jwt-hs256", all[0].claim.at, &jwtClaims{Channel: "room", UID: 123, Service: "ACS"})
	carries := &jwtClaims{Channel: wide.claim.Channel, UID: 2882341273}
	for _, g := range wide.card.Services {
		carries.Services = append(carries.Services, jwtService{g.Service.String(), g.Channel, string(g.User), g.Privileges})
	}
	benchmarkJWT(b, "jwt-hs256-wide", all[0].claim.at, carries)
}

// jwtClaims is what a web token says in place of a channel key. The wide one carries
// the services and privileges of the wide 007.
type jwtClaims struct {
	Channel  string       `json:"channel"`
	UID      uint32       `json:"uid"`
	Service  string       `json:"service,omitempty"`
	Services []jwtService `json:"services,omitempty"`
	jwt.RegisteredClaims
}

type jwtService struct {
	Service    string          `json:"service"`
	Channel    string          `json:"channel,omitempty"`
	User       string          `json:"user,omitempty"`
	Privileges []PrivilegeLife `json:"privileges"`
}

func benchmarkJWT(b *testing.B, name string, now func() time.Time, c *jwtClaims) {
	b.Run("op=verify/format="+name, func(b *testing.B) {
		key := []byte(testCert)
		c.ExpiresAt = jwt.NewNumericDate(at(3600))
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(key)
		if err != nil {
			b.Fatal(err)
		}
		parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(now))
		b.ReportAllocs()
		for b.Loop() {
			var got jwtClaims
			if _, err := parser.ParseWithClaims(token, &got, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMint(b *testing.B) {
	issuer := newIssuer(b, testApp(), Legacy{})
	for _, n := range []int{3, 8, 10} {
		s := samples()[n]
		b.Run("op=mint/format="+s.card.Format.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := issuer.Mint(s.card); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// wideSample is a 007 with most services, some twice, of nearly 512 bytes inflated.
func wideSample() sample {
	wide := samples()[10]
	every := func(n int) (p []PrivilegeLife) {
		for i := range n {
			p = append(p, PrivilegeLife{Privilege(i + 1), 3600})
		}
		return p
	}
	channel := "7d72365eb983485397e3e3f9d460bdda"
	wide.card.Services = []Grant007{
		{Service: Media, Channel: channel, User: UID(2882341273), Privileges: every(4)},
		{Service: Media, Channel: "5cfd2fd1755d40ecb72977518be15d3b", User: UID(2882341273), Privileges: every(4)},
		{Service: RTM, User: "2882341273", Privileges: every(1)},
		{Service: RTM, User: "test_user", Privileges: every(1)},
		{Service: Streaming, Channel: channel, User: "2882341273", Privileges: every(2)},
		{Service: FPA, Privileges: every(1)},
		{Service: Chat, User: "2882341273", Privileges: every(2)},
		{Service: FCDN, Channel: channel, User: "2882341273", Privileges: every(2)},
		{Service: APaaS, Channel: channel, User: "2882341273", Role: -1, Privileges: every(3)},
	}
	wide.claim.Channel, wide.claim.User = channel, UID(2882341273)
	return wide
}
