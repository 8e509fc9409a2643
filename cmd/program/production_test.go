package program

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
)

// TestProduction runs docs/production.md from its beginning to its end: the commands of
// its sh blocks, and what its units start. Names of hosts and directories become those of
// this machine; between the units of the gateways and the recording that is opened packets
// go the whole way.
func TestProduction(t *testing.T) {
	for _, need := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%s is not here", need)
		}
	}
	page, err := os.ReadFile("../../docs/production.md")
	if err != nil {
		t.Fatal(err)
	}
	h := newProductionHost(t)
	blocks := regexp.MustCompile("(?ms)^```(sh|ini)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 15 {
		t.Fatalf("%d blocks were found", len(blocks))
	}
	for _, b := range blocks {
		text := h.names.Replace(b[2])
		if b[1] == "sh" {
			if err := h.script(text); err != nil {
				h.tell()
				t.Fatal(err)
			}
			continue
		}
		name, err := h.unit(text)
		if err != nil {
			h.tell()
			t.Fatal(err)
		}
		if name == "chanseal-record" {
			h.call()
			h.stop(name)
		}
	}
	if metrics, err := os.ReadFile(filepath.Join(h.dir, "var", "metrics")); err != nil || !bytes.Contains(metrics, []byte("chanseal_keyserver_ready 1")) {
		t.Errorf("%v: the key server's metrics were not fetched\n%s", err, metrics)
	}
	// Those without a count do not show yet: are they in the sources?
	sources := map[string]string{"keyserver": "../../keyserver/metrics.go", "proxy": "../../proxy/metrics.go", "gateway": "gateway_watch.go"}
	for _, m := range regexp.MustCompile(`chanseal_(keyserver|proxy|gateway)_(\w+)`).FindAllStringSubmatch(string(page), -1) {
		if code, err := os.ReadFile(sources[m[1]]); err != nil || !bytes.Contains(code, []byte(`"`+m[2]+`"`)) {
			t.Errorf("no program has the metric %s: %v", m[0], err)
		}
	}
}

// TestProductionNotices: a command of the page that is misspelled, refused or fails makes
// its block fail, wherever it stands in it; so does a unit that does not run.
func TestProductionNotices(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not here")
	}
	h := bareProductionHost(t)
	const made = "export CHANSEAL_RING=ring\nchanseal channel create stage\n"
	if err := h.script(made + "chanseal channel show stage | grep stage\n"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a command that there is not":    "chanseal ring bakup x\nchanseal version\n",
		"a flag that there is not":       "chanseal channel show --colour stage\ntrue\n",
		"a program that there is not":    "chanseel version\ntrue\n",
		"a channel that there is not":    "chanseal channel show stages\ntrue\n",
		"in front of a pipe":             "chanseal channel show stages | cat\n",
		"in a substitution":              "x=$(chanseal channel show stages)\ntrue\n",
		"a variable that nobody has set": "chanseal channel show $STAGE\n",
		"what should be found is not":    "chanseal channel show stage | grep stages\ntrue\n",
		"a ring where there is none":     "chanseal channel show --ring nowhere stage\ntrue\n",
		"the last command":               "chanseal version\nchanseal channel show stages\n",
		"no ring at all":                 "unset CHANSEAL_RING\nchanseal channel show stage\n",
	} {
		if err := h.script(text); err == nil {
			t.Errorf("%s: nobody notices", name)
		}
	}
	unit := func(start string) string {
		return "# /etc/systemd/system/test.service\n[Service]\nEnvironment=CHANSEAL_RING=ring\nExecStart=" + start + "\n"
	}
	const good = "chanseal gateway record --listen 127.0.0.1:0 -o a.rtpdump"
	if name, err := h.unit(unit(good)); err != nil || name != "test" {
		t.Fatalf("%q, %v", name, err)
	}
	h.stop("test")
	for name, text := range map[string]string{
		"a unit without a name":      "[Service]\nExecStart=" + good + "\n",
		"a unit that starts nothing": unit(""),
		"a flag of a unit":           unit("chanseal gateway record --listens 127.0.0.1:0 -o b.rtpdump"),
		"a ring of a unit":           unit("chanseal gateway open --ring nobody --channel stage --listen 127.0.0.1:0 --to 127.0.0.1:9"),
		"a unit's program":           unit("chanseel gateway record --listen 127.0.0.1:0 -o b.rtpdump"),
		"a unit that ends at once":   unit("chanseal version"),
	} {
		if _, err := h.unit(text); err == nil {
			t.Errorf("%s: nobody notices", name)
		}
	}
}

// productionUnit is what a unit started.
type productionUnit struct {
	*exec.Cmd
	ended chan error // how it ended, once
}

// productionHost is this machine in the place of all those of the page.
type productionHost struct {
	t     *testing.T
	dir   string
	names *strings.Replacer
	state []string // what the commands so far have exported, and their functions
	units map[string]*productionUnit
	logs  map[string]*locked

	source, media, open, record, end string
}

// bareProductionHost has the directories, and chanseal on its PATH.
func bareProductionHost(t *testing.T) *productionHost {
	h := &productionHost{t: t, dir: t.TempDir(), names: strings.NewReplacer(), units: map[string]*productionUnit{}, logs: map[string]*locked{}}
	for _, d := range []string{"etc", "var", "vault", "backup", "bin"} {
		if err := os.Mkdir(filepath.Join(h.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(h.dir, "bin", "chanseal")); err != nil { // testscript makes the test the program
		t.Skip(err)
	}
	t.Cleanup(func() {
		for name := range h.units {
			h.stop(name)
		}
	})
	return h
}

func newProductionHost(t *testing.T) *productionHost {
	h := bareProductionHost(t)
	writeAuthority(t, filepath.Join(h.dir, "etc"))
	cluster, err := etcdtest.Start(etcdtest.Config{Members: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cluster.Close() })
	var at []string
	for len(at) < 16 { // below the ports that the system gives to connections meanwhile
		p := fmt.Sprint(21_000 + 2*mathrand.IntN(5_500))
		tcp, err := net.Listen("tcp", "127.0.0.1:"+p)
		if err != nil {
			continue
		}
		tcp.Close()
		udp, err := net.ListenPacket("udp", "127.0.0.1:"+p)
		if err != nil || slices.Contains(at, p) {
			continue
		}
		udp.Close()
		at = append(at, p)
	}
	local := func(i int) string { return "127.0.0.1:" + at[i] }
	h.source, h.media, h.open, h.record, h.end = local(0), local(1), local(2), local(3), local(4)
	h.names = strings.NewReplacer(
		"etcd://etcd1.example.com,etcd2.example.com,etcd3.example.com/prod?ca=/etc/chanseal/ca.pem&user=ring&password-file=/etc/chanseal/etcd.password", "etcd://"+cluster.Endpoints()[0]+"/prod",
		"/etc/chanseal", filepath.Join(h.dir, "etc"), "/var/lib/chanseal", filepath.Join(h.dir, "var"), "/mnt/vault", filepath.Join(h.dir, "vault"), "/mnt/backup", filepath.Join(h.dir, "backup"),
		"keys1.example.com:8443", local(5), "keys2.example.com:8443", local(15), // where nobody is
		"keys1.example.com:8444", local(6), "--listen :8443", "--listen "+local(5), "--admin-listen :8444", "--admin-listen "+local(6),
		"127.0.0.1:9465", local(7), "127.0.0.1:9466", local(8), "127.0.0.1:9467", local(9), "127.0.0.1:9468", local(10),
		"proxy1.example.com:4000", "localhost:"+at[11],
		"--relay-address 203.0.113.9", "--relay-address 127.0.0.1 --listen-address 127.0.0.1 --control-ports "+at[11]+" --media-ports "+at[12]+" --edge-ports "+at[13]+" --tls-ports "+at[14]+" --socks-ports none",
		"198.51.100.0/24:4000-5000", "127.0.0.1", "198.51.100.7:4000", h.media,
		"127.0.0.1:5004", h.source, "--listen :6004", "--listen "+h.open, "127.0.0.1:7004", h.end, "--listen :6104", "--listen "+h.record,
	)
	return h
}

func (h *productionHost) bash(script string) *exec.Cmd {
	c := exec.Command("bash", "-c", script)
	c.Dir = filepath.Join(h.dir, "var")
	c.Env = append(os.Environ(), "PATH="+filepath.Join(h.dir, "bin")+":"+os.Getenv("PATH"), "HOME="+h.dir, "XDG_CONFIG_HOME=", "CHANSEAL_RING=", "CHANSEAL_KEY_FILE=")
	return c
}

// script runs a block, in a shell that knows what those before it have set.
func (h *productionHost) script(text string) error {
	c := h.bash("set -euo pipefail\n" + strings.Join(h.state, "\n") + "\n" + text)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s\n%s", err, text, out)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "export ") || strings.HasPrefix(line, "unset ") || strings.HasPrefix(line, "umask ") {
			h.state = append(h.state, strings.TrimSpace(line))
		}
	}
	return nil
}

// tell logs what the units have said.
func (h *productionHost) tell() {
	h.t.Helper()
	for name, log := range h.logs {
		h.t.Logf("%s:\n%s", name, log.String())
	}
}

// unit starts what a unit starts, waits until it runs, and returns the unit's name.
func (h *productionHost) unit(text string) (string, error) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	value := func(line, key string) (string, bool) { return strings.CutPrefix(line, key+"=") }
	m := regexp.MustCompile(`(?m)^# /etc/systemd/system/(\S+)\.service$`).FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("a unit without a name:\n%s", text)
	}
	name, script, start := m[1], "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if v, ok := value(line, "Environment"); ok {
			key, v, _ := strings.Cut(v, "=")
			script += "export " + key + "='" + v + "'\n"
		}
		if v, ok := value(line, "EnvironmentFile"); ok {
			script += ". " + v + "\n"
		}
		if v, ok := value(line, "ExecStart"); ok {
			start = v
		}
	}
	log := &locked{said: make(chan struct{})}
	c := h.bash(script + "exec " + start)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	h.logs[name] = log
	running := func() bool {
		s := log.String()
		return strings.Contains(s, "running;") || strings.Contains(s, "listening for media at")
	}
	for range 600 {
		if running() {
			h.units[name] = &productionUnit{c, ended}
			return name, nil
		}
		select {
		case err := <-ended:
			return "", fmt.Errorf("%s ended at once: %v\n%s\n%s", name, err, text, log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	c.Process.Kill()
	<-ended
	return "", fmt.Errorf("%s does not run\n%s\n%s", name, text, log.String())
}

func (h *productionHost) stop(name string) {
	c := h.units[name]
	delete(h.units, name)
	if name == "chanseal-proxy" { // which would wait for its sessions
		c.Process.Kill()
		<-c.ended
		return
	}
	c.Process.Signal(syscall.SIGINT)
	if err := <-c.ended; err != nil {
		h.t.Errorf("%s: %v\n%s", name, err, h.logs[name].String())
	}
}

// call sends packets through gateway seal, the proxy, a media network, and gateway open,
// and wants each of them.
func (h *productionHost) call() {
	h.t.Helper()
	network := listenAt(h.t, h.media)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := network.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, to := range []string{h.open, h.record} {
				a, _ := net.ResolveUDPAddr("udp", to)
				network.WriteTo(buf[:n], a)
			}
		}
	}()
	end := listenAt(h.t, h.end)
	for i := range uint16(20) {
		arrives(h.t, h.source, end, rtpPacket(i, "through everything"))
	}
}

// writeAuthority writes an authority's certificate, a server's, and those of two persons.
func writeAuthority(t *testing.T, dir string) {
	t.Helper()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, rootKey := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, newTestKey(t)
	for i, c := range []struct {
		name, key string
		template  *x509.Certificate
		private   *ecdsa.PrivateKey
	}{
		{"ca.pem", "", root, rootKey},
		{"cert.pem", "key.pem", &x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, newTestKey(t)},
		{"olga.pem", "olga.key", &x509.Certificate{}, newTestKey(t)},
		{"oscar.pem", "oscar.key", &x509.Certificate{}, newTestKey(t)},
	} {
		c.template.SerialNumber, c.template.NotBefore, c.template.NotAfter = big.NewInt(int64(i+1)), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c.template, root, c.private.Public(), rootKey)
		if err != nil {
			t.Fatal(err)
		}
		write(c.name, "CERTIFICATE", der)
		if c.key == "" {
			continue
		}
		if der, err = x509.MarshalPKCS8PrivateKey(c.private); err != nil {
			t.Fatal(err)
		}
		write(c.key, "PRIVATE KEY", der)
	}
}

func newTestKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
