package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/sealedfile"
)

type sealOptions struct {
	in, out string // out "": made of in
	channel string
	sender  *uint16       // nil: 0, or the first that the ring was given
	suite   *cipher.Suite // nil: the channel's
	force   bool
}

func (p *program) sealCommand() *cobra.Command {
	var o sealOptions
	c := &cobra.Command{
		Use:     "seal --channel NAME [flags] IN",
		GroupID: groupFiles,
		Short:   "seal a recording for a channel",
		Long: `Seal a recording, so that only members of the channel can play it.

IN is a Matroska, WebM, IVF, Ogg Opus, H.264 or H.265 (Annex B) file, or - for
stdin. The sealed file is a Matroska file: programs that know Matroska can list
its tracks, timing and keyframes, and play nothing.

Without -o, talk.webm becomes talk.sealed.mkv, and stdin goes to stdout. OUT gets
its name when it is complete. A recording that is damaged or cut off is refused.`,
		Example: `  chanseal seal --channel stage talk.webm
  chanseal seal --channel stage --suite aes-256-gcm -o safe.mkv talk.webm
  ffmpeg -i talk.mp4 -map 0 -c copy -f matroska - | chanseal seal --channel stage - > talk.sealed.mkv`,
		Args: exactArgs("IN"),
		RunE: func(c *cobra.Command, args []string) error {
			o.in = args[0]
			if err := needChannel(c, o.channel); err != nil {
				return err
			}
			if err := p.oneStdin(c, o.in); err != nil {
				return err
			}
			return p.seal(c.Context(), o)
		},
	}
	p.addChannelFlag(c, &o.channel)
	suite := p.addSuiteFlag(c, "seal with `SUITE` (default the channel's)")
	number := c.Flags().Uint16("sender", 0, "the sender's `NUMBER`, 0 to 65535, which is in clear")
	c.Flags().BoolVar(&o.force, "force", false, "overwrite OUT if it exists")
	c.Flags().StringVarP(&o.out, "output", "o", "", "write to `OUT`, - for stdout")
	c.PreRun = func(c *cobra.Command, _ []string) {
		o.suite = suite.suite
		if c.Flags().Changed("sender") {
			o.sender = number
		}
	}
	return c
}

// oneStdin refuses to read both the passphrase and the recording from stdin.
func (p *program) oneStdin(c *cobra.Command, in string) error {
	if in == "-" && p.passphraseFile == "-" {
		return usagef(c, "%s: IN and the passphrase cannot both be stdin", c.CommandPath())
	}
	return nil
}

// seal seals a file. What is wrong with the input shows before the ring is opened, and
// that with the ring before the output is made.
func (p *program) seal(ctx context.Context, o sealOptions) error {
	in, err := p.openInput(ctx, o.in)
	if err != nil {
		return err
	}
	defer in.Close()
	if o.out == "" {
		if o.out = "-"; !in.stdin {
			o.out = sealedName(o.in)
		}
	}
	dst, err := p.target(o.out, o.force, in)
	if err != nil {
		return err
	}
	if !dst.stdout {
		if _, err := containerFor(o.out, media.FormatMatroska); err != nil {
			return sealedAsMatroska(o.out)
		}
	}
	shown := p.progress(in, "sealing")
	defer shown.done()
	rec, err := media.NewReader(shown)
	if err != nil {
		return fileError(in.name, err)
	}
	if err := notSealed(in.name, rec.Info()); err != nil {
		return err
	}

	ring, err := p.openRing(ctx, o.channel)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := p.openChannel(ctx, ring, o.channel)
	if err != nil {
		return err
	}
	number, err := senderNumber(ctx, ch, o.sender)
	if err != nil {
		return err
	}
	sender, err := ch.Sender(ctx, number, keyring.SenderOptions{Suite: o.suite})
	if err != nil {
		return senderError(o.channel, err)
	}
	defer sender.Close()
	key, err := sender.Key()
	if err != nil {
		return senderError(o.channel, err)
	}
	if err := sealedfile.CheckSuite(key.Suite()); err != nil {
		return hinted(err, "take one with a longer tag: --suite "+cipher.AES128GCM().Name())
	}

	if err := dst.free(); err != nil {
		return err
	}
	out, err := p.create(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	w, err := sealedfile.NewWriter(out.Writer, rec.Info(), sender)
	if err != nil {
		return fileError(in.name, err)
	}
	begun := time.Now()
	if err := pump(ctx, rec, w); err != nil {
		return pumpError(in, out, err)
	}
	if err := out.commit(ctx); err != nil {
		return err
	}
	shown.done()
	p.summary("sealed", in.name, out.path, w.Summary(), time.Since(begun))
	return nil
}

// pump copies a recording and completes the copy. Only an error of the reader is a
// *readError.
func pump(ctx context.Context, r media.Reader, w media.Writer) error {
	var item media.Item
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := r.Next(&item); err {
		case nil:
		case io.EOF:
			return w.Close()
		default:
			return &readError{err}
		}
		if err := w.Write(&item); err != nil {
			return err
		}
	}
}

// readError is an error of what is read, not of what is written.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func pumpError(in *input, out *output, err error) error {
	var read *readError
	if errors.As(err, &read) {
		return fileError(in.name, read.err)
	}
	return out.error(err)
}

// senderNumber is the number to seal under if none is asked for: the first of those that
// the ring was given with a channel that somebody else keeps, and 0 otherwise.
func senderNumber(ctx context.Context, ch *keyring.Channel, asked *uint16) (uint16, error) {
	if asked != nil {
		return *asked, nil
	}
	info, err := ch.Show(ctx)
	if err != nil || len(info.Senders) == 0 {
		return 0, err
	}
	return info.Senders[0].First, nil
}

// senderError explains why there is no Sender.
func senderError(channel string, err error) error {
	switch name := quoteArg(channel); {
	case errors.Is(err, keyring.ErrForgotten):
		return &failure{err: fmt.Errorf("the channel %q was forgotten", channel), code: exitFailed,
			hints: []string{"take it into use again: chanseal channel create " + name}}
	case errors.Is(err, keyring.ErrNotGranted):
		return hinted(err, "see the numbers that it was given: chanseal channel show "+name, "who keeps the channel gives numbers: chanseal channel export --to RECIPIENT@NUMBERS "+name)
	case errors.Is(err, keyring.ErrKept):
		return hinted(err, "new epochs of it come in bundles: chanseal channel import BUNDLE")
	case errors.Is(err, keyring.ErrNoSuite):
		return hinted(err, "use the program that the channel was made with, or another suite: --suite "+cipher.AES128GCM().Name())
	}
	return err
}

// notSealed refuses to seal what is sealed.
func notSealed(name string, info *media.Info) error {
	for _, t := range info.Tracks {
		if strings.HasSuffix(t.CodecID, "_CHANSEAL") {
			return &failure{err: fmt.Errorf("%s: is sealed already", name), code: exitUsage,
				hints: []string{"see what it is: chanseal inspect " + quoteArg(name)}}
		}
	}
	return nil
}

func sealedAsMatroska(path string) error {
	return &failure{err: fmt.Errorf("%s: a sealed file is a Matroska file, and should be named so", path), code: exitUsage,
		hints: []string{"name it -o " + quoteArg(withExtension(path, sealedExtension))}}
}

// summary is the line that ends seal and open.
func (p *program) summary(done, in, out string, s sealedfile.Summary, took time.Duration) {
	p.notef("%s %s to %s: %s, %s bytes, overhead %s bytes (%.2f %%, %.1f a frame), %s",
		done, in, out, count(s.Frames, "frame"), grouped(s.Payload), grouped(s.Overhead),
		percent(s.Overhead, s.Payload), each(s.Overhead, s.Frames), rate(s.Payload, took))
}
