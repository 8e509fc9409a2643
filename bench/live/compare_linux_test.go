package live

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/rtpseal"
)

var (
	roundsFlag = flag.Int("rounds", 5, "how often all forwarders are measured in turn; medians are given")
	fifoFlag   = flag.Bool("fifo", false, "give forwarders real-time priority, on a machine that others use, too (root)")
	onlyFlag   = flag.String("only", "direct,forward,rows,seal,seal-1200,open,single,socat", "the forwarders to measure")
)

const (
	flood     = 400 * time.Millisecond // for the rate that a forwarder reaches
	sealAhead = 1 << 11                // packets for "open": more would leave the caches before they are sent
	windows   = 3                      // of latencies a round
	window    = 200 * time.Millisecond
	pause     = 60 * time.Millisecond // for whoever else shares the machine
)

// BenchmarkLive: rows=1 is what most programs do, a packet a send call; with rows=16
// packets come joined (UDP_SEGMENT), as those of a video frame may. The row "forward" is
// the bare batched forwarder, 1.0; "rows" does the same by the gateway's own loops. They
// are measured in turn, several rounds, and medians are given.
func BenchmarkLive(b *testing.B) {
	for _, rows := range []int{1, 16} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			all := measureAll(b, rows)
			for _, f := range all {
				b.Run("what="+f.what, func(b *testing.B) {
					b.ReportMetric(median(f.reached), "reached/s")
					if f.pid != 0 {
						b.ReportMetric(median(f.perCPU), "packets/s")
					}
					for i, q := range quantiles {
						b.ReportMetric(median(f.latency[i]), q.name+"-us")
					}
					b.ReportMetric(0, "ns/op")
				})
			}
		})
	}
}

var quantiles = []struct {
	of   float64
	name string
}{{50, "p50"}, {99, "p99"}, {99.9, "p99.9"}}

// measured is a forwarder that runs, and what was seen of it.
type measured struct {
	what            string
	pid             int
	load            *load
	reached, perCPU []float64
	latency         [3][]float64 // of the quantiles
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func measureAll(b *testing.B, rows int) (all []*measured) {
	for _, what := range strings.Split(*onlyFlag, ",") {
		if m := begin(b, what, rows); m != nil {
			all = append(all, m)
		}
	}
	pin(os.Getpid(), 0)
	for round := range *roundsFlag {
		for _, m := range all {
			if round == 0 {
				m.load.run(b, 10000, 200*time.Millisecond) // everybody wakes up
			}
			m.round(b)
		}
	}
	return all
}

// begin starts a forwarder; nil if it is not here.
func begin(b *testing.B, what string, rows int) *measured {
	b.Helper()
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sink.Close() })
	sink.SetReadBuffer(4 << 20)
	end := sink.LocalAddr().(*net.UDPAddr).AddrPort()
	m := &measured{what: what}
	to := end
	if what != "direct" {
		to = freePort(b)
		if m.pid = start(b, what, to, end); m.pid == 0 {
			return nil
		}
	}
	m.load = newLoad(b, to, sink, rows)
	if what == "open" {
		m.load.sealing, _ = sealing(b)
	}
	return m
}

func (m *measured) round(b *testing.B) {
	var before time.Duration
	if m.pid != 0 {
		before = cpuTime(b, m.pid)
	}
	came, took := m.flood(b)
	if came == 0 {
		b.Fatal(m.what + ": nothing came")
	}
	if m.pid != 0 {
		m.perCPU = append(m.perCPU, float64(came)/(cpuTime(b, m.pid)-before).Seconds())
	}
	m.reached = append(m.reached, float64(came)/took.Seconds())
	for range windows {
		time.Sleep(pause)
		m.load.run(b, median(m.reached)/2, window)
		for i, q := range quantiles {
			m.latency[i] = append(m.latency[i], float64(m.load.hist.ValueAtQuantile(q.of))/1e3)
		}
	}
}

// flood has as many packets pass as can. What is sealed is so ahead, a little at a time:
// then the load generator is as quick as it is for the others.
func (m *measured) flood(b *testing.B) (came int, took time.Duration) {
	for took < flood {
		if m.load.sealing != nil {
			m.load.prepare(b, sealAhead/m.load.rows)
		}
		n, d := m.load.run(b, 0, flood-took)
		came, took = came+n, took+d
		if n == 0 {
			break
		}
	}
	return came, took
}

// sealing is what a "gateway seal" in front of the measured "gateway open" does, within
// the load generator.
func sealing(b *testing.B) (*rtpseal.Sealing, *keyring.Channel) {
	b.Helper()
	dir, err := built()
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	ringDir := filepath.Join(dir, "ring")
	kek, err := keyring.KeyFile(filepath.Join(ringDir, boltstore.KeyFile))
	if err != nil {
		b.Fatal(err)
	}
	store, err := boltstore.Open(filepath.Join(ringDir, boltstore.RingFile), boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ring, err := keyring.Open(ctx, store, keyring.Options{KEKs: []keyring.KEK{kek}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ring.Close() })
	ch, err := ring.Channel(ctx, "stage")
	if err != nil {
		b.Fatal(err)
	}
	sender, err := ch.Sender(ctx, 7, keyring.SenderOptions{Compact: true})
	if err != nil {
		b.Fatal(err)
	}
	s, err := rtpseal.NewSealing(rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(sender), MTU: packetSize})
	if err != nil {
		b.Fatal(err)
	}
	return s, ch
}
