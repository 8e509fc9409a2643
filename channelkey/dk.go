package channelkey

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"strconv"
)

// dkRow is one of the four formats that are plain text under HMAC-SHA1.
//
//	text:   prefix ‖ signature in 40 lower-case hexadecimal digits ‖ App ID ‖ issued ‖ random [‖ uid] [‖ expires]
//	signed: [service ‖] App ID ‖ issued ‖ random ‖ channel [‖ uid ‖ expires]
//
// issued, uid and expires are ten decimal digits, random is eight lower-case
// hexadecimal digits. The key is the certificate's text.
type dkRow struct {
	prefix  string
	service bool // the service is signed
	uid     bool // the uid stands in the text
	limit   bool // uid and expiry are signed, and the expiry stands in the text
}

var dkRows = [...]dkRow{
	DK1: {},
	DK2: {uid: true, limit: true},
	DK3: {prefix: "003", uid: true, limit: true},
	DK4: {prefix: "004", service: true, limit: true},
}

// length returns the length of the text for App IDs of the given length.
func (r *dkRow) length(idLen int) int {
	n := len(r.prefix) + sha1HexLen + idLen + 10 + 8
	if r.uid {
		n += 10
	}
	if r.limit {
		n += 10
	}
	return n
}

// dkText is the text taken apart: the strings are parts of the key.
type dkText struct {
	signature            [sha1.Size]byte
	appID, random        string
	issued, uid, expires dkNumber
}

// dkNumber is a number and its ten digits; without digits it is not in the text.
type dkNumber struct {
	digits string
	n      uint32
}

// splitDK takes a text apart and checks the form of every field. The cuts are
// fixed, so it needs to know an App ID to tell how long they are; the form of that
// one is not looked at.
func splitDK(f Format, token, known string, l Legacy) (t dkText, err error) {
	r := &dkRows[f]
	if want := r.length(len(known)); len(token) != want {
		detail := "the text is too long"
		if len(token) < want {
			detail = "the text is cut"
		}
		return t, malformed(f, min(len(token), want), detail)
	}
	at := len(r.prefix)
	if token[:at] != r.prefix {
		return t, malformed(f, 0, "the version is another")
	}
	cut := func(n int) string {
		at += n
		return token[at-n : at]
	}
	if n := decodeLowerHex(t.signature[:], cut(sha1HexLen)); n < sha1HexLen {
		return t, malformed(f, len(r.prefix)+n, "the signature is not lower-case hexadecimal")
	}
	t.appID = cut(len(known))
	if t.appID != known && !isID(t.appID) && !l.LooseIDs {
		return t, malformed(f, at-len(known), "the App ID is not hexadecimal")
	}
	if !t.issued.read(cut(10)) {
		return t, malformed(f, at-10, "the time of issue is no number of 32 bits")
	}
	t.random = cut(8)
	if lowerHexLen(t.random) < 8 {
		return t, malformed(f, at-8, "the random number is not lower-case hexadecimal")
	}
	if r.uid {
		if !t.uid.read(cut(10)) {
			return t, malformed(f, at-10, "the uid is no number of 32 bits")
		}
	}
	if r.limit {
		if !t.expires.read(cut(10)) {
			return t, malformed(f, at-10, "the expiry is no number of 32 bits")
		}
	}
	return t, nil
}

// card returns what the text says.
func (t *dkText) card(f Format) Card {
	random, _ := strconv.ParseUint(t.random, 16, 32) // the form was checked
	c := Card{Format: f, AppID: t.appID, Issued: t.issued.n, Random: uint32(random), User: UID(t.uid.n), Expires: t.expires.n}
	copy(c.signature[:], t.signature[:])
	return c
}

// message appends what is signed.
func (r *dkRow) message(dst []byte, service, appID, issued, random, channel string, uid uint32, expires string) []byte {
	if r.service {
		dst = append(dst, service...)
	}
	dst = append(dst, appID...)
	dst = append(dst, issued...)
	dst = append(dst, random...)
	dst = append(dst, channel...)
	if r.limit {
		dst = appendDecimal10(dst, uid)
		dst = append(dst, expires...)
	}
	return dst
}

func (i *Issuer) mintDK(c *Card) (string, error) {
	r := &dkRows[c.Format]
	uid, err := c.uid()
	if err != nil {
		return "", err
	}
	if c.Format == DK1 && collides(c.Channel) && !i.legacy.CollidingNames {
		return "", mintError("dk1", "the channel name ends in twenty digits, so the key could be rewritten as a dk2 for another channel; use dk4 or later (or set Legacy.CollidingNames)")
	}
	if r.service && (c.Service >= serviceCount || serviceRows[c.Service].dk4 == "") {
		return "", mintError("dk4", "its services are media, recording and sharing, set Service to one of them")
	}
	issued := string(appendDecimal10(nil, c.Issued))
	random := string(appendHex8(nil, c.Random))
	expires := string(appendDecimal10(nil, c.Expires))

	w := i.dk.get()
	defer i.dk.put(w)
	signedID := i.app.ID
	if i.legacy.PaddedIDs {
		signedID = padID(signedID)
	}
	w.msg = r.message(w.msg[:0], serviceRows[c.Service].dk4, signedID, issued, random, c.Channel, uid, expires)

	text := append(make([]byte, 0, r.length(len(i.app.ID))), r.prefix...)
	text = hex.AppendEncode(text, w.sign())
	text = append(text, i.app.ID...)
	text = append(text, issued...)
	text = append(text, random...)
	if r.uid {
		text = appendDecimal10(text, uid)
	}
	if r.limit {
		text = append(text, expires...)
	}
	return string(text), nil
}

// verifyDK verifies dk1 to dk4. It does not allocate.
func (v *Verifier) verifyDK(g *Grant, f Format, token string, c *Claims) error {
	t, err := splitDK(f, token, v.app.ID, v.policy.Legacy)
	if err != nil {
		return err
	}
	if t.appID != v.app.ID {
		return refuse(OtherApp, f)
	}
	r := &dkRows[f]
	uid, ok := c.User.UID()
	if !ok {
		return refuse(OtherUser, f) // these formats know numbers only
	}
	if r.service {
		if serviceRows[c.Service].dk4 == "" {
			return refuse(OtherService, f)
		}
	} else if c.Service != Media {
		return refuse(OtherService, f)
	}

	// 1. Find what the signature fits: with the uid that is told, or the claimed one
	// and then uid 0; with the primary and then the secondary certificate.
	if r.uid {
		if t.uid.n != 0 && t.uid.n != uid {
			return refuse(OtherUser, f)
		}
		uid = t.uid.n
	}
	fit := v.fitDK(r, &t, c.Channel, c.Service, uid)
	if fit.signer < 0 {
		return v.otherServiceDK(f, &t, c, uid)
	}
	wildcard := fit.uid == 0 || f == DK1

	// 2. The signature fits: is it for this person, safe, and in time?
	switch {
	case wildcard && v.policy.ForbidWildcard:
		return refuse(WildcardForbidden, f)
	case fit.padded && !v.policy.Legacy.PaddedIDs:
		return refuse(UnsafePadding, f)
	case f == DK1 && collides(c.Channel) && !v.policy.Legacy.CollidingNames:
		return refuse(UnsafeCollision, f)
	}
	v.grant(g, f, fit.signer, c)
	g.Wildcard = wildcard
	copy(g.signature[:], t.signature[:])
	return v.dkTimes(g, t.issued.n, t.expires.n, c)
}

// fitDK is what a signature was found to fit.
type fitDK struct {
	signer int // number of the certificate, or -1
	uid    uint32
	padded bool // with the App ID filled up with NUL
}

// fitDK looks for what the text was signed with, for the given channel and service.
func (v *Verifier) fitDK(r *dkRow, t *dkText, channel string, s Service, uid uint32) fitDK {
	service, appID := serviceRows[s].dk4, t.appID
	for padded := false; ; padded, appID = true, padID(t.appID) {
		for try := uid; ; try = 0 {
			for n := range v.certs {
				w := v.certs[n].dk.get()
				w.msg = r.message(w.msg[:0], service, appID, t.issued.digits, t.random, channel, try, t.expires.digits)
				ok := subtle.ConstantTimeCompare(w.sign(), t.signature[:]) == 1
				v.certs[n].dk.put(w)
				if ok {
					return fitDK{n, try, padded}
				}
			}
			if try == 0 || r.uid || !r.limit {
				break
			}
		}
		if padded || len(t.appID) >= idLen {
			return fitDK{signer: -1}
		}
	}
}

// otherServiceDK tells a dk4 for another service from one that does not fit at all.
func (v *Verifier) otherServiceDK(f Format, t *dkText, c *Claims, uid uint32) error {
	if r := &dkRows[f]; r.service {
		for _, s := range [...]Service{Media, Recording, Sharing} {
			if s != c.Service && v.fitDK(r, t, c.Channel, s, uid).signer >= 0 {
				return refuse(OtherService, f)
			}
		}
	}
	return refuse(NotAuthentic, f)
}

// uid returns the user as the number that dk1-dk5 hold.
func (c *Card) uid() (uint32, error) {
	uid, ok := c.User.UID()
	if !ok {
		return 0, mintError(c.Format.String(), "it knows users by number only, give a uid from 0 to 4294967295")
	}
	return uid, nil
}

// padID fills an App ID up to 32 characters with NUL on the left.
func padID(id string) string {
	const nul = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	if len(id) >= idLen {
		return id
	}
	return nul[len(id):] + id
}

func (d *dkNumber) read(digits string) (ok bool) {
	d.digits = digits
	d.n, ok = decimal10(digits)
	return ok
}

// decimal10 reads ten decimal digits that are a number of 32 bits.
func decimal10(s string) (uint32, bool) {
	if len(s) != 10 {
		return 0, false
	}
	var n uint64
	for i := range 10 {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + uint64(d)
	}
	return uint32(n), n < 1<<32
}

func appendDecimal10(dst []byte, n uint32) []byte {
	var d [10]byte
	for i := 9; i >= 0; i-- {
		d[i] = '0' + byte(n%10)
		n /= 10
	}
	return append(dst, d[:]...)
}

const lowerDigits = "0123456789abcdef"

func appendHex8(dst []byte, n uint32) []byte {
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, lowerDigits[n>>shift&15])
	}
	return dst
}

// decodeLowerHex reads lower-case hexadecimal digits, two for each byte of dst, and
// returns how many of them are such digits.
func decodeLowerHex(dst []byte, text string) int {
	var bad byte
	for i := range dst {
		high, low := hexValues[text[2*i]], hexValues[text[2*i+1]]
		bad |= high | low
		dst[i] = high<<4 | low
	}
	if bad > 15 {
		return lowerHexLen(text)
	}
	return len(text)
}

// hexDecode reads digits whose form has been checked.
func hexDecode(dst []byte, text string) {
	for i := range dst {
		dst[i] = hexValues[text[2*i]]<<4 | hexValues[text[2*i+1]]&15
	}
}

// hexValues holds the value of hexadecimal digits: of lower-case ones as it is, of
// upper-case ones with 0x10 added, and 0xff of all other characters. It is looked
// up with what keys tell, never with what is computed from a certificate.
var hexValues = func() (t [256]byte) {
	for c := range t {
		switch {
		case '0' <= c && c <= '9':
			t[c] = byte(c - '0')
		case 'a' <= c && c <= 'f':
			t[c] = byte(c - 'a' + 10)
		case 'A' <= c && c <= 'F':
			t[c] = byte(c-'A'+10) | 0x10
		default:
			t[c] = 0xff
		}
	}
	return t
}()
