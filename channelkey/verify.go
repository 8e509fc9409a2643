package channelkey

import (
	"crypto/fips140"
	"fmt"
	"time"
)

// Policy says which keys a Verifier admits. The zero value is strict: five minutes
// to enter, no clock skew, no legacy forms, uid 0 in a key admitted as documented.
type Policy struct {
	// Formats are the formats that are admitted; zero for all.
	Formats Formats
	// EntryWindow is how long after its time of issue a dk1-dk5 may be used to
	// enter; 0 for DefaultEntryWindow. At its very end the key is refused.
	EntryWindow time.Duration
	// MaxLife bounds the life of a 006 and 007 whatever they say; 0 for
	// DefaultMaxLife.
	MaxLife time.Duration
	// Skew is how far in the future a key may have been made, for clocks that
	// differ. It lengthens no window.
	Skew time.Duration
	// ForbidWildcard refuses keys that let every user in: those for uid 0, and
	// every dk1.
	ForbidWildcard bool
	// ChannelWildcards admits media, streaming and CDN services of 007 whose
	// channel is empty or a pattern with "*", for every channel that fits.
	ChannelWildcards bool
	// IgnoreTime leaves all checks of time out.
	IgnoreTime bool
	// Legacy admits what older issuers made.
	Legacy Legacy
}

// The defaults of Policy.
const (
	DefaultEntryWindow = 5 * time.Minute
	DefaultMaxLife     = 24 * time.Hour
)

// Claims is what the person at the door asks for.
type Claims struct {
	Channel string
	User    User    // from UID or Account
	Service Service // Media if zero
	// Need are the privileges that a 006 or 007 must grant. Nil asks for what it
	// takes to enter the service (to join the channel, to log in); an empty slice
	// that is not nil asks for none.
	Need []Privilege
	At   time.Time // now if zero
}

func (c *Claims) at() time.Time {
	if c.At.IsZero() {
		return time.Now()
	}
	return c.At
}

// Grant is what a verified key allows. Times are unix seconds; it holds until the
// beginning of that second.
type Grant struct {
	Format  Format
	Channel string // as claimed, and proven
	User    User   // as claimed; proven unless Wildcard
	Service Service
	// Wildcard reports that the key does not bind the user.
	Wildcard bool
	// Certificate is the one that signed the key.
	Certificate CertificateID
	// EntryUntil is when the key stops opening the door.
	EntryUntil int64
	// ServiceEnd is when whoever entered with it must be out; 0 for never.
	ServiceEnd int64
	Extra      []Extra // dk5

	cert      uint8
	signature [32]byte
}

// CardID returns the name of the key that gave the grant.
func (g *Grant) CardID() CardID { return cardID(&g.signature) }

// Secondary reports that the secondary certificate signed the key.
func (g *Grant) Secondary() bool { return g.cert == 1 }

// Verifier is the door: it checks channel keys of one project. It may be used by
// many goroutines.
type Verifier struct {
	app      App
	appBytes string
	policy   Policy
	certs    []certKeys
}

// NewVerifier returns a verifier for a project. Keys signed with either of its
// certificates are accepted.
func NewVerifier(app App, p Policy) (*Verifier, error) {
	if err := app.check(p.Legacy); err != nil {
		return nil, err
	}
	if p.EntryWindow < 0 || p.MaxLife < 0 || p.Skew < 0 {
		return nil, fmt.Errorf("channelkey: policy has a negative duration, give EntryWindow, MaxLife and Skew from 0 on")
	}
	if p.EntryWindow == 0 {
		p.EntryWindow = DefaultEntryWindow
	}
	if p.MaxLife == 0 {
		p.MaxLife = DefaultMaxLife
	}
	v := &Verifier{app: App{ID: app.ID}, appBytes: idBytes(app.ID), policy: p}
	for _, c := range []Certificate{app.Primary, app.Secondary} {
		if c.IsZero() {
			continue
		}
		k := certKeys{id: app.CertificateID(c)}
		k.prepare(NewCertificate(c.text).text)
		if k.dk5 == nil {
			v.appBytes = "" // a certificate in a loose form: no dk5
		}
		v.certs = append(v.certs, k)
	}
	return v, nil
}

// Wipe destroys the verifier's copies of the certificates. It must not be in use,
// and refuses every key from then on.
func (v *Verifier) Wipe() {
	for n := range v.certs {
		clear(v.certs[n].text)
	}
	v.certs = nil
}

// Certificates returns the names of the project's certificates, primary first.
func (v *Verifier) Certificates() []CertificateID {
	var ids []CertificateID
	for n := range v.certs {
		ids = append(ids, v.certs[n].id)
	}
	return ids
}

// Verify checks a key against the claims and returns what it allows. The error is
// a *Refusal with exactly one reason. dk1 to dk4 are verified without allocation.
func (v *Verifier) Verify(token string, c Claims) (g Grant, err error) {
	if len(v.certs) == 0 {
		return Grant{}, refuse(WrongCertificate, 0)
	}
	f, ok := recognise(token, len(v.app.ID))
	switch {
	case !ok:
		return Grant{}, unrecognised(token)
	case f == StaticID:
		return Grant{}, refuse(StaticAppID, f)
	case !v.policy.Formats.has(f), formatRows[f].legacy && fips140.Enforced():
		return Grant{}, refuse(FormatForbidden, f)
	}
	if err := v.checkClaims(f, &c); err != nil {
		return Grant{}, err
	}
	switch f {
	case DK5:
		err = v.verifyDK5(&g, token, &c)
	case Signaling:
		err = v.verifySignaling(&g, token, &c)
	case V006:
		err = v.verify006(&g, token, &c)
	case V007:
		err = v.verify007(&g, token, &c)
	default:
		err = v.verifyDK(&g, f, token, &c)
	}
	if err != nil {
		g = Grant{} // nothing of a key that was refused
	}
	return g, err
}

// grant fills in what a key that fits grants, but its times.
func (v *Verifier) grant(g *Grant, f Format, signer int, c *Claims) {
	g.Format, g.Channel, g.User, g.Service = f, c.Channel, c.User, c.Service
	g.Certificate, g.cert = v.certs[signer].id, uint8(signer)
}

// checkClaims refuses claims that no key may satisfy.
func (v *Verifier) checkClaims(f Format, c *Claims) error {
	l := v.policy.Legacy
	if c.Service == Opaque {
		if f != V007 || !l.OpaqueServices {
			return refuse(OtherService, f)
		}
		return nil
	}
	if c.Service >= serviceCount {
		return refuse(UnknownService, f)
	}
	inChannel := c.Service <= InChannel || serviceRows[c.Service].channel
	if c.Service == APaaS && c.Channel == "" {
		inChannel = false
	}
	switch {
	case inChannel && !validChannel(c.Channel, l):
		return refuse(BadChannel, f)
	case !validUser(c.User, l):
		return refuse(BadUser, f)
	}
	return nil
}

// dkTimes sets the times of a dk1-dk5 and checks them. The end of entry and the
// end of service are two different refusals.
func (v *Verifier) dkTimes(g *Grant, issued, expires uint32, c *Claims) error {
	g.EntryUntil = int64(issued) + int64(v.policy.EntryWindow/time.Second)
	g.ServiceEnd = int64(expires)
	if v.policy.IgnoreTime {
		return nil
	}
	now := c.at()
	switch {
	case shifted(now, v.policy.Skew) < int64(issued):
		return refuse(NotYetValid, g.Format)
	case shifted(now, -v.policy.EntryWindow) >= int64(issued):
		return refuse(EntryOver, g.Format)
	case expires != 0 && now.Unix() >= int64(expires):
		return refuse(ServiceEnded, g.Format)
	}
	return nil
}

// shifted returns t.Add(d).Unix() for less.
func shifted(t time.Time, d time.Duration) int64 {
	ns := int64(t.Nanosecond()) + int64(d%time.Second)
	seconds := t.Unix() + int64(d/time.Second)
	switch {
	case ns < 0:
		seconds--
	case ns >= int64(time.Second):
		seconds++
	}
	return seconds
}

// accessTimes checks privileges and times of a 006 or 007. find returns until when
// a privilege is granted. g.EntryUntil is set.
func (v *Verifier) accessTimes(g *Grant, made int64, entry []Privilege, find func(Privilege) (int64, bool), c *Claims) error {
	// 1. What is needed must be there. Of the privileges that enter the service the
	// longest sets the end of service.
	entered := false
	g.ServiceEnd = g.EntryUntil
	for _, p := range entry {
		if end, ok := find(p); ok && (!entered || end > g.ServiceEnd) {
			entered, g.ServiceEnd = true, end
		}
	}
	needed := g.EntryUntil // the first end of what is needed
	if c.Need == nil && entry != nil {
		if !entered {
			return refuse(PrivilegeMissing, g.Format)
		}
		needed = g.ServiceEnd
	}
	if find != nil {
		for _, p := range c.Need {
			end, ok := find(p)
			if !ok {
				return refuse(PrivilegeMissing, g.Format)
			}
			needed = min(needed, end)
		}
	}
	g.ServiceEnd = max(g.ServiceEnd, 1) // 0 would be never
	if v.policy.IgnoreTime {
		return nil
	}

	// 2. And in time.
	now := c.at()
	switch {
	case shifted(now, v.policy.Skew) < made:
		return refuse(NotYetValid, g.Format)
	case now.Unix() >= g.EntryUntil:
		return refuse(EntryOver, g.Format)
	case now.Unix() >= needed:
		return refuse(PrivilegeExpired, g.Format)
	}
	return nil
}

// Parse reads what a key says, without a certificate: nothing of it is proven. For
// what the format does not even say see Card.Unproven. The error is a *Refusal.
func Parse(token string, l Legacy) (Card, error) {
	f, ok := Recognise(token)
	if !ok {
		return Card{}, unrecognised(token)
	}
	switch f {
	case StaticID:
		return Card{Format: StaticID, AppID: token}, nil
	case DK5:
		return parseDK5(token)
	case Signaling:
		return parseSignaling(token, l)
	case V006:
		return parse006(token, l)
	case V007:
		return parse007(token)
	}
	t, err := splitDK(f, token, anyID, l)
	if err != nil {
		return Card{}, err
	}
	return t.card(f), nil
}

// anyID is no App ID but as long as one.
const anyID = "--------------------------------"

// unrecognised refuses a text of no known form; a text that looks like a dk1 or
// dk2 of the wrong length is called that.
func unrecognised(token string) error {
	if n := lowerHexLen(token); n >= sha1HexLen && len(token) <= 256 {
		f := DK1
		if want := dkRows[DK2].length(idLen); len(token) > (dkRows[DK1].length(idLen)+want)/2 {
			f = DK2
		}
		want := dkRows[f].length(idLen)
		detail := "the text is too long"
		if len(token) < want {
			detail = "the text is cut"
		}
		return malformed(f, min(len(token), want), detail)
	}
	return refuse(UnknownFormat, 0)
}
