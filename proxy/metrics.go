package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// collector reads the counters when it is asked. Labels are transports and reasons
// only: nothing that an outsider can make many of, and nothing about a person.
type collector struct{ s *Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chanseal_proxy_"+name, help, labels, nil)
}

var (
	descSessions = desc("sessions", "Sessions now.", "transport")
	descLimit    = desc("sessions_limit", "Sessions that are allowed.")
	descStarted  = desc("sessions_started_total", "Sessions that began.", "transport")
	descEnded    = desc("sessions_ended_total", "Sessions that ended.", "reason")
	descRefused  = desc("refused_total", "Requests that were refused.", "reason")
	descPackets  = desc("packets_total", "Payloads relayed, as the client sees the direction.", "direction")
	descBytes    = desc("bytes_total", "Payload bytes relayed, as the client sees the direction.", "direction")
	descDropped  = desc("dropped_packets_total", "Payloads of sessions that were dropped: over the bit rate, no permission, no room.")
	descStray    = desc("stray_packets_total", "Datagrams of clients that belong to no session.")
	descPorts    = desc("relay_ports_free", "Relay ports that are free.")
	descDraining = desc("draining", "1 if no new sessions are taken.")
)

func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.s
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	r := s.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	now := map[string]int{overUDP: 0, overTCP: 0, overTLS: 0, overSOCKSTCP: 0, overSOCKSUDP: 0}
	var all traffic
	all.add(&r.ended)
	for _, x := range r.sessions {
		now[x.over]++
		all.add(&x.traffic)
	}
	for over, n := range now {
		gauge(descSessions, float64(n), over)
		counter(descStarted, r.startedBy[over], over)
	}
	for why, n := range r.endedBy {
		counter(descEnded, n, why)
	}
	for why, n := range r.refusedFor {
		counter(descRefused, n, why)
	}
	counter(descPackets, all.sentPackets.Load(), "sent")
	counter(descPackets, all.receivedPackets.Load(), "received")
	counter(descBytes, all.sentBytes.Load(), "sent")
	counter(descBytes, all.receivedBytes.Load(), "received")
	counter(descDropped, all.dropped.Load())
	counter(descStray, s.stray.Load())
	gauge(descLimit, float64(r.max))
	gauge(descPorts, float64(s.ports.left()))
	draining := 0.0
	if r.draining {
		draining = 1
	}
	gauge(descDraining, draining)
}

// openMetrics serves /metrics and /healthz on an address of their own.
func (s *Server) openMetrics(ctx context.Context) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{s})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.health)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("proxy: metrics: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	s.opened("metrics", "tcp", l.Addr())
	s.wg.Go(func() { srv.Serve(l) })
	s.closers = append(s.closers, func() { srv.Close() })
	return nil
}
