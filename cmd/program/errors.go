package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/media"
	"github.com/chanseal/chanseal/sealedfile"
)

// The exit statuses. Scripts rely on them.
const (
	exitDone   = 0
	exitFailed = 1 // could not be done
	exitUsage  = 2 // wrong command line, or an input of a foreign kind
	exitAuth   = 3 // did not authenticate
)

// failure is an error that knows more than its text: what to try, and how to exit.
type failure struct {
	err   error
	code  int // 0: as the error in it says
	hints []string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef is the error of a wrong command line.
func usagef(c *cobra.Command, format string, args ...any) *failure {
	return &failure{
		err:   fmt.Errorf(format, args...),
		code:  exitUsage,
		hints: []string{"try " + c.CommandPath() + " --help"},
	}
}

// hinted adds what to try to an error.
func hinted(err error, hints ...string) error {
	return &failure{err: err, hints: hints}
}

// exitCode is the exit status for an error.
func exitCode(err error) int {
	var f *failure
	for e := err; errors.As(e, &f); e = f.err { // the outermost that says
		if f.code != 0 {
			return f.code
		}
	}
	var sealed *sealedfile.Error
	switch {
	case errors.Is(err, sealedfile.ErrNotSealed), errors.Is(err, sealedfile.ErrVersion),
		errors.Is(err, sealedfile.ErrWeakTag), errors.Is(err, media.ErrUnsupported):
		return exitUsage
	case errors.As(err, &sealed), errors.Is(err, keyring.ErrLocked), errors.Is(err, keyring.ErrForgotten):
		return exitAuth
	}
	return exitFailed
}

// report prints an error and what to do about it, and returns the exit status.
func (p *program) report(err error) int {
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(p.stderr, "chanseal: error: interrupted")
		return exitFailed
	}
	fmt.Fprintf(p.stderr, "chanseal: error: %s\n", printable(message(err)))
	all := hints(err)
	if h := causeHint(err); h != "" && len(all) == 0 {
		all = []string{h}
	}
	for _, h := range all {
		fmt.Fprintf(p.stderr, "chanseal: hint: %s\n", printable(h))
	}
	return exitCode(err)
}

// hints collects those of all failures in an error, the outermost first.
func hints(err error) (all []string) {
	for err != nil {
		var f *failure
		if !errors.As(err, &f) {
			return all
		}
		all = append(all, f.hints...)
		err = f.err
	}
	return all
}

var packageNames = regexp.MustCompile(`(^|: )((audit|bench|cipher|keyring|keyserver|boltstore|etcdstore|media|sealedfile|ciphertest|channelkey|proxy|rtpseal|proxy/client|client): )+`)

// message is an error's text without the names of our packages, which mean nothing to
// who uses a program.
func message(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // of joined errors
	return packageNames.ReplaceAllString(text, "$1")
}

// printable escapes what a file could use to speak to a terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// fileError says which file an error is about, in the words of a user.
func fileError(name string, err error) error {
	var (
		sealed      *sealedfile.Error
		unsupported *media.UnsupportedError
		path        *fs.PathError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &sealed):
		return &named{name, sealedText(sealed), err}
	case errors.As(err, &unsupported):
		hint := unsupported.Hint
		if name != stdinName { // whose recording has to be in a file first
			hint = strings.NewReplacer("IN", quoteArg(name), "OUT.mkv", quoteArg(withExtension(name, ".mkv"))).Replace(hint)
		}
		f := &failure{err: &named{name, unsupported.What + " is not supported", err}}
		if hint != "" {
			f.hints = []string{"put it into Matroska, without encoding it anew: " + hint}
		}
		return f
	case errors.Is(err, io.ErrUnexpectedEOF):
		in, out := quoteArg(name), quoteArg(withExtension(name, ".repaired.mkv"))
		if name == stdinName {
			in, out = "IN", "OUT.mkv"
		}
		return hinted(&named{name, message(err), err}, "it is refused as a whole, so that nothing is lost unnoticed; if you want what is left: ffmpeg -i "+
			in+" -map 0 -c copy "+out)
	case errors.As(err, &path):
		return &named{name, path.Err.Error(), err}
	}
	return &named{name, message(err), err}
}

// named is an error about a file.
type named struct {
	name, text string
	err        error
}

func (e *named) Error() string { return e.name + ": " + e.text }
func (e *named) Unwrap() error { return e.err }

func sealedText(e *sealedfile.Error) string {
	if errors.Is(e, sealedfile.ErrNotSealed) {
		return e.Reason.Error()
	}
	text := e.Reason.Error()
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	text += fmt.Sprintf(", at byte %d", e.Offset)
	if e.Frames > 0 {
		text += fmt.Sprintf(", after %s", count(e.Frames, "frame"))
	}
	return text
}
