package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chanseal/chanseal/channelkey"
)

func (p *program) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "token",
		GroupID: groupChannels,
		Short:   "mint, inspect and verify channel keys",
		Long: `Mint, inspect and verify channel keys (tokens) of every generation: the dynamic keys
dk1 to dk5, signaling, and the access tokens 006 and 007.

A channel key opens the door of a channel to whoever shows it. Certificates are read
from files and never printed.`,
		Example: `  chanseal token app create -o app.json
  chanseal token mint --app-certificate-file app.json --channel room-42 --uid 123 --expires 1h
  chanseal token inspect TOKEN
  chanseal token verify --app-certificate-file app.json --channel room-42 --uid 123 TOKEN`,
		Args: cobra.ArbitraryArgs,
		RunE: needCommand,
	}
	c.AddCommand(p.tokenMintCommand(), p.tokenInspectCommand(), p.tokenVerifyCommand(), p.tokenAppCommand())
	return c
}

// appFlags name the project whose keys are minted or verified.
type appFlags struct {
	id        string
	primary   string
	secondary string
	legacy    legacyValue
}

func (f *appFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.id, "app-id", "", "the App ID, 32 `HEX` digits (default: that of the app file)")
	flags.StringVar(&f.primary, "app-certificate-file", "", "`FILE` with the App certificate, or what \"token app create\" wrote (required)")
}

// read returns the project. A file that others can read is told of.
func (f *appFlags) read(ctx context.Context, p *program, c *cobra.Command) (channelkey.App, error) {
	if f.primary == "" {
		return channelkey.App{}, usagef(c, "%s: --app-certificate-file FILE is missing", c.CommandPath())
	}
	app, err := p.readApp(ctx, f.primary)
	if err != nil {
		return app, err
	}
	switch {
	case app.ID == "" && f.id == "":
		return app, usagef(c, "%s: --app-id HEX is missing: %s holds a certificate only", c.CommandPath(), f.primary)
	case app.ID != "" && f.id != "" && app.ID != f.id:
		return app, hinted(fmt.Errorf("--app-id is another than that of %s", f.primary), "leave --app-id out, or give the certificate's own file")
	case f.id != "":
		app.ID = f.id
	}
	if f.secondary != "" {
		second, err := p.readApp(ctx, f.secondary)
		if err != nil {
			return app, err
		}
		if second.ID != "" && second.ID != app.ID {
			return app, fmt.Errorf("%s is of another App ID", f.secondary)
		}
		app.Secondary = second.Primary
	}
	return app, nil
}

// maxAppFile bounds a file with a certificate, in bytes.
const maxAppFile = 64 << 10

func (p *program) readApp(ctx context.Context, path string) (channelkey.App, error) {
	in, err := p.openInput(ctx, path)
	if err != nil {
		return channelkey.App{}, err
	}
	defer in.Close()
	if in.info != nil && in.info.Mode().IsRegular() && in.info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		p.notef("%s: others can read this certificate, try: chmod 600 %s", in.name, quoteArg(path))
	}
	data, err := io.ReadAll(io.LimitReader(in, maxAppFile+1))
	defer clear(data)
	if err != nil {
		return channelkey.App{}, fileError(in.name, err)
	}
	if len(data) > maxAppFile {
		return channelkey.App{}, &failure{err: fmt.Errorf("%s: too long for a certificate", in.name), code: exitUsage}
	}
	app, err := channelkey.ParseAppFile(data)
	if err != nil {
		return app, &failure{err: &named{in.name, message(err), err}, code: exitUsage,
			hints: []string{"a certificate is 32 hexadecimal digits; a new one: chanseal token app create -o FILE"}}
	}
	return app, nil
}

// tokenError puts an error of package channelkey in a user's words: the switches of
// Legacy are values of a flag here.
func tokenError(err error) error {
	if err == nil {
		return nil
	}
	text := legacyName.ReplaceAllStringFunc(message(err), func(s string) string {
		return "give --legacy " + kebab(strings.TrimPrefix(s, "set Legacy."))
	})
	return &failure{err: errors.New(text), code: exitUsage}
}

var (
	legacyName = regexp.MustCompile(`set Legacy\.[A-Za-z]+`)
	camelHump  = regexp.MustCompile(`([a-z])([A-Z])`)
)

// kebab turns OpaqueServices into opaque-services.
func kebab(s string) string { return strings.ToLower(camelHump.ReplaceAllString(s, "$1-$2")) }

// legacyValue is a flag that sets switches of channelkey.Legacy.
type legacyValue struct{ channelkey.Legacy }

var _ pflag.Value = (*legacyValue)(nil)

func (v *legacyValue) String() string {
	var on []string
	for _, s := range channelkey.Switches() {
		if s.On(v.Legacy) {
			on = append(on, s.Name)
		}
	}
	return strings.Join(on, ",")
}

func (*legacyValue) Type() string { return "SWITCH,..." }

func (v *legacyValue) Set(text string) error {
	all := channelkey.Switches()
	for name := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc(all, func(s channelkey.Switch) bool { return s.Name == name })
		if i < 0 {
			return fmt.Errorf("no such switch, known are %s", strings.Join(legacyNames(), ", "))
		}
		v.Legacy = all[i].Set(v.Legacy, true)
	}
	return nil
}

func legacyNames() (names []string) {
	for _, s := range channelkey.Switches() {
		names = append(names, s.Name)
	}
	return names
}

func (v *legacyValue) add(c *cobra.Command) {
	c.Flags().Var(v, "legacy", "admit what older issuers made: "+strings.Join(legacyNames(), ", "))
	c.RegisterFlagCompletionFunc("legacy", cobra.FixedCompletions(legacyNames(), cobra.ShellCompDirectiveNoFileComp))
}

// formatValue is a flag that names a format of channel keys.
type formatValue struct{ format channelkey.Format }

var _ pflag.Value = (*formatValue)(nil)

func (v *formatValue) String() string {
	if v.format == 0 {
		return ""
	}
	return v.format.String()
}

func (*formatValue) Type() string { return "FORMAT" }

func (v *formatValue) Set(name string) error {
	f, ok := channelkey.ParseFormat(name)
	if !ok {
		return fmt.Errorf("no such format, known are %s", strings.Join(formatNames(), ", "))
	}
	v.format = f
	return nil
}

func formatNames() (names []string) {
	for f := channelkey.DK1; f <= channelkey.V007; f++ {
		names = append(names, f.String())
	}
	return names
}

// userFlags name a user: by a number, or by an account that may look like one.
type userFlags struct{ uid, account string }

func (f *userFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.uid, "uid", "", "the user: a number from 0 (everybody) to 4294967295, or an account `UID`")
	c.Flags().StringVar(&f.account, "account", "", "the user is the account `NAME`, even if that is a number")
}

func (f *userFlags) given() bool { return f.uid != "" || f.account != "" }

func (f *userFlags) user(l channelkey.Legacy) (channelkey.User, error) {
	switch {
	case f.uid != "" && f.account != "":
		return "", &failure{err: errors.New("--uid and --account exclude each other"), code: exitUsage}
	case f.account != "":
		u, err := channelkey.Account(f.account, l)
		return u, tokenError(err)
	case f.uid == "":
		return channelkey.Anybody, nil
	}
	number, err := strconv.ParseInt(f.uid, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return "", tokenError(fmt.Errorf("uid %s does not fit in 32 bits, give a number from 0 to 4294967295", f.uid))
	case err != nil:
		u, err := channelkey.Account(f.uid, l)
		return u, tokenError(err)
	case strconv.FormatInt(number, 10) != f.uid:
		return "", &failure{err: fmt.Errorf("uid %s is not in its shortest form", f.uid), code: exitUsage,
			hints: []string{fmt.Sprintf("--uid %d for the number, --account %s for an account of that name", number, quoteArg(f.uid))}}
	}
	uid, err := channelkey.Uint32(number, l)
	return channelkey.UID(uid), tokenError(err)
}

// userText is a user for a person.
func userText(u channelkey.User) string {
	if u == channelkey.Anybody {
		return "0 (everybody)"
	}
	if _, number := u.UID(); number {
		return string(u)
	}
	return strconv.Quote(string(u))
}

// uidJSON is a user in JSON: what --uid takes.
func uidJSON(u channelkey.User) string {
	if u == channelkey.Anybody {
		return "0"
	}
	return string(u)
}

// tokenArg wants one argument.
func tokenArg(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef(c, "%s: TOKEN is missing", c.CommandPath())
	case len(args) > 1:
		err := usagef(c, "%s: one argument too many: %s", c.CommandPath(), count(len(args), "token"))
		err.hints = append([]string{"many tokens go to stdin, one a line: " + c.CommandPath() + " - < FILE"}, err.hints...)
		return err
	}
	return nil
}

// eachLine calls f with the lines of stdin that are not empty, and their numbers. Of a
// line that no token is as long as, it gets the beginning.
func (p *program) eachLine(ctx context.Context, f func(line int, token string) error) error {
	in, err := p.openInput(ctx, "-")
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(in, channelkey.MaxTokenLen+16)
	for n := 1; ; n++ {
		text, err := r.ReadSlice('\n')
		token := strings.TrimRight(string(text), "\r\n")
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return fileError(in.name, err)
		}
		if token != "" {
			if err := f(n, token); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}
