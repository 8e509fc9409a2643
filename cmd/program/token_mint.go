package program

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/channelkey"
)

// minting is what mint is asked for.
type minting struct {
	app        appFlags
	format     formatValue
	channel    string
	user       userFlags
	services   []string
	privileges []string
	role       int16
	resources  []string
	upload     string
	issued     momentValue
	expires    momentValue
	ends       momentValue
	random     string
	asJSON     bool
}

func (p *program) tokenMintCommand() *cobra.Command {
	m := &minting{format: formatValue{channelkey.V007}}
	c := &cobra.Command{
		Use:   "mint --app-certificate-file FILE --channel NAME --uid UID",
		Short: "make a channel key",
		Long: `Make a channel key, signed with a project's primary certificate, and print it.

What --expires means hangs on the format: the end of service (dk2 to dk5, default 0,
which is none), the end of the key (signaling, 007; default 1 hour from the time of
issue), the end of the privileges (006; default 1 hour). A 006 itself ends 24 hours
after the time of issue; --ends writes another end. Whatever a key says, nobody enters
with a dk more than 5 minutes, or with a 006 or 007 more than 24 hours, after its issue.

Times are unix seconds, RFC 3339 (2026-01-31T12:00:00Z), "now", or time spans (90s,
12h, 30d): of --issued-at from now on, of the others from the time of issue on.

Services: media (default), recording, sharing (dk4, dk5), in-channel (dk5), rtm (006,
007, signaling), streaming, fpa, chat, fcdn, apaas, rtm2 (007). A 007 may be for several:
--service media,rtm. Privileges are names or numbers, each with an end of its own after
a "=" if need be; the default is what it takes to enter. Those of a 007 belong to the
first service that knows their name, or to the one before a ":".`,
		Example: `  chanseal token mint --app-certificate-file app.json --channel room-42 --uid 123 --privileges publisher
  chanseal token mint --app-certificate-file app.json --channel room-42 --uid 123 --expires 2h --privileges join,publish-audio=30m
  chanseal token mint --format dk4 --app-id HEX --app-certificate-file cert.txt --channel room --uid 123 --expires 2026-01-31T12:00:00Z
  chanseal token mint --service media,rtm --app-certificate-file app.json --channel room --uid alice
  chanseal token mint --format 006 --service rtm --app-certificate-file app.json --uid alice`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error { return m.run(c.Context(), p, c) },
	}
	m.app.add(c)
	flags := c.Flags()
	flags.Var(&m.format, "format", strings.Join(formatNames(), ", "))
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&m.channel, "channel", "", "the channel's `NAME`; of apaas the room")
	m.user.add(c)
	flags.StringSliceVar(&m.services, "service", nil, "for which `SERVICE` (default media)")
	flags.StringSliceVar(&m.privileges, "privileges", nil, "what it grants: `NAME[=TIME],...`; publisher, subscriber (default: to enter)")
	flags.Int16Var(&m.role, "role", 0, "the role in an apaas room, a `NUMBER`")
	flags.StringArrayVar(&m.resources, "resource", nil, "a right of rtm2: `KIND:RIGHT:NAME,...`, such as stream-channels:read:news")
	flags.StringVar(&m.upload, "upload", "", "in-channel: `WHAT` may be sent, none or audio-video")
	flags.Var(&m.issued, "issued-at", "the time of issue (default now)")
	flags.Var(&m.expires, "expires", "when it ends, see above; 0 for no end")
	flags.Var(&m.ends, "ends", "006: the end of the key itself (default 24h)")
	flags.StringVar(&m.random, "random", "", "the `NUMBER` that makes two keys of one second differ (default random)")
	m.app.legacy.add(c)
	flags.BoolVar(&m.asJSON, "json", false, "print JSON")
	return c
}

// defaultLife is the life of keys for which no end is named and that need one.
const defaultLife = time.Hour

func (m *minting) run(ctx context.Context, p *program, c *cobra.Command) error {
	app, err := m.app.read(ctx, p, c)
	if err != nil {
		return err
	}
	issuer, err := channelkey.NewIssuer(app, m.app.legacy.Legacy)
	if err != nil {
		return tokenError(err)
	}
	defer issuer.Wipe()
	if err := m.needs(c); err != nil {
		return err
	}
	card, err := m.card(time.Now())
	if err != nil {
		return err
	}
	if m.format.format == channelkey.DK1 && m.user.given() && m.user.uid != "0" {
		p.notef("a dk1 lets every user in: the uid is not in it")
	}
	token, err := issuer.Mint(card)
	if err != nil {
		return tokenError(err)
	}
	if !m.asJSON {
		_, err := fmt.Fprintln(p.stdout, token)
		return err
	}
	minted, err := channelkey.Parse(token, m.app.legacy.Legacy)
	if err != nil && len(app.ID) == 32 {
		return fmt.Errorf("the key that was minted cannot be read: %w", err)
	}
	minted.Format, minted.AppID = card.Format, app.ID
	out := struct {
		Token   string `json:"token"`
		Channel string `json:"channel,omitempty"` // as asked for, which not every key tells
		UID     string `json:"uid"`
		Service string `json:"service"`
		*tokenJSON
	}{token, m.channel, "", strings.Join(m.serviceNames(), ","), newTokenJSON(&minted)}
	user, _ := m.user.user(m.app.legacy.Legacy)
	out.UID = uidJSON(user)
	return writeJSON(p.stdout, out)
}

func (m *minting) serviceNames() []string {
	if len(m.services) > 0 {
		return m.services
	}
	return []string{channelkey.DefaultService(m.format.format).String()}
}

// needs refuses a command line that lacks what the format has.
func (m *minting) needs(c *cobra.Command) error {
	f := m.format.format
	inChannel, withUser := f <= channelkey.DK5, f != channelkey.DK1
	for _, name := range m.serviceNames() {
		switch s, _ := channelkey.ParseService(name); s {
		case channelkey.Media, channelkey.Streaming, channelkey.FCDN:
			inChannel = true
		case channelkey.FPA, channelkey.Chat, channelkey.APaaS:
			withUser = false // not always
		}
	}
	switch {
	case inChannel && m.channel == "" && !m.app.legacy.Names:
		return usagef(c, "%s: --channel NAME is missing", c.CommandPath())
	case withUser && !m.user.given() && !m.app.legacy.Names:
		return usagef(c, "%s: --uid UID is missing, 0 for everybody", c.CommandPath())
	}
	return nil
}

// card is what the flags describe.
func (m *minting) card(now time.Time) (card channelkey.Card, err error) {
	f, l := m.format.format, m.app.legacy.Legacy
	wrong := func(format string, args ...any) (channelkey.Card, error) {
		return card, &failure{err: fmt.Errorf(format, args...), code: exitUsage, hints: []string{"try chanseal token mint --help"}}
	}
	user, err := m.user.user(l)
	if err != nil {
		return card, err
	}
	issued, err := m.issued.when(now)
	if err != nil {
		return card, err
	}
	base := time.Unix(int64(issued), 0)
	random, err := m.randomNumber()
	if err != nil {
		return card, err
	}
	var services []channelkey.Service
	for _, name := range m.serviceNames() {
		s, ok := channelkey.ParseService(name)
		if !ok {
			return wrong("--service: no such service %q", name)
		}
		services = append(services, s)
	}
	switch {
	case f != channelkey.V007 && len(services) > 1:
		return wrong("--service: only a 007 is for several services")
	case f != channelkey.V007 && (m.role != 0 || len(m.resources) > 0):
		return wrong("--role and --resource are for the services apaas and rtm2 of a 007")
	case m.upload != "" && (f != channelkey.DK5 || services[0] != channelkey.InChannel):
		return wrong("--upload is for the service in-channel of a dk5")
	case m.ends.given && f != channelkey.V006:
		return wrong("--ends is for 006 only, give --expires")
	case len(m.privileges) > 0 && f != channelkey.V006 && f != channelkey.V007:
		return wrong("--privileges are for 006 and 007: a %s has none", f)
	case f == channelkey.DK1 && m.expires.given:
		return wrong("--expires: a dk1 does not end")
	case f == channelkey.Signaling && (m.issued.given && !m.expires.span || m.random != ""):
		return wrong("a signaling token has neither a time of issue nor a random number")
	case f != channelkey.V007 && f != channelkey.DK4 && f != channelkey.DK5 && f != channelkey.V006 && services[0] != channelkey.DefaultService(f):
		return wrong("--service: a %s is for %s only", f, channelkey.DefaultService(f))
	}

	card = channelkey.Card{Format: f, Channel: m.channel, User: user, Issued: issued, Random: random}
	if f == channelkey.DK4 || f == channelkey.DK5 {
		card.Service = services[0]
	}
	switch f {
	case channelkey.DK1:
		card.User = channelkey.Anybody
	case channelkey.DK2, channelkey.DK3, channelkey.DK4, channelkey.DK5:
		card.Expires, err = m.end(base, 0)
		switch m.upload {
		case "":
		case "none", "0":
			card.Extra = []channelkey.Extra{{Key: channelkey.AllowUpload, Value: "0"}}
		case "audio-video", "3":
			card.Extra = []channelkey.Extra{{Key: channelkey.AllowUpload, Value: "3"}}
		default:
			card.Extra = []channelkey.Extra{{Key: channelkey.AllowUpload, Value: m.upload}}
		}
	case channelkey.Signaling:
		card.Channel, card.Issued, card.Random = "", 0, 0
		card.Expires, err = m.end(base, defaultLife)
	case channelkey.V006:
		err = m.card006(&card, services[0], base)
	case channelkey.V007:
		card.Channel, card.User = "", ""
		err = m.card007(&card, services, user, base)
	}
	return card, err
}

// end is --expires in unix seconds.
func (m *minting) end(base time.Time, life time.Duration) (uint32, error) {
	switch {
	case m.expires.given && m.expires.when0():
		return 0, nil
	case m.expires.given:
		return m.expires.when(base)
	case life == 0:
		return 0, nil
	}
	return (&momentValue{given: true, span: true, from: life}).when(base)
}

func (m *minting) randomNumber() (uint32, error) {
	if m.random == "" {
		return channelkey.NewRandom(), nil
	}
	base, text := 10, m.random
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		base, text = 16, hex
	}
	n, err := strconv.ParseInt(text, base, 64)
	if err != nil {
		return 0, &failure{err: fmt.Errorf("--random: %q is no number, give one from 0 to 4294967295", m.random), code: exitUsage}
	}
	r, err := channelkey.Uint32(n, m.app.legacy.Legacy)
	return r, tokenError(err)
}

func (m *minting) card006(card *channelkey.Card, s channelkey.Service, base time.Time) (err error) {
	if s == channelkey.RTM {
		card.Channel, card.User = string(card.User), channelkey.Anybody
	}
	end := m.ends
	if !end.given {
		end = momentValue{given: true, span: true, from: 24 * time.Hour}
	}
	if card.Issued, err = end.when(base); err != nil {
		return err
	}
	until, err := m.end(base, defaultLife)
	if err != nil {
		return err
	}
	granted, err := m.granted(channelkey.V006, []channelkey.Service{s}, card.User, base)
	for _, g := range granted[0] {
		card.Privileges = append(card.Privileges, channelkey.Grant006{Privilege: g.privilege, Expires: g.until(until)})
	}
	return err
}

func (m *minting) card007(card *channelkey.Card, services []channelkey.Service, user channelkey.User, base time.Time) error {
	until, err := m.end(base, defaultLife)
	if err != nil {
		return err
	}
	// relative is a moment in seconds from the time of issue on; 0 stays 0.
	relative := func(what string, at uint32) (uint32, error) {
		if at != 0 && at <= card.Issued {
			return 0, &failure{err: fmt.Errorf("%s: %s is not after the time of issue", what, time.Unix(int64(at), 0).UTC().Format(time.RFC3339)),
				code: exitUsage, hints: []string{fmt.Sprintf("a number is a time in unix seconds; for a span give its unit: %ds", at)}}
		}
		return at - min(at, card.Issued), nil
	}
	if card.Expires, err = relative("--expires", until); err != nil {
		return err
	}
	granted, err := m.granted(channelkey.V007, services, user, base)
	if err != nil {
		return err
	}
	for i, s := range services {
		g := channelkey.Grant007{Service: s, User: user}
		switch s {
		case channelkey.Media, channelkey.Streaming, channelkey.FCDN:
			g.Channel = m.channel
		case channelkey.APaaS:
			g.Channel, g.Role = m.channel, m.role
		case channelkey.RTM2:
			if g.Resources, err = parseResources(m.resources); err != nil {
				return err
			}
		case channelkey.FPA:
			g.User = channelkey.Anybody
		}
		for _, priv := range granted[i] {
			seconds, err := relative("--privileges", priv.until(until))
			if err != nil {
				return err
			}
			g.Privileges = append(g.Privileges, channelkey.PrivilegeLife{Privilege: priv.privilege, Seconds: seconds})
		}
		card.Services = append(card.Services, g)
	}
	switch {
	case m.role != 0 && !slices.Contains(services, channelkey.APaaS):
		return &failure{err: errors.New("--role is for the service apaas"), code: exitUsage}
	case len(m.resources) > 0 && !slices.Contains(services, channelkey.RTM2):
		return &failure{err: errors.New("--resource is for the service rtm2"), code: exitUsage}
	}
	return nil
}
