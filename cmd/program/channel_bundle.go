package program

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyring"
)

const identityVariable = "CHANSEAL_IDENTITY"

// exportJSON is what channel export --json prints.
type exportJSON struct {
	Channel    string    `json:"channel"`
	Epoch      uint64    `json:"epoch"`
	Issuer     string    `json:"issuer"`
	Recipients int       `json:"recipients"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	Bytes      int       `json:"bytes"`
}

type exporting struct {
	name     string
	to       grants
	files    []string
	senders  string
	openOnly bool
	valid    durationValue
	archived bool
	out      string
	force    bool
	json     bool
}

func (p *program) channelExport() *cobra.Command {
	var o exporting
	c := &cobra.Command{
		Use:   "export NAME --to RECIPIENT [flags]",
		Short: "seal a channel's secrets into a bundle for others",
		Long: `Seal the secrets of a channel's epochs into a bundle, which only its recipients can
open, and sign it. A bundle may go by mail or lie on a web server: it shows not even
the channel's name, but how many it is for and when it was made.

A RECIPIENT is what chanseal keygen prints, or age-keygen ("age1…"). Each may open;
those with sender numbers, RECIPIENT@NUMBERS, may seal under these, too. No number
goes to two of them. With one recipient --senders says the same.

They import it with the fingerprint that this command prints: tell it to them on a
way on which nobody else can change it, once. Who is to be excluded from now on is
excluded by chanseal channel revoke and a new bundle for the others.`,
		Example: `  chanseal channel export stage --to hpke:x25519:FZ… -o stage.bundle
  chanseal channel export stage --to hpke:x25519:FZ…@100-109 --to age1q… -o stage.bundle
  chanseal channel export stage --to-file members.txt --valid 12h > stage.bundle`,
		Args:              exactArgs("NAME"),
		ValidArgsFunction: p.completeChannel,
	}
	o.valid.d = 7 * 24 * time.Hour
	f := c.Flags()
	f.Var(&o.to, "to", "seal to `RECIPIENT`, or RECIPIENT@NUMBERS; may be given more than once")
	f.StringArrayVar(&o.files, "to-file", nil, "seal to the recipients in `FILE`, one a line; - for stdin")
	f.StringVar(&o.senders, "senders", "", "the one recipient may seal under `NUMBERS`, such as 7 or 100-109,120")
	f.BoolVar(&o.openOnly, "open-only", false, "nobody may seal: refuse sender numbers (what has none opens only in any case)")
	f.Var(&o.valid, "valid", "it can be imported for `TIME`")
	f.BoolVar(&o.archived, "archive", false, "give archived epochs, too, for old files and recordings")
	f.StringVarP(&o.out, "output", "o", "", "write the bundle to `FILE`, - for stdout (default stdout)")
	f.BoolVar(&o.force, "force", false, "overwrite FILE if it exists")
	f.BoolVar(&o.json, "json", false, "print what was made as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		if o.name = args[0]; o.out == "" {
			o.out = "-"
		}
		if err := p.checkExport(c, &o); err != nil {
			return err
		}
		return p.export(c.Context(), &o)
	}
	return c
}

// checkExport checks what is asked for before anything is opened.
func (p *program) checkExport(c *cobra.Command, o *exporting) error {
	switch {
	case slices.Contains(o.files, "-") && p.passphraseFile == "-":
		return usagef(c, "the recipients and the passphrase cannot both be stdin")
	case o.json && o.out == "-":
		return usagef(c, "with --json the bundle needs a file: -o FILE")
	case o.valid.d <= 0:
		return usagef(c, "--valid: want more than no time")
	}
	for _, file := range o.files {
		if err := p.readGrants(c.Context(), file, &o.to); err != nil {
			return &failure{err: err, code: exitUsage}
		}
	}
	all := o.to.all
	switch {
	case len(all) == 0:
		return usagef(c, "for whom? --to RECIPIENT, which chanseal keygen prints")
	case len(all) > keyring.MaxRecipients:
		return usagef(c, "%d recipients: a bundle has at most %d", len(all), keyring.MaxRecipients)
	}
	if o.senders != "" {
		if len(all) != 1 || all[0].Senders != nil {
			return usagef(c, "--senders is for one recipient: give each their own by --to RECIPIENT@NUMBERS")
		}
		ranges, err := parseSenders(o.senders)
		if err != nil {
			return usagef(c, "--senders: %v", err)
		}
		all[0].Senders = ranges
	}
	for i, g := range all {
		if o.openOnly && g.Senders != nil {
			return usagef(c, "recipient %d has sender numbers, and --open-only gives none", i+1)
		}
	}
	if err := disjoint(all); err != nil {
		return usagef(c, "%v: give each their own", err)
	}
	return nil
}

func (p *program) export(ctx context.Context, o *exporting) error {
	dst, err := p.newTarget(o.out, o.force, &input{})
	if err != nil {
		return err
	}
	ring, err := p.openRing(ctx, o.name)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := p.openChannel(ctx, ring, o.name)
	if err != nil {
		return err
	}
	now := time.Now()
	made := exportJSON{Channel: o.name, Recipients: len(o.to.all), NotBefore: now.UTC(), NotAfter: now.Add(o.valid.d).UTC()}
	bundle, err := ch.Export(ctx, keyring.ExportOptions{To: o.to.all, NotBefore: made.NotBefore, NotAfter: made.NotAfter, Archive: o.archived})
	switch {
	case errors.Is(err, keyring.ErrKept):
		return hinted(err, "ask who keeps it to export it: chanseal channel show "+quoteArg(o.name))
	case err != nil:
		return senderError(o.name, err)
	}
	info, err := ch.Show(ctx)
	if err != nil {
		return err
	}
	if made.Issuer, err = ring.Fingerprint(ctx); err != nil {
		return err
	}
	made.Epoch, made.Bytes = info.Epoch, len(bundle)

	file, err := p.create(dst)
	if err != nil {
		return err
	}
	defer file.discard()
	if _, err := file.Write(bundle); err != nil {
		return file.error(err)
	}
	if err := file.commit(ctx); err != nil {
		return err
	}
	if o.json {
		return writeJSON(p.stdout, made)
	}
	p.notef("sealed channel %q, epoch %d, to %s, until %s", o.name, made.Epoch, count(made.Recipients, "recipient"), made.NotAfter.Local().Format(time.DateTime))
	p.notef("tell them, on a way on which nobody can change it, this ring's fingerprint: %s", made.Issuer)
	return nil
}

func (p *program) channelImport() *cobra.Command {
	var (
		from       string
		identities []string
		passphrase bool
		asJSON     bool
	)
	c := &cobra.Command{
		Use:   "import BUNDLE",
		Short: "take a channel from a bundle",
		Long: `Take a channel from a bundle that chanseal channel export made for you; - is stdin.

A bundle is believed if its issuer is the one of --from, which they tell you on a way
on which nobody else can change it. After that the ring knows the issuer, and --from is
not needed any more. The channel is then theirs to rotate, and you get their later
epochs by later bundles. A bundle that is altered, of another issuer, for others,
expired or older than one imported before is refused with exit status 3, and so is
another secret for an epoch that is known.

The identity is the one that the bundle was made for: a file that chanseal keygen or
age-keygen wrote, by default $CHANSEAL_IDENTITY.`,
		Example: `  chanseal channel import --from 3f1c-… --identity me.identity stage.bundle
  curl -s https://example.com/stage.bundle | chanseal channel import --identity me.identity -`,
		Args: exactArgs("BUNDLE"),
	}
	c.Flags().StringVar(&from, "from", "", "the issuer's `FINGERPRINT`")
	c.Flags().StringArrayVar(&identities, "identity", nil, "open it by the identity in `FILE`, - for stdin (default $CHANSEAL_IDENTITY); may be given more than once")
	c.Flags().BoolVar(&passphrase, "passphrase", false, "protect a new ring by a passphrase, which is asked for")
	c.Flags().BoolVar(&asJSON, "json", false, "print the channel as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx, bundle := c.Context(), args[0]
		if file := os.Getenv(identityVariable); len(identities) == 0 && file != "" {
			identities = []string{file}
		}
		stdins := 0
		for _, f := range append([]string{bundle, p.passphraseFile}, identities...) {
			if f == "-" {
				stdins++
			}
		}
		switch {
		case len(identities) == 0:
			u := usagef(c, "whose is it? --identity FILE")
			u.hints = []string{"make an identity, and give its recipient to who exports: chanseal keygen -o me.identity"}
			return u
		case stdins > 1:
			return usagef(c, "only one of BUNDLE, identity and passphrase can be stdin")
		}
		var ids []*keyring.Identity
		for _, file := range identities {
			some, err := p.readIdentities(ctx, file)
			if err != nil {
				return err
			}
			ids = append(ids, some...)
		}
		b, name, err := p.readBundle(ctx, bundle)
		if err != nil {
			return err
		}
		u, err := keyring.ParseBundle(b)
		if err != nil {
			return &failure{err: &named{name, message(err), err}, code: exitUsage, hints: []string{"give what chanseal channel export wrote"}}
		}
		ring, err := p.openRing(ctx, "")
		if errors.Is(err, keyring.ErrNoRing) {
			if from == "" { // a new ring trusts nobody: none is made to find that out
				return importError(name, u, from, ids, keyring.ErrBundleIssuer)
			}
			ring, err = p.openOrCreateRing(ctx, "", passphrase)
		}
		if err != nil {
			return err
		}
		defer ring.Close()
		info, err := ring.Import(ctx, b, keyring.ImportOptions{Identities: ids, From: from})
		if err != nil {
			return importError(name, u, from, ids, err)
		}
		return p.changed(info, asJSON, "channel %q is at epoch %d, %s, fingerprint %s; this ring %s", info.Name, info.Epoch, info.Suite, info.Fingerprint, mayDo(info))
	}
	return c
}

// mayDo says what a ring may do with a channel that somebody else keeps.
func mayDo(info keyring.Info) string {
	if len(info.Senders) == 0 {
		return "only opens"
	}
	return "opens, and seals as " + formatSenders(info.Senders)
}

func (p *program) readBundle(ctx context.Context, path string) (b []byte, name string, err error) {
	in, err := p.openInput(ctx, path)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	b, err = io.ReadAll(io.LimitReader(in, keyring.MaxBundle+1))
	if err != nil {
		return nil, in.name, fileError(in.name, err)
	}
	return b, in.name, nil
}

// importError says why a bundle was refused, and what to do.
func importError(name string, u *keyring.Bundle, from string, ids []*keyring.Identity, err error) error {
	f := &failure{err: &named{name, message(err), err}}
	zone := func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }
	switch {
	case errors.Is(err, keyring.ErrBundleIssuer):
		f.hints = []string{"it says that it is of " + u.Issuer() + ", which anybody can write: take the fingerprint from who made it, not from here, for --from FINGERPRINT"}
		if from != "" {
			f.hints = []string{"--from names another issuer than the bundle does: it is of somebody else, or the fingerprint was mistyped"}
		}
	case errors.Is(err, keyring.ErrBundleAltered):
		f.hints = []string{"it was damaged or changed on its way: get it again"}
	case errors.Is(err, keyring.ErrBundleRecipient):
		f.hints = []string{"this identity's recipient is " + ids[0].Recipient().String() + ": was it made for that? If not, give another by --identity FILE, or ask for a bundle for this one"}
	case errors.Is(err, keyring.ErrBundleEarly):
		f.hints = []string{"it is valid from " + zone(u.NotBefore) + ": wait, or see whether this machine's clock is right"}
	case errors.Is(err, keyring.ErrBundleExpired):
		f.hints = []string{"it was valid until " + zone(u.NotAfter) + ": ask for a new one, or see whether this machine's clock is right"}
	case errors.Is(err, keyring.ErrBundleReplayed), errors.Is(err, keyring.ErrOlder):
		f.hints = []string{"nothing was changed; it was made " + zone(u.Created) + ": ask for a newer one"}
	case errors.Is(err, keyring.ErrFull):
		f.hints = []string{"more epochs went by than a channel keeps: import it into another ring, or give up what is here of it and import again: chanseal channel forget NAME"}
		return f
	case errors.Is(err, keyring.ErrOtherKeeper):
		f.hints = []string{"a channel has one keeper: compare who that is: chanseal channel show NAME; or use another ring: --ring DIR"}
	case errors.Is(err, keyring.ErrOtherSecret):
		f.hints = []string{"nothing was changed: either ring holds the wrong secret; compare the fingerprints of each epoch with the issuer: chanseal channel show NAME"}
	default:
		return err
	}
	f.code = exitAuth
	return f
}
