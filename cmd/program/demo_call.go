package program

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cmd/program/onecall"
)

// callCommand runs a command of the call.
func (p *program) callCommand(ctx context.Context, c onecall.Command) int {
	one := &program{stdin: strings.NewReader(""), stdout: c.Stdout, stderr: c.Stderr, custom: p.custom, home: c.Ring, wall: c.Wall}
	return one.run(ctx, c.Args)
}

// selfCommand runs this program in a process of its own: its file, and what it is called.
func selfCommand() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, os.Args[0]}
}

// oneCall makes the call, and another one with each cipher of the application's own.
func (d *demo) oneCall() error {
	clip := d.callClip
	if len(clip.Left) > 0 {
		d.wrapf("   ", "these tracks stay at home, which RTP has no form for here: %s", strings.Join(clip.Left, " "))
	}
	r, err := d.callWith(d.suite, clip, false)
	if err != nil {
		return err
	}
	d.reportCall(r, clip)
	if d.suite != nil {
		return nil
	}
	for _, s := range d.p.custom {
		r, err := d.callWith(s, clip, true)
		if err != nil {
			return fmt.Errorf("with %s: %w", s.Name(), err)
		}
		d.row("own cipher", "with %s in gateways and recording: %s frames equal, in %d epochs, none in clear anywhere; %.1f bytes a packet, %d ns to seal, %d to open",
			s.Name(), grouped(uint64(r.Frames)), r.Epochs, r.Cost.Bytes, r.Cost.Seal.Nanoseconds(), r.Cost.Open.Nanoseconds())
	}
	return nil
}

// readCallClip reads the recording that is to be sent; "" is the demo's own.
func readCallClip(name string) (*onecall.Clip, error) {
	if name == "" {
		return onecall.ReadClip(strings.NewReader(demoClip))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	defer f.Close()
	clip, err := onecall.ReadClip(f)
	if err != nil {
		return nil, &failure{err: fileError(name, err), code: exitUsage, hints: []string{"a call sends Opus, VP8, VP9, AV1, H.264 and H.265, of the files that chanseal seal takes"}}
	}
	return clip, nil
}

// callWith makes a call with a suite; nil for the default.
func (d *demo) callWith(suite *cipher.Suite, clip *onecall.Clip, short bool) (*onecall.Report, error) {
	o := onecall.Options{Dir: d.path("call"), Run: d.p.callCommand, Self: d.self, Custom: d.p.custom, Clip: clip, Short: short}
	if suite != nil {
		o.Suite = suite.Name()
		o.Dir += "-" + o.Suite
	}
	if !short {
		o.Say = func(format string, args ...any) { d.wrapf("   ", format, args...) }
		o.Show = func(args []string, background bool) {
			line := "$ chanseal"
			for i, a := range args {
				if i > 0 && strings.HasPrefix(args[i-1], "--") && !strings.HasPrefix(a, "--") {
					line += together + a // a flag's value
				} else {
					line += " " + a
				}
			}
			if background {
				line += together + "&"
			}
			d.wrap("   ", "       ", " \\", line)
		}
	}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		return nil, err
	}
	return onecall.Make(d.ctx, o)
}

// reportCall prints what the call was like.
func (d *demo) reportCall(r *onecall.Report, clip *onecall.Clip) {
	fmt.Fprintln(d.out)
	d.row("frames", "%s sent in %s packets and %d epochs; all arrived, each equal", grouped(uint64(r.Frames)), grouped(uint64(r.Packets)), r.Epochs)
	d.row("recording", "%s frames, equal, kept by a process without a key", grouped(uint64(r.Recorded)))
	d.row("audit record", "%s", r.Audit)
	d.row("secrets", "%s secrets and pieces of frames looked for, none found: in %s", grouped(uint64(r.Needles)), strings.Join(r.Places, "; "))
	if r.Unsearched != "" {
		d.row("", "not looked at: processes' memory, as %s", r.Unsearched)
	}
	c := &r.Cost
	d.row("cost a stream", "%.0f packets a second of %s: %.4f %% of a core to seal, %.4f %% to open (%d and %d ns a packet), measured without sockets; %.1f bytes more a packet of %.0f, %.1f %%",
		c.Rate, clip.Codecs(), 100*c.Share(c.Seal), 100*c.Share(c.Open), c.Seal.Nanoseconds(), c.Open.Nanoseconds(), c.Bytes, c.Plain, 100*c.Bytes/c.Plain)
	if c.Proxy > 0 {
		d.row("", "the cloud proxy: %.1f µs of CPU a packet, system calls included, %.2f %% of a core", float64(c.Proxy.Nanoseconds())/1000, 100*c.Share(c.Proxy))
	}
}

// rowWord is how wide the words in front of rows are.
const rowWord = 15

// row prints a line of the report, under a word.
func (d *demo) row(word, format string, args ...any) {
	d.wrap(fmt.Sprintf("   %-*s", rowWord, word), strings.Repeat(" ", rowWord+3), "", printable(fmt.Sprintf(format, args...)))
}

func (d *demo) wrapf(indent, format string, args ...any) {
	d.wrap(indent, indent+"  ", "", printable(fmt.Sprintf(format, args...)))
}

// together is a space at which no line ends.
const together = "\x00"

// wrap prints a text in lines of at most 80 columns where words allow it; what goes on in
// the next line ends with a mark.
func (d *demo) wrap(first, indent, mark, text string) {
	const columns = 80
	line, empty := first, true
	for _, word := range strings.Fields(text) {
		if !empty && len([]rune(line))+1+len([]rune(word))+len(mark) > columns {
			fmt.Fprintln(d.out, line+mark)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line += strings.ReplaceAll(word, together, " ")
		empty = false
	}
	fmt.Fprintln(d.out, line)
}
