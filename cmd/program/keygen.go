package program

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyring"
)

func (p *program) keygenCommand() *cobra.Command {
	var (
		out, kem string
		force    bool
	)
	c := &cobra.Command{
		Use:     "keygen -o FILE",
		GroupID: groupChannels,
		Short:   "make a key that channels can be sealed to",
		Long: `Make a key pair for HPKE (RFC 9180). The secret key goes to FILE, which only its owner
can read; the public key, the recipient, is printed: give it to who exports channels.

KEM is mlkem768-x25519, which resists quantum computers, x25519 or p256. Keys of age
(age-keygen) serve as well.`,
		Example: `  chanseal keygen -o me.key
  chanseal channel export --to hpke:mlkem768-x25519:… -o stage.bundle stage    over there
  chanseal channel import --identity me.key --from FINGERPRINT stage.bundle`,
		Args: exactArgs(),
	}
	c.Flags().StringVarP(&out, "output", "o", "", "write the secret key to `FILE` (required)")
	c.Flags().StringVar(&kem, "kem", keyring.DefaultKEM, "use `KEM`: mlkem768-x25519, x25519 or p256")
	c.Flags().BoolVar(&force, "force", false, "overwrite FILE")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if out == "" {
			return usagef(c, "%s: -o FILE is missing", c.CommandPath())
		}
		id, err := keyring.NewIdentity(kem)
		if err != nil {
			return &failure{err: err, code: exitUsage}
		}
		secret, err := id.Secret()
		if err != nil {
			return err
		}
		t, err := p.newTarget(out, force, &input{})
		if err != nil {
			return err
		}
		t.private = true
		o, err := p.create(t)
		if err != nil {
			return err
		}
		defer o.discard()
		if _, err := fmt.Fprintf(o, "# A secret key of chanseal. The public one: %s\n%s\n", id.Recipient(), secret); err != nil {
			return o.error(err)
		}
		if err := o.commit(c.Context()); err != nil || t.stdout {
			return err
		}
		p.notef("made %s, which is secret; this is its recipient:", o.path)
		_, err = fmt.Fprintln(p.stdout, id.Recipient())
		return err
	}
	return c
}

// identities reads the files with the keys that bundles are opened by.
func (p *program) identities(c *cobra.Command, paths []string) (all []*keyring.Identity, err error) {
	if len(paths) == 0 {
		if path := os.Getenv("CHANSEAL_IDENTITY"); path != "" {
			paths = []string{path}
		}
	}
	if len(paths) == 0 {
		return nil, hinted(usagef(c, "%s: --identity FILE is missing", c.CommandPath()), "the file that keygen wrote, or set CHANSEAL_IDENTITY to it")
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, fileError(path, err)
		}
		ids, err := keyring.ParseIdentities(f)
		f.Close()
		if err != nil {
			return nil, &failure{err: &named{path, trimmed(err), err}, code: exitUsage}
		}
		all = append(all, ids...)
	}
	return all, nil
}

// bundleError says what a refused bundle means, and what to do.
func bundleError(file string, u *keyring.Bundle, err error) error {
	text := file + ": " + trimmed(err)
	claims := ""
	if u != nil {
		claims = u.Issuer()
	}
	switch {
	case errors.Is(err, keyring.ErrBundleForm):
		return &failure{err: &reworded{file + ": this is no bundle that this version can read", err}, code: exitUsage, hints: []string{"it is what chanseal channel export writes"}}
	case errors.Is(err, keyring.ErrBundleIssuer):
		return refuse(err, text, "it claims to be of "+claims+": ask its issuer, on another way, whether that is theirs, then: --from "+claims)
	case errors.Is(err, keyring.ErrBundleRecipient):
		return refuse(err, text, "give its issuer the recipient that keygen printed, and import with that --identity")
	case errors.Is(err, keyring.ErrBundleAltered):
		return refuse(err, text, "get it again")
	case errors.Is(err, keyring.ErrBundleExpired), errors.Is(err, keyring.ErrBundleEarly):
		return refuse(err, fmt.Sprintf("%s (%s to %s)", text, u.NotBefore.Local().Format("2006-01-02 15:04"), u.NotAfter.Local().Format("2006-01-02 15:04")), "if the clock here is right: ask its issuer for another")
	case errors.Is(err, keyring.ErrBundleReplayed), errors.Is(err, keyring.ErrOlder):
		return refuse(err, text, "nothing was changed; the newest one counts")
	case errors.Is(err, keyring.ErrOtherKeeper):
		return refuse(err, text, "there is a channel of that name here already: use another ring, or have the channel renamed")
	case errors.Is(err, keyring.ErrOtherSecret):
		return refuse(err, text, "its issuer has two rings for one channel: compare fingerprints by chanseal channel show")
	}
	return err
}
