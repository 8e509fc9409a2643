package relay

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"
)

var (
	rounds  = flag.Int("rounds", 3, "how often each server is measured; BenchmarkLoad has -steps")
	program = flag.String("chanseal", "", "measure this program instead of building one")
	other   = flag.String("other", "", "measure this program, too: an earlier one, say")
)

const (
	user, password, realm = "user", "pass", "chanseal"

	coturn  = "coturn"
	ours    = "chanseal"
	earlier = "other"
)

var (
	servers  = []string{coturn, ours}
	loopback = netip.MustParseAddr("127.0.0.1")
)

// made is the directory that built made, to be removed.
var made string

// built is a directory with the program and what it needs.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "chanseal-relay"); err != nil {
		return "", err
	}
	made = dir
	bin := filepath.Join(dir, "chanseal")
	if *program != "" {
		path, err := filepath.Abs(*program)
		if err != nil {
			return "", err
		}
		if err := os.Symlink(path, bin); err != nil {
			return "", err
		}
	} else if out, err := exec.Command("go", "build", "-o", bin, "github.com/chanseal/chanseal/cmd/chanseal").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(user+":"+password+"\n"), 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command(bin, "token", "app", "create", "-q", "-o", filepath.Join(dir, "app.json")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	if *other != "" {
		servers = append(servers, earlier)
	}
	code := m.Run()
	if made != "" {
		os.RemoveAll(made)
	}
	os.Exit(code)
}

// need skips where a program is absent.
func need(b *testing.B, names ...string) {
	b.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			b.Skipf("%s is not installed (Debian: coturn)", name)
		}
	}
}

// server is a running TURN server.
type server struct {
	cmd  *exec.Cmd
	at   netip.AddrPort
	stop func()
}

// start starts a server and waits until it answers.
func start(b *testing.B, which string) *server {
	b.Helper()
	dir, err := built()
	if err != nil {
		b.Fatal(err)
	}
	s := &server{at: netip.AddrPortFrom(loopback, freePort(b))}
	port := fmt.Sprint(s.at.Port())
	switch which {
	case coturn:
		s.cmd = exec.Command("turnserver", "-n", "-m", "1", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", port, "-u", user+":"+password, "-r", realm, "-a",
			"--allow-loopback-peers", "--no-cli", "--no-tls", "--no-dtls", "--simple-log", "--log-file", filepath.Join(dir, "coturn.log"),
			"--pidfile", filepath.Join(dir, "coturn.pid"))
	case ours, earlier:
		bin := filepath.Join(dir, "chanseal")
		if which == earlier {
			bin = *other
		}
		s.cmd = exec.Command(bin, "proxy", "-q", "--app-certificate-file", "app.json", "--static-user-file", "users", "--relay-address", "127.0.0.1",
			"--media", "127.0.0.1/32", "--listen-address", "127.0.0.1", "--control-ports", "none", "--media-ports", "none", "--socks-ports", "none", "--tls-ports", "none",
			"--edge-ports", port, "--drain-time", "1ms")
	}
	s.cmd.Dir = dir
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s.stop = sync.OnceFunc(func() {
		s.cmd.Process.Signal(os.Interrupt)
		timer := time.AfterFunc(5*time.Second, func() { s.cmd.Process.Kill() })
		defer timer.Stop()
		s.cmd.Wait()
	})
	b.Cleanup(s.stop)
	if err := s.answers(); err != nil {
		b.Fatalf("%s: %v", which, err)
	}
	return s
}

// answers waits until the server answers a Binding request.
func (s *server) answers() error {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.at))
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 1500)
	for range 100 {
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		c.Write(m.Raw)
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		begun := time.Now()
		if _, err = c.Read(buf); err == nil {
			return nil
		}
		time.Sleep(100*time.Millisecond - time.Since(begun)) // a refusal comes at once
	}
	return err
}

func freePort(b *testing.B) uint16 {
	b.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// cpu is the CPU time that the server's threads have had.
func (s *server) cpu(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	const schedClock = 2 // the clock of a process, see clock_getcpuclockid(3)
	if err := unix.ClockGettime(int32(^s.cmd.Process.Pid<<3|schedClock), &t); err != nil {
		b.Fatal(os.NewSyscallError("clock_gettime", err))
	}
	return time.Duration(t.Nano())
}

// switches is how often the server's threads have waited or were made to.
func (s *server) switches() (n int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	for _, task := range tasks {
		status, _ := os.ReadFile(task)
		n += field(status, "voluntary_ctxt_switches:") + field(status, "nonvoluntary_ctxt_switches:")
	}
	return n
}

// memory is the server's resident memory in KiB.
func (s *server) memory(b *testing.B) int {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	return field(status, "VmRSS:")
}

func field(status []byte, name string) (n int) {
	for line := range bytes.Lines(status) {
		if rest, ok := strings.CutPrefix(string(line), name); ok {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}

// median of values, which it sorts.
func median(v []float64) float64 {
	slices.Sort(v)
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// table collects the figures of the servers, round for round, and reports their medians.
type table map[string]map[string][]float64

func (t table) add(server, unit string, v float64) {
	if t[unit] == nil {
		t[unit] = map[string][]float64{}
	}
	t[unit][server] = append(t[unit][server], v)
}

// report reports ours under the unit's own name.
func (t table) report(b *testing.B) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	for unit, by := range t {
		for server, v := range by {
			name := unit
			if server != ours {
				name = server + "-" + unit
			}
			b.ReportMetric(median(v), name)
		}
	}
}
