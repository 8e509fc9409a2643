package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver/api"
)

// testDesk is a project and its service desk.
type testDesk struct {
	t      *testing.T
	dir    string
	issuer *channelkey.Issuer
}

func newTestDesk(t *testing.T) *testDesk {
	t.Helper()
	dir := t.TempDir()
	runHere(t, "", "token", "app", "create", "-o", filepath.Join(dir, "app.json"))
	data, err := os.ReadFile(filepath.Join(dir, "app.json"))
	if err != nil {
		t.Fatal(err)
	}
	app, err := channelkey.ParseAppFile(data)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		t.Fatal(err)
	}
	return &testDesk{t, dir, issuer}
}

// card writes a card for a user of the channel stage into a file, and returns its path.
func (d *testDesk) card(name, uid string) string {
	d.t.Helper()
	key, err := d.issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "stage", User: channelkey.User(uid), Issued: uint32(time.Now().Unix()),
		Expires: uint32(time.Now().Add(time.Hour).Unix()), Random: channelkey.NewRandom()})
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

var (
	servingAt = regexp.MustCompile(`serving at (https://\S+)`)
	pinIs     = regexp.MustCompile(`fingerprint is (\S+)`)
)

// serve runs a key server for the ring of home and returns its address and pin.
func (d *testDesk) serve(home string, flags ...string) (server, pin string, said func() string) {
	d.t.Helper()
	said = background(d.t, home, append([]string{"serve", "--app-certificate-file", filepath.Join(d.dir, "app.json"), "--dev", "--listen", "127.0.0.1:0"}, flags...)...)
	at, fingerprint := servingAt.FindStringSubmatch(said()), pinIs.FindStringSubmatch(said())
	if at == nil || fingerprint == nil {
		d.t.Fatal(said())
	}
	return at[1], fingerprint[1], said
}

// TestServeRecipe: the recipe of docs/key-server.md works, with curl alone.
func TestServeRecipe(t *testing.T) {
	if out, err := exec.Command("curl", "--version").Output(); err != nil || bytes.Contains(out, []byte("curl 7.8")) || bytes.Contains(out, []byte("curl 7.7")) {
		if out2, _ := exec.Command("curl", "--help", "all").Output(); !bytes.Contains(out2, []byte("--json")) {
			t.Skip("needs curl 7.82 or later")
		}
	}
	guide, err := os.ReadFile("../../docs/key-server.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(guide), "```sh\n")
	recipe, _, ok := strings.Cut(recipe, "```")
	if !ok {
		t.Fatal("the guide has no recipe")
	}
	home := newTestRing(t)
	d := newTestDesk(t)
	server, pin, said := d.serve(home)
	d.card("card", "123")
	d.card("newcard", "123")
	run := func(pin string) ([]byte, error) {
		sh := exec.Command("sh", "-eu", "-c", recipe)
		sh.Dir = d.dir
		sh.Env = append(os.Environ(), "SERVER="+server, "PIN="+pin)
		return sh.CombinedOutput()
	}
	if out, err := run("sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="); err == nil {
		t.Fatalf("works with another server's fingerprint\n%s", out)
	}
	out, err := run(pin)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, said())
	}
	var keys api.Keys // the first thing that it prints
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&keys); err != nil || len(keys.Epochs[0].Secret) != 32 {
		t.Fatalf("%v\n%s", err, out)
	}
	events, _ := os.ReadFile(filepath.Join(d.dir, "events"))
	if !bytes.Contains(events, []byte("event: keys")) || !bytes.Contains(out, []byte(`{"service_end":`)) {
		t.Fatalf("%s\n%s", events, out)
	}
	record := filepath.Join(home, "audit.log")
	var shown bytes.Buffer
	p := &program{stdout: &shown, stderr: &shown, home: home}
	if code := p.run(t.Context(), []string{"audit", "show", "--channel", "stage", "--uid", "123", record}); code != exitDone {
		t.Fatal(shown.String())
	}
	for _, event := range []string{"enter", "hand-out", "renew", "resume", "leave"} {
		if !strings.Contains(shown.String(), event) {
			t.Errorf("no %s in the audit record:\n%s", event, shown.String())
		}
	}
	card, _ := os.ReadFile(filepath.Join(d.dir, "card"))
	b64, _ := json.Marshal(keys.Epochs[0].Secret)
	for _, secret := range []string{strings.TrimSpace(string(card)), string(keys.Epochs[0].Secret), strings.Trim(string(b64), `"`), `"123"`} {
		if strings.Contains(shown.String()+said(), secret) {
			t.Errorf("%q is told", secret)
		}
	}
}

// TestChannelJoin: a member's ring, filled by a key server, opens what is sealed at the
// server's, and the other way round, before and after a rotation.
func TestChannelJoin(t *testing.T) {
	home, member := newTestRing(t), filepath.Join(t.TempDir(), "ring")
	d := newTestDesk(t)
	server, pin, _ := d.serve(home)
	said := background(t, member, "channel", "join", "stage", "--server", server, "--pin", pin, "--uid", "123", "--card-file", d.card("card", "123"))
	number := regexp.MustCompile(`sender number (\d+)`).FindStringSubmatch(said())
	if number == nil {
		t.Fatal(said())
	}
	exchange := func(name string) error {
		sealed, opened := filepath.Join(d.dir, name+".sealed"), filepath.Join(d.dir, name+".opened")
		for _, c := range []struct{ from, to string }{{home, member}, {member, home}} {
			args := []string{"seal", "--channel", "stage", "--force", "-o", sealed, clipPath("vp8.ivf")}
			if c.from == member {
				args = append(args, "--sender", number[1])
			}
			runHere(t, c.from, args...)
			var out bytes.Buffer
			p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out, home: c.to}
			if code := p.run(t.Context(), []string{"open", "--channel", "stage", "--force", "-o", opened, sealed}); code != exitDone {
				return errors.New(out.String())
			}
		}
		return nil
	}
	if err := exchange("first"); err != nil {
		t.Fatal(err)
	}
	runHere(t, home, "channel", "rotate", "stage")
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); { // it takes a second to be noticed
		if err = exchange("second"); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out, home: member}
	if code := p.run(t.Context(), []string{"channel", "rotate", "stage"}); code == exitDone {
		t.Errorf("a member rotates the channel: %s", out.String())
	}
	out.Reset()
	other := d.card("other", "7")
	for _, c := range []struct {
		want int
		args []string
	}{
		{exitAuth, []string{"--server", server, "--pin", pin, "--uid", "8", "--card-file", other}},
		{exitFailed, []string{"--server", server, "--pin", "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "--uid", "7", "--card-file", other}},
		{exitFailed, []string{"--server", server, "--uid", "7", "--card-file", other}}, // nobody vouches for the certificate
		{exitUsage, []string{"--server", server, "--uid", "7"}},
		{exitDone, []string{"--server", server, "--pin", pin, "--uid", "7", "--card-file", other, "--once", "--plain"}},
	} {
		p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out, home: filepath.Join(t.TempDir(), "ring")}
		if code := p.run(t.Context(), append([]string{"channel", "join", "stage"}, c.args...)); code != c.want {
			t.Errorf("%v: exit status %d, want %d\n%s", c.args, code, c.want, out.String())
		}
	}
}
