package program

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/channelkey"
)

func (p *program) tokenInspectCommand() *cobra.Command {
	var (
		at     momentValue
		legacy legacyValue
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "inspect TOKEN|-",
		Short: "show what a channel key says",
		Long: `Show what a channel key says, without any certificate: nothing of it is proven. Only
verify can tell whether it is genuine.

With "-", keys come from stdin, one a line, and one line of JSON goes out for each. The
exit status is 2 if something is no channel key.`,
		Example: `  chanseal token inspect 007eJxTYLhz…
  chanseal token inspect - < tokens.txt`,
		Args: tokenArg,
		RunE: func(c *cobra.Command, args []string) error {
			now, err := at.when(time.Now())
			if err != nil {
				return err
			}
			if args[0] == "-" {
				return p.inspectTokens(c, legacy.Legacy)
			}
			card, err := channelkey.Parse(args[0], legacy.Legacy)
			if err != nil {
				if asJSON {
					writeJSON(p.stdout, newRefusalJSON(err))
				}
				return refusalError(err, exitUsage)
			}
			if asJSON {
				return writeJSON(p.stdout, newTokenJSON(&card))
			}
			return p.printToken(&card, clock{time.Unix(int64(now), 0)})
		},
	}
	c.Flags().Var(&at, "at", "show how far off times are from `TIME` on (default now)")
	legacy.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// inspectTokens inspects the tokens on stdin.
func (p *program) inspectTokens(c *cobra.Command, l channelkey.Legacy) error {
	bad := 0
	err := p.eachLine(c.Context(), func(line int, token string) error {
		card, err := channelkey.Parse(token, l)
		if err != nil {
			bad++
			r := newRefusalJSON(err)
			r.Line = line
			return writeLine(p.stdout, r)
		}
		t := newTokenJSON(&card)
		t.Line = line
		return writeLine(p.stdout, t)
	})
	if err == nil && bad > 0 {
		err = &failure{err: fmt.Errorf("%s cannot be read", count(bad, "token")), code: exitUsage}
	}
	return err
}

// writeLine prints one object in one line.
func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// tokenJSON is what a token says. Times are unix seconds; null is none.
type tokenJSON struct {
	Line       int                `json:"line,omitempty"`
	Format     string             `json:"format"`
	AppID      string             `json:"app_id"`
	Card       string             `json:"card,omitempty"` // names the token without telling it
	IssuedAt   *int64             `json:"issued_at"`
	EndsAt     *int64             `json:"ends_at"`     // of the key: signaling, 006, 007
	ServiceEnd *int64             `json:"service_end"` // dk2 to dk5
	Random     *uint32            `json:"random"`
	ToldUID    *string            `json:"told_uid,omitempty"`     // dk2, dk3
	ToldFor    string             `json:"told_service,omitempty"` // dk5, 006
	CRC32      *tokenCRC          `json:"crc32,omitempty"`        // 006
	Extra      []tokenExtra       `json:"extra,omitempty"`        // dk5
	Privileges []tokenPrivilege   `json:"privileges,omitempty"`   // 006
	Services   []tokenServiceJSON `json:"services,omitempty"`     // 007
	Opaque     int                `json:"opaque_bytes,omitempty"` // 007: what cannot be read
	Unproven   []string           `json:"unproven"`               // what it is for without telling it
	Warnings   []string           `json:"warnings"`
}

type tokenCRC struct {
	Channel string `json:"channel"`
	UID     string `json:"uid"`
}

type tokenExtra struct {
	Key   uint16 `json:"key"`
	Value string `json:"value"`
}

type tokenPrivilege struct {
	Name   string `json:"name"`
	Number uint16 `json:"number"`
	EndsAt *int64 `json:"ends_at"` // null: with the key
}

type tokenServiceJSON struct {
	Service    string              `json:"service"`
	Channel    string              `json:"channel,omitempty"`
	UID        *string             `json:"uid,omitempty"`
	Role       *int16              `json:"role,omitempty"`
	Privileges []tokenPrivilege    `json:"privileges"`
	Resources  []tokenResourceJSON `json:"resources,omitempty"`
}

type tokenResourceJSON struct {
	Kind  string   `json:"kind"`
	Right string   `json:"right"`
	Names []string `json:"names"`
}

func newTokenJSON(c *channelkey.Card) *tokenJSON {
	t := &tokenJSON{Format: c.Format.String(), AppID: c.AppID, Unproven: c.Unproven(), Warnings: c.Warnings(), Opaque: len(c.Opaque)}
	unix := func(at time.Time, ok bool) *int64 {
		if !ok {
			return nil
		}
		n := at.Unix()
		return &n
	}
	if c.Format == channelkey.StaticID {
		return t
	}
	t.Card = c.ID().String()
	t.IssuedAt = unix(c.Made())
	if c.Format <= channelkey.DK5 {
		t.ServiceEnd = unix(c.End())
	} else {
		t.EndsAt = unix(c.End())
	}
	if c.Format != channelkey.Signaling {
		t.Random = &c.Random
	}
	switch c.Format {
	case channelkey.DK2, channelkey.DK3:
		uid := uidJSON(c.User)
		t.ToldUID = &uid
	case channelkey.DK5:
		t.ToldFor = c.Service.String()
	case channelkey.V006:
		t.ToldFor = c.Service.String()
		t.CRC32 = &tokenCRC{fmt.Sprintf("%08x", c.Hash006[0]), fmt.Sprintf("%08x", c.Hash006[1])}
	}
	for _, e := range c.Extra {
		t.Extra = append(t.Extra, tokenExtra{e.Key, e.Value})
	}
	for _, g := range c.Privileges {
		t.Privileges = append(t.Privileges, tokenPrivilege{channelkey.PrivilegeName(c.Format, c.Service, g.Privilege), uint16(g.Privilege),
			unix(time.Unix(int64(g.Expires), 0), g.Expires != 0)})
	}
	for i := range c.Services {
		t.Services = append(t.Services, newTokenServiceJSON(c, &c.Services[i]))
	}
	return t
}

func newTokenServiceJSON(c *channelkey.Card, s *channelkey.Grant007) tokenServiceJSON {
	out := tokenServiceJSON{Service: s.Service.String(), Channel: s.Channel, Privileges: []tokenPrivilege{}}
	if s.Service != channelkey.FPA {
		uid := uidJSON(s.User)
		out.UID = &uid
	}
	if s.Service == channelkey.APaaS {
		out.Role = &s.Role
	}
	for _, p := range s.Privileges {
		priv := tokenPrivilege{Name: channelkey.PrivilegeName(c.Format, s.Service, p.Privilege), Number: uint16(p.Privilege)}
		if p.Seconds != 0 {
			end := int64(c.Issued) + int64(p.Seconds)
			priv.EndsAt = &end
		}
		out.Privileges = append(out.Privileges, priv)
	}
	for _, r := range s.Resources {
		for _, right := range r.Rights {
			out.Resources = append(out.Resources, tokenResourceJSON{nameOrNumber(resourceKinds, r.Kind), nameOrNumber(rightNames, right.Right), right.Names})
		}
	}
	return out
}

// formatTitles are the vendor's names of the formats.
var formatTitles = map[channelkey.Format]string{
	channelkey.DK1: "DynamicKey", channelkey.DK2: "DynamicKey2", channelkey.DK3: "DynamicKey3",
	channelkey.DK4: "DynamicKey4", channelkey.DK5: "DynamicKey5", channelkey.Signaling: "signaling token 1",
	channelkey.V006: "AccessToken", channelkey.V007: "AccessToken2", channelkey.StaticID: "a bare App ID, no key at all",
}

// printToken shows a token to a person.
func (p *program) printToken(c *channelkey.Card, now clock) error {
	t := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	row("format", "%s, %s", c.Format, formatTitles[c.Format])
	row("app id", "%s", c.AppID)
	if c.Format != channelkey.StaticID {
		p.tokenTimes(c, now, row)
		if c.Format != channelkey.Signaling {
			row("random", "%d", c.Random)
		}
		row("card", "%s, its name in revocations", c.ID())
	}
	switch c.Format {
	case channelkey.DK2, channelkey.DK3:
		row("uid", "%s", userText(c.User))
	case channelkey.V006:
		row("channel", "CRC-32 %08x", c.Hash006[0])
		if c.Service != channelkey.RTM {
			row("uid", "CRC-32 %08x", c.Hash006[1])
		}
	case channelkey.DK1:
		row("uid", "everybody: it is for no uid")
	}
	if c.Format == channelkey.DK5 || c.Format == channelkey.V006 {
		row("service", "%s", c.Service)
	}
	for _, e := range c.Extra {
		row("permission", "%s", extraText(e))
	}
	for _, g := range newTokenJSON(c).Privileges {
		row("may", "%s", privilegeText(g, now))
	}
	for i := range c.Services {
		p.printService(c, &c.Services[i], now, row)
	}
	for _, name := range c.Unproven() {
		if c.Format != channelkey.V006 {
			row(name, "not said: it is signed, and only verify can tell whether it fits")
		}
	}
	if c.Format != channelkey.StaticID {
		row("genuine", "not known: only verify can tell, with the certificate")
	}
	for _, w := range c.Warnings() {
		row("warning", "%s", w)
	}
	return t.Flush()
}

func extraText(e channelkey.Extra) string {
	if e.Key == channelkey.AllowUpload {
		switch e.Value {
		case "0":
			return "may send nothing in the channel"
		case "3":
			return "may send audio and video in the channel"
		}
	}
	return fmt.Sprintf("key %d: %q", e.Key, e.Value)
}

func (p *program) tokenTimes(c *channelkey.Card, now clock, row func(name, format string, args ...any)) {
	made, told := c.Made()
	if told {
		row("issued", "%s", now.show(made.Unix()))
	}
	end, ends := c.End()
	switch {
	case c.Format <= channelkey.DK5:
		row("enter until", "%s, 5 minutes from its issue on", now.show(made.Add(channelkey.DefaultEntryWindow).Unix()))
		if ends {
			row("stay until", "%s", now.show(end.Unix()))
		} else if c.Format != channelkey.DK1 {
			row("stay until", "as long as one likes")
		}
	case c.Format == channelkey.V007 && c.Expires == 0:
		row("good until", "%s, 24 hours from its issue on: it names no end", now.show(made.Add(channelkey.DefaultMaxLife).Unix()))
	default:
		row("good until", "%s", now.show(end.Unix()))
		if told && end.Sub(made) > channelkey.DefaultMaxLife {
			row("", "but verifiers admit it for 24 hours at most: until %s", now.show(made.Add(channelkey.DefaultMaxLife).Unix()))
		}
	}
}

func (p *program) printService(c *channelkey.Card, s *channelkey.Grant007, now clock, row func(name, format string, args ...any)) {
	told := newTokenServiceJSON(c, s)
	var about []string
	if s.Channel != "" {
		what := "channel"
		if s.Service == channelkey.APaaS {
			what = "room"
		}
		about = append(about, fmt.Sprintf("%s %q", what, s.Channel))
	}
	if told.UID != nil {
		about = append(about, "uid "+userText(s.User))
	}
	if told.Role != nil {
		about = append(about, fmt.Sprintf("role %d", *told.Role))
	}
	row("service", "%s", strings.Join(append([]string{s.Service.String()}, about...), ", "))
	for _, g := range told.Privileges {
		row("  may", "%s", privilegeText(g, now))
	}
	for _, r := range told.Resources {
		row("  may", "%s %s: %q", r.Right, r.Kind, r.Names)
	}
}

func privilegeText(g tokenPrivilege, now clock) string {
	text := g.Name
	if text == fmt.Sprint(g.Number) {
		text = "privilege " + text
	}
	if g.EndsAt == nil {
		return text + ", as long as the key"
	}
	return text + " until " + now.show(*g.EndsAt)
}
