package keyserver

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are read by Prometheus. Their labels are reasons, of which there is a fixed
// number.
type counters struct {
	entered, resumed, renewed, handedOut, rotated, slow atomic.Uint64
	connectionsRefused                                  atomic.Uint64

	mu      sync.Mutex
	refusal map[string]uint64
	ended   map[string]uint64
}

func (c *counters) refused(why string) { c.count(&c.refusal, why) }
func (c *counters) over(why string)    { c.count(&c.ended, why) }

func (c *counters) count(in *map[string]uint64, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *in == nil {
		*in = map[string]uint64{}
	}
	(*in)[why]++
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chanseal_keyserver_"+name, help, labels, nil)
}

var (
	descMembers     = desc("members", "Memberships now.")
	descStreams     = desc("streams", "Streams of events now.")
	descChannels    = desc("channels", "Channels that are followed now.")
	descEntered     = desc("entered_total", "Memberships that began.")
	descResumed     = desc("resumed_total", "Memberships that were brought back.")
	descRenewed     = desc("renewed_total", "Memberships that went on with a new card.")
	descEnded       = desc("ended_total", "Memberships that ended.", "reason")
	descRefused     = desc("refused_total", "Requests that were refused.", "reason")
	descHandedOut   = desc("handed_out_total", "Epochs handed to a member for the first time.")
	descRotated     = desc("rotations_total", "Rotations that the server made.")
	descSlow        = desc("slow_readers_total", "Streams that ended because they were not read.")
	descConnections = desc("connections_refused_total", "Connections over a bound.")
	descBehind      = desc("clock_set_back_seconds", "By how much the wall clock was set back since the server was started, of which it takes no notice.")
	descReady       = desc("ready", "1 if the server takes members.")
)

// Collector shows the server to Prometheus.
func (s *Server) Collector() prometheus.Collector { return collector{s} }

type collector struct{ s *Server }

func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.s
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s.mu.RLock()
	members, channels := len(s.passes), len(s.hubs)
	s.mu.RUnlock()
	gauge(descMembers, members)
	gauge(descChannels, channels)
	gauge(descStreams, int(s.streams.Load()))
	n := &s.counters
	counter(descEntered, n.entered.Load())
	counter(descResumed, n.resumed.Load())
	counter(descRenewed, n.renewed.Load())
	counter(descHandedOut, n.handedOut.Load())
	counter(descRotated, n.rotated.Load())
	counter(descSlow, n.slow.Load())
	counter(descConnections, n.connectionsRefused.Load())
	n.mu.Lock()
	for why, x := range n.refusal {
		counter(descRefused, x, why)
	}
	for why, x := range n.ended {
		counter(descEnded, x, why)
	}
	n.mu.Unlock()
	ready := 1
	behind := s.clock.Behind()
	ch <- prometheus.MustNewConstMetric(descBehind, prometheus.GaugeValue, behind.Truncate(time.Second).Seconds())
	if s.isDraining() || s.failed.Load() || behind >= unreadyBehind {
		ready = 0
	}
	gauge(descReady, ready)
}

func plural(n int) string {
	if n == 1 {
		return "1 more, not listed"
	}
	return fmt.Sprintf("%d more, not listed", n)
}
