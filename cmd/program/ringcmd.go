package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

func (p *program) ringCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "ring",
		GroupID: groupChannels,
		Short:   "show, rekey, back up and restore a ring",
		Long: `A ring holds the secrets of channels, sealed under one root key, which is wrapped
by every key that may open the ring: key files, passphrases, age recipients.

A ring is in a directory, or in an etcd cluster:

  --ring DIR
  --ring etcd://HOST[:PORT],HOST[:PORT]/PREFIX[?SETTING=VALUE&…]

with these settings:

  ca=FILE             certificates that sign the members' (default: the system's)
  cert=FILE&key=FILE  a client certificate
  user=NAME           log in with the password in $CHANSEAL_RING_PASSWORD, or
  password-file=FILE  in the first line of a file
  tls=off             no TLS; this is so unasked if all members are on this machine
  timeout=TIME        how long to try to reach a majority of members (default 6s)
  compact=on          compact the cluster's history when secrets were forgotten

Every member should be named. A user needs all keys below the prefix, no others.`,
		Example: `  chanseal ring show
  chanseal ring rekey --add recovery.key
  chanseal ring backup ring.backup
  chanseal --ring 'etcd://a,b,c/prod?ca=ca.pem&user=ring&password-file=pw' channel list`,
		Args: cobra.ArbitraryArgs,
		RunE: needCommand,
	}
	c.AddCommand(p.ringShow(), p.ringRekey(), p.ringBackup(), p.ringRestore())
	return c
}

// ringJSON is what ring show and ring rekey print.
type ringJSON struct {
	Ring      string        `json:"ring"`
	ID        string        `json:"id"`
	Issuer    string        `json:"issuer"` // the fingerprint that others import its bundles by; "" if it cannot be made now
	Channels  int           `json:"channels"`
	Resealing bool          `json:"resealing"` // it was interrupted
	Keys      []ringKeyJSON `json:"keys"`
}

type ringKeyJSON struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	Opens bool   `json:"opens"` // it is one of the keys given to this command
}

func (p *program) describeRing(ctx context.Context, r *keyring.Ring) (ringJSON, error) {
	place, err := p.ring()
	if err != nil {
		return ringJSON{}, err
	}
	out := ringJSON{Ring: place, ID: r.ID(), Resealing: r.Resealing(), Keys: []ringKeyJSON{}}
	all, err := r.Channels(ctx)
	if err != nil {
		return out, err
	}
	out.Channels = len(all)
	// The first to ask makes the signing key, which has to wait while the ring is resealed.
	out.Issuer, _ = r.Fingerprint(ctx)
	keys, err := r.Wrappings(ctx)
	for _, k := range keys {
		out.Keys = append(out.Keys, ringKeyJSON{k.ID, kindName(k.Kind), k.Opens})
	}
	return out, err
}

// kindName is a kind of key in a user's words.
func kindName(kind string) string {
	if kind == "argon2id" {
		return "passphrase"
	}
	return kind
}

func (p *program) ringShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "show a ring and the keys that open it",
		Args:  exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := p.openRing(c.Context(), "")
			if err != nil {
				return err
			}
			defer r.Close()
			info, err := p.describeRing(c.Context(), r)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.stdout, info)
			}
			t := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintf(t, "ring\t%s\n", printable(info.Ring))
			fmt.Fprintf(t, "id\t%s\n", info.ID)
			fmt.Fprintf(t, "channels\t%d\n", info.Channels)
			if info.Issuer != "" {
				fmt.Fprintf(t, "issuer\t%s\n", info.Issuer)
			}
			if info.Resealing {
				fmt.Fprintf(t, "resealing\tinterrupted: finish it by chanseal ring rekey --resume\n")
			}
			if err := t.Flush(); err != nil {
				return err
			}
			fmt.Fprintln(p.stdout)
			fmt.Fprintln(t, "key\tkind\t")
			for _, k := range info.Keys {
				given := ""
				if k.Opens {
					given = "given"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", k.ID, k.Kind, given)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *program) ringRekey() *cobra.Command {
	var (
		add, remove       []string
		resealing, resume bool
		asJSON            bool
	)
	c := &cobra.Command{
		Use:   "rekey",
		Short: "change the keys that open a ring",
		Long: `Add keys that open the ring, and remove others.

A KEY to add is a key file, made if it is missing; an age recipient (age1…), a
plugin's included; "passphrase", which is asked for; or passphrase=FILE, whose first
line it is. A key to remove is named by its ID: see chanseal ring show.

Removing does not take away what somebody has: who could open the ring, and kept a
copy of it, still can. With --reseal the ring's root key is renewed and every record
sealed anew, so that such a copy opens nothing that is written from then on. It
keeps the keys given to this command and those it adds; the others have to be added
again, or removed. Epochs that were read are known: begin new ones, by chanseal
channel rotate. If it is interrupted, the ring still opens; --resume does the rest.`,
		Example: `  chanseal ring rekey --add recovery.key
  chanseal ring rekey --add passphrase --remove 0123456789abcdef
  chanseal ring rekey --reseal --add age1… --remove 0123456789abcdef`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			switch {
			case resume && (resealing || len(add) > 0 || len(remove) > 0):
				return usagef(c, "--resume stands alone")
			case !resume && !resealing && len(add) == 0 && len(remove) == 0:
				return usagef(c, "%s: what is to change? --add KEY, --remove ID, --reseal", c.CommandPath())
			}
			r, err := p.openRing(ctx, "")
			if err != nil {
				return err
			}
			defer r.Close()
			done := ""
			switch {
			case resume:
				if !r.Resealing() {
					return errors.New("there is nothing to resume: the ring is resealed to the end")
				}
				err, done = r.FinishReseal(ctx, nil), "resealed the ring to the end"
			case resealing:
				err, done = p.reseal(ctx, r, add, remove), "renewed the ring's root key: rotate channels whose secrets may be known"
			default:
				var keks []keyring.KEK
				if keks, err = p.keysToAdd(add); err == nil {
					err, done = r.Rewrap(ctx, keks, remove), "changed the keys that open the ring"
				}
			}
			if errors.Is(err, keyring.ErrNotFound) {
				err = hinted(err, "see which there are: chanseal ring show")
			}
			if err != nil {
				return err
			}
			if asJSON {
				info, err := p.describeRing(ctx, r)
				if err != nil {
					return err
				}
				return writeJSON(p.stdout, info)
			}
			p.notef("%s", done)
			return nil
		},
	}
	c.Flags().StringArrayVar(&add, "add", nil, "add `KEY`; may be given more than once")
	c.Flags().StringSliceVar(&remove, "remove", nil, "remove the key with this `ID`; may be given more than once")
	c.Flags().BoolVar(&resealing, "reseal", false, "renew the root key, and seal every record anew")
	c.Flags().BoolVar(&resume, "resume", false, "finish a --reseal that was interrupted")
	c.Flags().BoolVar(&asJSON, "json", false, "print the ring as JSON")
	return c
}

// reseal renews the root key, for the keys that are given and not removed, and those
// that are added.
func (p *program) reseal(ctx context.Context, r *keyring.Ring, add, remove []string) error {
	have, err := r.Wrappings(ctx)
	if err != nil {
		return err
	}
	for _, id := range remove {
		if !slices.ContainsFunc(have, func(w keyring.Wrapping) bool { return w.ID == id }) {
			return fmt.Errorf("nothing that opens the ring has the ID %q: %w", id, keyring.ErrNotFound)
		}
	}
	keep := true
	for _, w := range have {
		switch removed := slices.Contains(remove, w.ID); {
		case removed && w.Opens:
			keep = false
		case !removed && !w.Opens:
			return hinted(fmt.Errorf("the key %s (%s) is not at hand: it cannot be carried over to a new root key", w.ID, kindName(w.Kind)),
				"give it, too, by --key-file or --passphrase-file; or add it again, by --add, and --remove "+w.ID)
		}
	}
	var keks []keyring.KEK
	if keep {
		keks = r.Opened()
	}
	more, err := p.keysToAdd(add)
	if err != nil {
		return err
	}
	if keks = append(keks, more...); len(keks) == 0 {
		return errors.New("no key would be left that opens the ring: --add one")
	}
	return r.Reseal(ctx, keks, nil)
}

// keysToAdd makes KEKs of what --add names.
func (p *program) keysToAdd(add []string) (keks []keyring.KEK, err error) {
	place, err := p.ring()
	if err != nil {
		return nil, err
	}
	for _, text := range add {
		file, isPhrase := strings.CutPrefix(text, "passphrase=")
		var some []keyring.KEK
		switch {
		case text == "passphrase":
			some, err = p.askNewPassphrase(place)
		case isPhrase:
			some, err = p.passphraseFrom(file)
		case strings.HasPrefix(text, "age1"):
			some = make([]keyring.KEK, 1)
			some[0], err = keyring.RecipientKEK(text)
		case strings.HasPrefix(text, "AGE-SECRET-KEY-"), strings.HasPrefix(text, "AGE-PLUGIN-"):
			return nil, errors.New("a secret does not belong on the command line: put it into a file of mode 0600, and name that")
		default:
			some = make([]keyring.KEK, 1)
			some[0], err = p.makeOrOpenKeyFile(text)
		}
		if err != nil {
			return nil, err
		}
		keks = append(keks, some...)
	}
	return keks, nil
}

// makeOrOpenKeyFile returns the key file at path, which it makes if there is none.
func (p *program) makeOrOpenKeyFile(path string) (keyring.KEK, error) {
	if _, err := os.Lstat(path); err == nil {
		return p.openKeyFile(path)
	}
	k, err := makeKeyFile(path)
	if err == nil {
		p.notef("made the key file %s", path)
	}
	return k, err
}

func (p *program) ringBackup() *cobra.Command {
	var (
		out   string
		force bool
	)
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "write a ring into a file",
		Long: `Write all of the ring's records into a file, sealed as they are.

What opens the ring is not in it: the file is of no use without one of its keys, and
of no use to somebody who has none. Keep a key elsewhere (chanseal ring rekey --add).`,
		Example: `  chanseal ring backup ring.backup`,
		Args: func(c *cobra.Command, args []string) error {
			if out != "" {
				return exactArgs()(c, args)
			}
			return exactArgs("FILE")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if out == "" {
				out = args[0]
			}
			r, err := p.openRing(ctx, "")
			if err != nil {
				return err
			}
			defer r.Close()
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
			err = r.Backup(ctx, o)
			if err == nil && o.tmp != "" {
				err = o.file.Sync()
			}
			if errors.Is(err, keyring.ErrResealing) {
				return hinted(err, "finish it: chanseal ring rekey --resume")
			} else if err != nil {
				return o.error(err)
			}
			if err := o.commit(ctx); err != nil {
				return err
			}
			p.notef("backed the ring up to %s: it opens with the ring's keys, which are not in it", o.path)
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the same as FILE; - is stdout")
	c.Flags().BoolVar(&force, "force", false, "overwrite the file")
	return c
}

func (p *program) ringRestore() *cobra.Command {
	var (
		skip  int
		force bool
	)
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "make a ring from a backup",
		Long: `Make a ring from a backup, where there is none: at --ring, and with a key of the ring
that was backed up, in its directory or by --key-file or --passphrase-file.

Every channel begins a new epoch, with a secret that was never used: the ring that
was backed up, or a copy of it, may have gone on. Hand the epochs out to members
again. They refuse epochs with numbers that they have seen already: so numbers are
left out, 16 if not said otherwise by --skip.

Do not go on with the ring that was backed up: members would have two.`,
		Example: `  chanseal --ring new --key-file recovery.key ring restore ring.backup`,
		Args:    exactArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if skip < 0 || skip >= keyring.MaxEpochs {
				return usagef(c, "--skip %d: want 0 to %d", skip, keyring.MaxEpochs-1)
			}
			place, err := p.ring()
			if err != nil {
				return err
			}
			keks, err := p.namedKEKs()
			if err == nil && len(keks) == 0 {
				keks, err = p.defaultKEKs(place)
			}
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return fileError(args[0], err)
			}
			defer f.Close()
			ro := keyring.RestoreOptions{Skip: skip, Overwrite: force}
			if skip == 0 {
				ro.Skip = -1
			}
			r, err := p.restoreAt(ctx, place, f, keks, ro)
			if err != nil {
				return p.restoreError(place, args[0], err)
			}
			defer r.Close()
			all, err := r.Channels(ctx)
			if err != nil {
				return err
			}
			p.notef("restored the ring in %s: %s, each with a new epoch: hand them out again", place, count(len(all), "channel"))
			return nil
		},
	}
	c.Flags().IntVar(&skip, "skip", keyring.DefaultSkip, "leave out `NUMBER` epochs' numbers in every channel")
	c.Flags().BoolVar(&force, "force", false, "remove what an interrupted restore left behind")
	return c
}

func (p *program) restoreAt(ctx context.Context, place string, backup *os.File, keks []keyring.KEK, ro keyring.RestoreOptions) (*keyring.Ring, error) {
	if !inEtcd(place) {
		return boltstore.RestoreRing(ctx, place, backup, boltstore.RingOptions{KEKs: keks, Suites: p.custom}, ro)
	}
	store, err := openEtcd(ctx, place)
	if err != nil {
		return nil, err
	}
	r, err := keyring.Restore(ctx, store, backup, keyring.Options{KEKs: keks, Suites: p.custom}, ro)
	if err != nil {
		store.Close()
		return nil, err
	}
	os.Remove(etcdSeenFile()) // who restores a ring means to go back
	return r, nil
}

func (p *program) restoreError(place, file string, err error) error {
	switch {
	case errors.Is(err, keyring.ErrRingExists):
		return hinted(fmt.Errorf("there is a ring in %s already", place), "restore it somewhere else: --ring DIR")
	case errors.Is(err, keyring.ErrLocked):
		return hinted(&named{file, message(err), err}, "give a key of the ring that was backed up: --key-file FILE or --passphrase-file FILE")
	case errors.Is(err, keyring.ErrDamaged) && strings.Contains(err.Error(), "no ring's header"):
		return hinted(err, "if a restore was interrupted there, or you do not need what is there: --force")
	case errors.Is(err, keyring.ErrDamaged), errors.Is(err, keyring.ErrVersion):
		return &named{file, message(err), err}
	}
	return p.ringError(place, "", err)
}
