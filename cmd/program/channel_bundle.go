package program

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyring"
)

// trimmed is an error's text without the package it comes from.
func trimmed(err error) string { return strings.TrimPrefix(err.Error(), "keyring: ") }

type exportOptions struct {
	to, toFiles []string
	openOnly    bool
	archive     bool
	force       bool
	valid       durationValue
	out         string
}

func (p *program) channelExport() *cobra.Command {
	o := exportOptions{valid: durationValue{7 * 24 * time.Hour}}
	c := &cobra.Command{
		Use:   "export --to RECIPIENT [flags] NAME",
		Short: "seal a channel's secrets to others",
		Long: `Seal a channel's secrets to others, in a bundle that only they can open and that this
ring signs. They import it, knowing the fingerprint that is printed here.

RECIPIENT is what keygen printed, or an age recipient. By default who gets the bundle
can only open. RECIPIENT@7 may also seal, as sender 7, RECIPIENT@7-9,20 as any of
these: give no number to two of them. A file for --to-file has one a line.

The bundle holds the epochs that are in use; they get those to come by bundles to come,
or from a key server. To exclude somebody: channel revoke, then export without them.`,
		Example: `  chanseal channel export --to hpke:mlkem768-x25519:… -o stage.bundle stage
  chanseal channel export --to age1…@7 --to age1…@8 --valid 1d -o stage.bundle stage
  chanseal channel export --to-file members.txt -o - stage | ssh … chanseal channel import --identity me.key -`,
		Args:              exactArgs("NAME"),
		ValidArgsFunction: p.completeChannel,
	}
	f := c.Flags()
	f.StringArrayVar(&o.to, "to", nil, "seal to `RECIPIENT`, or RECIPIENT@SENDERS; may be given more than once")
	f.StringArrayVar(&o.toFiles, "to-file", nil, "seal to the recipients in `FILE`, one a line")
	f.BoolVar(&o.openOnly, "open-only", false, "refuse recipients with sender numbers")
	f.BoolVar(&o.archive, "archive", false, "also archived epochs, which open older files")
	f.Var(&o.valid, "valid", "the bundle can be imported for `TIME`")
	f.StringVarP(&o.out, "output", "o", "", "write to `FILE`, - for stdout (default NAME.bundle)")
	f.BoolVar(&o.force, "force", false, "overwrite FILE")
	c.RunE = func(c *cobra.Command, args []string) error { return p.exportChannel(c, args[0], o) }
	return c
}

func (p *program) exportChannel(c *cobra.Command, name string, o exportOptions) error {
	grants, err := o.grants(c)
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = name + ".bundle"
	}
	t, err := p.newTarget(o.out, o.force, &input{})
	if err != nil {
		return err
	}
	ctx := c.Context()
	ring, err := p.openRing(ctx, name)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := p.openChannel(ctx, ring, name)
	if err != nil {
		return err
	}
	now := time.Now()
	bundle, err := ch.Export(ctx, keyring.ExportOptions{To: grants, NotBefore: now, NotAfter: now.Add(o.valid.d), Archive: o.archive})
	switch {
	case errors.Is(err, keyring.ErrForgotten):
		return senderError(name, err)
	case errors.Is(err, keyring.ErrKept):
		return hinted(err, "who exported it to this ring can export it to others")
	case err != nil:
		return &failure{err: err, code: exitUsage}
	}
	from, err := ring.Fingerprint(ctx)
	if err != nil {
		return err
	}
	out, err := p.create(t)
	if err != nil {
		return err
	}
	defer out.discard()
	if _, err := out.Write(bundle); err != nil {
		return out.error(err)
	}
	if err := out.commit(ctx); err != nil {
		return err
	}
	p.notef("exported channel %q to %s, for %s", name, out.path, count(len(grants), "recipient"))
	p.notef("tell them, on another way, this ring's fingerprint: %s", from)
	return nil
}

// grants reads the recipients.
func (o *exportOptions) grants(c *cobra.Command) (all []keyring.Grant, err error) {
	wrong := func(where string, err error) error {
		return &failure{err: fmt.Errorf("%s: %s", where, trimmed(err)), code: exitUsage, hints: []string{"see an example: " + c.CommandPath() + " --help"}}
	}
	for _, text := range o.to {
		g, err := parseGrant(text)
		if err != nil {
			return nil, wrong("--to "+shortened(text), err)
		}
		all = append(all, g)
	}
	for _, path := range o.toFiles {
		f, err := os.Open(path)
		if err != nil {
			return nil, fileError(path, err)
		}
		lines := bufio.NewScanner(io.LimitReader(f, keyring.MaxBundle))
		lines.Buffer(nil, 64<<10)
		for n := 1; lines.Scan(); n++ {
			line := strings.TrimSpace(lines.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			g, err := parseGrant(line)
			if err != nil {
				f.Close()
				return nil, wrong(fmt.Sprintf("%s: line %d", path, n), err)
			}
			all = append(all, g)
		}
		f.Close()
		if lines.Err() != nil {
			return nil, wrong(path, lines.Err())
		}
	}
	if len(all) == 0 {
		return nil, usagef(c, "%s: --to RECIPIENT is missing", c.CommandPath())
	}
	for _, g := range all {
		if o.openOnly && len(g.Senders) > 0 {
			return nil, usagef(c, "%s: --open-only, but %s has sender numbers", c.CommandPath(), shortened(g.To.String()))
		}
	}
	return all, nil
}

// shortened is the beginning of a recipient: enough to tell which one.
func shortened(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}

// parseGrant reads RECIPIENT or RECIPIENT@N-M,….
func parseGrant(text string) (g keyring.Grant, err error) {
	who, numbers, has := strings.Cut(text, "@")
	if g.To, err = keyring.ParseRecipient(who); err != nil || !has {
		return g, err
	}
	for _, part := range strings.Split(numbers, ",") {
		first, last, span := strings.Cut(part, "-")
		if !span {
			last = first
		}
		a, err1 := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || b < a {
			return g, fmt.Errorf("%q is no sender number from 0 to 65535, nor a range of them", part)
		}
		if n := len(g.Senders); n > 0 && uint16(a) <= g.Senders[n-1].Last {
			return g, fmt.Errorf("the sender numbers %q are not in ascending order", numbers)
		}
		g.Senders = append(g.Senders, keyring.SenderRange{First: uint16(a), Last: uint16(b)})
	}
	return g, nil
}

func (p *program) channelImport() *cobra.Command {
	var (
		from   string
		ids    []string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "import --identity FILE [flags] BUNDLE",
		Short: "take a channel from a bundle",
		Long: `Take a channel from a bundle that was exported to a key of yours, into the ring here;
if there is none, one is made. The channel then opens, and seals as far as the bundle
allows; only who exported it can rotate it.

The first bundle of an issuer needs its fingerprint, which you got on a way that nobody
else can change; it is remembered. A bundle that is altered, of another issuer, for
others, expired, or older than one imported before is refused with exit status 3.`,
		Example: `  chanseal channel import --identity me.key --from 1f0a-…-77e2 stage.bundle
  chanseal channel import --identity me.key next.bundle`,
		Args: exactArgs("BUNDLE"),
	}
	c.Flags().StringVar(&from, "from", "", "the issuer has `FINGERPRINT`")
	c.Flags().StringArrayVar(&ids, "identity", nil, "open it with the secret key in `FILE` (default $CHANSEAL_IDENTITY); may be given more than once")
	c.Flags().BoolVar(&asJSON, "json", false, "print the channel as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		identities, err := p.identities(c, ids)
		if err != nil {
			return err
		}
		if err := p.oneStdin(c, args[0]); err != nil {
			return err
		}
		in, err := p.openInput(ctx, args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		data, err := io.ReadAll(io.LimitReader(in, keyring.MaxBundle+1))
		if err != nil {
			return fileError(in.name, err)
		}
		bundle, err := keyring.ParseBundle(data)
		if err != nil {
			return bundleError(in.name, nil, err)
		}
		ring, err := p.openOrCreateRing(ctx, "", false)
		if err != nil {
			return err
		}
		defer ring.Close()
		info, err := ring.Import(ctx, data, keyring.ImportOptions{Identities: identities, From: from})
		if err != nil {
			return bundleError(in.name, bundle, err)
		}
		return p.changed(info, asJSON, "imported channel %q: epoch %d, %s, fingerprint %s; it opens, and seals %s", info.Name, info.Epoch, info.Suite, info.Fingerprint, sendersText(info.Senders))
	}
	return c
}

// sendersText says under which numbers a ring may seal.
func sendersText(ranges []keyring.SenderRange) string {
	if len(ranges) == 0 {
		return "nothing"
	}
	var parts []string
	for _, r := range ranges {
		if r.First == r.Last {
			parts = append(parts, fmt.Sprint(r.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	return "as sender " + strings.Join(parts, ",")
}
