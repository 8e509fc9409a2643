package channelkey

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"
)

// fuzzText feeds texts to the parser and the verifier: they must agree on what is
// malformed, and nothing that the seeds do not hold may open the door.
func fuzzText(f *testing.F, format Format) {
	v := newVerifier(f, testApp(), Policy{IgnoreTime: true})
	seeds := map[string]bool{}
	var claims []Claims
	for _, s := range samples() {
		if s.card.Format == format {
			token := mint(f, s.card)
			seeds[token] = true
			claims = append(claims, s.claim)
			f.Add(token)
			f.Add(token[:len(token)-1])
			f.Add(token + "0")
		}
	}
	f.Fuzz(func(t *testing.T, token string) {
		card, parseErr := Parse(token, Legacy{})
		checkRefusal(t, token, parseErr)
		if parseErr == nil {
			card.Warnings()
			card.Unproven()
			card.Made()
			card.End()
		}
		for _, c := range claims {
			g, err := v.Verify(token, c)
			checkRefusal(t, token, err)
			if err == nil && parseErr != nil {
				t.Fatalf("verifies but cannot be read: %v", parseErr)
			}
			if err == nil && g.CardID() != card.ID() {
				t.Fatal("the card has two names")
			}
			if err == nil && !seeds[token] && format != V007 {
				t.Fatal("opens the door with a text that nobody minted")
			}
		}
	})
}

func checkRefusal(t *testing.T, token string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var r *Refusal
	if !errors.As(err, &r) || r.Reason() == 0 {
		t.Fatalf("an error without a reason: %v", err)
	}
	limit := len(token)
	n, payload := r.Byte()
	if payload {
		limit = MaxPayload
	}
	if r.Reason() == Malformed && (n < 0 || n > limit) {
		t.Fatalf("malformed at byte %d of %d", n, limit)
	}
	_ = err.Error()
}

func FuzzDK1(f *testing.F)       { fuzzText(f, DK1) }
func FuzzDK2(f *testing.F)       { fuzzText(f, DK2) }
func FuzzDK3(f *testing.F)       { fuzzText(f, DK3) }
func FuzzDK4(f *testing.F)       { fuzzText(f, DK4) }
func FuzzDK5(f *testing.F)       { fuzzText(f, DK5) }
func FuzzSignaling(f *testing.F) { fuzzText(f, Signaling) }
func Fuzz006(f *testing.F)       { fuzzText(f, V006) }
func Fuzz007(f *testing.F)       { fuzzText(f, V007) }

// FuzzPayload feeds decoded payloads of dk5, 006 and 007, which a fuzzer does not
// find behind base64, zlib and a signature: those of 007 are signed well.
func FuzzPayload(f *testing.F) {
	all := samples()
	for _, s := range all {
		token := mint(f, s.card)
		switch s.card.Format {
		case DK5:
			raw, _ := base64.StdEncoding.DecodeString(token[len(prefixDK5):])
			f.Add(uint8(0), raw)
		case V006:
			raw, _ := base64.StdEncoding.DecodeString(token[head006:])
			f.Add(uint8(1), raw)
		case V007:
			f.Add(uint8(2), unpack007(f, token)[2+32:])
		}
	}
	l := allButOrder()
	rtm2 := Card{Format: V007, Services: []Grant007{{Service: RTM2, User: "a", Resources: []Resource{{0, []Right{{0, []string{"x"}}}}}},
		{Service: APaaS, Channel: "r", User: "u", Role: -1}}}
	f.Add(uint8(2), unpack007(f, mintWith(f, l, rtm2))[2+32:])
	strict := newVerifier(f, testApp(), Policy{IgnoreTime: true})
	issuer := newIssuer(f, testApp(), Legacy{KeepOrder: true, Names: true, Incomplete: true, ZeroAccount: true, SplicedNames: true})
	f.Fuzz(func(t *testing.T, kind uint8, payload []byte) {
		if len(payload) > MaxPayload-34 {
			return
		}
		var token string
		switch kind {
		case 0:
			token = prefixDK5 + base64.StdEncoding.EncodeToString(payload)
		case 1:
			token = prefix006 + testID + base64.StdEncoding.EncodeToString(payload)
		case 2:
			h, _, err := split007(string(append(appendStr(nil, string(make([]byte, 32))), payload...)))
			if err != nil {
				return
			}
			sum, _ := sign007([]byte(testCert), h.issued, h.salt, payload, nil)
			token = tell007(append(appendStr(nil, string(sum[:])), payload...))
		default:
			return
		}
		card, parseErr := Parse(token, Legacy{})
		checkRefusal(t, token, parseErr)
		for _, s := range all {
			_, err := strict.Verify(token, s.claim)
			checkRefusal(t, token, err)
			if err == nil && parseErr != nil {
				t.Fatalf("verifies but cannot be read: %v", parseErr)
			}
		}

		// What can be read to the end and minted again is the same payload.
		if parseErr != nil || kind != 2 || len(card.Opaque) > 0 || card.AppID != testID {
			return
		}
		again, err := issuer.Mint(card)
		if err != nil {
			return // an empty account, for one
		}
		if got := unpack007(t, again); !bytes.Equal(got[2+32:], payload) {
			t.Fatalf("minted again it is\n%x, was\n%x", got[2+32:], payload)
		}
	})
}

// FuzzMintParseVerify is the differential one: a key minted from fuzzed fields must
// say these fields and open for them.
func FuzzMintParseVerify(f *testing.F) {
	f.Add(uint8(3), "room", "123", uint32(1), uint32(2), uint32(3), uint8(0))
	f.Add(uint8(8), "room", "alice", uint32(1), uint32(2), uint32(3), uint8(4))
	l := allButOrder()
	l.KeepOrder = false
	issuer := newIssuer(f, testApp(), l)
	v := newVerifier(f, testApp(), Policy{IgnoreTime: true, Legacy: l})
	f.Fuzz(func(t *testing.T, format uint8, channel, user string, issued, expires, random uint32, service uint8) {
		c := Card{Format: Format(format), Channel: channel, User: User(user), Issued: issued, Expires: expires, Random: random, Service: Service(service)}
		claims := Claims{Channel: channel, User: User(user), Service: Service(service), Need: []Privilege{}}
		switch c.Format {
		case V006:
			c.Expires, c.Service, claims.Service = 0, 0, 0
			c.Privileges = []Grant006{{JoinChannel, expires}}
		case V007:
			c.Channel, c.User, c.Service = "", "", 0
			c.Services = []Grant007{{Service: Service(service), Channel: channel, User: User(user), Privileges: []PrivilegeLife{{1, expires}}}}
		case Signaling:
			claims.Service = RTM
		}
		token, err := issuer.Mint(c)
		if err != nil {
			return
		}
		got, err := Parse(token, l)
		if err != nil {
			t.Fatal(err)
		}
		if got.Format != c.Format || got.Issued != c.Issued || got.Random != c.Random || got.Expires != c.Expires {
			t.Fatalf("says %+v, minted from %+v", got, c)
		}
		g, err := v.Verify(token, claims)
		if err != nil {
			t.Fatalf("%s: %v", c.Format, err)
		}
		if g.CardID() != got.ID() {
			t.Fatal("the card has two names")
		}
	})
}

// FuzzVectors feeds vector files to the runner.
func FuzzVectors(f *testing.F) {
	f.Add([]byte(`{"kind":"channelkey","vectors":[{"format":"007","token":"007","services":[{"type":1}]}]}`))
	f.Add([]byte(`{"kind":"channelkey-negative","vectors":[{"format":"dk4","token":"","expect":"reject","uid":1}],"more":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if report, err := RunVectors(data); err == nil {
			report.Write(&bytes.Buffer{})
		}
	})
}
