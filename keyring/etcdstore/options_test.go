package etcdstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/keyring/etcdstore"
)

func TestParseURL(t *testing.T) {
	for url, want := range map[string]string{
		"etcd://a":                               "[a:2379] tls= true user=",
		"etcd://a:1,b,[::1],[fe80::1]:7/x/y":     "[a:1 b:2379 [::1]:2379 [fe80::1]:7] tls=/x/y true user=",
		"etcd://127.0.0.1:4001,localhost/":       "[127.0.0.1:4001 localhost:2379] tls= false user=",
		"etcd://localhost/r?tls=on":              "[localhost:2379] tls=/r true user=",
		"etcd://a/r?tls=off&timeout=3s":          "[a:2379] tls=/r false user=",
		"etcd://a/r%20s/?user=u":                 "[a:2379] tls=/r s/ true user=u/from-environment",
		"etcd://10.0.0.1/p?compact=on&user=root": "[10.0.0.1:2379] tls=/p true user=root/from-environment",
	} {
		o, err := etcdstore.ParseURL(url, "from-environment")
		got := fmt.Sprintf("%v tls=%s %v user=%s", o.Endpoints, o.Prefix, o.TLS != nil, o.User)
		if o.User != "" {
			got += "/" + o.Password
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", url, got, err, want)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v %s", o, o, o, &o), "from-env") {
			t.Errorf("%s: the password shows", url)
		}
	}
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret line\r\nanother\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o, err := etcdstore.ParseURL("etcd://a/p?user=u&password-file="+password, "other"); err != nil || o.Password != "secret line" {
		t.Errorf("password %q, %v", o.Password, err)
	}
	for url, say := range map[string]string{
		"etc://a":                                   "does not begin with etcd://",
		"etcd://":                                   "a host is missing",
		"etcd://a,,b/p":                             "a host is missing",
		"etcd://me:hunter2@a/p":                     "password-file=FILE behind it",
		"etcd://a:b/p":                              "is no host",
		"etcd://::1/p":                              "brackets",
		"etcd://a/p?caa=x":                          `no setting "caa"`,
		"etcd://a/p?tls=perhaps":                    "want on or off",
		"etcd://a/p?tls=on&tls=off":                 "one value",
		"etcd://a/p?tls=off&ca=x":                   "leave out tls=off",
		"etcd://a/p?cert=x":                         "one is missing",
		"etcd://a/p?ca=" + password:                 "no certificate in PEM",
		"etcd://a/p?ca=" + dir + "/none":            "no such file",
		"etcd://a/p?timeout=1ms":                    "1s or more",
		"etcd://a/p?password-file=" + password:      "add user=NAME",
		"etcd://a/p?user=u&password-file=/dev/null": "it has 0 bytes",
	} {
		_, err := etcdstore.ParseURL(url, "")
		if err == nil || !strings.Contains(err.Error(), say) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", url, err, say)
		}
	}
}

// TestRefusedOptions: what cannot work, or would show a password, is not tried.
func TestRefusedOptions(t *testing.T) {
	for say, o := range map[string]etcdstore.Options{
		"0 endpoints":     {},
		"is no host":      {Endpoints: []string{"http://a:1"}},
		"beside slashes":  {Endpoints: []string{"a"}, Prefix: "//"},
		"belong together": {Endpoints: []string{"a"}, User: "u"},
		"in the clear":    {Endpoints: []string{"127.0.0.1", "a"}, User: "u", Password: "hunter2"},
		"1s or more":      {Endpoints: []string{"a"}, Timeout: 1},
	} {
		_, err := etcdstore.Open(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), say) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, say)
		}
	}
}

// FuzzParseURL: what is parsed has endpoints, and errors show nothing that stands where a
// password would.
func FuzzParseURL(f *testing.F) {
	f.Add("etcd://a:1,b,[::1]/x/y?user=u&timeout=3s", "hunter2")
	f.Add("etcd://me:secret@a/p", "")
	f.Add("etcd://a@b@c/%zz?tls=on&tls", "x")
	f.Fuzz(func(t *testing.T, url, password string) {
		if strings.Contains(url, "=/") || strings.Contains(url, "file=") || strings.Contains(url, "ca=") || strings.Contains(url, "cert=") {
			t.Skip("it would read files")
		}
		o, err := etcdstore.ParseURL(url, password)
		if err == nil && len(o.Endpoints) == 0 {
			t.Fatal("no endpoint")
		}
		if err == nil {
			return
		}
		if before, _, ok := strings.Cut(strings.TrimPrefix(url, "etcd://"), "@"); ok && len(before) > 20 && strings.HasPrefix(url, "etcd://") && strings.Contains(err.Error(), before) {
			t.Fatalf("%v", err)
		}
	})
}
