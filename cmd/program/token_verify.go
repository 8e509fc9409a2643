package program

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/channelkey"
)

// verifying is what verify is asked for.
type verifying struct {
	app        appFlags
	channel    string
	user       userFlags
	service    string
	privileges []string
	at         momentValue
	window     durationValue
	skew       durationValue
	ignoreTime bool
	noWildcard bool
	globs      bool
	asJSON     bool

	who     channelkey.User
	now     time.Time
	project channelkey.App
}

func (p *program) tokenVerifyCommand() *cobra.Command {
	v := &verifying{}
	c := &cobra.Command{
		Use:   "verify --app-certificate-file FILE --channel NAME --uid UID TOKEN|-",
		Short: "check a channel key, and say why it is refused",
		Long: `Check a channel key as the door of a channel does: is it genuine, of this project, for
this channel, this user and this service, and in time? If it is refused, say why, which
codes the vendor's SDKs report for that, and what to do.

Of a key whose signature does not fit, usual slips are tried: the case of the
certificate, spaces or the case of the channel's name.

The exit status is 0 for a good key and 3 for a refused one. With "-", keys come from
stdin, one a line, and one line of JSON goes out for each; the exit status is 3 if one
was refused.

The default is strict. --legacy admits what cannot be told from a forgery, by name.`,
		Example: `  chanseal token verify --app-certificate-file app.json --channel room-42 --uid 123 007eJxTYLhz…
  chanseal token verify --app-id HEX --app-certificate-file cert.txt --channel room-42 --uid 123 --at 1446455472 - < tokens.txt
  chanseal token verify --app-certificate-file app.json --service rtm --uid alice 007eJxTYLhz…`,
		Args: tokenArg,
		RunE: func(c *cobra.Command, args []string) error { return v.run(c.Context(), p, c, args[0]) },
	}
	v.app.add(c)
	flags := c.Flags()
	flags.StringVar(&v.app.secondary, "secondary-certificate-file", "", "`FILE` with a second certificate, for the time of a rotation")
	flags.StringVar(&v.channel, "channel", "", "the channel's `NAME`")
	v.user.add(c)
	flags.StringVar(&v.service, "service", "", "for which `SERVICE` (default media, of signaling rtm)")
	flags.StringSliceVar(&v.privileges, "privileges", nil, "what it must grant: `NAME,...` (default: to enter)")
	flags.Var(&v.at, "at", "check it as at `TIME` (default now)")
	flags.Var(&v.window, "entry-window", "how long a dk may be used to enter (default 5m)")
	flags.Var(&v.skew, "skew", "how far in the future a key may have been issued (default 0)")
	flags.BoolVar(&v.ignoreTime, "ignore-time", false, "leave all times out")
	flags.BoolVar(&v.noWildcard, "forbid-wildcard", false, "refuse keys that are for everybody")
	flags.BoolVar(&v.globs, "channel-wildcards", false, "admit 007 whose channel is a pattern")
	v.app.legacy.add(c)
	flags.BoolVar(&v.asJSON, "json", false, "print JSON")
	return c
}

func (v *verifying) run(ctx context.Context, p *program, c *cobra.Command, arg string) error {
	app, err := v.app.read(ctx, p, c)
	if err != nil {
		return err
	}
	if v.app.primary == "-" && arg == "-" {
		return usagef(c, "%s: stdin cannot be both the certificate and the tokens", c.CommandPath())
	}
	if !v.user.given() && v.service != "fpa" && v.service != "chat" && v.service != "apaas" && v.service != "opaque" {
		return usagef(c, "%s: --uid UID is missing, 0 for somebody who gave none", c.CommandPath())
	}
	if v.who, err = v.user.user(v.app.legacy.Legacy); err != nil {
		return err
	}
	at, err := v.at.when(time.Now())
	if err != nil {
		return err
	}
	v.now = time.Unix(int64(at), 0)
	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{
		EntryWindow: v.window.d, Skew: v.skew.d, IgnoreTime: v.ignoreTime,
		ForbidWildcard: v.noWildcard, ChannelWildcards: v.globs, Legacy: v.app.legacy.Legacy,
	})
	if err != nil {
		return tokenError(err)
	}
	defer verifier.Wipe()
	v.project = app
	if arg == "-" {
		return v.many(ctx, p, c, verifier)
	}
	claims, err := v.claims(c, arg)
	if err != nil {
		return err
	}
	grant, err := verifier.Verify(arg, claims)
	verdict := newVerdictJSON(grant, err)
	if err != nil {
		verdict.Findings = v.findings(arg, claims, err)
	}
	if v.asJSON {
		if err := writeJSON(p.stdout, verdict); err != nil {
			return err
		}
	} else if err == nil {
		return v.printGrant(p, &grant)
	} else {
		p.printRefusal(err, verdict.Findings)
	}
	return refusalError(err, exitAuth)
}

// many verifies the tokens on stdin.
func (v *verifying) many(ctx context.Context, p *program, c *cobra.Command, verifier *channelkey.Verifier) error {
	refused := 0
	err := p.eachLine(ctx, func(line int, token string) error {
		claims, err := v.claims(c, token)
		if err != nil {
			return err
		}
		grant, err := verifier.Verify(token, claims)
		if err != nil {
			refused++
		}
		verdict := newVerdictJSON(grant, err)
		if verdict.Line = line; err != nil {
			verdict.Findings = v.findings(token, claims, err)
		}
		return writeLine(p.stdout, verdict)
	})
	if err == nil && refused > 0 {
		err = &failure{err: fmt.Errorf("%s refused", count(refused, "token")), code: exitAuth}
	}
	return err
}

// claims returns what is claimed with a token: the defaults hang on its format.
func (v *verifying) claims(c *cobra.Command, token string) (channelkey.Claims, error) {
	f, _ := channelkey.Recognise(token)
	claims := channelkey.Claims{Channel: v.channel, User: v.who, Service: channelkey.DefaultService(f), At: v.now}
	switch s, ok := channelkey.ParseService(v.service); {
	case v.service == "opaque":
		claims.Service = channelkey.Opaque
		return claims, nil
	case ok:
		claims.Service = s
	case v.service != "":
		return claims, usagef(c, "--service: no such service %q", v.service)
	}
	switch claims.Service {
	case channelkey.RTM, channelkey.RTM2, channelkey.Chat, channelkey.FPA, channelkey.APaaS:
	default:
		if v.channel == "" && !v.app.legacy.Names {
			return claims, usagef(c, "%s: --channel NAME is missing (or name a --service that has none)", c.CommandPath())
		}
	}
	if f != channelkey.V006 && f != channelkey.V007 {
		return claims, nil // they have no privileges
	}
	for _, name := range v.privileges {
		names := groups[name]
		if names == nil {
			names = []string{name}
		}
		for _, name := range names {
			_, priv, err := findPrivilege(f, []channelkey.Service{claims.Service}, name)
			if err != nil {
				return claims, err
			}
			claims.Need = append(claims.Need, priv)
		}
	}
	return claims, nil
}

// verdictJSON is the outcome of a verification.
type verdictJSON struct {
	Line     int    `json:"line,omitempty"`
	Accepted bool   `json:"accepted"`
	Format   string `json:"format,omitempty"`
	*grantJSON
	*refusalJSON
}

// grantJSON is what a good token grants. Times are unix seconds; null is none.
type grantJSON struct {
	Channel       string       `json:"channel,omitempty"`
	UID           string       `json:"uid"`
	Service       string       `json:"service"`
	Wildcard      bool         `json:"wildcard"`    // it is for everybody
	Certificate   string       `json:"certificate"` // primary or secondary
	CertificateID string       `json:"certificate_id"`
	Card          string       `json:"card"`
	EntryUntil    int64        `json:"entry_until"`
	ServiceEnd    *int64       `json:"service_end"`
	Extra         []tokenExtra `json:"extra,omitempty"`
}

// refusalJSON is a refusal. A code that the vendor does not have is null.
type refusalJSON struct {
	Line       int      `json:"line,omitempty"`
	Format     string   `json:"format,omitempty"`
	Reason     string   `json:"reason"`
	Message    string   `json:"message"`
	Byte       *int     `json:"byte,omitempty"`
	Payload    bool     `json:"in_payload,omitempty"` // Byte counts what was decoded
	NativeCode *int     `json:"native_code"`
	NativeName string   `json:"native_name,omitempty"`
	WebCode    *int     `json:"web_code"`
	WebName    string   `json:"web_name,omitempty"`
	Hint       string   `json:"hint"`
	Suspects   []string `json:"suspects,omitempty"`
	Findings   []string `json:"findings,omitempty"` // verify: what a look at it brought to light
}

func newVerdictJSON(g channelkey.Grant, err error) *verdictJSON {
	if err != nil {
		r := newRefusalJSON(err)
		return &verdictJSON{Format: r.Format, refusalJSON: r}
	}
	out := &grantJSON{Channel: g.Channel, UID: uidJSON(g.User), Service: g.Service.String(), Wildcard: g.Wildcard,
		Certificate: signedBy(&g), CertificateID: g.Certificate.String(), Card: g.CardID().String(), EntryUntil: g.EntryUntil}
	if g.ServiceEnd != 0 {
		out.ServiceEnd = &g.ServiceEnd
	}
	for _, e := range g.Extra {
		out.Extra = append(out.Extra, tokenExtra{e.Key, e.Value})
	}
	return &verdictJSON{Accepted: true, Format: g.Format.String(), grantJSON: out}
}

func signedBy(g *channelkey.Grant) string {
	if g.Secondary() {
		return "secondary"
	}
	return "primary"
}

func newRefusalJSON(err error) *refusalJSON {
	reason := channelkey.ReasonOf(err)
	out := &refusalJSON{Reason: reason.String(), Message: message(err), Hint: reason.Hint(),
		NativeCode: codeJSON(reason.NativeCode()), NativeName: reason.NativeName(), WebCode: codeJSON(reason.WebCode()), WebName: reason.WebName()}
	var r *channelkey.Refusal
	if errors.As(err, &r) {
		if r.Format() != 0 {
			out.Format = r.Format().String()
		}
		if at, payload := r.Byte(); at >= 0 {
			out.Byte, out.Payload = &at, payload
		}
		for _, s := range r.Suspects() {
			out.Suspects = append(out.Suspects, s.String())
		}
	}
	return out
}

func codeJSON(code int) *int {
	if code == 0 {
		return nil
	}
	return &code
}

// refusalError is a refusal as the error of a command.
func refusalError(err error, code int) error {
	if err == nil {
		return nil
	}
	return &failure{err: err, code: code, hints: []string{channelkey.ReasonOf(err).Hint()}}
}

// printRefusal shows the verdict on stdout; words and hint follow as the error.
func (p *program) printRefusal(err error, findings []string) {
	reason := channelkey.ReasonOf(err)
	fmt.Fprintf(p.stdout, "refused: %s\nvendor's codes: %s\n", reason.String(), reason.Codes())
	for _, f := range findings {
		fmt.Fprintln(p.stdout, printable(f))
	}
}

func (v *verifying) printGrant(p *program, g *channelkey.Grant) error {
	t := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	now := clock{v.now}
	who := []string{fmt.Sprintf("service %s", g.Service)}
	if g.Channel != "" {
		who = append(who, fmt.Sprintf("channel %q", g.Channel))
	}
	who = append(who, "uid "+userText(g.User))
	fmt.Fprintf(p.stdout, "good: a %s for %s\n", g.Format, printable(strings.Join(who, ", ")))
	row("certificate", "%s (%s)", signedBy(g), g.Certificate)
	row("card", "%s", g.CardID())
	row("enter until", "%s", now.show(g.EntryUntil))
	if g.ServiceEnd == 0 {
		row("stay until", "as long as one likes")
	} else {
		row("stay until", "%s", now.show(g.ServiceEnd))
	}
	if g.Wildcard {
		row("warning", "it lets every user in")
	}
	for _, e := range g.Extra {
		row("permission", "%s", extraText(e))
	}
	return t.Flush()
}
