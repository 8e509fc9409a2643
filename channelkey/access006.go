package channelkey

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"
)

// A 006 is "006", the App ID's text, and the base64 of
//
//	str signature ‖ u32 CRC-32(channel) ‖ u32 CRC-32(user) ‖ str m
//	m = u32 salt ‖ u32 end ‖ u16 n ‖ n × (u16 privilege ‖ u32 expires)
//
// HMAC-SHA256 under the certificate's text signs App ID ‖ channel ‖ user ‖ m, run
// together. An RTM key has the account in the channel's place and no user.
const prefix006 = "006"

const head006 = len(prefix006) + idLen

type payload006 struct {
	signature string
	crc       [2]uint32
	m         string // as signed
	salt, end uint32
	pairs     string // the privileges, 6 bytes each
}

func split006(payload string) (p payload006, err error) {
	r := newReader(payload)
	p.signature = r.str()
	if r.bad < 0 && len(p.signature) != sha256.Size {
		return p, malformedPayload(V006, 0, "the signature is not 32 bytes")
	}
	p.crc = [2]uint32{r.u32(), r.u32()}
	p.m = r.str()
	if err := r.end(V006); err != nil {
		return p, err
	}
	base := r.at - len(p.m)
	r = newReader(p.m)
	p.salt, p.end = r.u32(), r.u32()
	at := base + r.at
	n := r.count(6)
	p.pairs = r.rest()
	if r.bad >= 0 || len(p.pairs) != 6*n {
		return p, malformedPayload(V006, at, "the privileges do not fit")
	}
	for i := 6; i < len(p.pairs); i += 6 {
		if _, twice := find006(p.pairs[:i], privilege006(p.pairs, i)); twice {
			return p, malformedPayload(V006, at+2+i, "a privilege comes twice")
		}
		if i > 6*256 {
			return p, malformedPayload(V006, at+2+i, "there are more than 256 privileges")
		}
	}
	return p, nil
}

func privilege006(pairs string, i int) Privilege {
	return Privilege(uint16(pairs[i]) | uint16(pairs[i+1])<<8)
}

// find006 returns until when a privilege is granted.
func find006(pairs string, p Privilege) (expires uint32, ok bool) {
	for i := 0; i < len(pairs); i += 6 {
		if privilege006(pairs, i) == p {
			b := pairs[i+2 : i+6]
			return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24, true
		}
	}
	return 0, false
}

// mixed006 reports whether the privileges are of messaging and of channels, which
// no builder writes: then a key for a channel would open another's messages.
func mixed006(pairs string) bool {
	_, rtm := find006(pairs, LoginRTM006)
	return rtm && len(pairs) > 6
}

func parse006(token string, l Legacy) (Card, error) {
	if len(token) < head006 {
		return Card{}, malformed(V006, len(token), "the text is cut")
	}
	c := Card{Format: V006, AppID: token[len(prefix006):head006]}
	if !isID(c.AppID) && !l.LooseIDs {
		return Card{}, malformed(V006, len(prefix006), "the App ID is not hexadecimal")
	}
	raw, err := decode64(nil, V006, token, head006)
	if err != nil {
		return Card{}, err
	}
	p, err := split006(string(raw))
	if err != nil {
		return Card{}, err
	}
	c.Random, c.Issued, c.Hash006 = p.salt, p.end, p.crc
	for i := 0; i < len(p.pairs); i += 6 {
		expires, _ := find006(p.pairs[i:], privilege006(p.pairs, i))
		c.Privileges = append(c.Privileges, Grant006{privilege006(p.pairs, i), expires})
	}
	if _, rtm := find006(p.pairs, LoginRTM006); rtm {
		c.Service = RTM
	}
	copy(c.signature[:], p.signature)
	return c, nil
}

func (i *Issuer) mint006(c *Card) (string, error) {
	if len(i.app.ID) != idLen {
		return "", mintError("006", "its text has room for an App ID of 32 characters only")
	}
	privileges := c.Privileges
	if !i.legacy.KeepOrder {
		privileges = slices.Clone(privileges)
		slices.SortStableFunc(privileges, func(a, b Grant006) int { return cmp.Compare(a.Privilege, b.Privilege) })
	}
	if len(privileges) > 256 {
		return "", mintError("006", "it has more than 256 privileges")
	}
	le := binary.LittleEndian
	m := le.AppendUint32(nil, c.Random)
	m = le.AppendUint32(m, c.Issued)
	m = le.AppendUint16(m, uint16(len(privileges)))
	for n, p := range privileges {
		if _, known := privileges006[p.Privilege]; !known && !i.legacy.Incomplete {
			return "", mintError("006", "a privilege has no known number, see PrivilegeName (or set Legacy.Incomplete)")
		}
		if slices.ContainsFunc(privileges[:n], func(x Grant006) bool { return x.Privilege == p.Privilege }) {
			return "", mintError("006", "a privilege comes twice, give each once")
		}
		m = le.AppendUint16(m, uint16(p.Privilege))
		m = le.AppendUint32(m, p.Expires)
	}
	pairs := string(m[10:])
	_, rtm := find006(pairs, LoginRTM006)
	switch {
	case rtm && (mixed006(pairs) || c.User != Anybody) && !i.legacy.Incomplete:
		return "", mintError("006", "an RTM key has the account as Channel, no User, and no other privilege (or set Legacy.Incomplete)")
	case !rtm && splices(c.Channel, c.User) && !i.legacy.SplicedNames:
		return "", mintError("006", "channel and user are signed run together, so a channel name that ends in a digit and a text account can be rewritten for another channel; use 007 (or set Legacy.SplicedNames)")
	}

	w := i.v006.get()
	defer i.v006.put(w)
	w.message006(i.app.ID, c.Channel, c.User, string(m))
	payload := appendStr(nil, string(w.sign()))
	payload = le.AppendUint32(payload, crc32.ChecksumIEEE([]byte(c.Channel)))
	payload = le.AppendUint32(payload, crc32.ChecksumIEEE([]byte(c.User)))
	payload = appendStr(payload, string(m))
	return prefix006 + i.app.ID + base64.StdEncoding.EncodeToString(payload), nil
}

func (w *work) message006(appID, channel string, user User, m string) {
	w.msg = append(w.msg[:0], appID...)
	w.msg = append(w.msg, channel...)
	w.msg = append(w.msg, user...)
	w.msg = append(w.msg, m...)
}

// crc returns the CRC-32 of a name by way of the scratch buffer.
func (w *work) crc(name string) uint32 {
	w.msg = append(w.msg[:0], name...)
	return crc32.ChecksumIEEE(w.msg)
}

func (v *Verifier) verify006(token string, c *Claims) (g Grant, err error) {
	if len(token) < head006 {
		return g, malformed(V006, len(token), "the text is cut")
	}
	if appID := token[len(prefix006):head006]; appID != v.app.ID {
		if !isID(appID) {
			return g, malformed(V006, len(prefix006), "the App ID is not hexadecimal")
		}
		return g, refuse(OtherApp, V006)
	}
	w := v.certs[0].v006.get()
	defer v.certs[0].v006.put(w)
	if w.payload, err = decode64(w.payload[:0], V006, token, head006); err != nil {
		return g, err
	}
	p, err := split006(string(w.payload))
	if err != nil {
		return g, err
	}

	// 1. Which channel and user does it tell? The account of RTM is told in the
	// channel's place.
	channel, user := c.Channel, c.User
	switch c.Service {
	case Media:
	case RTM:
		if user == Anybody && !v.policy.Legacy.Names {
			return g, refuse(BadUser, V006)
		}
		channel, user = string(user), Anybody
	default:
		return g, refuse(OtherService, V006)
	}
	if w.crc(channel) != p.crc[0] {
		if c.Service == RTM {
			return g, refuse(OtherUser, V006)
		}
		return g, refuse(OtherChannel, V006)
	}
	wildcard := false
	if w.crc(string(user)) != p.crc[1] {
		if p.crc[1] != 0 || c.Service == RTM { // the checksum of "" is 0
			return g, refuse(OtherUser, V006)
		}
		user = Anybody
	}
	wildcard = user == Anybody && c.Service != RTM

	// 2. The signature, over what was received.
	signer := -1
	for n := range v.certs {
		s := v.certs[n].v006.get()
		s.message006(v.app.ID, channel, user, p.m)
		ok := subtle.ConstantTimeCompare(s.sign(), w.payload[2:2+sha256.Size]) == 1
		v.certs[n].v006.put(s)
		if ok {
			signer = n
			break
		}
	}
	switch {
	case signer < 0:
		return g, refuse(WrongCertificate, V006)
	case wildcard && v.policy.ForbidWildcard:
		return g, refuse(WildcardForbidden, V006)
	case mixed006(p.pairs) && !v.policy.Legacy.Incomplete,
		c.Service != RTM && splices(channel, user) && !v.policy.Legacy.SplicedNames:
		return g, refuse(UnsafeSplice, V006)
	}

	// 3. Privileges and times.
	g = Grant{Format: V006, Channel: c.Channel, User: c.User, Service: c.Service,
		Wildcard: wildcard, Certificate: v.certs[signer].id, cert: uint8(signer)}
	copy(g.signature[:], p.signature)
	made := int64(p.end) - day // by the builders' habit
	g.EntryUntil = min(int64(p.end), made+int64(v.policy.MaxLife/time.Second))
	find := func(want Privilege) (int64, bool) {
		expires, ok := find006(p.pairs, want)
		if end := int64(expires); ok && end != 0 && end < g.EntryUntil {
			return end, true
		}
		return g.EntryUntil, ok
	}
	return g, v.accessTimes(&g, made, entry(V006, c), find, c)
}
