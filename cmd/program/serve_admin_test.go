package program

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// certificate writes a certificate that signs itself, and its key, into files.
func (d *testDesk) certificate(name string) (cert, key string) {
	d.t.Helper()
	c, err := keyserver.SelfSigned("127.0.0.1")
	if err != nil {
		d.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		d.t.Fatal(err)
	}
	cert, key = filepath.Join(d.dir, name+".pem"), filepath.Join(d.dir, name+".key")
	os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600)
	os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	return cert, key
}

var administrationAt = regexp.MustCompile(`administration at (https://\S+)`)

// TestServeAdmin: persons with certificates and tokens run a server that has a
// certificate of its own.
func TestServeAdmin(t *testing.T) {
	home := newTestRing(t)
	d := newTestDesk(t)
	cert, key := d.certificate("server")
	said := background(t, home, "serve", "--app-certificate-file", filepath.Join(d.dir, "app.json"), "--tls-certificate", cert, "--tls-key", key,
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	at := administrationAt.FindStringSubmatch(said())
	if at == nil {
		t.Fatal(said())
	}
	run := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, home: home}
		if code := p.run(t.Context(), args); code != want {
			t.Fatalf("%v: exit status %d, want %d: %s%s", args, code, want, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	file := func(name string) string { return filepath.Join(d.dir, name) }
	as := func(who string) []string {
		return []string{"--server", at[1], "--ca", cert, "--token-file", file(who + ".token"), "--tls-certificate", file(who + ".pem"), "--tls-key", file(who + ".key")}
	}
	for _, who := range []string{"olga", "oscar", "ada"} {
		d.certificate(who)
	}
	run(0, "serve", "admin", "person", "add", "olga", "--role", "owner", "--certificate", file("olga.pem"))
	run(0, "serve", "admin", "person", "token", "olga", "-o", file("olga.token"))
	for who, role := range map[string]string{"oscar": "operator", "ada": "auditor"} {
		run(0, append([]string{"serve", "admin", "appoint", who, "--role", role, "--certificate", file(who + ".pem")}, as("olga")...)...)
		run(0, append([]string{"serve", "admin", "grant", who, "--for", "1h", "-o", file(who + ".token")}, as("olga")...)...)
	}
	if out := run(0, append([]string{"serve", "admin", "rotate", "stage"}, as("oscar")...)...); !strings.Contains(out, `"staged":2`) {
		t.Error(out)
	}
	run(0, append([]string{"serve", "admin", "card", "--channel", "stage", "--uid", "9", "-o", file("card")}, as("oscar")...)...)
	run(0, append([]string{"serve", "admin", "revoke", "--uid", "9", "--for", "1h"}, as("oscar")...)...)
	if out := run(exitAuth, append([]string{"serve", "admin", "rotate", "stage"}, as("olga")...)...); !strings.Contains(out, "wrong-role") {
		t.Error(out)
	}
	mixed := append(as("oscar"), "--tls-certificate", file("ada.pem"), "--tls-key", file("ada.key"))
	if out := run(exitAuth, append([]string{"serve", "admin", "channels"}, mixed...)...); !strings.Contains(out, "other-certificate") {
		t.Error(out)
	}
	run(exitFailed, "serve", "admin", "channels", "--server", at[1], "--ca", cert, "--token-file", file("oscar.token")) // TLS wants a certificate
	record := run(0, append([]string{"serve", "admin", "audit"}, as("ada")...)...)
	if res, err := audit.Verify(strings.NewReader(record), nil); err != nil || res.Head.Seq < 8 {
		t.Errorf("%v\n%s", err, record)
	}
	for _, want := range []string{`"event":"admin rotate"`, `"reason":"wrong-role"`, `"reason":"other-certificate"`, `"event":"admin issue"`, `"reason":"owner, on the ring at 20`, `"event":"admin grant"`} {
		if !strings.Contains(record, want) {
			t.Errorf("no %s in the record", want)
		}
	}
	run(exitUsage, "serve", "admin", "channels")
}

// TestBlindChannel: a channel of the keeper's ring reaches a member by way of a server
// that does not have it.
func TestBlindChannel(t *testing.T) {
	home, keeper, member := newTestRing(t), filepath.Join(t.TempDir(), "keeper"), filepath.Join(t.TempDir(), "member")
	d := newTestDesk(t)
	server, pin, said := d.serve(home, "--admin-listen", "127.0.0.1:0")
	admin := administrationAt.FindStringSubmatch(said())[1]
	runHere(t, home, "serve", "admin", "person", "add", "oscar", "--role", "operator")
	runHere(t, home, "serve", "admin", "person", "token", "oscar", "-o", filepath.Join(d.dir, "token"))
	runHere(t, keeper, "channel", "create", "vault")
	keeps := background(t, keeper, "serve", "admin", "keep", "vault", "--server", admin, "--pin", pin, "--token-file", filepath.Join(d.dir, "token"))
	issuer := regexp.MustCompile(`--issuer (\S+)`).FindStringSubmatch(keeps())[1]
	key, err := d.issuer.Mint(channelkey.Publisher("vault", "5", time.Now(), time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	card := filepath.Join(d.dir, "card")
	os.WriteFile(card, []byte(key), 0o600)
	join := []string{"channel", "join", "vault", "--server", server, "--pin", pin, "--uid", "5", "--card-file", card, "--issuer", issuer, "--once"}
	var out bytes.Buffer
	for end := time.Now().Add(20 * time.Second); ; { // until the keeper's first bundle is there
		out.Reset()
		p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out, home: member}
		if code := p.run(t.Context(), join); code == exitDone {
			break
		} else if !strings.Contains(out.String(), "no-channel") && !strings.Contains(out.String(), "(rate)") || time.Now().After(end) {
			t.Fatalf("%d: %s", code, out.String())
		}
		time.Sleep(100 * time.Millisecond) // between two questions; the server limits their rate
	}
	sealed := filepath.Join(d.dir, "sealed")
	runHere(t, keeper, "seal", "--channel", "vault", "-o", sealed, clipPath("vp8.ivf"))
	runHere(t, member, "open", "--channel", "vault", "-o", filepath.Join(d.dir, "opened"), sealed)
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out, home: home}
	if code := p.run(t.Context(), []string{"open", "--channel", "vault", "-o", filepath.Join(d.dir, "never"), sealed}); code == exitDone {
		t.Error("the server's ring opens it")
	}
}
