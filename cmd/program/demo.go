package program

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cmd/program/onecall"
)

// demoClip is three seconds of VP8 and Opus, with a title: testdata/media/demo.webm. It
// is a string, which lies in memory that is only read, so that a frame in what a process
// wrote is one that came to it.
//
//go:embed demo/talk.webm
var demoClip string

// A demoStep shows one thing, and returns an error if it is not so.
type demoStep struct {
	title string
	run   func(*demo) error
}

// demoSteps are what the demo shows, each on what those before it left.
func demoSteps() []demoStep {
	return []demoStep{
		{"make a ring and two channels", (*demo).makeChannels},
		{"seal a recording for one of them", (*demo).sealClip},
		{"look at it as an outsider", (*demo).lookFromOutside},
		{"open it as a member", (*demo).openClip},
		{"try the other channel's key", (*demo).tryOtherChannel},
		{"change it, and cut it off", (*demo).tamper},
		{"rotate the channel", (*demo).rotate},
		{"forget the first epoch", (*demo).forget},
		{"issue a channel key, and let its holder in until the end of service", (*demo).door},
		{"hand the keys to a member over HTTPS, and put them out", (*demo).keyServer},
		{"go through a firewall by the cloud proxy, which cannot open a frame", (*demo).relay},
		{"send it live, through two gateways", (*demo).live},
		{"measure what sealing costs", (*demo).measure},
		{"make one call through everything", (*demo).oneCall},
	}
}

func (p *program) demoCommand() *cobra.Command {
	var keep, onlyCall bool
	var clipFile string
	var suite *suiteValue
	c := &cobra.Command{
		Use:     "demo",
		GroupID: groupProgram,
		Short:   "show the whole system at work",
		Long: `Show the whole system at work on this machine: a new ring in a new directory, a
real recording, and these very commands. Everything that is said is checked. The
exit status is 1 if anything does not hold.

The last act is a call through everything: cards, key server, gateways, the cloud proxy
behind a firewall, a recorder. At its end logs, captures and the memory of those that
must have no key are searched for secrets and for plain frames. --call makes the call
alone, --clip with a recording of yours.`,
		Example: `  chanseal demo
  chanseal demo --call --clip talk.mkv --suite aes-256-gcm`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			clip, err := readCallClip(clipFile)
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "chanseal-demo-")
			if err != nil {
				return fmt.Errorf("make a directory for the demo: %w", err)
			}
			if !keep {
				defer os.RemoveAll(dir)
			}
			d := &demo{p: p, ctx: c.Context(), out: p.stdout, dir: dir, self: selfCommand(), suite: suite.suite, callClip: clip}
			steps := demoSteps()
			if onlyCall {
				steps = steps[len(steps)-1:]
			}
			if err := d.runAll(steps); err != nil {
				return err
			}
			if keep {
				d.sayf("kept: %s", dir)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "keep the directory")
	c.Flags().BoolVar(&onlyCall, "call", false, "only the call, which is the last act")
	c.Flags().StringVar(&clipFile, "clip", "", "send the recording in `FILE` in that call")
	suite = p.addSuiteFlag(c, "make that call with `SUITE`")
	return c
}

// demo is a run of the demo.
type demo struct {
	p   *program
	ctx context.Context
	out io.Writer
	dir string // all files are in it

	self     []string      // runs this program in a process of its own
	suite    *cipher.Suite // of the call; nil for the default
	callClip *onecall.Clip

	clip   *clip  // the recording in clear
	stdout string // of the command shown last
}

func (d *demo) runAll(steps []demoStep) error {
	begun := time.Now()
	var err error
	if d.clip, err = readClip(strings.NewReader(demoClip)); err != nil {
		return fmt.Errorf("the demo's recording: %w", err)
	}
	for i, s := range steps {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintf(d.out, "%d. %s\n", i+1, s.title)
		if err := s.run(d); err != nil {
			fmt.Fprintf(d.out, "   DOES NOT HOLD: %s\n", printable(message(err)))
			return fmt.Errorf("demo: step %d, %s: %w", i+1, s.title, err)
		}
		fmt.Fprintln(d.out)
	}
	hold := fmt.Sprintf("all %d steps hold", len(steps))
	if len(steps) == 1 {
		hold = "all of it holds"
	}
	fmt.Fprintf(d.out, "%s, in %.1f s\n", hold, time.Since(begun).Seconds())
	return nil
}

// sayf prints a line of the report.
func (d *demo) sayf(format string, args ...any) {
	fmt.Fprintf(d.out, "   %s\n", printable(fmt.Sprintf(format, args...)))
}

// path is where a file of the demo is.
func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// command runs a command of this program as a user would, in the demo's directory, and
// returns its exit status and what it printed. Words that begin with "./" are files.
func (d *demo) command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, custom: d.p.custom, home: d.path("ring")}
	real := make([]string, len(args))
	for i, a := range args {
		real[i] = a
		if name, ok := strings.CutPrefix(a, "./"); ok {
			real[i] = d.path(name)
		}
	}
	code = p.run(d.ctx, real)
	prefix := d.dir + string(filepath.Separator)
	return code, strings.ReplaceAll(out.String(), prefix, ""), strings.ReplaceAll(errs.String(), prefix, "")
}

// show runs a command, shows it with all it prints, and wants this exit status.
func (d *demo) show(want int, args ...string) error {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = strings.TrimPrefix(a, "./")
		if len(a) > 64 {
			words[i] = a[:24] + "…"
		}
	}
	fmt.Fprintf(d.out, "   $ chanseal %s\n", strings.Join(words, " "))
	code, stdout, stderr := d.command(args...)
	d.stdout = stdout
	for line := range strings.Lines(stdout + stderr) {
		fmt.Fprintf(d.out, "     %s\n", strings.TrimRight(line, "\n"))
	}
	return wantExit(code, want)
}

func wantExit(code, want int) error {
	if code != want {
		return fmt.Errorf("exit status %d, want %d", code, want)
	}
	return nil
}

// absent wants no file of this name.
func (d *demo) absent(name string) error {
	if _, err := os.Lstat(d.path(name)); err == nil {
		return fmt.Errorf("%s was written", name)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
