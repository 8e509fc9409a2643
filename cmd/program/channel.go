package program

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyring"
)

func (p *program) channelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "channel",
		GroupID: groupChannels,
		Short:   "make, show, rotate and forget channels",
		Long: `A channel has epochs, each with a secret of its own. The newest one seals.
Rotating begins another; older ones still open files. Only forgetting destroys.`,
		Args: cobra.ArbitraryArgs,
		RunE: needCommand,
	}
	c.AddCommand(p.channelCreate(), p.channelImportVendor(), p.channelList(), p.channelShow(), p.channelRotate(), p.channelRevoke(), p.channelPolicy(), p.channelForget(),
		p.channelExport(), p.channelImport(), p.channelJoin())
	return c
}

// channelJSON is what channel show prints: relied on from outside.
type channelJSON struct {
	Channel     string      `json:"channel"`
	Epoch       uint64      `json:"epoch"` // the active one; 0 if the channel was forgotten
	Suite       string      `json:"suite"`
	Fingerprint string      `json:"fingerprint"`
	Keeper      string      `json:"keeper,omitempty"`  // who else makes the epochs
	Senders     string      `json:"senders,omitempty"` // with a keeper: the numbers that this ring may seal under
	Epochs      []epochJSON `json:"epochs"`
}

type epochJSON struct {
	Epoch   uint64    `json:"epoch"`
	State   string    `json:"state"`
	Created time.Time `json:"created"`
}

func newChannelJSON(info keyring.Info) channelJSON {
	out := channelJSON{Channel: info.Name, Epoch: info.Epoch, Suite: info.Suite, Fingerprint: info.Fingerprint, Epochs: []epochJSON{}}
	if info.Keeper != nil {
		out.Keeper, out.Senders = keyring.IssuerFingerprint(info.Keeper), formatSenders(info.Senders)
	}
	for _, e := range info.Epochs {
		out.Epochs = append(out.Epochs, epochJSON{e.Number, e.State.String(), e.Created.UTC()})
	}
	return out
}

// withChannel runs work on a channel of the ring.
func (p *program) withChannel(ctx context.Context, name string, work func(*keyring.Channel) (keyring.Info, error)) (keyring.Info, error) {
	ring, err := p.openRing(ctx, name)
	if err != nil {
		return keyring.Info{}, err
	}
	defer ring.Close()
	ch, err := p.openChannel(ctx, ring, name)
	if err != nil {
		return keyring.Info{}, err
	}
	info, err := work(ch)
	return info, senderError(name, err)
}

// changed reports what a command made of a channel.
func (p *program) changed(info keyring.Info, asJSON bool, format string, args ...any) error {
	if asJSON {
		return writeJSON(p.stdout, newChannelJSON(info))
	}
	p.notef(format, args...)
	return nil
}

func (p *program) channelCreate() *cobra.Command {
	var (
		asJSON     bool
		passphrase bool
	)
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "make a channel, and the ring if there is none",
		Long: `Make a channel with its first epoch.

If there is no ring yet, it is made, too, with a key file beside it. Whoever has
both can open every channel: with --passphrase or --passphrase-file there is no
key file, and the passphrase opens the ring.`,
		Example: `  chanseal channel create stage
  chanseal channel create --suite aes-256-gcm --rotate-every 30d stage`,
		Args: exactArgs("NAME"),
	}
	suite := p.addSuiteFlag(c, "seal with `SUITE` (default aes-128-gcm)")
	policy := addPolicyFlags(c)
	c.Flags().BoolVar(&passphrase, "passphrase", false, "protect a new ring by a passphrase, which is asked for")
	c.Flags().BoolVar(&asJSON, "json", false, "print the channel as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx, name := c.Context(), args[0]
		ring, err := p.openOrCreateRing(ctx, name, passphrase)
		if err != nil {
			return err
		}
		defer ring.Close()
		ch, err := ring.Create(ctx, name, keyring.ChannelOptions{Suite: suite.suite, Policy: policy.over(keyring.Policy{})})
		if errors.Is(err, keyring.ErrChannelExists) {
			return hinted(fmt.Errorf("there is a channel %q already", name), "begin a new epoch of it: chanseal channel rotate "+quoteArg(name))
		} else if err != nil {
			return err
		}
		info, err := ch.Show(ctx)
		if err != nil {
			return err
		}
		return p.changed(info, asJSON, "made channel %q: epoch %d, %s, fingerprint %s", name, info.Epoch, info.Suite, info.Fingerprint)
	}
	return c
}

// openOrCreateRing makes the ring if there is none, and says so.
func (p *program) openOrCreateRing(ctx context.Context, channel string, passphrase bool) (*keyring.Ring, error) {
	ring, err := p.openRing(ctx, channel)
	if !errors.Is(err, keyring.ErrNoRing) {
		return ring, err
	}
	dir, err := p.ring()
	if err != nil {
		return nil, err
	}
	var keks []keyring.KEK
	switch {
	case p.passphraseFile != "":
		keks, err = p.passphraseKEK()
	case passphrase:
		keks, err = p.askNewPassphrase(dir)
	}
	if err != nil {
		return nil, err
	}
	ring, opens, err := p.createRingAt(ctx, dir, keks)
	if err != nil {
		return nil, p.ringError(dir, channel, err)
	}
	p.notef("made a ring in %s: %s", dir, opens)
	return ring, nil
}

func (p *program) askNewPassphrase(dir string) ([]keyring.KEK, error) {
	if !p.asks() {
		return nil, &failure{err: errors.New("there is no terminal to ask for a passphrase"), code: exitUsage,
			hints: []string{"give it in a file: --passphrase-file FILE"}}
	}
	phrase, err := p.ask("new passphrase for the ring in " + dir + ": ")
	if err != nil {
		return nil, err
	}
	defer clear(phrase)
	again, err := p.ask("the same again: ")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if string(phrase) != string(again) {
		return nil, errors.New("the two differ: nothing was made")
	}
	return newPassphrase(phrase)
}

func (p *program) channelList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "list the channels",
		Args:  exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			ring, err := p.openRing(c.Context(), "")
			if err != nil {
				return err
			}
			defer ring.Close()
			all, err := ring.Channels(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				list := struct {
					Channels []channelJSON `json:"channels"`
				}{[]channelJSON{}}
				for _, info := range all {
					list.Channels = append(list.Channels, newChannelJSON(info))
				}
				return writeJSON(p.stdout, list)
			}
			t := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "channel\tepoch\tsuite\tfingerprint")
			for _, info := range all {
				if info.Epoch == 0 {
					fmt.Fprintf(t, "%s\t-\t-\tforgotten\n", printable(info.Name))
					continue
				}
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", printable(info.Name), info.Epoch, info.Suite, info.Fingerprint)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *program) channelShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "show NAME",
		Short:             "show a channel and its epochs",
		Args:              exactArgs("NAME"),
		ValidArgsFunction: p.completeChannel,
		RunE: func(c *cobra.Command, args []string) error {
			info, err := p.withChannel(c.Context(), args[0], func(ch *keyring.Channel) (keyring.Info, error) { return ch.Show(c.Context()) })
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.stdout, newChannelJSON(info))
			}
			return p.showChannel(info)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *program) showChannel(info keyring.Info) error {
	t := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "channel\t%s\n", printable(info.Name))
	if info.Epoch == 0 {
		fmt.Fprintf(t, "epoch\tnone: the channel was forgotten\n")
	} else {
		fmt.Fprintf(t, "epoch\t%d\n", info.Epoch)
		fmt.Fprintf(t, "suite\t%s\n", info.Suite)
		fmt.Fprintf(t, "fingerprint\t%s\n", info.Fingerprint)
	}
	if info.Keeper != nil {
		fmt.Fprintf(t, "kept by\t%s, who rotates it; this ring %s\n", keyring.IssuerFingerprint(info.Keeper), mayDo(info))
		return p.showEpochs(t, info)
	}
	rotates := fmt.Sprintf("after %s frames", grouped(info.Policy.Frames))
	if info.Policy.Age > 0 {
		rotates += " or " + info.Policy.Age.String()
	}
	fmt.Fprintf(t, "rotates\t%s, with a grace of %s\n", rotates, info.Policy.Grace)
	if info.Pending != 0 {
		fmt.Fprintf(t, "pending\t%s, at %s\n", info.Pending, info.Due.Local().Format(time.DateTime))
	}
	return p.showEpochs(t, info)
}

func (p *program) showEpochs(t *tabwriter.Writer, info keyring.Info) error {
	if info.Floor > 0 {
		fmt.Fprintf(t, "forgotten\tepochs 1 to %d\n", info.Floor)
	}
	if err := t.Flush(); err != nil || len(info.Epochs) == 0 {
		return err
	}
	fmt.Fprintln(p.stdout)
	fmt.Fprintln(t, "epoch\tstate\tkind\tsuite\tcreated\treason\tfingerprint")
	for _, e := range info.Epochs {
		state := e.State.String()
		if !e.ActivateAt.IsZero() {
			state += " until " + e.ActivateAt.Local().Format(time.TimeOnly)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Number, state, e.Kind, e.Suite, e.Created.Local().Format(time.DateTime), printable(e.Reason), e.Fingerprint)
	}
	return t.Flush()
}

func (p *program) channelRotate() *cobra.Command {
	return p.newEpoch("rotate", "begin a new epoch",
		`Begin a new epoch of the channel. Programs that seal follow within a second; files
of older epochs still open.`,
		(*keyring.Channel).Rotate)
}

func (p *program) channelRevoke() *cobra.Command {
	return p.newEpoch("revoke", "begin a new epoch that nobody was given yet",
		`Begin a new epoch with a secret that nobody was given yet, not even in advance.
Who is not given it can open nothing that is sealed from now on. What was sealed
before stays open to those who could open it.`,
		func(ch *keyring.Channel, ctx context.Context, reason string) (keyring.Info, error) {
			return ch.Revoke(ctx, reason)
		})
}

func (p *program) newEpoch(name, short, long string, begin func(*keyring.Channel, context.Context, string) (keyring.Info, error)) *cobra.Command {
	var (
		reason string
		asJSON bool
	)
	c := &cobra.Command{
		Use:               name + " NAME",
		Short:             short,
		Long:              long,
		Args:              exactArgs("NAME"),
		ValidArgsFunction: p.completeChannel,
		RunE: func(c *cobra.Command, args []string) error {
			if len(reason) > keyring.MaxReason {
				return usagef(c, "the reason has %d bytes: it may have %d", len(reason), keyring.MaxReason)
			}
			info, err := p.withChannel(c.Context(), args[0], func(ch *keyring.Channel) (keyring.Info, error) {
				return begin(ch, c.Context(), reason)
			})
			if err != nil {
				return err
			}
			return p.changed(info, asJSON, "channel %q is at epoch %d, fingerprint %s", args[0], info.Epoch, info.Fingerprint)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "keep `TEXT` with the epoch")
	c.Flags().BoolVar(&asJSON, "json", false, "print the channel as JSON")
	return c
}

func (p *program) channelForget() *cobra.Command {
	var (
		epochs   []uint
		archived bool
		yes      bool
		asJSON   bool
	)
	c := &cobra.Command{
		Use:   "forget NAME",
		Short: "destroy a channel's secrets",
		Long: `Destroy the secrets of a channel: what was sealed under them opens never again.

Without a flag all epochs are destroyed, the active one included; the name stays,
so that files can be told to be of a forgotten channel. On a terminal the name
has to be typed. Copies of the ring, and what a disk keeps of what was
overwritten, are out of reach.`,
		Example: `  chanseal channel forget stage
  chanseal channel forget --archived stage          all epochs but the active one
  chanseal channel forget --epoch 1 --epoch 2 stage`,
		Args:              exactArgs("NAME"),
		ValidArgsFunction: p.completeChannel,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, name := c.Context(), args[0]
			if archived && len(epochs) > 0 {
				return usagef(c, "--archived and --epoch exclude each other")
			}
			destroyed := 0
			info, err := p.withChannel(ctx, name, func(ch *keyring.Channel) (keyring.Info, error) {
				what := fmt.Sprintf("this destroys all secrets of channel %q, for good", name)
				if archived || len(epochs) > 0 {
					what = fmt.Sprintf("this destroys secrets of channel %q, for good", name)
				}
				if !yes {
					if err := p.confirm(what, name); err != nil {
						return keyring.Info{}, err
					}
				}
				before, err := ch.Show(ctx)
				if err != nil {
					return before, err
				}
				after, err := forget(ctx, ch, before, epochs, archived)
				destroyed = secrets(before) - secrets(after)
				return after, err
			})
			if errors.Is(err, keyring.ErrEpochActive) {
				return hinted(err, "chanseal channel rotate "+quoteArg(name))
			} else if err != nil {
				return err
			}
			left := fmt.Sprintf("epoch %d is active", info.Epoch)
			if info.Epoch == 0 {
				left = "none is left"
			}
			return p.changed(info, asJSON, "forgot %s of channel %q: %s", count(destroyed, "epoch"), name, left)
		},
	}
	c.Flags().UintSliceVar(&epochs, "epoch", nil, "destroy epoch `NUMBER`; may be given more than once")
	c.Flags().BoolVar(&archived, "archived", false, "destroy all epochs but the active one")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&asJSON, "json", false, "print the channel as JSON")
	return c
}

// forget destroys the epochs that were asked for; all if none was.
func forget(ctx context.Context, ch *keyring.Channel, info keyring.Info, epochs []uint, archived bool) (keyring.Info, error) {
	if archived {
		for _, e := range info.Epochs {
			if e.Number < info.Epoch && e.State != keyring.Forgotten {
				epochs = append(epochs, uint(e.Number))
			}
		}
		if len(epochs) == 0 {
			return info, nil
		}
	}
	if len(epochs) == 0 {
		return ch.ForgetAll(ctx)
	}
	var err error
	for _, n := range epochs {
		if info, err = ch.Forget(ctx, uint64(n)); err != nil {
			return info, err
		}
	}
	return info, nil
}

// secrets counts the epochs that still have one.
func secrets(info keyring.Info) (n int) {
	for _, e := range info.Epochs {
		if e.State != keyring.Forgotten {
			n++
		}
	}
	return n
}
