package channelkey

import (
	"crypto/md5"
	"crypto/subtle"
	"strconv"
	"strings"
)

// A signaling token is
//
//	"1:" App ID ":" expires ":" MD5(account ‖ App ID ‖ certificate ‖ expires)
//
// with expires in decimal and the hash in lower-case hexadecimal. The account is
// signed and not told.
const prefixSignaling = "1:"

type signalingText struct {
	appID     string
	expires   uint32
	digits    string // expires as it stands
	signature string
}

func splitSignaling(token string, l Legacy) (t signalingText, err error) {
	at := len(prefixSignaling)
	if len(token) > MaxTokenLen {
		return t, malformed(Signaling, MaxTokenLen, "the text is too long")
	}
	appID, rest, ok := strings.Cut(token[at:], ":")
	if !isID(appID) && !l.LooseIDs || appID == "" {
		return t, malformed(Signaling, at, "the App ID is not 32 hexadecimal digits")
	}
	if !ok {
		return t, malformed(Signaling, len(token), "the text is cut")
	}
	at += len(appID) + 1
	t.appID = appID
	t.digits, t.signature, ok = strings.Cut(rest, ":")
	n, err := strconv.ParseUint(t.digits, 10, 32)
	if err != nil || t.digits[0] == '0' && len(t.digits) > 1 {
		return t, malformed(Signaling, at, "the expiry is no number of 32 bits in its shortest form")
	}
	t.expires = uint32(n)
	if !ok {
		return t, malformed(Signaling, len(token), "the text is cut")
	}
	at += len(t.digits) + 1
	if len(t.signature) != 2*md5.Size || lowerHexLen(t.signature) != 2*md5.Size {
		return t, malformed(Signaling, at, "the hash is not 32 lower-case hexadecimal digits")
	}
	return t, nil
}

func parseSignaling(token string, l Legacy) (Card, error) {
	t, err := splitSignaling(token, l)
	if err != nil {
		return Card{}, err
	}
	c := Card{Format: Signaling, AppID: t.appID, Expires: t.expires}
	hexDecode(c.signature[:md5.Size], t.signature)
	return c, nil
}

// hashSignaling returns the hash, in w.sum.
func (w *work) hashSignaling(account User, appID string, cert []byte, expires string) [md5.Size]byte {
	w.msg = append(w.msg[:0], account...)
	w.msg = append(w.msg, appID...)
	w.msg = append(w.msg, cert...)
	w.msg = append(w.msg, expires...)
	sum := md5.Sum(w.msg)
	clear(w.msg) // it held the certificate
	return sum
}

func (i *Issuer) mintSignaling(c *Card) (string, error) {
	if c.User == Anybody && !i.legacy.Names {
		return "", mintError("signaling", "it is for one account, set User (or set Legacy.Names)")
	}
	var w work
	expires := strconv.FormatUint(uint64(c.Expires), 10)
	sum := w.hashSignaling(c.User, i.app.ID, i.app.Primary.text, expires)
	text := []byte(prefixSignaling + i.app.ID + ":" + expires + ":")
	for _, b := range sum {
		text = append(text, lowerDigits[b>>4], lowerDigits[b&15])
	}
	return string(text), nil
}

func (v *Verifier) verifySignaling(g *Grant, token string, c *Claims) (err error) {
	t, err := splitSignaling(token, v.policy.Legacy)
	if err != nil {
		return err
	}
	switch {
	case t.appID != v.app.ID:
		return refuse(OtherApp, Signaling)
	case c.Service != RTM:
		return refuse(OtherService, Signaling)
	case c.User == Anybody && !v.policy.Legacy.Names:
		return refuse(BadUser, Signaling)
	}
	var told [md5.Size]byte
	hexDecode(told[:], t.signature)
	w := v.certs[0].v006.get()
	defer v.certs[0].v006.put(w)
	for n := range v.certs {
		sum := w.hashSignaling(c.User, t.appID, v.certs[n].text, t.digits)
		if subtle.ConstantTimeCompare(sum[:], told[:]) != 1 {
			continue
		}
		v.grant(g, Signaling, n, c)
		g.Channel = "" // the key is for no channel
		g.EntryUntil = int64(t.expires)
		copy(g.signature[:], told[:])
		if !v.policy.IgnoreTime && c.at().Unix() >= g.EntryUntil {
			return refuse(EntryOver, Signaling)
		}
		return nil
	}
	return refuse(NotAuthentic, Signaling)
}
