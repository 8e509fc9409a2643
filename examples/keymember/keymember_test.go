// Package keymember holds a member of a channel in JavaScript, member.mjs, and its test.
package keymember

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// modules finds a directory of Node modules with @hpke/core: CHANSEAL_NODE_MODULES, or
// the global one.
func modules(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("CHANSEAL_NODE_MODULES")
	if dir == "" {
		out, err := exec.Command("npm", "root", "-g").Output()
		if err != nil {
			t.Skip("needs Node with npm")
		}
		dir = strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(filepath.Join(dir, "@hpke", "core")); err != nil {
		t.Skip("needs @hpke/core: npm install -g @hpke/core, or set CHANSEAL_NODE_MODULES")
	}
	return dir
}

// TestNodeMember: the member in JavaScript opens what the server wraps, follows a
// rotation, and is put out.
func TestNodeMember(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("needs node")
	}
	nodeModules := modules(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, dir := t.Context(), t.TempDir()
	ring, err := boltstore.CreateRing(ctx, filepath.Join(dir, "ring"), boltstore.RingOptions{})
	check(err)
	defer ring.Close()
	ch, err := ring.Create(ctx, "stage", keyring.ChannelOptions{Policy: keyring.Policy{Delay: keyring.AtOnce}})
	check(err)
	record, err := audit.Open(filepath.Join(dir, "audit.log"))
	check(err)
	defer record.Close()
	app := channelkey.NewApp()
	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{})
	check(err)
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	check(err)
	gate, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier})
	check(err)
	defer gate.Close()
	srv, err := keyserver.New(keyserver.Config{Ring: ring, Gate: gate, Audit: record})
	check(err)
	defer srv.Close()
	cert, err := keyserver.SelfSigned("127.0.0.1")
	check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(serving, l, &tls.Config{Certificates: []tls.Certificate{cert}}) }()
	defer func() { stop(); <-served }()

	card, err := issuer.Mint(channelkey.Publisher("stage", "123", time.Now(), time.Hour))
	check(err)
	program, err := os.ReadFile("member.mjs")
	check(err)
	for name, data := range map[string][]byte{"card": []byte(card), "member.mjs": program, "ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})} {
		check(os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	check(os.Symlink(nodeModules, filepath.Join(dir, "node_modules")))
	cmd := exec.CommandContext(ctx, node, "member.mjs", "https://"+l.Addr().String(), "stage", "123", "card")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "NODE_EXTRA_CA_CERTS="+filepath.Join(dir, "ca.pem"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	lines := bufio.NewScanner(out)

	feed, err := ch.Feed(ctx)
	check(err)
	defer feed.Close()
	// has reads what the member prints until it has the ring's active epoch.
	has := func() {
		t.Helper()
		for lines.Scan() {
			h, err := feed.Current()
			check(err)
			hash := sha256.Sum256(h.Keys[0].Secret())
			if lines.Text() == fmt.Sprintf("epoch %d active %s", h.Keys[0].Number, base64.StdEncoding.EncodeToString(hash[:])) {
				return
			}
		}
		t.Fatalf("the member ends without the epoch: %s", errs.String())
	}
	has()
	_, err = ch.Revoke(ctx, "operator")
	check(err)
	has()
	check(gate.Revoke(channelkey.Revocation{User: "123", Until: time.Now().Add(time.Hour)}))
	for lines.Scan() {
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(errs.String(), "(revoked)") {
		t.Fatalf("put out: %v\n%s", err, errs.String())
	}
}
