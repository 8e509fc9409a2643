package program

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chanseal/chanseal/keyring"
)

// turnValue is a flag that says what a join or a leave does.
type turnValue struct{ turn *keyring.Turn }

var _ pflag.Value = turnValue{}

func (v turnValue) String() string {
	if v.turn == nil || *v.turn == 0 {
		return ""
	}
	return v.turn.String()
}

func (turnValue) Type() string { return "TURN" }

func (v turnValue) Set(s string) (err error) {
	*v.turn, err = keyring.ParseTurn(s)
	return err
}

// policyFlags are the options that make a channel's policy.
type policyFlags struct {
	flags                       *pflag.FlagSet
	age, grace, delay, debounce durationValue
	asked                       keyring.Policy
}

func addPolicyFlags(c *cobra.Command) *policyFlags {
	f := &policyFlags{flags: c.Flags()}
	f.flags.Var(&f.age, "rotate-every", "begin a new epoch after `TIME`, such as 30d, while anybody seals (default never)")
	f.flags.Uint64Var(&f.asked.Frames, "rotate-frames", 0, "and after `NUMBER` frames of one sender (default 2^31)")
	f.flags.Var(&f.grace, "grace", "live receivers accept the epoch before for `TIME` (default 10s)")
	f.flags.Var(&f.delay, "activate-delay", "what the policy begins is handed out for `TIME` before it seals (default 5s)")
	f.flags.Var(&f.debounce, "debounce", "members who leave or join within `TIME` share one new epoch (default 5s)")
	f.flags.Var(turnValue{&f.asked.OnJoin}, "on-join", "who joins has the channel `TURN`: keep, ratchet or renew (default keep)")
	f.flags.Var(turnValue{&f.asked.OnLeave}, "on-leave", "who leaves has the channel `TURN`: fresh or keep (default fresh)")
	f.flags.BoolVar(&f.asked.Ahead, "stage-ahead", false, "stage the next epoch as soon as one begins, so that members hold it early")
	return f
}

// over returns a policy with what was asked for in place of its own.
func (f *policyFlags) over(p keyring.Policy) keyring.Policy {
	span := func(name string, asked time.Duration, field *time.Duration, none time.Duration) {
		switch {
		case !f.flags.Changed(name):
		case asked == 0:
			*field = none
		default:
			*field = asked
		}
	}
	span("rotate-every", f.age.d, &p.Age, 0)
	span("grace", f.grace.d, &p.Grace, 0)
	span("activate-delay", f.delay.d, &p.Delay, keyring.AtOnce)
	span("debounce", f.debounce.d, &p.Debounce, keyring.AtOnce)
	if f.flags.Changed("rotate-frames") {
		p.Frames = f.asked.Frames
	}
	if f.flags.Changed("on-join") {
		p.OnJoin = f.asked.OnJoin
	}
	if f.flags.Changed("on-leave") {
		p.OnLeave = f.asked.OnLeave
	}
	if f.flags.Changed("stage-ahead") {
		p.Ahead = f.asked.Ahead
	}
	return p
}

// given reports whether any of the flags was.
func (f *policyFlags) given() bool {
	for _, name := range []string{"rotate-every", "rotate-frames", "grace", "activate-delay", "debounce", "on-join", "on-leave", "stage-ahead"} {
		if f.flags.Changed(name) {
			return true
		}
	}
	return false
}

type policyJSON struct {
	Channel       string  `json:"channel"`
	RotateFrames  uint64  `json:"rotate_frames"`
	RotateEvery   float64 `json:"rotate_every_s"` // 0 is never
	Grace         float64 `json:"grace_s"`
	ActivateDelay float64 `json:"activate_delay_s"`
	Debounce      float64 `json:"debounce_s"`
	OnJoin        string  `json:"on_join"`
	OnLeave       string  `json:"on_leave"`
	StageAhead    bool    `json:"stage_ahead"`
}

func (p *program) channelPolicy() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "policy NAME",
		Short: "show or change when a channel begins a new epoch",
		Long: `Show when a channel begins a new epoch by itself, or change what is given; the rest
stays as it is.

A new epoch is handed out before it seals (--activate-delay), and the one before is
accepted for a while after (--grace), so that no frame is lost when the clocks of
members differ by a second. Joins and leaves are what a key server tells. Who is put
out by it always has a fresh epoch made, at once, whatever --debounce and --on-leave
say.`,
		Example: `  chanseal channel policy stage
  chanseal channel policy --rotate-every 1h --stage-ahead --on-join ratchet stage`,
		Args:              exactArgs("NAME"),
		ValidArgsFunction: p.completeChannel,
	}
	flags := addPolicyFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		info, err := p.withChannel(c.Context(), args[0], func(ch *keyring.Channel) (keyring.Info, error) {
			info, err := ch.Show(c.Context())
			if err != nil || !flags.given() {
				return info, err
			}
			return ch.SetPolicy(c.Context(), flags.over(info.Policy))
		})
		if err != nil {
			return err
		}
		q := info.Policy
		if asJSON {
			return writeJSON(p.stdout, policyJSON{info.Name, q.Frames, q.Age.Seconds(), q.Grace.Seconds(),
				max(q.Delay, 0).Seconds(), max(q.Debounce, 0).Seconds(), q.OnJoin.String(), q.OnLeave.String(), q.Ahead})
		}
		fmt.Fprintf(p.stdout, "%s\n", strings.Join(policyLines(q), "\n"))
		return nil
	}
	return c
}

// policyLines describes a policy.
func policyLines(q keyring.Policy) []string {
	rotates := fmt.Sprintf("rotates      after %s frames", grouped(q.Frames))
	if q.Age > 0 {
		rotates += " or " + q.Age.String()
	}
	next := "when it is needed"
	if q.Ahead {
		next = "as soon as one begins"
	}
	return []string{rotates,
		"staged       " + next,
		"begins       " + max(q.Delay, 0).String() + " after it is handed out",
		"grace        " + q.Grace.String(),
		"on a join    " + q.OnJoin.String(),
		"on a leave   " + q.OnLeave.String() + ", with others within " + max(q.Debounce, 0).String(),
	}
}
