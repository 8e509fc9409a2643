// Package openbundle is a Node program that opens bundles with nothing of ours: see
// open.mjs. What is here tests it.
package openbundle

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

// opened is what open.mjs prints.
type opened struct {
	Channel string
	Epochs  []struct {
		Epoch       uint64
		State       keyring.State
		Suite       uint16
		Fingerprint string
	}
	Senders [][2]uint16
}

// node returns what runs open.mjs, and skips the test where that lacks something: modules
// are looked for beside this file and where NODE_PATH says.
func node(t *testing.T, modules ...string) func(args ...string) (out []byte, said string, err error) {
	program, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not here")
	}
	for _, m := range modules {
		if err := exec.CommandContext(t.Context(), program, "-e", "require.resolve('"+m+"')").Run(); err != nil {
			t.Skipf("node does not find %s: npm install it here, or where NODE_PATH says (now %q)", m, os.Getenv("NODE_PATH"))
		}
	}
	return func(args ...string) ([]byte, string, error) {
		c := exec.CommandContext(t.Context(), program, append([]string{"open.mjs"}, args...)...)
		var said strings.Builder
		c.Stderr = &said
		out, err := c.Output()
		return out, said.String(), err
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A program with other people's HPKE, or with the program age, opens what we seal, and
// nothing that was changed or is not for it.
func TestNodeOpensBundles(t *testing.T) {
	for name, modules := range map[string][]string{
		"x25519":          {"@hpke/core"},
		"p256":            {"@hpke/core"},
		"mlkem768-x25519": {"@hpke/core", "@hpke/hybridkem-x-wing"},
		"age":             nil,
	} {
		t.Run(name, func(t *testing.T) {
			run := node(t, modules...)
			if _, err := exec.LookPath("age"); name == "age" && err != nil {
				t.Skip("age is not here")
			}
			testNode(t, run, func() (*keyring.Identity, string) {
				if name != "age" {
					id := must(keyring.NewIdentity(name))(t)
					return id, must(id.Secret())(t)
				}
				secret := must(age.GenerateX25519Identity())(t).String()
				return must(keyring.ParseIdentities(strings.NewReader(secret)))(t)[0], secret
			})
		})
	}
}

func testNode(t *testing.T, run func(...string) ([]byte, string, error), generate func() (*keyring.Identity, string)) {
	ctx := t.Context()
	ring := must(boltstore.CreateRing(ctx, t.TempDir(), boltstore.RingOptions{}))(t)
	defer ring.Close()
	ch := must(ring.Create(ctx, "stage ⓢ", keyring.ChannelOptions{}))(t)
	must(ch.Rotate(ctx, ""))(t)
	must(ch.Stage(ctx, ""))(t)
	me, secret := generate()
	_, strange := generate()
	other, _ := generate()
	bundle := must(ch.Export(ctx, keyring.ExportOptions{To: []keyring.Grant{
		{To: other.Recipient()},
		{To: me.Recipient(), Senders: []keyring.SenderRange{{First: 7, Last: 9}, {First: 12, Last: 12}}},
	}}))(t)
	issuer := must(ring.Fingerprint(ctx))(t)

	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mine, good := file("mine", []byte("# me\n"+secret+"\n")), file("bundle", bundle)
	var got opened
	out, said, err := run(issuer, mine, good)
	if err != nil {
		t.Fatal(said)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := must(ch.Show(ctx))(t)
	if got.Channel != "stage ⓢ" || len(got.Epochs) != len(want.Epochs) || len(got.Senders) != 2 || got.Senders[0] != [2]uint16{7, 9} {
		t.Fatalf("opened %+v\nwant %+v", got, want)
	}
	for i, e := range want.Epochs {
		if g := got.Epochs[i]; g.Epoch != e.Number || g.State != e.State || g.Fingerprint != e.Fingerprint {
			t.Errorf("epoch %+v, want %+v", g, e)
		}
	}

	bundle[len(bundle)/2] ^= 1
	for what, args := range map[string][]string{
		"it was altered":                 {issuer, mine, file("changed", bundle)},
		"it is of the issuer":            {strings.Repeat("0000-", 7) + "0000", mine, good},
		"no part is for this identity":   {issuer, file("stranger", []byte(strange+"\n")), good},
		"this is no bundle of version 1": {issuer, mine, mine},
	} {
		if out, said, err := run(args...); err == nil || len(out) > 0 || !strings.Contains(said, what) {
			t.Errorf("want %q, got %q and %q", what, said, out)
		}
	}
}
