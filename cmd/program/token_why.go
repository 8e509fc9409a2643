package program

import (
	"fmt"
	"strings"

	"github.com/chanseal/chanseal/channelkey"
)

// findings looks for what is wrong with a refused key. Whoever has the certificate may
// know everything about it, so this tries the usual slips and says which of them fits.
func (v *verifying) findings(token string, claims channelkey.Claims, err error) []string {
	switch channelkey.ReasonOf(err) {
	case channelkey.OtherChannel, channelkey.OtherUser, channelkey.OtherService, channelkey.OtherApp,
		channelkey.PrivilegeMissing, channelkey.StaticAppID:
		return toldBy(token, v.app.legacy.Legacy)
	case channelkey.NotAuthentic, channelkey.WrongCertificate:
		return v.slips(token, claims)
	}
	return nil
}

// toldBy says for what a key is, as far as it tells.
func toldBy(token string, l channelkey.Legacy) (all []string) {
	c, err := channelkey.Parse(token, l)
	if err != nil {
		return nil
	}
	all = append(all, "it says that it is for app ID "+c.AppID)
	switch c.Format {
	case channelkey.DK2, channelkey.DK3:
		all = append(all, "it says that it is for uid "+userText(c.User))
	case channelkey.DK5:
		all = append(all, "it says that it is for the service "+c.Service.String())
	}
	for i := range c.Services {
		s := &c.Services[i]
		told := newTokenServiceJSON(&c, s)
		text := "it says that it is for the service " + s.Service.String()
		if s.Channel != "" {
			text += fmt.Sprintf(", channel %q", s.Channel)
		}
		if told.UID != nil {
			text += ", uid " + userText(s.User)
		}
		names := make([]string, len(told.Privileges))
		for n, p := range told.Privileges {
			names[n] = p.Name
		}
		all = append(all, text+", to "+strings.Join(names, ", "))
	}
	return all
}

// slip is one usual mistake: a way to write something that was meant otherwise.
type slip struct {
	change func(string) string
	what   string
}

var (
	channelSlips = []slip{
		{strings.TrimSpace, "without the spaces round it"},
		{strings.ToLower, "in lower case"},
		{strings.ToUpper, "in upper case"},
		{func(s string) string { return s + " " }, "with a space behind it"},
		{func(s string) string { return " " + s }, "with a space before it"},
		{func(s string) string { return s + "\n" }, "with a line break behind it"},
		{func(s string) string { return `"` + s + `"` }, "in quotes"},
		{func(string) string { return "" }, "left empty"},
	}
	certificateSlips = []slip{
		{strings.ToLower, "in lower case"},
		{strings.ToUpper, "in upper case"},
		{func(s string) string { return s + "\n" }, "with a line break behind it"},
		{func(s string) string { return s + "\r\n" }, "with a line break (CR LF) behind it"},
	}
)

// slips tries the usual mistakes, one at a time.
func (v *verifying) slips(token string, claims channelkey.Claims) (all []string) {
	lax := channelkey.Policy{IgnoreTime: true, ChannelWildcards: true, Legacy: channelkey.Legacy{
		LooseIDs: true, PaddedIDs: true, Names: true, ZeroAccount: true, SplicedNames: true, CollidingNames: true, Incomplete: true}}
	claims.Need = []channelkey.Privilege{} // the signature is what matters
	fits := func(app channelkey.App, c channelkey.Claims) bool {
		verifier, err := channelkey.NewVerifier(app, lax)
		if err != nil {
			return false
		}
		defer verifier.Wipe()
		_, err = verifier.Verify(token, c)
		return err == nil
	}
	for _, s := range channelSlips {
		c := claims
		if c.Channel = s.change(claims.Channel); c.Channel != claims.Channel && fits(v.project, c) {
			all = append(all, fmt.Sprintf("its signature fits the channel name %s: %q", s.what, c.Channel))
		}
	}
	for _, s := range certificateSlips {
		text := v.project.Primary.Reveal()
		app := channelkey.App{ID: v.project.ID, Primary: channelkey.NewCertificate([]byte(s.change(string(text))))}
		clear(text)
		if fits(app, claims) {
			all = append(all, "its signature fits the certificate "+s.what)
		}
		app.Primary.Wipe()
	}
	if len(all) == 0 {
		all = append(all, "no usual slip explains it: not the case of the certificate, nor spaces or the case of the channel's name")
	}
	return all
}
