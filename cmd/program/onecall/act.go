package onecall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// The uids of the act.
const (
	sender    = 123
	receiver  = 456
	eve       = 666 // will be revoked
	short     = 789 // whose service ends
	prolonged = 790 // who renews in time
)

const channel = "ABC"

// Report is what a whole call was like.
type Report struct {
	Result
	Generations int
	Recorded    int // frames that the recording gave
	Audit       string
	Places      []string // where was looked for secrets
	Needles     int
	Unsearched  string // why processes' memory was not looked at
	Cost        Cost
}

// A step of the act shows one thing, or returns an error if it is not so.
type step struct {
	name  string
	run   func(*act, context.Context) error
	short bool // of the short act, too
}

// steps are the act, each on what those before it left.
func steps() []step {
	return []step{
		{"enter with a card of each generation", (*act).generations, false},
		{"come and go while the card opens the door", (*act).fiveMinutes, false},
		{"set up the call", (*act).setUp, true},
		{"be stopped by the firewall", (*act).blocked, true},
		{"call through the cloud proxy", (*act).call, true},
		{"rotate in mid-call", (*act).rotate, true},
		{"revoke a member", (*act).revoke, false},
		{"renew, and come to the end of service", (*act).serviceEnd, false},
		{"let the secondary certificate take over", (*act).certificates, false},
		{"open the recording", (*act).recording, true},
		{"verify the audit record", (*act).audit, true},
		{"look for secrets", (*act).search, true},
		{"count the cost", (*act).cost, true},
	}
}

// act is the whole call.
type act struct {
	*World
	c      *Call
	r      Report
	eve    *Process
	short  *Process
	longer *Process
	had    []uint64 // the epochs that eve had when she was revoked
}

// Make makes one call through everything. The error names the step that failed.
func Make(ctx context.Context, o Options) (r *Report, err error) {
	a := &act{}
	a.World, err = Start(ctx, o, channel)
	defer func() {
		if a.c != nil {
			a.c.Close()
		}
		err = errors.Join(err, a.World.Close())
	}()
	if err != nil {
		return nil, err
	}
	for _, s := range steps() {
		if o.Short && !s.short {
			continue
		}
		if o.Before != nil {
			if err := o.Before(s.name, a.World, a.c); err != nil {
				return nil, err
			}
		}
		if err := s.run(a, ctx); err != nil {
			return nil, stepError(s.name, err)
		}
	}
	return &a.r, nil
}

// refusedAs wants a command to be refused for a reason.
func refusedAs(err error, reason string) error {
	var e *CommandError
	switch {
	case err == nil:
		return fmt.Errorf("not refused, want %s", reason)
	case !errors.As(err, &e) || e.Code != 3 || !strings.Contains(e.Said, reason):
		return fmt.Errorf("want it refused as %s: %w", reason, err)
	}
	return nil
}

func (a *act) generations(ctx context.Context) error {
	for _, f := range Generations {
		card, err := a.Card(a.Desk, f, channel, sender, 0, 0)
		if err != nil {
			return fmt.Errorf("a %s: %w", f, err)
		}
		if err := a.Visit(ctx, channel, sender, card); err != nil {
			return fmt.Errorf("a %s: %w", f, err)
		}
		// For somebody else it opens nothing. (A dk1 is for everybody.)
		if f != channelkey.DK1 {
			if err := a.Visit(ctx, channel, eve, card); err == nil {
				return fmt.Errorf("a %s: opens to another user", f)
			}
		}
		a.r.Generations++
	}
	a.say("uid %d entered %s with a card of each generation: %s", sender, channel, join(Generations))
	return nil
}

func join[T fmt.Stringer](all []T) string {
	var words []string
	for _, x := range all {
		words = append(words, x.String())
	}
	return strings.Join(words, " ")
}

// fiveMinutes shows the door's five minutes: to the second by the verifier's word, and at
// the door itself with cards of some age.
func (a *act) fiveMinutes(ctx context.Context) error {
	card, err := a.Desk.Issue(channelkey.DK4, channel, sender, 0, 0)
	if err != nil {
		return err
	}
	parsed, err := channelkey.Parse(card, channelkey.Legacy{})
	if err != nil {
		return err
	}
	for at, want := range map[time.Duration]string{4*time.Minute + 59*time.Second: "", 5*time.Minute + time.Second: "109"} {
		_, err := a.run(ctx, a.path("nobody"), "token", "verify", "--app-certificate-file", a.path("app.json"), "--channel", channel, "--uid", fmt.Sprint(sender),
			"--at", fmt.Sprint(time.Unix(int64(parsed.Issued), 0).Add(at).Unix()), card)
		if want == "" && err != nil || want != "" && err == nil {
			return fmt.Errorf("%v after its issue: %v", at, err)
		}
	}
	// The same card lets in again and again, one at a time.
	file, err := a.Card(a.Desk, channelkey.DK4, channel, sender, 4*time.Minute+30*time.Second, 0)
	if err != nil {
		return err
	}
	for range 2 {
		if err := a.Visit(ctx, channel, sender, file); err != nil {
			return fmt.Errorf("4:30 after its issue: %w", err)
		}
	}
	if file, err = a.Card(a.Desk, channelkey.DK4, channel, sender, 5*time.Minute+time.Second, 0); err != nil {
		return err
	}
	if err := refusedAs(a.Visit(ctx, channel, sender, file), "entry-over, 109"); err != nil {
		return err
	}
	a.say("a card opens until 4:59, again after leaving; at 5:01 it is refused: entry-over, 109")
	return nil
}

func (a *act) setUp(ctx context.Context) (err error) {
	if a.c, err = a.NewCall(ctx, channel, sender, receiver); err != nil {
		return err
	}
	if a.o.Short {
		return nil
	}
	// Others are there, too.
	for _, m := range []struct {
		uid     uint32
		service time.Duration
		into    **Process
	}{{eve, 0, &a.eve}, {prolonged, 31 * time.Second, &a.longer}} {
		card, err := a.Card(a.Desk, channelkey.DK5, channel, m.uid, 0, m.service)
		if err != nil {
			return err
		}
		if *m.into, err = a.Join(ctx, channel, m.uid, card); err != nil {
			return err
		}
		if m.uid == prolonged { // who is told 30 seconds before the end, and reads the file again
			next, err := a.Desk.Issue(channelkey.V007, channel, prolonged, 0, time.Hour)
			if err == nil {
				err = os.WriteFile(card, []byte(next), 0o600)
			}
			if err != nil {
				return err
			}
		}
	}
	for service := 2 * time.Second; ; service *= 2 { // a machine may be too busy to enter in time
		card, err := a.Card(a.Desk, channelkey.DK4, channel, short, 0, service)
		if err != nil {
			return err
		}
		if a.short, err = a.Join(ctx, channel, short, card); err == nil {
			break
		}
		if service > time.Minute || refusedAs(err, "service-ended") != nil {
			return err
		}
	}
	a.say("%d members are inside, each with a ring of its own; secrets came wrapped to keys of theirs", 5)
	return nil
}

func (a *act) blocked(ctx context.Context) error {
	n, err := a.c.Blocked(ctx)
	if err != nil {
		return err
	}
	a.say("the firewall lets out what stands in the allow-list: %d of %d packets straight to the media network stopped", n, n)
	return nil
}

func (a *act) call(ctx context.Context) error {
	card, err := a.Card(a.Desk, channelkey.V007, channel, sender, 0, 0)
	if err != nil {
		return err
	}
	if err := a.c.Seal(ctx, a.c.ThroughProxy(card)...); err != nil {
		return err
	}
	if !strings.Contains(a.c.seal.Said(), "cloud proxy: connected ") {
		return errors.New("the gateway does not say that it is connected to the cloud proxy")
	}
	cpu := cpuOf(a.proxy.pid)
	if err := a.c.Pass(ctx); err != nil {
		return err
	}
	r, err := a.c.Check()
	if err != nil {
		return err
	}
	a.r.Cost.Proxy = (cpuOf(a.proxy.pid) - cpu) / time.Duration(max(1, r.Packets))
	a.say("%d packets, %d frames of %s: all arrived, equal frame for frame", r.Packets, r.Frames, a.o.Clip.Codecs())
	return nil
}

func (a *act) rotate(ctx context.Context) error {
	if err := a.administer(ctx, "rotate", channel); err != nil {
		return err
	}
	passes, err := a.c.Rotated(ctx)
	if err != nil {
		return err
	}
	r, err := a.c.Check()
	if err != nil {
		return err
	}
	a.say("sent %d times meanwhile: %d epochs on the wire, %d frames, none lost", passes, r.Epochs, r.Frames)
	return nil
}

func (a *act) revoke(ctx context.Context) (err error) {
	if err := a.administer(ctx, "revoke", "--uid", fmt.Sprint(eve), "--for", "1h"); err != nil {
		return err
	}
	code, err := a.eve.Wait(ctx)
	if err != nil {
		return err
	}
	if code != 3 || !strings.Contains(a.eve.Said(), "revoked, 123") {
		return fmt.Errorf("put out with %w", a.eve.failed())
	}
	if a.had, err = a.c.epochsOf(ctx, a.memberRing(eve)); err != nil {
		return err
	}
	// An epoch that she was handed before may come into use still: on to one that she was not.
	if _, err := a.c.Until(ctx, func(low uint64) bool { return !a.hadBy(low) }); err != nil {
		return err
	}
	if _, err = a.c.Check(); err != nil {
		return err
	}
	a.say("uid %d is put out at once: revoked, 123; the call goes on in an epoch that they never had", eve)
	return nil
}

// hadBy reports whether an epoch with these low bits is one that eve was given.
func (a *act) hadBy(kid uint64) bool {
	return slices.ContainsFunc(a.had, func(e uint64) bool { return e&0xF == kid&0xF })
}

func (a *act) serviceEnd(ctx context.Context) error {
	code, err := a.short.Wait(ctx)
	if err != nil {
		return err
	}
	if code != 3 || !strings.Contains(a.short.Said(), "service-ended, 109") {
		return fmt.Errorf("put out with %w", a.short.failed())
	}
	// The renewal stands in the audit record.
	for {
		out, err := a.run(ctx, a.path("nobody"), "audit", "show", "--channel", channel, "--uid", fmt.Sprint(prolonged), a.path("server/audit.log"))
		if err != nil {
			return err
		}
		if strings.Contains(out, "renew") {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-a.longer.done:
			return a.longer.failed()
		case <-ctx.Done():
			return fmt.Errorf("nobody renewed: %w", context.Cause(ctx))
		}
	}
	if err := a.c.Pass(ctx); err != nil { // through the epoch that this put-out made
		return err
	}
	a.say("put out at the end of service: service-ended, 109; who had a new card in time stayed")
	return nil
}

func (a *act) certificates(ctx context.Context) error {
	desk, err := a.Desk.Secondary()
	if err != nil {
		return err
	}
	const guest, another = 800, 801 // the second server may not know yet that the first guest has left
	card, err := a.Card(desk, channelkey.V007, channel, guest, 0, 0)
	if err != nil {
		return err
	}
	if err := a.Visit(ctx, channel, guest, card); err != nil {
		return fmt.Errorf("with a card of the secondary certificate: %w", err)
	}
	// The primary certificate goes: on a second server, so that the call goes on.
	if err := a.Desk.WithoutPrimary(a.path("app2.json")); err != nil {
		return err
	}
	first := a.server
	firstPin := a.pin
	defer func() { a.server, a.pin = first, firstPin }()
	args := []string{"serve", "--app-certificate-file", a.path("app2.json"), "--dev", "--listen", "127.0.0.1:0", "--audit", a.path("audit2.log")}
	a.show(true, args...)
	second := a.start(ctx, a.path("server"), nil, args...)
	defer second.Stop()
	if a.server, err = second.Says(ctx, "serving at "); err == nil {
		a.pin, err = second.Says(ctx, "fingerprint is ")
	}
	if err != nil {
		return err
	}
	if card, err = a.Card(desk, channelkey.V007, channel, another, 0, 0); err != nil {
		return err
	}
	if err := a.Visit(ctx, channel, another, card); err != nil {
		return fmt.Errorf("with a card of the secondary certificate, the primary one being withdrawn: %w", err)
	}
	if card, err = a.Card(a.Desk, channelkey.V007, channel, another, 0, 0); err != nil {
		return err
	}
	if err := refusedAs(a.Visit(ctx, channel, another, card), "wrong-certificate, 110"); err != nil {
		return err
	}
	a.say("cards of the secondary certificate are good; once the primary one is withdrawn its cards are refused: wrong-certificate, 110")
	return nil
}

func (a *act) recording(ctx context.Context) (err error) {
	if err := a.c.Pass(ctx); err != nil {
		return err
	}
	if a.r.Result, err = a.c.Check(); err != nil {
		return err
	}
	if err := a.c.Recorded(ctx); err != nil {
		return err
	}
	if err := a.searchProcess(a.c.record, Place{Name: "the recorder's memory", Sure: []byte(a.c.file)}); err != nil {
		return err
	}
	if err := a.c.EndRecording(); err != nil {
		return err
	}
	if a.o.Loss == 0 {
		if a.r.Recorded, err = a.c.OpenRecording(ctx, receiver); err != nil {
			return err
		}
	}
	if a.o.Short {
		a.say("the recorder had no key; opened afterwards it has %d frames, equal", a.r.Recorded)
		return nil
	}
	// Eve has the recording, and the epochs that she was given.
	opened, not, err := a.c.Opens(ctx, eve)
	if err != nil {
		return err
	}
	for id, kid := range opened {
		if !a.hadBy(kid) {
			return fmt.Errorf("who was revoked opens packet %d of a later epoch", id.seq)
		}
	}
	if len(not) == 0 || len(opened) == 0 {
		return fmt.Errorf("who was revoked opens %d packets, and %d not: this shows nothing", len(opened), len(not))
	}
	for id, kid := range not {
		if a.hadBy(kid) {
			return fmt.Errorf("packet %d, of an epoch that the revoked member had, does not open", id.seq)
		}
	}
	a.say("the recorder had no key; opened afterwards it has %d frames, equal; who was revoked opens %d packets of before and none of the %d that follow",
		a.r.Recorded, len(opened), len(not))
	return nil
}

func (a *act) audit(ctx context.Context) error {
	a.show(false, "audit", "verify", a.path("server/audit.log"))
	out, err := a.run(ctx, a.path("nobody"), "audit", "verify", a.path("server/audit.log"))
	if err != nil {
		return err
	}
	a.r.Audit, _, _ = strings.Cut(strings.TrimSpace(out), "\n")
	if !a.o.Short {
		if _, err := a.run(ctx, a.path("nobody"), "audit", "verify", a.path("audit2.log")); err != nil {
			return err
		}
	}
	return nil
}
