package program

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/cmd/program/onecall"
	"github.com/chanseal/chanseal/keyserver"
)

// TestCallFaults: whatever is wrong, what a person sees names the step, what is wrong
// with it, and what to do.
func TestCallFaults(t *testing.T) {
	t.Parallel()
	ctx := callContext(t)
	w, err := onecall.Start(ctx, callOptions(t), "ABC")
	t.Cleanup(func() { w.Close() })
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := w.ForeignDesk()
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.NewCall(ctx, "ABC", 123, 456)
	t.Cleanup(c.Close)
	if err != nil {
		t.Fatal(err)
	}
	card := func(d *onecall.Desk, f channelkey.Format, channel string, uid uint32, ago time.Duration) string {
		file, err := w.Card(d, f, channel, uid, ago, 0)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	const dk4, v007 = channelkey.DK4, channelkey.V007
	const ahead, behind = -10 * time.Minute, 10 * time.Minute
	join := func(card string) func(context.Context) error {
		return func(ctx context.Context) error { return w.Visit(ctx, "ABC", 5, card) }
	}
	seal := func(card string, more ...string) func(context.Context) error {
		return func(ctx context.Context) error { // by relays only: in auto mode the direct way has its time first
			return c.Seal(ctx, append(append(c.ThroughProxy(card), "--cloud-proxy=udp"), more...)...)
		}
	}
	good := card(w.Desk, v007, "ABC", 123, 0)
	for _, f := range []struct {
		name   string
		run    func(context.Context) error
		step   string
		what   string
		remedy string
	}{
		{"another user's card", join(card(w.Desk, v007, "ABC", 6, 0)), "channel join", "(other-user, 110)", "fetch a key for this uid"},
		{"another user's old card", join(card(w.Desk, dk4, "ABC", 6, 0)), "channel join", "(not-authentic, 110)", "compare certificate, channel and uid"},
		{"another channel's card", join(card(w.Desk, v007, "DEF", 5, 0)), "channel join", "(other-channel, 110)", "fetch a key for this channel"},
		{"a card of another certificate", join(card(foreign, v007, "ABC", 5, 0)), "channel join", "(wrong-certificate, 110)", "compare the certificates"},
		{"the issuer's clock is 10 minutes ahead", join(card(w.Desk, dk4, "ABC", 5, ahead)), "channel join", "(not-yet-valid, 110)", "set the clocks"},
		{"or 10 minutes behind", join(card(w.Desk, dk4, "ABC", 5, behind)), "channel join", "(entry-over, 109)", "a clock is wrong"},
		{"another key server answers", func(ctx context.Context) error { return w.VisitPinned(ctx, "ABC", 5, good, otherPin(t)) }, "channel join", "has another certificate than the one of --pin", "compare it with what the server printed"},
		{"another user's card at the proxy", seal(card(w.Desk, v007, "ABC", 6, 0)), "gateway seal", "the channel key is refused (other-user)", "--proxy-uid"},
		{"a card of another certificate at the proxy", seal(card(foreign, v007, "ABC", 123, 0)), "gateway seal", "the channel key is refused (wrong-certificate)", "compare the certificates"},
		{"10 minutes ahead at the proxy", seal(card(w.Desk, dk4, "ABC", 123, ahead)), "gateway seal", "the channel key is refused (not-yet-valid)", "a clock is wrong"},
		{"10 minutes behind at the proxy", seal(card(w.Desk, dk4, "ABC", 123, behind)), "gateway seal", "the channel key is refused (entry-over)", "a clock is wrong"},
		{"another proxy answers", seal(good, "--proxy-ca", otherAuthority(t)), "gateway seal", "the cloud proxy: ", "--proxy-ca"},
		{"a channel of which there is no key", func(ctx context.Context) error { return c.Seal(ctx, "--channel", "DEF") }, "gateway seal", `no channel "DEF"`, "chanseal channel"},
	} {
		err := f.run(ctx)
		wantFault(t, f.name, err, f.step, f.what, f.remedy)
	}

	// In mid-call: the proxy dies, and then the key server. Over TCP that is noticed at once.
	if err := c.Seal(ctx, append(c.ThroughProxy(good), "--cloud-proxy=tcp")...); err != nil {
		t.Fatal(err)
	}
	if err := c.Pass(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Proxy().Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sealer().Says(ctx, "cloud proxy: lost "); err != nil {
		t.Error(err)
	}
	if rest, err := c.Sealer().Says(ctx, "cloud proxy: still lost after "); err != nil || !strings.Contains(rest, "chanseal proxy check --server") {
		t.Errorf("%q, %v", rest, err)
	}
	wantFault(t, "the proxy is dead", seal(good, "--cloud-proxy=tcp")(ctx), "gateway seal", "the discovery service cannot be reached", "is the proxy running, and does the firewall let it through? ask chanseal proxy check --server")
	w.KeyServer().Stop()
	wantFault(t, "the key server is dead", join(card(w.Desk, v007, "ABC", 5, 0))(ctx), "channel join", "does not answer: nothing listens there", "is it running, and does the firewall let this through?")
}

// wantFault wants an error that names step, fault and remedy.
func wantFault(t *testing.T, name string, err error, step, what, remedy string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: nothing is wrong with that", name)
		return
	}
	text := err.Error()
	for _, part := range []string{"chanseal " + step, what, remedy} {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %q is not in: %s", name, part, text)
		}
	}
	if remedy != "" && !strings.Contains(text, "hint: ") {
		t.Errorf("%s: no hint: %s", name, text)
	}
}

// otherPin is the pin of another server's certificate, otherAuthority that certificate.
func otherPin(t *testing.T) string {
	t.Helper()
	cert, err := keyserver.SelfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return keyserver.Pin(cert.Leaf)
}

func otherAuthority(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := onecall.WriteCertificate(filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "other.pem")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "other.pem")
}
