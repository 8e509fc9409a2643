package channelkey

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
)

// allLegacy has every switch set.
func allLegacy() Legacy {
	var l Legacy
	for _, s := range Switches() {
		l = s.Set(l, true)
	}
	return l
}

// runPositive mints, parses and verifies a valid key: first in strict mode, then
// with the switches it needs, each of which is counted. A switch counts as needed
// if the entry fails with all others set.
func runPositive(v *vector, a *ArrayReport) error {
	if v.positive(Legacy{}) == nil {
		a.Strict++
		return nil
	}
	// Two switches change what Mint writes. The entry tells of one of them; a 007
	// with services out of order does not tell of the other.
	all := allLegacy()
	all.PaddedIDs = strings.Contains(v.Variant, "nul-padded")
	all.KeepOrder = v.PrivilegeOrder != nil
	err := v.positive(all)
	if err != nil && !all.KeepOrder {
		all.KeepOrder = true
		if v.positive(all) == nil {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	for _, s := range Switches() {
		if s.On(all) && v.positive(s.Set(all, false)) != nil {
			a.Switches[s.Name]++
		}
	}
	return nil
}

// positive checks one valid key with the given switches.
func (v *vector) positive(l Legacy) error {
	for _, raw := range []*int64{v.RandomIntRaw, v.UIDRaw} {
		if raw == nil || raw == v.UIDRaw && v.format == DK1 { // a dk1 has no uid
			continue
		}
		n, err := Uint32(*raw, l)
		if err != nil {
			return err
		}
		if uid, _ := v.user.UID(); raw == v.UIDRaw && n != uid || raw == v.RandomIntRaw && n != v.RandomInt {
			return fmt.Errorf("%d wraps to %d, which is not what the entry says", *raw, n)
		}
	}

	// 1. Minted from the inputs it is the same key.
	if !v.Opaque {
		if err := v.mint(l); err != nil {
			return err
		}
	}

	// 2. It says what went in.
	if err := v.parsed(l); err != nil {
		return err
	}

	// 3. It verifies against what went in, for every service of it.
	verifier, err := NewVerifier(v.app, Policy{IgnoreTime: true, ChannelWildcards: true, Legacy: l})
	if err != nil {
		return err
	}
	claims, err := v.claims()
	if err != nil {
		return err
	}
	for _, c := range claims {
		g, err := verifier.Verify(*v.Token, c)
		if err != nil {
			return fmt.Errorf("does not verify: %w", err)
		}
		if want := v.Intermediate.SignatureHex; want != "" && !strings.HasPrefix(hex.EncodeToString(g.signature[:]), strings.ToLower(want)) {
			return fmt.Errorf("its signature is not that of the entry")
		}
	}
	return nil
}

// card returns the inputs of the entry.
func (v *vector) card() (Card, error) {
	c := Card{Format: v.format, AppID: v.AppID}
	switch v.format {
	case Signaling:
		c.User, c.Expires = v.user, v.ExpiredTS
	case V006:
		c.Channel, c.User, c.Issued, c.Random = v.Channel, v.user, v.TS, v.Salt
		order := v.PrivilegeOrder
		if order == nil {
			order = sortedKeys(v.Privileges)
		}
		for _, p := range order {
			c.Privileges = append(c.Privileges, Grant006{p, v.Privileges[p]})
		}
		c.Service = v.service
	case V007:
		c.Issued, c.Expires, c.Random = v.IssueTS, v.Expire, v.Salt
		for n := range v.Services {
			s, err := v.Services[n].grant()
			if err != nil {
				return c, err
			}
			c.Services = append(c.Services, s)
		}
	default:
		c.Channel, c.Issued, c.Random, c.Expires = v.Channel, v.UnixTS, v.RandomInt, v.ExpiredTS
		if v.format == DK4 || v.format == DK5 {
			c.Service = v.service
		}
		if v.format != DK1 {
			c.User = v.user
		}
		for key := range 1 << 16 {
			if value, ok := v.Extra[uint16(key)]; ok {
				c.Extra = append(c.Extra, Extra{uint16(key), value})
			}
			if len(c.Extra) == len(v.Extra) {
				break
			}
		}
	}
	return c, nil
}

// mint compares what Mint writes with the entry: the text, or the payload where
// the text is not fixed.
func (v *vector) mint(l Legacy) error {
	issuer, err := NewIssuer(v.app, l)
	if err != nil {
		return err
	}
	c, err := v.card()
	if err != nil {
		return err
	}
	got, err := issuer.Mint(c)
	if err != nil {
		return err
	}
	want := *v.Token
	if v.ByteExact != nil && !*v.ByteExact && v.format == V007 {
		if got, err = payload007(got); err != nil {
			return fmt.Errorf("what was minted cannot be read: %w", err)
		}
		if want, err = payload007(want); err != nil {
			return err
		}
		if raw := v.Intermediate.RawHex; raw != "" && raw != hex.EncodeToString([]byte(got)) {
			return fmt.Errorf("what was minted has another payload than the entry says")
		}
	}
	if got != want {
		return fmt.Errorf("what was minted differs")
	}
	return nil
}

// parsed compares what Parse reads with the entry, as far as the format tells it.
func (v *vector) parsed(l Legacy) error {
	if len(v.AppID) != idLen && v.format <= DK4 {
		return nil // Parse cannot tell where a short App ID ends; Verify can
	}
	if v.Opaque {
		payload, err := payload007(*v.Token)
		if err != nil {
			return err
		}
		h, _, err := split007(payload)
		if err != nil {
			return err
		}
		if h.appID != v.AppID || h.issued != v.IssueTS || h.lifetime != v.Expire || h.salt != v.Salt {
			return fmt.Errorf("it says something else than the entry")
		}
		return nil
	}
	got, err := Parse(*v.Token, l)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	want, err := v.card()
	if err != nil {
		return err
	}
	told := formatRows[v.format].told
	if told&fieldChannel == 0 || v.format == V007 {
		want.Channel = ""
	}
	if told&fieldUser == 0 || v.format == V007 {
		want.User = ""
	}
	if v.format == DK4 || v.format == Signaling {
		want.Service = 0
	}
	if v.format == DK5 {
		want.AppID = strings.ToLower(want.AppID)
	}
	if v.format == V007 && len(want.Services) == 0 {
		want.Services = []Grant007{}
	}
	if v.format == V007 && !reflect.DeepEqual(got.Services, want.Services) {
		sortServices(want.Services)
	}
	want.Hash006, want.signature = got.Hash006, got.signature
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("it says something else than the entry")
	}
	return nil
}

// runNegative verifies a key in strict mode, without looking at the time, and
// compares the verdict.
func runNegative(v *vector, a *ArrayReport) error {
	accept, err := v.strict()
	switch {
	case v.Expect != "accept" && v.Expect != "reject":
		return fmt.Errorf("it expects %q, not accept or reject", v.Expect)
	case accept && v.Expect == "reject":
		return fmt.Errorf("was accepted, must be refused: %s", v.Reason)
	case !accept && v.Expect == "accept":
		return fmt.Errorf("was refused, must be accepted: %w", err)
	}
	return nil
}

// strict reports whether the key is good for everything that is claimed.
func (v *vector) strict() (bool, error) {
	verifier, err := NewVerifier(v.app, Policy{IgnoreTime: true})
	if err != nil {
		return false, err
	}
	claims, err := v.claims()
	if err != nil {
		return false, err
	}
	for _, c := range claims {
		if v.format == V006 && len(c.Need) == 0 {
			c.Need = nil // no privileges stated: what it takes to enter
		}
		g, err := verifier.Verify(*v.Token, c)
		if err != nil {
			return false, err
		}
		if g.Format != v.format {
			return false, fmt.Errorf("it is a %s, not a %s", g.Format, v.format)
		}
	}
	return true, nil
}
