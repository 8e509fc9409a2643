package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// site is a company's network in a namespace of its own, 10.77.0.1, whose only way leads
// to the outside, another one, with a proxy at 10.77.0.2.
type site struct {
	*testing.T
	dir, bin        string
	env             []string
	inside, outside string
	log             bytes.Buffer // of the proxy; to be read after its end
}

var sites atomic.Int32

// newSite makes one. The test is skipped where that cannot be.
func newSite(t *testing.T) *site {
	t.Helper()
	ip, err := exec.LookPath("ip")
	if _, errNFT := exec.LookPath("nft"); os.Getuid() != 0 || err != nil || errNFT != nil {
		t.Skip("network namespaces want root, ip and nft")
	}
	s := &site{T: t, dir: t.TempDir()}
	s.bin, s.env = asProgram(t)
	id := fmt.Sprintf("chanseal-%d-%d", os.Getpid(), sites.Add(1))
	s.inside, s.outside = id+"-in", id+"-out"
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	for _, ns := range []string{s.inside, s.outside} {
		run("netns", "add", ns)
		t.Cleanup(func() { exec.Command(ip, "netns", "del", ns).Run() })
		run("-n", ns, "link", "set", "lo", "up")
	}
	run("link", "add", "cs0", "netns", s.inside, "type", "veth", "peer", "name", "cs1", "netns", s.outside)
	for ns, x := range map[string][2]string{s.inside: {"10.77.0.1/24", "cs0"}, s.outside: {"10.77.0.2/24", "cs1"}} {
		run("-n", ns, "addr", "add", x[0], "dev", x[1])
		run("-n", ns, "link", "set", x[1], "up")
	}
	return s
}

// in is a command in a namespace.
func (s *site) in(ns string, args ...string) *exec.Cmd {
	c := exec.CommandContext(s.Context(), "ip", append([]string{"netns", "exec", ns}, args...)...)
	c.Env = s.env
	c.Dir = s.dir
	return c
}

// program is the program in a namespace.
func (s *site) program(ns string, args ...string) *exec.Cmd {
	return s.in(ns, append([]string{s.bin}, args...)...)
}

// firewall is what leaves the company: nft's rules.
func (s *site) firewall(rules string) {
	s.Helper()
	if out, err := s.in(s.inside, "nft", "flush", "ruleset").CombinedOutput(); err != nil {
		s.Skipf("nft: %v: %s", err, out)
	}
	c := s.in(s.inside, "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		s.Fatalf("nft: %v: %s", err, out)
	}
}

// background starts a command and ends it with the test.
func (s *site) background(c *exec.Cmd) {
	s.Helper()
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Process.Signal(os.Interrupt); c.Wait() })
}

// ports are fewer than the defaults, for speed.
var sitePorts = []string{"--media-ports", "4500-4510"}

// serve starts the proxy outside and waits until it serves.
func (s *site) serve(extra ...string) {
	s.Helper()
	app := filepath.Join(s.dir, "app.json")
	if out, err := s.program(s.outside, "token", "app", "create", "-q", "-o", app).CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	srv := s.program(s.outside, append(append([]string{"proxy", "-q", "--app-certificate-file", app, "--relay-address", "10.77.0.2", "--media", "10.77.0.0/24",
		"--public", "10.77.0.2", "--metrics", "127.0.0.1:9464", "--drain-time", "1ms"}, sitePorts...), extra...)...)
	srv.Stdout, srv.Stderr = &s.log, &s.log
	s.background(srv)
	for s.in(s.outside, "curl", "-sf", "http://127.0.0.1:9464/healthz").Run() != nil {
		select {
		case <-s.Context().Done():
			s.Fatal("the proxy does not start")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// allowed are nft's rules of the allow-list, or of a part of it.
func (s *site) allowed(extra ...string) string {
	s.Helper()
	out, err := s.program(s.outside, append(append([]string{"proxy", "allowlist", "--format", "nftables", "--public", "10.77.0.2"}, sitePorts...), extra...)...).Output()
	if err != nil {
		s.Fatal(err)
	}
	return string(out)
}

// without takes the lines of rules out that have a text.
func without(rules, text string) string {
	return strings.Join(slices.DeleteFunc(strings.SplitAfter(rules, "\n"), func(l string) bool { return strings.Contains(l, text) }), "")
}

// TestFirewall: a company's network in a namespace whose firewall is made of the
// allow-list, or of parts of it, and drops all else. "proxy check" says exactly which
// modes work.
func TestFirewall(t *testing.T) {
	t.Parallel()
	none := func(names ...string) (flags []string) {
		for _, n := range names {
			flags = append(flags, "--"+n+"-ports", "none")
		}
		return flags
	}
	for _, c := range []struct {
		name, without string
		list          []string // flags of the list
		modes         []string
		asks          int
	}{
		{"everything listed", "", nil, []string{"auto", "udp", "tcp", "tls", "socks5"}, 0},
		{"443 only", "", none("control", "media", "edge", "socks"), []string{"auto", "tls"}, 4},
		{"no UDP", "udp dport", nil, []string{"auto", "tcp", "tls"}, 2},
		{"nothing", "", none("tls", "control", "media", "edge", "socks"), []string{}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.serve()
			rules := s.allowed(c.list...)
			if c.without != "" {
				rules = without(rules, c.without)
			}
			s.firewall(rules)
			out, err := s.program(s.inside, append([]string{"proxy", "check", "--server", "10.77.0.2:4000", "--insecure", "--public", "10.77.0.2", "--json", "--timeout", "1s"}, sitePorts...)...).Output()
			var r struct {
				Modes []string
				Ask   []string
			}
			if e := json.Unmarshal(out, &r); e != nil {
				t.Fatalf("%v: %s", e, out)
			}
			if !slices.Equal(r.Modes, c.modes) || len(r.Ask) != c.asks || (err == nil) != (len(c.modes) > 0) {
				t.Errorf("modes %v, asks %q, %v; want %v and %d asks", r.Modes, r.Ask, err, c.modes, c.asks)
			}
		})
	}
}
