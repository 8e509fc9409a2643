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
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/sealedfile"
)

type openOptions struct {
	in, out string // out "": made of in
	channel string
	salvage bool
	force   bool

	// of recordings of RTP
	codec     string
	suite     *cipher.Suite
	ssrc      uint32
	ssrcGiven bool
}

func (p *program) openCommand() *cobra.Command {
	var o openOptions
	var suite *suiteValue
	c := &cobra.Command{
		Use:     "open --channel NAME [flags] IN",
		GroupID: groupFiles,
		Short:   "open a sealed file",
		Long: `Open a sealed file and write the recording that was sealed, in its own container.

IN is a sealed file, or - for stdin. Without -o, talk.sealed.mkv becomes
talk.webm, talk.mkv, talk.ogg …, by what is inside, and stdin goes to stdout. If
the name of OUT ends in .mkv, .webm, .mka or .mks, IVF, Ogg and H.264 or H.265
streams are put into Matroska.

Every frame is authenticated before it is written. A file that was changed or cut
off anywhere is refused with exit status 3, and no OUT is left; with --salvage OUT
is what comes before the damage, the exit status still 3. To stdout, frames go out
as each authenticates.

IN may also be what "gateway record" kept: then OUT is an rtpdump of plain RTP, or
with --codec the frames of one stream: IVF, H.264, H.265 or Ogg Opus. What opens is
written, whatever else the network brought; the exit status is 3 if something did not
authenticate.`,
		Example: `  chanseal open --channel stage talk.sealed.mkv
  chanseal open --channel stage -o - talk.sealed.mkv | mpv -
  chanseal open --channel stage --salvage -o rest.webm torn.sealed.mkv
  chanseal open --channel stage --codec vp8 -o talk.ivf talk.sealed.rtpdump`,
		Args: exactArgs("IN"),
		RunE: func(c *cobra.Command, args []string) error {
			o.in = args[0]
			if err := needChannel(c, o.channel); err != nil {
				return err
			}
			if err := p.oneStdin(c, o.in); err != nil {
				return err
			}
			o.suite, o.ssrcGiven = suite.suite, c.Flags().Changed("ssrc")
			return p.open(c.Context(), o)
		},
	}
	p.addChannelFlag(c, &o.channel)
	c.Flags().BoolVar(&o.salvage, "salvage", false, "keep what comes before the damage")
	c.Flags().BoolVar(&o.force, "force", false, "overwrite OUT if it exists")
	c.Flags().StringVarP(&o.out, "output", "o", "", "write to `OUT`, - for stdout")
	c.Flags().StringVar(&o.codec, "codec", "", "of recorded RTP write the frames of `CODEC`: opus, vp8, vp9, h264, h265 or av1")
	c.Flags().Uint32Var(&o.ssrc, "ssrc", 0, "of recorded RTP write the stream `SSRC` (default the first)")
	suite = p.addSuiteFlag(c, "recorded RTP was sealed with `SUITE` (default the channel's; files say it themselves)")
	return c
}

// open opens a sealed file.
func (p *program) open(ctx context.Context, o openOptions) error {
	in, err := p.openInput(ctx, o.in)
	if err != nil {
		return err
	}
	defer in.Close()
	if isRecording(in) {
		return p.openRecording(ctx, in, o)
	}
	if o.out == "" && in.stdin {
		o.out = "-"
	}
	var dst *target
	if o.out != "" { // else the name hangs on what is inside
		if dst, err = p.target(o.out, o.force, in); err != nil {
			return err
		}
	}
	key := &unlocking{p: p, ctx: ctx, file: in.name, channel: o.channel}
	defer key.close()
	shown := p.progress(in, "opening")
	defer shown.done()
	sealed, err := sealedfile.NewReader(shown, key.unlock)
	if err != nil {
		return key.explain(err)
	}
	rec := &peeked{Reader: sealed}
	head, err := rec.peek()
	if err != nil {
		return key.explain(err)
	}
	if dst == nil {
		o.out = openedName(o.in, sealed.Info(), head)
		if dst, err = p.target(o.out, o.force, in); err != nil {
			return err
		}
	}
	if err := dst.free(); err != nil {
		return err
	}
	format := sealed.Info().Format
	if !dst.stdout {
		if format, err = containerFor(o.out, format); err != nil {
			return err
		}
	}

	out, err := p.create(dst)
	if err != nil {
		return err
	}
	defer out.discard()
	if format == sealed.Info().Format {
		format = 0
	}
	w, err := media.NewWriter(out.Writer, sealed.Info(), media.Options{Live: out.stream, Format: format, Salvage: o.salvage})
	if err != nil {
		return p.writeError(in, out, sealed.Info(), err)
	}
	begun := time.Now()
	if err := pump(ctx, rec, w); err != nil {
		shown.done()
		var read *readError
		if !errors.As(err, &read) {
			return p.writeError(in, out, sealed.Info(), err)
		}
		err = key.explain(read.err)
		if o.salvage && exitCode(err) == exitAuth {
			return p.salvage(ctx, in, out, w, rec, err)
		}
		return p.unsalvaged(ctx, in, out, rec, err)
	}
	if err := out.commit(ctx); err != nil {
		return err
	}
	shown.done()
	p.summary("opened", in.name, out.path, sealed.Summary(), time.Since(begun))
	return nil
}

// writeError explains why a recording was not written; that may lie in the recording,
// if it is to be put into Matroska.
func (p *program) writeError(in *input, out *output, info *media.Info, err error) error {
	var unsupported *media.UnsupportedError
	if !errors.As(err, &unsupported) {
		return out.error(err)
	}
	own := withExtension(out.path, extensions[info.Format][0])
	hint := "write it in its own container: -o " + quoteArg(own)
	if unsupported.Hint != "" {
		hint += "; then " + strings.NewReplacer("IN", quoteArg(own), "OUT.mkv", quoteArg(out.path)).Replace(unsupported.Hint)
	}
	return hinted(&named{in.name, unsupported.What + " is not supported", err}, hint)
}

// salvage completes an output at the damage. The error stays the file's.
func (p *program) salvage(ctx context.Context, in *input, out *output, w media.Writer, rec *peeked, damage error) error {
	own := rec.Info().Format
	if err := w.Close(); err != nil {
		both := errors.Join(damage, fmt.Errorf("and what comes before cannot be written as %s: %w", containerName(own), out.error(err)))
		if own == media.FormatMatroska {
			return both
		}
		return hinted(both, "Matroska may hold it: --salvage -o "+quoteArg(withExtension(out.path, ".mkv")))
	}
	if err := out.commit(ctx); err != nil {
		return hinted(errors.Join(damage, err), hints(err)...)
	}
	p.notef("salvaged %s to %s: %s; what follows is missing", in.name, out.path, rec.kept(in))
	return damage
}

// unsalvaged tells what a damaged file still holds.
func (p *program) unsalvaged(ctx context.Context, in *input, out *output, rec *peeked, damage error) error {
	switch {
	case ctx.Err() != nil || exitCode(damage) != exitAuth:
		return damage
	case out.stream:
		p.notef("written to %s: %s; what follows is missing", out.path, rec.kept(in))
		return damage
	case rec.frames == 0:
		return damage
	}
	return hinted(damage, "what comes before can be kept, "+rec.kept(in)+": --salvage")
}

// peeked is a Reader whose first item can be looked at beforehand. It notes how far
// the reading came.
type peeked struct {
	*sealedfile.Reader
	first  []byte // the first item, an element, if it was not handed out yet
	frames uint64
	until  int64 // the latest timestamp of a frame, in ticks
}

// peek returns the first element: "" if the recording begins with a frame.
func (r *peeked) peek() ([]byte, error) {
	if r.Info().Format != media.FormatMatroska {
		return nil, nil // no need
	}
	var item media.Item
	if err := r.Reader.Next(&item); err != nil {
		return nil, err
	}
	if item.Kind != media.KindElement {
		return nil, errors.New("sealedfile: a Matroska recording that begins with a frame")
	}
	r.first = append([]byte{}, item.Data...)
	return r.first, nil
}

// Next returns the next item.
func (r *peeked) Next(item *media.Item) error {
	if r.first != nil {
		*item = media.Item{Kind: media.KindElement, Duration: media.NoDuration, Data: r.first}
		r.first = nil
		return nil
	}
	err := r.Reader.Next(item)
	if err == nil && item.Kind == media.KindFrame {
		r.frames++
		r.until = max(r.until, item.Timestamp)
	}
	return err
}

// kept tells how much of a damaged file could be read, and of how much, if the file can
// be read again to see.
func (r *peeked) kept(in *input) string {
	text := count(r.frames, "frame")
	if all := framesIn(in); all > r.frames {
		text += fmt.Sprintf(" of the %s still in the file", grouped(all))
	}
	if r.frames > 0 {
		at := time.Duration(r.until) * time.Duration(r.Info().TimestampScale)
		text += fmt.Sprintf(", up to %.3f s", at.Seconds())
	}
	return text
}

// framesIn counts the frames of a regular file, whether they open or not.
func framesIn(in *input) uint64 {
	if in.file == nil || in.size() < 0 || in.stdin {
		return 0
	}
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return 0
	}
	got, err := sealedfile.Inspect(in.file)
	if err != nil {
		return 0
	}
	return got.Frames
}
