package channelkey

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// reference writes a key straight from the published layouts, one after the other,
// sharing no code with the package. Of a 007 it returns the payload.
func reference(c Card, id, cert string) string {
	mac := func(h func() hash.Hash, key, msg string) string {
		m := hmac.New(h, []byte(key))
		m.Write([]byte(msg))
		return string(m.Sum(nil))
	}
	u16 := func(n int) string { return string(binary.LittleEndian.AppendUint16(nil, uint16(n))) }
	u32 := func(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
	str := func(s string) string { return u16(len(s)) + s }
	uid, _ := strconv.ParseUint("0"+string(c.User), 10, 32)
	ts, rnd := fmt.Sprintf("%010d", c.Issued), fmt.Sprintf("%08x", c.Random)
	uid10, exp10 := fmt.Sprintf("%010d", uid), fmt.Sprintf("%010d", c.Expires)
	switch c.Format {
	case DK1:
		return fmt.Sprintf("%x", mac(sha1.New, cert, id+ts+rnd+c.Channel)) + id + ts + rnd
	case DK2, DK3:
		return map[Format]string{DK2: "", DK3: "003"}[c.Format] +
			fmt.Sprintf("%x", mac(sha1.New, cert, id+ts+rnd+c.Channel+uid10+exp10)) + id + ts + rnd + uid10 + exp10
	case DK4:
		service := map[Service]string{Media: "ACS", Recording: "ARS", Sharing: "APSS"}[c.Service]
		return "004" + fmt.Sprintf("%x", mac(sha1.New, cert, service+id+ts+rnd+c.Channel+uid10+exp10)) + id + ts + rnd + exp10
	case DK5:
		rawID, _ := hex.DecodeString(id)
		rawCert, _ := hex.DecodeString(cert)
		service := u16(int(c.Service) + 1)
		extra := u16(len(c.Extra))
		for _, e := range c.Extra {
			extra += u16(int(e.Key)) + str(e.Value)
		}
		signature := fmt.Sprintf("%X", mac(sha1.New, string(rawCert), service+str(string(rawID))+u32(c.Issued)+u32(c.Random)+str(c.Channel)+u32(uint32(uid))+u32(c.Expires)+extra))
		return "005" + base64.StdEncoding.EncodeToString([]byte(service+str(signature)+str(string(rawID))+u32(c.Issued)+u32(c.Random)+u32(c.Expires)+extra))
	case Signaling:
		exp := fmt.Sprint(c.Expires)
		return "1:" + id + ":" + exp + ":" + fmt.Sprintf("%x", md5.Sum([]byte(string(c.User)+id+cert+exp)))
	case V006:
		m := u32(c.Random) + u32(c.Issued) + u16(len(c.Privileges))
		for _, p := range c.Privileges {
			m += u16(int(p.Privilege)) + u32(p.Expires)
		}
		signature := mac(sha256.New, cert, id+c.Channel+string(c.User)+m)
		return "006" + id + base64.StdEncoding.EncodeToString([]byte(str(signature)+
			u32(crc32.ChecksumIEEE([]byte(c.Channel)))+u32(crc32.ChecksumIEEE([]byte(c.User)))+str(m)))
	}
	body := str(id) + u32(c.Issued) + u32(c.Expires) + u32(c.Random) + u16(len(c.Services))
	for _, s := range c.Services {
		number := map[Service]int{Media: 1, RTM: 2, Streaming: 3, FPA: 4, Chat: 5, FCDN: 6, APaaS: 7, RTM2: 8}[s.Service]
		body += u16(number) + u16(len(s.Privileges))
		for _, p := range s.Privileges {
			body += u16(int(p.Privilege)) + u32(p.Seconds)
		}
		switch number {
		case 1, 3, 6:
			body += str(s.Channel) + str(string(s.User))
		case 2, 5:
			body += str(string(s.User))
		case 7:
			body += str(s.Channel) + str(string(s.User)) + u16(int(uint16(s.Role)))
		case 8:
			body += str(string(s.User)) + u16(len(s.Resources))
			for _, r := range s.Resources {
				body += u16(int(r.Kind)) + u16(len(r.Rights))
				for _, x := range r.Rights {
					body += u16(int(x.Right)) + u16(len(x.Names))
					for _, n := range x.Names {
						body += str(n)
					}
				}
			}
		}
	}
	key := mac(sha256.New, u32(c.Random), mac(sha256.New, u32(c.Issued), cert))
	return str(mac(sha256.New, key, body)) + body
}

// drawCard draws a card that a strict issuer mints, with ascending maps.
func drawCard(t *rapid.T) Card {
	name := rapid.StringMatching(`[a-zA-Z0-9 !#$%&()+\-:;<=.>?@\[\]^_{}|~,]{0,61}[a-z]`)
	// The uid that dk2 signs must not turn the name into another's collision.
	uid := rapid.Map(rapid.Uint32(), UID)
	user := rapid.OneOf(uid, rapid.Map(rapid.StringMatching(`[a-z]{1,20}`), func(s string) User { return User(s) }))
	account := rapid.Map(rapid.StringMatching(`[a-z0-9]{0,20}[a-z]`), func(s string) User { return User(s) })
	c := Card{Format: rapid.SampledFrom([]Format{DK1, DK2, DK3, DK4, DK5, Signaling, V006, V007}).Draw(t, "format"), AppID: testID}
	number := func(label string) uint32 { return rapid.Uint32().Draw(t, label) }
	if c.Format != Signaling {
		c.Issued, c.Random = number("issued"), number("random")
	}
	if c.Format != DK1 && c.Format != V006 {
		c.Expires = number("expires")
	}
	if c.Format <= DK5 || c.Format == V006 {
		c.Channel = name.Draw(t, "channel")
	}
	switch c.Format {
	case DK2, DK3, V006:
		c.User = uid.Draw(t, "uid")
	case DK4:
		c.User, c.Service = uid.Draw(t, "uid"), rapid.SampledFrom([]Service{Media, Recording, Sharing}).Draw(t, "service")
	case DK5:
		c.User, c.Service = uid.Draw(t, "uid"), rapid.SampledFrom([]Service{Media, Recording, Sharing, InChannel}).Draw(t, "service")
		if c.Service == InChannel {
			c.Extra = []Extra{{AllowUpload, rapid.SampledFrom([]string{"0", "3"}).Draw(t, "upload")}}
		}
	case Signaling:
		c.User = account.Draw(t, "account")
	}
	if c.Format == V006 {
		if rapid.Bool().Draw(t, "rtm") {
			c.Channel, c.User, c.Service = string(account.Draw(t, "account")), "", RTM
			c.Privileges = []Grant006{{LoginRTM006, number("until")}}
		} else {
			for _, p := range ascending(t, []Privilege{1, 2, 3, 4, 5, 6, 10, 11, 12, 101}) {
				c.Privileges = append(c.Privileges, Grant006{p, number("until")})
			}
		}
	}
	if c.Format == V007 {
		for _, s := range ascending(t, []Service{Media, RTM, Streaming, FPA, Chat, FCDN, APaaS, RTM2}) {
			row := &serviceRows[s]
			g := Grant007{Service: s}
			var all []Privilege
			for n := range row.privileges {
				all = append(all, Privilege(n+1))
			}
			for _, p := range ascending(t, all) {
				g.Privileges = append(g.Privileges, PrivilegeLife{p, number("seconds")})
			}
			if row.channel {
				g.Channel = name.Draw(t, "channel")
			}
			if row.user {
				g.User = user.Draw(t, "user")
				if g.User == "" && !row.anyUser {
					g.User = "x"
				}
			}
			if s == APaaS {
				g.Role = rapid.Int16().Draw(t, "role")
			}
			if s == RTM2 {
				for _, kind := range ascending(t, []uint16{0, 1, 2, 3, 4}) {
					r := Resource{Kind: kind}
					for _, right := range ascending(t, []uint16{0, 1}) {
						x := Right{Right: right}
						for range rapid.IntRange(0, 3).Draw(t, "names") {
							x.Names = append(x.Names, name.Draw(t, "name"))
						}
						r.Rights = append(r.Rights, x)
					}
					g.Resources = append(g.Resources, r)
				}
			}
			c.Services = append(c.Services, g)
		}
	}
	return c
}

// ascending draws at least one of the values.
func ascending[T any](t *rapid.T, values []T) (some []T) {
	for _, v := range values {
		if rapid.Bool().Draw(t, "take") {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		some = values[:1]
	}
	return some
}

// claimsOf returns claims that a card satisfies, one for each service.
func claimsOf(c Card) (all []Claims) {
	switch {
	case c.Format == V007:
		for _, s := range c.Services {
			one := Claims{Channel: s.Channel, User: s.User, Service: s.Service, Need: []Privilege{}}
			for _, p := range s.Privileges {
				one.Need = append(one.Need, p.Privilege)
			}
			all = append(all, one)
		}
		return all
	case c.Format == Signaling:
		return []Claims{{User: c.User, Service: RTM}}
	case c.Service == RTM:
		return []Claims{{User: User(c.Channel), Service: RTM}}
	case c.Format == V006:
		return []Claims{{Channel: c.Channel, User: c.User, Need: []Privilege{}}}
	}
	return []Claims{{Channel: c.Channel, User: c.User, Service: c.Service}}
}

// TestMintParseVerify: what is minted is what the layouts say, says what went in,
// and opens the door for that and for nothing else.
func TestMintParseVerify(t *testing.T) {
	issuer := newIssuer(t, testApp(), Legacy{})
	v := newVerifier(t, testApp(), Policy{IgnoreTime: true})
	rapid.Check(t, func(t *rapid.T) {
		c := drawCard(t)
		token, err := issuer.Mint(c)
		if err != nil {
			t.Fatal(err)
		}
		text := token
		if c.Format == V007 {
			if text, err = payload007(token); err != nil {
				t.Fatal(err)
			}
		}
		if text != reference(c, testID, testCert) {
			t.Fatalf("%s differs from the layout", c.Format)
		}
		if f, ok := Recognise(token); !ok || f != c.Format {
			t.Fatalf("%s is taken for %s", c.Format, f)
		}
		got, err := Parse(token, Legacy{})
		if err != nil {
			t.Fatal(err)
		}
		want := c
		for _, name := range got.Unproven() {
			switch name {
			case "channel":
				want.Channel = ""
			case "user":
				want.User = ""
			case "service":
				want.Service = 0
			}
		}
		if c.Format == DK5 {
			want.AppID = strings.ToLower(want.AppID)
		}
		want.Hash006, want.signature = got.Hash006, got.signature
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s says\n%+v\nwant\n%+v", c.Format, got, want)
		}
		for _, claim := range claimsOf(c) {
			if _, err := v.Verify(token, claim); err != nil {
				t.Fatalf("%s: %v", c.Format, err)
			}
			if claim.Channel != "" {
				claim.Channel += "x"
				if _, err := v.Verify(token, claim); err == nil {
					t.Fatalf("%s opens another channel", c.Format)
				}
			}
		}

		// One byte of the text is another: it opens nothing any more. (A text can
		// be another and the payload the same only in 007, never for one byte.)
		i := rapid.IntRange(0, len(token)-1).Draw(t, "place")
		b := []byte(token)
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		for _, claim := range claimsOf(c) {
			if _, err := v.Verify(string(b), claim); err == nil && (c.Format != V007 || !samePayload(token, string(b))) {
				t.Fatalf("%s opens with byte %d changed", c.Format, i)
			}
		}
	})
}

func samePayload(a, b string) bool {
	x, err := payload007(a)
	y, err2 := payload007(b)
	return err == nil && err2 == nil && x == y
}

// TestOrder: Mint sorts unless it is told not to, and Verify takes either.
func TestOrder(t *testing.T) {
	c := samples()[8].card
	c.Privileges = []Grant006{{1, 0}, {3, 0}, {2, 0}, {4, 0}}
	sorted := slices.Clone(c.Privileges)
	slices.SortFunc(sorted, func(a, b Grant006) int { return int(a.Privilege) - int(b.Privilege) })
	for _, test := range []struct {
		l    Legacy
		want []Grant006
	}{{Legacy{}, sorted}, {Legacy{KeepOrder: true}, c.Privileges}} {
		token := mintWith(t, test.l, c)
		got, err := Parse(token, Legacy{})
		if err != nil || !reflect.DeepEqual(got.Privileges, test.want) {
			t.Errorf("%v, %v", got.Privileges, err)
		}
		if _, err := newVerifier(t, testApp(), Policy{}).Verify(token, samples()[8].claim); err != nil {
			t.Error(err)
		}
	}
	services := []Grant007{{Service: RTM, User: "a", Privileges: []PrivilegeLife{{1, 0}}}, joinOnly(0)[0]}
	card := samples()[10].card
	card.Services = services
	for _, l := range []Legacy{{}, {KeepOrder: true}} {
		got, err := Parse(mintWith(t, l, card), Legacy{})
		if err != nil || (got.Services[0].Service == RTM) != l.KeepOrder {
			t.Errorf("%v, %v", got.Services, err)
		}
	}
}
