package proxy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFirewall: a company's network in a namespace whose firewall is made of the
// allow-list, or of parts of it, and drops all else. "proxy check" says exactly which
// modes work.
func TestFirewall(t *testing.T) {
	t.Parallel()
	ip, errIP := exec.LookPath("ip")
	nft, errNFT := exec.LookPath("nft")
	if os.Getuid() != 0 || errIP != nil || errNFT != nil {
		t.Skip("network namespaces want root, ip and nft")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "chanseal")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/chanseal").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const inside, outside = "chanseal-in", "chanseal-out"
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	for _, ns := range []string{inside, outside} {
		exec.Command(ip, "netns", "del", ns).Run()
		run(ip, "netns", "add", ns)
		t.Cleanup(func() { exec.Command(ip, "netns", "del", ns).Run() })
		run(ip, "-n", ns, "link", "set", "lo", "up")
	}
	run(ip, "link", "add", "cs0", "netns", inside, "type", "veth", "peer", "name", "cs1", "netns", outside)
	for ns, x := range map[string][2]string{inside: {"10.77.0.1/24", "cs0"}, outside: {"10.77.0.2/24", "cs1"}} {
		run(ip, "-n", ns, "addr", "add", x[0], "dev", x[1])
		run(ip, "-n", ns, "link", "set", x[1], "up")
	}
	in := func(ns string, args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), ip, append([]string{"netns", "exec", ns}, args...)...)
	}
	app := filepath.Join(dir, "app.json")
	run(bin, "token", "app", "create", "-q", "-o", app)
	srv := in(outside, bin, "proxy", "-q", "--app-certificate-file", app, "--relay-address", "10.77.0.2", "--media", "10.77.0.0/24", "--public", "10.77.0.2",
		"--media-ports", "4500-4510", "--metrics", "127.0.0.1:9464", "--drain-time", "1ms")
	var log bytes.Buffer
	srv.Stdout, srv.Stderr = &log, &log
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { srv.Process.Signal(os.Interrupt); srv.Wait() }()
	for range 100 {
		if in(outside, "curl", "-sf", "http://127.0.0.1:9464/healthz").Run() == nil {
			break
		}
		<-time.After(50 * time.Millisecond)
	}
	list := func(extra ...string) string {
		t.Helper()
		out, err := exec.Command(bin, append([]string{"proxy", "allowlist", "--format", "nftables", "--public", "10.77.0.2", "--media-ports", "4500-4510"}, extra...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, c := range []struct {
		name, rules string
		modes       []string
		asks        int
	}{
		{"everything listed", list(), []string{"auto", "udp", "tcp", "tls", "socks5"}, 0},
		{"443 only", list("--control-ports", "none", "--media-ports", "none", "--edge-ports", "none", "--socks-ports", "none"), []string{"auto", "tls"}, 4},
		{"no UDP", strings.Join(slices.DeleteFunc(strings.SplitAfter(list(), "\n"), func(l string) bool { return strings.Contains(l, "udp dport") }), ""), []string{"auto", "tcp", "tls"}, 2},
		{"nothing", list("--tls-ports", "none", "--control-ports", "none", "--media-ports", "none", "--edge-ports", "none", "--socks-ports", "none"), []string{}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := filepath.Join(dir, "rules.nft")
			os.WriteFile(rules, []byte(c.rules), 0o600)
			if out, err := in(inside, nft, "-f", rules).CombinedOutput(); err != nil {
				t.Skipf("nft: %v: %s", err, out)
			}
			out, err := in(inside, bin, "proxy", "check", "--server", "10.77.0.2:4000", "--insecure", "--media-ports", "4500-4510", "--public", "10.77.0.2", "--json").Output()
			var r struct {
				Modes []string
				Ask   []string
			}
			if e := json.Unmarshal(out, &r); e != nil {
				t.Fatalf("%v: %s %s", e, out, log.String())
			}
			if !slices.Equal(r.Modes, c.modes) || len(r.Ask) != c.asks || (err == nil) != (len(c.modes) > 0) {
				t.Errorf("modes %v, asks %q, %v; want %v and %d asks", r.Modes, r.Ask, err, c.modes, c.asks)
			}
		})
	}
}
