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

const (
	head006       = len(prefix006) + idLen
	maxPrivileges = 256 // no builder writes more than 12; looking for doubles is quadratic
)

type payload006 struct {
	signature []byte
	crc       [2]uint32
	m         []byte // as signed
	salt, end uint32
	pairs     pairs006
}

// pairs006 are the privileges as they stand: 6 bytes each.
type pairs006 []byte

// split006 takes a decoded payload apart; the parts belong to it.
func split006(payload []byte) (p payload006, err error) {
	const front = 2 + sha256.Size + 4 + 4 + 2 // up to m
	le := binary.LittleEndian
	switch {
	case len(payload) < front:
		return p, malformedPayload(V006, len(payload), "a field does not fit")
	case le.Uint16(payload) != sha256.Size:
		return p, malformedPayload(V006, 0, "the signature is not 32 bytes")
	}
	p.signature = payload[2 : 2+sha256.Size]
	p.crc = [2]uint32{le.Uint32(payload[34:]), le.Uint32(payload[38:])}
	p.m = payload[front:]
	const head = 4 + 4 + 2 // of m, up to the privileges
	switch n := int(le.Uint16(payload[front-2:])); {
	case n > len(p.m) || n < head:
		return p, malformedPayload(V006, front-2, "a field does not fit")
	case n < len(p.m):
		return p, malformedPayload(V006, front+n, "there are bytes behind the end")
	}
	p.salt, p.end = le.Uint32(p.m), le.Uint32(p.m[4:])
	p.pairs = pairs006(p.m[head:])
	switch n := int(le.Uint16(p.m[8:])); {
	case 6*n != len(p.pairs):
		return p, malformedPayload(V006, front+8, "the privileges do not fit")
	case n > maxPrivileges:
		return p, malformedPayload(V006, front+8, "there are more than 256 privileges")
	}
	for i := 6; i < len(p.pairs); i += 6 {
		if _, twice := p.pairs[:i].find(p.pairs[i:].first()); twice {
			return p, malformedPayload(V006, front+head+i, "a privilege comes twice")
		}
	}
	return p, nil
}

// first returns the first privilege.
func (p pairs006) first() Privilege { return Privilege(binary.LittleEndian.Uint16(p)) }

// find returns until when a privilege is granted.
func (p pairs006) find(want Privilege) (expires uint32, ok bool) {
	for ; len(p) >= 6; p = p[6:] {
		if p.first() == want {
			return binary.LittleEndian.Uint32(p[2:]), true
		}
	}
	return 0, false
}

// isRTM006 reports whether privileges are those of an RTM key, whose channel is an
// account.
func isRTM006(p pairs006) bool {
	_, rtm := p.find(LoginRTM006)
	_, join := p.find(JoinChannel)
	return rtm && !join
}

// mixed reports whether the privileges are of messaging and of channels, which no
// builder writes: then a key for a channel would open another's messages.
func (p pairs006) mixed() bool {
	_, rtm := p.find(LoginRTM006)
	return rtm && len(p) > 6
}

func parse006(token string, l Legacy) (Card, error) {
	if len(token) < head006 {
		return Card{}, malformed(V006, len(token), "the text is cut")
	}
	c := Card{Format: V006, AppID: token[len(prefix006):head006]}
	if !isID(c.AppID) && !l.LooseIDs {
		return Card{}, malformed(V006, len(prefix006), "the App ID is not hexadecimal")
	}
	var w work
	if err := w.decode64(V006, token, head006); err != nil {
		return Card{}, err
	}
	p, err := split006(w.payload)
	if err != nil {
		return Card{}, err
	}
	c.Random, c.Issued, c.Hash006 = p.salt, p.end, p.crc
	for pairs := p.pairs; len(pairs) > 0; pairs = pairs[6:] {
		expires, _ := pairs.find(pairs.first())
		c.Privileges = append(c.Privileges, Grant006{pairs.first(), expires})
	}
	if isRTM006(p.pairs) {
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
	if len(privileges) > maxPrivileges {
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
	pairs := pairs006(m[10:])
	_, rtm := pairs.find(LoginRTM006)
	switch {
	case rtm && (pairs.mixed() || c.User != Anybody) && !i.legacy.Incomplete:
		return "", mintError("006", "an RTM key has the account as Channel, no User, and no other privilege (or set Legacy.Incomplete)")
	case !rtm && splices(c.Channel, c.User) && !i.legacy.SplicedNames:
		return "", mintError("006", "channel and user are signed run together, so a channel name that ends in a digit and a text account can be rewritten for another channel; use 007 (or set Legacy.SplicedNames)")
	}

	w := i.v006.get()
	defer i.v006.put(w)
	w.message006(i.app.ID, c.Channel, c.User, m)
	payload := appendStr(nil, string(w.sign()))
	payload = le.AppendUint32(payload, crc32.ChecksumIEEE([]byte(c.Channel)))
	payload = le.AppendUint32(payload, crc32.ChecksumIEEE([]byte(c.User)))
	payload = appendStr(payload, string(m))
	return prefix006 + i.app.ID + base64.StdEncoding.EncodeToString(payload), nil
}

func (w *work) message006(appID, channel string, user User, m []byte) {
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

func (v *Verifier) verify006(g *Grant, token string, c *Claims) (err error) {
	if len(token) < head006 {
		return malformed(V006, len(token), "the text is cut")
	}
	if appID := token[len(prefix006):head006]; appID != v.app.ID {
		if !isID(appID) {
			return malformed(V006, len(prefix006), "the App ID is not hexadecimal")
		}
		return refuse(OtherApp, V006)
	}
	w := v.certs[0].v006.get()
	defer v.certs[0].v006.put(w)
	if err := w.decode64(V006, token, head006); err != nil {
		return err
	}
	p, err := split006(w.payload)
	if err != nil {
		return err
	}

	// 1. Which channel and user does it tell? The account of RTM is told in the
	// channel's place.
	channel, user := c.Channel, c.User
	switch c.Service {
	case Media:
	case RTM:
		if user == Anybody && !v.policy.Legacy.Names {
			return refuse(BadUser, V006)
		}
		channel, user = string(user), Anybody
	default:
		return refuse(OtherService, V006)
	}
	if w.crc(channel) != p.crc[0] {
		if c.Service == RTM {
			return refuse(OtherUser, V006)
		}
		return refuse(OtherChannel, V006)
	}
	if w.crc(string(user)) != p.crc[1] {
		if p.crc[1] != 0 || c.Service == RTM { // the checksum of "" is 0
			return refuse(OtherUser, V006)
		}
		user = Anybody
	}
	wildcard := user == Anybody && c.Service != RTM

	// 2. The signature, over what was received.
	w.message006(v.app.ID, channel, user, p.m)
	signer := -1
	if subtle.ConstantTimeCompare(w.sign(), p.signature) == 1 {
		signer = 0
	} else if len(v.certs) > 1 {
		second := v.certs[1].v006.get()
		second.msg = append(second.msg[:0], w.msg...)
		if subtle.ConstantTimeCompare(second.sign(), p.signature) == 1 {
			signer = 1
		}
		v.certs[1].v006.put(second)
	}
	switch {
	case signer < 0:
		return refuse(WrongCertificate, V006)
	case wildcard && v.policy.ForbidWildcard:
		return refuse(WildcardForbidden, V006)
	case p.pairs.mixed() && !v.policy.Legacy.Incomplete,
		c.Service != RTM && splices(channel, user) && !v.policy.Legacy.SplicedNames:
		return refuse(UnsafeSplice, V006)
	}

	// 3. Privileges and times.
	v.grant(g, V006, signer, c)
	g.Wildcard = wildcard
	copy(g.signature[:], p.signature)
	made := int64(p.end) - day // by the builders' habit
	g.EntryUntil = min(int64(p.end), made+int64(v.policy.MaxLife/time.Second))
	find := func(want Privilege) (int64, bool) {
		expires, ok := p.pairs.find(want)
		if end := int64(expires); ok && end != 0 && end < g.EntryUntil {
			return end, true
		}
		return g.EntryUntil, ok
	}
	return v.accessTimes(g, made, entry(V006, c), find, c)
}
