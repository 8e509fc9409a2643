package proxy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ring makes a ring with a channel that the gateways of a site share, and cards for it.
func (s *site) ring() {
	s.Helper()
	s.env = append(s.env, "CHANSEAL_RING="+filepath.Join(s.dir, "ring"))
	if out, err := s.program(s.outside, "channel", "create", "-q", "stage").CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// card writes a channel key for a user.
func (s *site) card(uid string) (file string) {
	s.Helper()
	out, err := s.program(s.outside, "token", "mint", "--app-certificate-file", "app.json", "--channel", "stage", "--uid", uid).Output()
	if err != nil {
		s.Fatal(err)
	}
	file = filepath.Join(s.dir, uid+".card")
	os.WriteFile(file, out, 0o600)
	return file
}

// through are the flags of gateways that go through the proxy.
func (s *site) through(uid string, server ...string) []string {
	s.Helper()
	if len(server) == 0 {
		server = []string{"--proxy-type", "2", "--proxy-server", "10.77.0.2:0"}
	}
	return append([]string{"--rtcp-mux", "--proxy-insecure", "--proxy-card-file", s.card(uid), "--proxy-channel", "stage", "--proxy-uid", uid}, server...)
}

// run starts a command and returns what it says.
func (s *site) run(what, ns string, args ...string) *words {
	s.Helper()
	c, w := s.as(what, ns, args...), &words{}
	c.Stdout, c.Stderr = w, w
	s.background(c)
	return w
}

// TestAutomatic: a call by "gateway seal --cloud-proxy" out of a company whose firewall
// lets less and less through: directly, over UDP, TCP and TLS, and by SOCKS5; without name
// service; over the only port that is open. Where "proxy check" says that nothing works,
// nothing does.
func TestAutomatic(t *testing.T) {
	t.Parallel()
	const drop = "table inet f { chain out { type filter hook output priority 0; policy drop; oif lo accept; %s; }\n}\n"
	rules := func(accept string) string { return strings.ReplaceAll(drop, "%s", accept) }
	domain := []string{"--proxy-server", "proxy.example.com:0"}
	for _, c := range []struct {
		name, rules string // rules "": those of the allow-list
		server      []string
		says        string
		only        bool // there is no other way
	}{
		{"no firewall", rules("accept"), nil, "connected directly", false},
		{"allow-list", "", nil, "connected over udp", false},
		{"no UDP", rules("meta l4proto tcp accept"), nil, "connected over tcp", false},
		{"443 only", rules("tcp dport 443 accept"), nil, "connected over tls", true},
		{"443 and one UDP port", rules("tcp dport 443 accept; udp dport 9700 accept"), nil, "connected over udp", false},
		{"4000 and one TCP port", rules("tcp dport { 4000, 25000 } accept"), nil, "connected over tcp", true},
		{"1080 only", rules("tcp dport 1080 accept; udp dport 1080 accept"), []string{"--proxy-type", "0", "--proxy-server", "10.77.0.2:0"}, "connected by SOCKS5", true},
		{"no names", "", append(domain, "--proxy-fallback", "10.77.0.2:0"), "connected over udp", false},
		{"no discovery", rules("udp dport 4500-4650 accept; tcp dport 8000 accept; reject"), nil, "error: the cloud proxy: no relay could be used", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.serve()
			s.ring()
			if slices.Contains(c.server, "--proxy-fallback") { // names are asked for at somebody who does not answer
				etc := filepath.Join("/etc/netns", s.inside)
				if err := os.MkdirAll(etc, 0o755); err != nil {
					t.Skip(err)
				}
				t.Cleanup(func() { os.RemoveAll(etc); os.Remove("/etc/netns") })
				os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte("nameserver 10.77.0.2\n"), 0o644)
			}
			if c.rules == "" {
				c.rules = s.allowed()
			}
			s.firewall(c.rules)
			got := s.run("receiver", s.outside, "127.0.0.1:7004")
			s.says(s.run("program", s.outside, "gateway", "open", "--channel", "stage", "--rtcp-mux", "--listen", "10.77.0.2:6004", "--to", "127.0.0.1:7004"), "running")
			seal := s.run("program", s.inside, append([]string{"gateway", "seal", "--channel", "stage", "--listen", "127.0.0.1:5004", "--to", "10.77.0.2:6004",
				"--cloud-proxy"}, s.through("7", c.server...)...)...)
			if strings.Contains(c.says, "error") {
				s.says(seal, c.says)
				return
			}
			s.says(seal, "running")
			// On a machine that is busy another way may be quicker, where there is one.
			if said := seal.String(); !strings.Contains(said, c.says) && (c.only || !strings.Contains(said, "no answer yet")) {
				t.Errorf("not %q, but: %s", c.says, said)
			}
			s.run("sender", s.inside, "127.0.0.1:5004")
			s.says(got, "\n") // a packet
		})
	}
}

// TestTwoFirewalls: two companies, both behind firewalls made of the allow-list, and both
// with gateways that go through the proxy.
func TestTwoFirewalls(t *testing.T) {
	t.Parallel()
	a := newSite(t)
	b := a.another()
	a.serve("--media", "10.77.0.2:49152-65535")
	a.ring()
	b.env = a.env
	for _, s := range []*site{a, b} {
		s.firewall(s.allowed() + "\n")
	}
	got := b.run("receiver", b.inside, "127.0.0.1:7004")
	open := b.run("program", b.inside, append([]string{"gateway", "open", "--channel", "stage", "--to", "127.0.0.1:7004", "--cloud-proxy"}, b.through("8")...)...)
	b.says(open, "running")
	address, _, _ := strings.Cut(open.String()[strings.Index(open.String(), "10.77.0.2:"):], " stage\n")
	seal := a.run("program", a.inside, append([]string{"gateway", "seal", "--channel", "stage", "--listen", "127.0.0.1:5004", "--to", address, "--cloud-proxy"}, a.through("7")...)...)
	a.says(seal, "running")
	a.run("sender", a.inside, "127.0.0.1:5004")
	b.says(got, "\n")
	if !strings.Contains(seal.String(), "connected over") || !strings.Contains(open.String(), "connected over") {
		t.Errorf("%s\n%s", seal, open)
	}
}

// TestRelayKilled: a relay is killed in the middle of a call, over UDP, TCP and TLS; the
// call goes on by the other, and the log says for how long nothing came.
func TestRelayKilled(t *testing.T) {
	t.Parallel()
	for over, mode := range map[string]string{"udp": "udp", "tcp": "tcp", "tls": "tcp"} {
		t.Run(over, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.ip("-n", s.outside, "addr", "add", "10.77.0.3/24", "dev", "cs1")
			os.WriteFile(filepath.Join(s.dir, "secret"), []byte("thirty-two bytes that both share"), 0o600)
			relay := func(n, other int) *exec.Cmd {
				t.Helper()
				a, config := fmt.Sprintf("10.77.0.%d", n), fmt.Sprintf("relay%d.json", n)
				os.WriteFile(filepath.Join(s.dir, config), fmt.Appendf(nil, `{"relays": [{"address": "10.77.0.%d:4000"}], "region": "r%d"}`, other, n), 0o600)
				flags := []string{"--config", config, "--secret-file", "secret", "--listen-address", a, "--public", a, "--relay-address", a, "--metrics", a + ":9464"}
				if over == "tls" {
					flags = append(flags, "--edge-ports", "none")
				}
				return s.serveAt(a, flags...)
			}
			victim := relay(2, 3)
			relay(3, 2)
			s.ring()
			card, err := os.ReadFile(s.card("7"))
			if err != nil {
				t.Fatal(err)
			}
			s.until("the relays know each other", func() bool {
				out, _ := s.in(s.inside, "curl", "-sk", "-H", "Authorization: Bearer "+strings.TrimSpace(string(card)), "https://10.77.0.2:4000/v1/proxy?channel=stage&uid=7").Output()
				return strings.Contains(string(out), `"10.77.0.3"`)
			})
			s.firewall(strings.ReplaceAll(s.allowed(), "10.77.0.2", "{ 10.77.0.2, 10.77.0.3 }"))
			got := s.run("receiver", s.outside, "127.0.0.1:7004")
			s.says(s.run("program", s.outside, "gateway", "open", "--channel", "stage", "--rtcp-mux", "--listen", "10.77.0.2:6004", "--to", "127.0.0.1:7004"), "running")
			seal := s.run("program", s.inside, append([]string{"gateway", "seal", "--channel", "stage", "--listen", "127.0.0.1:5004", "--to", "10.77.0.2:6004", "--cloud-proxy", mode},
				s.through("7", "--proxy-type", "2", "--proxy-server", "10.77.0.2,10.77.0.3:0", "--proxy-region", "r2")...)...)
			s.says(seal, "connected over "+over)
			s.says(seal, "running")
			s.run("sender", s.inside, "127.0.0.1:5004")
			packets := func() int { return strings.Count(got.String(), "\n") }
			s.until("packets come", func() bool { return packets() > 5 })
			before := packets()
			victim.Process.Kill()
			s.says(seal, "lost over "+over)
			s.until("another relay is found", func() bool { return strings.Count(seal.String(), "connected over "+over) == 2 })
			at := packets()
			s.until("packets come again", func() bool { return packets() > at+20 })
			gap := 0
			for i, line := range strings.Split(got.String(), "\n") {
				var number, silent int
				if fmt.Sscan(line, &number, &silent); i >= before {
					gap = max(gap, silent)
				}
			}
			t.Logf("silent for %d ms\n%s", gap, seal)
		})
	}
}
