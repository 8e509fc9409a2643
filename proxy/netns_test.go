package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	log             *words // of the proxy
}

// words is what processes said.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

var sites atomic.Int32

// newSite makes one. The test is skipped where that cannot be.
func newSite(t *testing.T) *site {
	t.Helper()
	for _, tool := range []string{"ip", "nft", "curl"} {
		if _, err := exec.LookPath(tool); err != nil || os.Getuid() != 0 {
			t.Skip("network namespaces want root, ip, nft and curl")
		}
	}
	s := &site{T: t, dir: t.TempDir(), log: &words{}}
	s.bin, s.env = asProgram(t)
	id := fmt.Sprintf("chanseal-%d-%d", os.Getpid(), sites.Add(1))
	s.inside, s.outside = id+"-in", id+"-out"
	s.namespace(s.outside)
	s.connect(0)
	return s
}

// ip runs ip.
func (s *site) ip(args ...string) {
	s.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		s.Skipf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (s *site) namespace(ns string) {
	s.Helper()
	s.ip("netns", "add", ns)
	s.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	s.ip("-n", ns, "link", "set", "lo", "up")
}

// connect makes the inside, 10.77.N.1, with its way to the outside, 10.77.N.2.
func (s *site) connect(n int) {
	s.Helper()
	s.namespace(s.inside)
	far := fmt.Sprintf("cs%d", n+1)
	s.ip("link", "add", "cs0", "netns", s.inside, "type", "veth", "peer", "name", far, "netns", s.outside)
	for ns, x := range map[string][2]string{s.inside: {fmt.Sprintf("10.77.%d.1/24", n), "cs0"}, s.outside: {fmt.Sprintf("10.77.%d.2/24", n), far}} {
		s.ip("-n", ns, "addr", "add", x[0], "dev", x[1])
		s.ip("-n", ns, "link", "set", x[1], "up")
	}
	s.ip("-n", s.inside, "route", "add", "default", "via", fmt.Sprintf("10.77.%d.2", n))
}

// another is a second company with the same outside.
func (s *site) another() *site {
	s.Helper()
	other := *s
	other.inside += "2"
	other.connect(1)
	return &other
}

// as is this test binary as something else, in a namespace.
func (s *site) as(what, ns string, args ...string) *exec.Cmd {
	c := s.in(ns, append([]string{s.bin}, args...)...)
	c.Env = append(c.Env, "CHANSEAL_TEST_AS="+what)
	return c
}

// until waits until something holds.
func (s *site) until(what string, f func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	for !f() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			s.Fatal("never came about: " + what)
		}
	}
}

// says waits until a text was said.
func (s *site) says(w *words, text string) {
	s.Helper()
	defer func() {
		if s.Failed() {
			s.Logf("%q was not said, but: %s", text, w)
		}
	}()
	s.until("it says "+text, func() bool { return strings.Contains(w.String(), text) })
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
func (s *site) serve(extra ...string) { s.serveAt("127.0.0.1", extra...) }

// serveAt starts one whose metrics are at an address.
func (s *site) serveAt(metrics string, extra ...string) *exec.Cmd {
	s.Helper()
	app := filepath.Join(s.dir, "app.json")
	if _, err := os.Stat(app); err != nil {
		if out, err := s.program(s.outside, "token", "app", "create", "-q", "-o", app).CombinedOutput(); err != nil {
			s.Fatalf("%v: %s", err, out)
		}
	}
	srv := s.program(s.outside, append(append([]string{"proxy", "-q", "--app-certificate-file", app, "--relay-address", "10.77.0.2", "--media", "10.77.0.0/24",
		"--public", "10.77.0.2", "--metrics", "127.0.0.1:9464", "--drain-time", "1ms"}, sitePorts...), extra...)...)
	srv.Stdout, srv.Stderr = s.log, s.log
	s.background(srv)
	s.until("the proxy serves", func() bool { return s.in(s.outside, "curl", "-sf", "http://"+metrics+":9464/healthz").Run() == nil })
	return srv
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
		{"1080 only", "", none("tls", "control", "media", "edge"), []string{"socks5"}, 5},
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
			out, err := s.program(s.inside, append([]string{"proxy", "check", "--server", "10.77.0.2:4000", "--insecure", "--public", "10.77.0.2", "--json", "--timeout", "3s"}, sitePorts...)...).Output()
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
