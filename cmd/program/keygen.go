package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chanseal/chanseal/keyring"
)

// kemValue is a flag that names a KEM.
type kemValue string

var _ pflag.Value = (*kemValue)(nil)

func (v *kemValue) String() string { return string(*v) }
func (*kemValue) Type() string     { return "KEM" }

func (v *kemValue) Set(name string) error {
	if _, err := keyring.NewIdentity(name); err != nil {
		return errors.New(message(err))
	}
	*v = kemValue(name)
	return nil
}

// identityJSON is what keygen --json prints.
type identityJSON struct {
	Recipient string `json:"recipient"`
	Identity  string `json:"identity"` // the file
}

func (p *program) keygenCommand() *cobra.Command {
	var (
		kem    = kemValue(keyring.DefaultKEM)
		out    string
		show   string
		force  bool
		asJSON bool
	)
	c := &cobra.Command{
		Use:     "keygen [flags]",
		GroupID: groupChannels,
		Short:   "make an identity, to be given channels in bundles",
		Long: `Make an identity: a secret key, which stays with you, and a recipient, which you
give to who is to export channels to you.

With -o the identity goes to FILE, which only you can read, and the recipient to
stdout. Without it the identity goes to stdout, and the recipient to stderr. The
default KEM holds against quantum computers, too; others are shorter: x25519, p256.

Identities of age-keygen serve as well: import with --identity what age-keygen
wrote, and give its "age1…".`,
		Example: `  chanseal keygen -o me.identity
  chanseal keygen --kem x25519 -o me.identity
  chanseal keygen --show me.identity            the recipient again`,
		Args: exactArgs(),
	}
	c.Flags().Var(&kem, "kem", "make a key of `KEM`: mlkem768-x25519, x25519 or p256")
	c.Flags().StringVarP(&out, "output", "o", "", "write the identity to `FILE`, - for stdout")
	c.Flags().StringVar(&show, "show", "", "make nothing: print the recipients of an identity `FILE`, - for stdin")
	c.Flags().BoolVar(&force, "force", false, "overwrite FILE if it exists")
	c.Flags().BoolVar(&asJSON, "json", false, "print the recipient as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case show != "" && (out != "" || force || asJSON || c.Flags().Changed("kem")):
			return usagef(c, "--show makes nothing: it goes with no other flag")
		case show != "":
			return p.showRecipients(c.Context(), show)
		case asJSON && (out == "" || out == "-"):
			return usagef(c, "with --json the identity needs a file: -o FILE")
		}
		return p.keygen(c.Context(), string(kem), out, force, asJSON)
	}
	return c
}

func (p *program) keygen(ctx context.Context, kem, out string, force, asJSON bool) error {
	id, err := keyring.NewIdentity(kem)
	if err != nil {
		return err
	}
	secret, err := id.Secret()
	if err != nil {
		return err
	}
	recipient := id.Recipient().String()
	text := []byte("# An identity of chanseal: keep it secret. Its recipient is\n# " + recipient + "\n" + secret + "\n")
	defer clear(text)
	if out == "" || out == "-" {
		if f, ok := p.stdout.(*os.File); ok {
			if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
				p.notef("warning: others can read the file that the identity goes to: -o FILE makes one that they cannot")
			}
		}
		if _, err := p.stdout.Write(text); err != nil {
			return fmt.Errorf("write the identity: %w", err)
		}
		p.notef("recipient: %s", recipient)
		return nil
	}
	dst, err := p.newTarget(out, force, &input{})
	if err != nil {
		return err
	}
	dst.private = true
	file, err := p.create(dst)
	if err != nil {
		return err
	}
	defer file.discard()
	if _, err := file.Write(text); err != nil {
		return file.error(err)
	}
	if err := file.sync(); err != nil {
		return err
	}
	if err := file.commit(ctx); err != nil {
		return err
	}
	if asJSON {
		return writeJSON(p.stdout, identityJSON{recipient, out})
	}
	fmt.Fprintln(p.stdout, recipient)
	p.notef("made the identity %s: keep it; the line on stdout is for who gives you channels", file.path)
	return nil
}

// sync has what was written survive a power cut, once it has its name.
func (o *output) sync() error {
	if o.file == nil || o.stream {
		return nil
	}
	return o.error(o.file.Sync())
}

func (p *program) showRecipients(ctx context.Context, file string) error {
	ids, err := p.readIdentities(ctx, file)
	if err != nil {
		return err
	}
	for _, id := range ids {
		fmt.Fprintln(p.stdout, id.Recipient())
	}
	return nil
}

// readIdentities reads an identity file.
func (p *program) readIdentities(ctx context.Context, file string) ([]*keyring.Identity, error) {
	in, err := p.openInput(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hinted(err, "make one: chanseal keygen -o "+quoteArg(file))
	} else if err != nil {
		return nil, err
	}
	defer in.Close()
	if in.info != nil && in.info.Mode().IsRegular() && in.info.Mode().Perm()&0o077 != 0 {
		p.notef("warning: %s: others can read this identity: chmod 600 %s", in.name, quoteArg(file))
	}
	ids, err := keyring.ParseIdentities(in)
	if err != nil {
		return nil, &failure{err: &named{in.name, message(err), err}, code: exitUsage, hints: []string{"give what chanseal keygen -o, or age-keygen, wrote: --identity FILE"}}
	}
	return ids, nil
}

// grants is a flag that says who is given a channel.
type grants struct{ all []keyring.Grant }

var _ pflag.Value = (*grants)(nil)

func (*grants) String() string { return "" }
func (*grants) Type() string   { return "RECIPIENT" }

func (v *grants) Set(s string) error {
	to, numbers, given := strings.Cut(s, "@")
	g := keyring.Grant{}
	var err error
	if g.To, err = keyring.ParseRecipient(to); err != nil {
		return errors.New(message(err))
	}
	if given {
		if g.Senders, err = parseSenders(numbers); err != nil {
			return err
		}
	}
	v.all = append(v.all, g)
	return nil
}

// maxRecipientsFile bounds a file of recipients in bytes.
const maxRecipientsFile = 64 << 20

// readGrants reads recipients, one a line.
func (p *program) readGrants(ctx context.Context, file string, to *grants) error {
	in, err := p.openInput(ctx, file)
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxRecipientsFile+1))
	if err != nil {
		return fileError(in.name, err)
	}
	if len(text) > maxRecipientsFile {
		return &named{in.name, fmt.Sprintf("has more than %d bytes", maxRecipientsFile), nil}
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) > 1 {
			return fmt.Errorf("%s: line %d: want RECIPIENT or RECIPIENT@NUMBERS", in.name, n)
		}
		if err := to.Set(words[0]); err != nil {
			return fmt.Errorf("%s: line %d: %w", in.name, n, err)
		}
	}
	return nil
}
