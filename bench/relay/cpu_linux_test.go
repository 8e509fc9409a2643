package relay

import (
	"bufio"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// BenchmarkCPU relays what coturn's client sends, to coturn's echo and back. The client sends
// less than it is told if it is not fast enough; loads beyond are BenchmarkLoad's.
func BenchmarkCPU(b *testing.B) {
	need(b, "turnserver", "turnutils_uclient", "turnutils_peer")
	for _, l := range []load{
		{sessions: 100, size: 172, every: 20 * time.Millisecond, messages: 200}, // the client takes 12 s to allocate
		{sessions: 100, size: 1000, every: 5 * time.Millisecond, messages: 400},
	} {
		b.Run(fmt.Sprintf("sessions=%d/size=%d/every=%s", l.sessions, l.size, l.every), func(b *testing.B) {
			peer := l.startPeer(b)
			defer peer()
			t := table{}
			for b.Loop() {
				for i := range *rounds {
					for j := range servers { // no server is always the second one
						which := servers[(i+j)%len(servers)]
						r := l.measure(b, which)
						b.Logf("round %d, %s: %s", i+1, which, r)
						t.add(which, "us/msg", r.perMessage)
						t.add(which, "lost-%", r.lost)
						t.add(which, "switches/msg", r.switches)
						t.add(which, "msg/s", r.rate)
					}
				}
			}
			t.report(b)
		})
	}
}

// load is what turnutils_uclient is told.
type load struct {
	sessions, size, messages int
	every                    time.Duration
	peer                     uint16
}

// result is what a load costs.
type result struct{ perMessage, lost, switches, rate float64 }

func (r result) String() string {
	return fmt.Sprintf("%.2f us/msg, %.3f %% lost, %.2f switches/msg, %.0f msg/s", r.perMessage, r.lost, r.switches, r.rate)
}

// startPeer starts the echo.
func (l *load) startPeer(b *testing.B) (stop func()) {
	b.Helper()
	l.peer = freePort(b)
	peer := exec.Command("turnutils_peer", "-L", "127.0.0.1", "-p", fmt.Sprint(l.peer))
	if err := peer.Start(); err != nil {
		b.Fatal(err)
	}
	return func() { peer.Process.Kill(); peer.Wait() }
}

var (
	progress = regexp.MustCompile(`tot_send_msgs=(\d+), tot_recv_msgs=(\d+), tot_send_bytes`)
	loss     = regexp.MustCompile(`Total lost packets \d+ \(([0-9.]+)%\)`)
)

// measure puts the load on a fresh server. It counts from the client's first line with
// traffic, allocations being another matter, to the last before all is sent: the client
// writes one a second.
func (l *load) measure(b *testing.B, which string) result {
	b.Helper()
	s := start(b, which)
	defer s.stop()
	client := exec.Command("turnutils_uclient", "-u", user, "-w", password, "-e", "127.0.0.1", "-r", fmt.Sprint(l.peer), "-p", fmt.Sprint(s.at.Port()), "-c",
		"-m", fmt.Sprint(l.sessions), "-l", fmt.Sprint(l.size), "-z", fmt.Sprint(l.every.Milliseconds()), "-n", fmt.Sprint(l.messages), "127.0.0.1")
	out, err := client.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Start(); err != nil {
		b.Fatal(err)
	}
	timer := time.AfterFunc(2*time.Minute, func() { client.Process.Kill() })
	defer timer.Stop()
	type sample struct {
		messages, switches int
		cpu                time.Duration
		at                 time.Time
	}
	var first, last sample
	lost := -1.0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := progress.FindStringSubmatch(lines.Text()); m != nil {
			sent, _ := strconv.Atoi(m[1])
			came, _ := strconv.Atoi(m[2])
			now := sample{sent + came, s.switches(), s.cpu(b), time.Now()}
			if came > 0 && first.messages == 0 {
				first = now
			} else if first.messages > 0 && (sent < l.sessions*l.messages || last.messages == 0) {
				last = now
			}
		} else if m := loss.FindStringSubmatch(lines.Text()); m != nil {
			lost, _ = strconv.ParseFloat(m[1], 64)
		}
	}
	client.Wait()
	n := float64(last.messages - first.messages)
	if n <= 0 || lost < 0 {
		b.Fatalf("%s: turnutils_uclient sent nothing, or did not come to its end", which)
	}
	return result{perMessage: float64((last.cpu - first.cpu).Nanoseconds()) / 1000 / n, lost: lost, switches: float64(last.switches-first.switches) / n,
		rate: n / last.at.Sub(first.at).Seconds()}
}
