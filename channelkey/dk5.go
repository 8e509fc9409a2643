package channelkey

import (
	"cmp"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// A dk5 is "005" and the base64 of
//
//	u16 service ‖ str signature ‖ str App ID ‖ u32 issued ‖ u32 random ‖ u32 expires ‖ u16 n ‖ n × (u16 key ‖ str value)
//
// with the signature in 40 upper-case hexadecimal digits and the App ID as its 16
// bytes. HMAC-SHA1 under the 16 bytes of the certificate signs the same fields,
// with str channel ‖ u32 uid before the expiry and without the signature.
const prefixDK5 = "005"

// dk5Payload is the payload taken apart.
type dk5Payload struct {
	service                 uint16
	signature, appID        string
	issued, random, expires uint32
	extra                   string // the map as it stands
}

func splitDK5(payload string) (p dk5Payload, err error) {
	r := newReader(payload)
	p.service = r.u16()
	at := r.at
	p.signature = r.str()
	if r.bad < 0 && (len(p.signature) != sha1HexLen || !upperHex(p.signature)) {
		return p, malformedPayload(DK5, at, "the signature is not 40 upper-case hexadecimal digits")
	}
	at = r.at
	p.appID = r.str()
	if r.bad < 0 && len(p.appID) != idLen/2 {
		return p, malformedPayload(DK5, at, "the App ID is not 16 bytes")
	}
	p.issued, p.random, p.expires = r.u32(), r.u32(), r.u32()
	p.extra = r.rest()
	r.extra(nil)
	return p, r.end(DK5)
}

// maxExtra is how many entries a dk5's map may have; no builder writes more than one.
const maxExtra = 64

// extra reads the map, or only checks it if each is nil. A key that comes twice
// has no one meaning and is refused.
func (r *reader) extra(each func(Extra)) {
	at := r.at
	n := r.count(4)
	if n > maxExtra {
		r.fail(at)
		return
	}
	var keys [maxExtra]uint16
	for i := range n {
		at := r.at
		e := Extra{Key: r.u16()}
		e.Value = r.str()
		if slices.Contains(keys[:i], e.Key) {
			r.fail(at)
		}
		if r.bad >= 0 {
			return
		}
		keys[i] = e.Key
		if each != nil {
			each(e)
		}
	}
}

func upperHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func parseDK5(token string) (Card, error) {
	var w work
	if err := w.decode64(DK5, token, len(prefixDK5)); err != nil {
		return Card{}, err
	}
	p, err := splitDK5(string(w.payload))
	if err != nil {
		return Card{}, err
	}
	c := Card{Format: DK5, AppID: hex.EncodeToString([]byte(p.appID)), Issued: p.issued, Random: p.random, Expires: p.expires}
	service, ok := service005(p.service)
	if !ok {
		return Card{}, refuse(UnknownService, DK5)
	}
	c.Service = service
	r := newReader(p.extra)
	r.extra(func(e Extra) { c.Extra = append(c.Extra, e) })
	hexDecode(c.signature[:sha1HexLen/2], p.signature)
	return c, nil
}

// message appends what is signed.
func (p *dk5Payload) message(dst []byte, channel string, uid uint32) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, p.service)
	dst = appendStr(dst, p.appID)
	dst = le.AppendUint32(dst, p.issued)
	dst = le.AppendUint32(dst, p.random)
	dst = appendStr(dst, channel)
	dst = le.AppendUint32(dst, uid)
	dst = le.AppendUint32(dst, p.expires)
	return append(dst, p.extra...)
}

func (i *Issuer) mintDK5(c *Card) (string, error) {
	uid, err := c.uid()
	if err != nil {
		return "", err
	}
	if i.dk5 == nil {
		return "", mintError("dk5", "it signs with the bytes of App ID and certificate, which must be 32 hexadecimal digits")
	}
	if c.Service >= serviceCount || serviceRows[c.Service].dk5 == 0 {
		return "", mintError("dk5", "its services are media, recording, sharing and in-channel, set Service to one of them")
	}
	extra := c.Extra
	if !i.legacy.KeepOrder {
		extra = slices.Clone(extra)
		slices.SortStableFunc(extra, func(a, b Extra) int { return cmp.Compare(a.Key, b.Key) })
	}
	if len(extra) > maxExtra {
		return "", mintError("dk5", "Extra has more than 64 entries")
	}
	le := binary.LittleEndian
	size := 2
	pairs := le.AppendUint16(nil, uint16(len(extra)))
	for n, e := range extra {
		if slices.ContainsFunc(extra[:n], func(x Extra) bool { return x.Key == e.Key }) {
			return "", mintError("dk5", "a key of Extra comes twice, give each once")
		}
		if size += 4 + len(e.Value); size > maxString {
			return "", mintError("dk5", "Extra is too long, give at most 64 KiB")
		}
		if c.Service == InChannel && e.Key == AllowUpload && e.Value != "0" && e.Value != "3" && !i.legacy.Incomplete {
			return "", mintError("dk5", `the upload permission is "0" (nothing) or "3" (audio and video), give one of them (or set Legacy.Incomplete)`)
		}
		pairs = appendStr(le.AppendUint16(pairs, e.Key), e.Value)
	}

	p := dk5Payload{service: serviceRows[c.Service].dk5, appID: i.appBytes,
		issued: c.Issued, random: c.Random, expires: c.Expires, extra: string(pairs)}
	w := i.dk5.get()
	defer i.dk5.put(w)
	w.msg = p.message(w.msg[:0], c.Channel, uid)
	var signature [sha1HexLen]byte
	for n, b := range w.sign() {
		signature[2*n], signature[2*n+1] = upperDigits[b>>4], upperDigits[b&15]
	}

	payload := le.AppendUint16(nil, p.service)
	payload = appendStr(payload, string(signature[:]))
	payload = appendStr(payload, p.appID)
	payload = le.AppendUint32(payload, p.issued)
	payload = le.AppendUint32(payload, p.random)
	payload = le.AppendUint32(payload, p.expires)
	payload = append(payload, p.extra...)
	return prefixDK5 + base64.StdEncoding.EncodeToString(payload), nil
}

const upperDigits = "0123456789ABCDEF"

func (v *Verifier) verifyDK5(g *Grant, token string, c *Claims) (err error) {
	if v.appBytes == "" {
		return refuse(OtherApp, DK5) // an App ID that is not hexadecimal
	}
	w := v.certs[0].dk5.get()
	defer v.certs[0].dk5.put(w)
	if err := w.decode64(DK5, token, len(prefixDK5)); err != nil {
		return err
	}
	p, err := splitDK5(string(w.payload))
	if err != nil {
		return err
	}
	if p.appID != v.appBytes {
		return refuse(OtherApp, DK5)
	}
	service, ok := service005(p.service)
	switch {
	case !ok:
		return refuse(UnknownService, DK5)
	case service != c.Service:
		return refuse(OtherService, DK5)
	}
	uid, ok := c.User.UID()
	if !ok {
		return refuse(OtherUser, DK5) // the format knows numbers only
	}
	signer, signedUID := v.fitDK5(&p, c.Channel, uid)
	switch {
	case signer < 0:
		return refuse(NotAuthentic, DK5)
	case signedUID == 0 && v.policy.ForbidWildcard:
		return refuse(WildcardForbidden, DK5)
	}
	v.grant(g, DK5, signer, c)
	g.Wildcard = signedUID == 0
	r := newReader(p.extra)
	r.extra(func(e Extra) { g.Extra = append(g.Extra, e) })
	hexDecode(g.signature[:sha1HexLen/2], p.signature)
	return v.dkTimes(g, p.issued, p.expires, c)
}

// fitDK5 looks for the certificate and the uid, the claimed one or 0, that the
// payload was signed with; -1 if for none.
func (v *Verifier) fitDK5(p *dk5Payload, channel string, uid uint32) (signer int, signedUID uint32) {
	var told [sha1HexLen / 2]byte
	hexDecode(told[:], p.signature)
	for try := uid; ; try = 0 {
		for n := range v.certs {
			w := v.certs[n].dk5.get()
			w.msg = p.message(w.msg[:0], channel, try)
			ok := subtle.ConstantTimeCompare(w.sign(), told[:]) == 1
			v.certs[n].dk5.put(w)
			if ok {
				return n, try
			}
		}
		if try == 0 {
			return -1, 0
		}
	}
}
