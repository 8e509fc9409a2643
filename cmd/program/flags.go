package program

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chanseal/chanseal/cipher"
)

// suiteValue is a flag that names a suite, built-in or custom.
type suiteValue struct {
	custom []*cipher.Suite
	suite  *cipher.Suite // nil: not given
}

var _ pflag.Value = (*suiteValue)(nil)

func (v *suiteValue) String() string {
	if v.suite == nil {
		return ""
	}
	return v.suite.Name()
}

func (*suiteValue) Type() string { return "SUITE" }

func (v *suiteValue) Set(name string) error {
	for _, s := range v.custom {
		if strings.EqualFold(s.Name(), name) {
			v.suite = s
			return nil
		}
	}
	s, err := cipher.Lookup(name)
	if err != nil {
		text := message(err)
		for _, s := range v.custom {
			if strings.Contains(text, "known are") {
				text += ", " + s.Name()
			}
		}
		return fmt.Errorf("%s", text)
	}
	v.suite = s
	return nil
}

// durationValue is a flag that holds a time span: Go's notation, and d for days and w
// for weeks.
type durationValue struct{ d time.Duration }

var _ pflag.Value = (*durationValue)(nil)

func (v *durationValue) String() string {
	if v.d == 0 {
		return ""
	}
	return v.d.String()
}

func (*durationValue) Type() string { return "TIME" }

func (v *durationValue) Set(s string) error {
	d, err := parseDuration(s)
	if err != nil {
		return err
	}
	v.d = d
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	wrong := fmt.Errorf("want a time span such as 90s, 12h, 30d or 2w")
	unit, number := time.Duration(0), ""
	if n, ok := strings.CutSuffix(s, "d"); ok {
		unit, number = 24*time.Hour, n
	} else if n, ok := strings.CutSuffix(s, "w"); ok {
		unit, number = 7*24*time.Hour, n
	}
	if unit != 0 {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n > uint64(1<<63-1)/uint64(unit) {
			return 0, wrong
		}
		return time.Duration(n) * unit, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, wrong
	}
	return d, nil
}

// addSuiteFlag adds --suite and completes it.
func (p *program) addSuiteFlag(c *cobra.Command, usage string) *suiteValue {
	v := &suiteValue{custom: p.custom}
	c.Flags().Var(v, "suite", usage)
	c.RegisterFlagCompletionFunc("suite", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		for _, s := range p.suites() {
			names = append(names, s.Name())
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	return v
}

// addChannelFlag adds the --channel that a command needs, and completes it.
func (p *program) addChannelFlag(c *cobra.Command, name *string) {
	c.Flags().StringVar(name, "channel", "", "the channel's `NAME` (required)")
	c.RegisterFlagCompletionFunc("channel", p.completeChannel)
}

func needChannel(c *cobra.Command, name string) error {
	if name == "" {
		return usagef(c, "%s: --channel NAME is missing", c.CommandPath())
	}
	return nil
}
