// Package program is the chanseal program. Its main function is five lines, so that a
// program with ciphers of one's own is five lines too:
//
//	func main() { os.Exit(program.Main(suite)) }
//
// Such a program does all that chanseal does, and knows the suite wherever a suite can
// be named.
//
// Data goes to stdout, everything else to stderr. The exit status is 0 for done, 1 for
// failed, 2 for a wrong command line or an input of a foreign kind, and 3 for what did
// not authenticate.
package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cmd/program/onecall"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/proxy/client"
)

// Cipher is a cipher of the application's own: what [cipher.NewSuite] makes of an AEAD
// and [cipher.NewHook] of anything else.
type Cipher = *cipher.Suite

// Main runs the program on the command line in os.Args and returns its exit status.
// The custom ciphers can be named in --suite and open what was sealed with them; their
// names and numbers must differ. SIGINT and SIGTERM end a command, which leaves nothing
// unfinished behind; a second one kills it.
func Main(custom ...Cipher) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, custom: custom}
	return p.run(ctx, os.Args[1:])
}

// program is one run of a command.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	custom         []*cipher.Suite
	home           string        // the ring's directory if none is named; "": the user's
	wall           *onecall.Wall // what a gateway's packets pass on their way out; nil for none

	// The flags that every command has.
	quiet          bool
	ringDir        string
	passphraseFile string
	keyFile        string
	phrase         []keyring.KEK // from the passphrase's file, once it was read
}

// run runs a command line, without the program's name.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.checkCiphers()
	if err == nil {
		root := p.rootCommand()
		root.SetArgs(client.RewriteArgs(args)) // the spelling of other SDKs
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return exitDone
	}
	return p.report(err)
}

func (p *program) checkCiphers() error {
	names, ids := map[string]bool{}, map[cipher.SuiteID]bool{}
	for i, s := range p.custom {
		if s == nil {
			return fmt.Errorf("custom cipher %d is nil: pass what NewSuite or NewHook returned", i)
		}
		name := strings.ToLower(s.Name())
		if names[name] || ids[s.ID()] {
			return fmt.Errorf("custom cipher %q (%#04x) has the name or number of another one", s.Name(), uint16(s.ID()))
		}
		names[name], ids[s.ID()] = true, true
	}
	return nil
}

// suites returns all suites, the built-in ones first.
func (p *program) suites() []*cipher.Suite { return append(cipher.Suites(), p.custom...) }

// suiteByID finds the suite of a sealed file, whose name is what the file says.
func (p *program) suiteByID(id cipher.SuiteID, name string) (*cipher.Suite, error) {
	for _, s := range p.suites() {
		if s.ID() == id {
			return s, nil
		}
	}
	for _, s := range p.suites() {
		if s.Name() == name { // whoever wrote this name wrote its number beside it
			return nil, &failure{
				err:  fmt.Errorf("its beginning was changed: suite %q does not have the number %#04x", name, uint16(id)),
				code: exitAuth,
			}
		}
	}
	return nil, &failure{
		err:   fmt.Errorf("sealed with the suite %q (%#04x), which this program does not have", name, uint16(id)),
		code:  exitUsage,
		hints: []string{"open it with the program that knows this suite"},
	}
}

// Groups of commands in the help text.
const (
	groupFiles    = "files"
	groupChannels = "channels"
	groupProgram  = "program"
)

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "chanseal",
		Short: "seal media, channel by channel",
		Long: `chanseal seals media, files and live calls, so that only members of a channel can play it.

A ring holds the secrets of channels. It is made with the first channel, with a
key file beside it, in $CHANSEAL_RING or else in your configuration directory.`,
		Example: `  chanseal demo
  chanseal channel create stage
  chanseal seal --channel stage talk.webm           writes talk.sealed.mkv
  chanseal open --channel stage talk.sealed.mkv     writes talk.webm`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needCommand,
	}
	root.AddGroup(
		&cobra.Group{ID: groupFiles, Title: "Files:"},
		&cobra.Group{ID: groupChannels, Title: "Channels:"},
		&cobra.Group{ID: groupServices, Title: "Services:"},
		&cobra.Group{ID: groupProgram, Title: "The program:"},
	)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usagef(c, "%s", flagText(err)) })

	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&p.ringDir, "ring", "", "use the ring in `DIR`, or the one at etcd://HOST,HOST/PREFIX (default $CHANSEAL_RING, else "+defaultRingName()+")")
	flags.StringVar(&p.keyFile, "key-file", "", "the ring's key is in `FILE` (default $CHANSEAL_KEY_FILE, else beside the ring)")
	flags.StringVar(&p.passphraseFile, "passphrase-file", "", "the ring's passphrase is the first line of `FILE`, - for stdin")
	flags.BoolVarP(&p.quiet, "quiet", "q", false, "print nothing but errors and data")

	root.AddCommand(
		p.sealCommand(), p.openCommand(), p.inspectCommand(),
		p.channelCommand(), p.ringCommand(), p.keygenCommand(), p.tokenCommand(),
		p.demoCommand(), p.benchCommand(), p.conformanceCommand(), p.versionCommand(),
		p.serveCommand(), p.gatewayCommand(), p.proxyCommand(), p.auditCommand(),
	)
	root.SetHelpCommandGroupID(groupProgram)
	root.SetCompletionCommandGroupID(groupProgram)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	lowerCase(root)
	return root
}

var parsing = regexp.MustCompile(`strconv\.Parse\w+: parsing ".*": `)

// flagText is the text of a flag's error without the Go function that found it.
func flagText(err error) string { return parsing.ReplaceAllString(err.Error(), "") }

// lowerCase makes what cobra adds by itself speak like the rest.
func lowerCase(c *cobra.Command) {
	c.InitDefaultHelpFlag()
	if f := c.Flags().Lookup("help"); f != nil {
		f.Usage = "print this"
	}
	switch c.CommandPath() {
	case "chanseal help":
		c.Short = "print the help of a command"
	case "chanseal completion":
		c.Short = "print what makes a shell complete command lines"
	}
	for _, sub := range c.Commands() {
		lowerCase(sub)
	}
}

// needCommand is the RunE of commands that only have subcommands.
func needCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef(c, "%s: which command?", c.CommandPath())
	}
	err := usagef(c, "%s: no command %q", c.CommandPath(), args[0])
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err.hints = append([]string{"did you mean " + c.CommandPath() + " " + strings.Join(near, " or ") + "?"}, err.hints...)
	}
	return err
}

// exactArgs wants arguments with these names.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef(c, "%s: %s is missing", c.CommandPath(), names[len(args)])
		case len(args) > len(names):
			return usagef(c, "%s: one argument too many: %q", c.CommandPath(), args[len(names)])
		}
		return nil
	}
}
