package program

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/rtpseal"
)

// gatewayLog logs what does not go on: at most logsAtMost lines a second, whatever
// comes, and nothing of any payload. Packets do not wait for whoever reads the log.
type gatewayLog struct {
	p    *program
	log  *slog.Logger
	todo chan []any // attributes of lines

	mu      sync.Mutex
	second  time.Time
	lines   int
	skipped uint64
	starts  int
}

const (
	logsAtMost   = 5
	startsAtMost = 20 // streams that are listed when the gateway starts
)

func newGatewayLog(p *program) *gatewayLog {
	return &gatewayLog{p: p, log: slog.New(slog.NewTextHandler(p.stderr, nil)), todo: make(chan []any, logsAtMost)}
}

// run writes lines until the context ends.
func (l *gatewayLog) run(ctx context.Context) {
	for {
		select {
		case args := <-l.todo:
			l.log.Warn("packet refused", args...)
		case <-ctx.Done():
			return
		}
	}
}

func (l *gatewayLog) started(format string, args ...any) {
	if l.starts++; l.starts <= startsAtMost {
		l.p.notef(format, args...)
	} else if l.starts == startsAtMost+1 {
		l.p.notef("and others")
	}
}

func (l *gatewayLog) refused(u *rtpseal.Unit, err error) {
	if l.p.quiet {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.second) >= time.Second {
		l.second, l.lines = now, 0
	}
	if l.lines >= logsAtMost || len(l.todo) == cap(l.todo) {
		l.skipped++
		return
	}
	l.lines++
	args := []any{"why", message(err)}
	if u != nil {
		args = append(args, "ssrc", fmt.Sprintf("%#08x", u.SSRC))
		if h, _, e := cipher.ParseHeader(u.Sealed); e == nil {
			args = append(args, "sender", keyring.SenderOf(h.KID), "kid", fmt.Sprintf("%#x", uint64(h.KID)))
		}
	}
	if l.skipped > 0 {
		args = append(args, "not_logged_before", l.skipped)
		l.skipped = 0
	}
	l.todo <- args // has room: only who holds mu sends
}

// metricsAtMost is how many connections to the metrics there may be.
const metricsAtMost = 64

// serveMetrics serves /metrics and /healthz until stop is called.
func (p *program) serveMetrics(address string, s *rtpseal.Stats, keys *gatewayKeys, flows int) (stop func(), err error) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(&gatewayCollector{s: s, keys: keys, flows: flows})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics %s: %w", address, err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14}
	go srv.Serve(netutil.LimitListener(ln, metricsAtMost)) // the files that may be open are for the media
	p.notef("metrics at http://%s/metrics", ln.Addr())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		srv.Shutdown(ctx)
	}, nil
}

// gatewayCollector shows the Stats to Prometheus.
type gatewayCollector struct {
	s     *rtpseal.Stats
	keys  *gatewayKeys
	flows int
}

func gatewayDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chanseal_gateway_"+name, help, labels, nil)
}

var (
	descPackets = gatewayDesc("packets_total", "RTP packets.", "direction")
	descBytes   = gatewayDesc("bytes_total", "Bytes of RTP packets.", "direction")
	descControl = gatewayDesc("rtcp_packets_total", "RTCP packets that passed.")
	descRefused = gatewayDesc("refused_total", "Packets that did not go on.", "reason")
	descHeld    = gatewayDesc("held_bytes", "Bytes that wait for the rest of a packet, or for a key.")
	descStreams = gatewayDesc("streams", "Streams of the configuration.")
	descEpoch   = gatewayDesc("epoch", "The epoch that is sealed under: it grows by one a rotation.", "channel", "sender")
	descDelay   = gatewayDesc("delay_seconds", "From the read of a packet to the end of its write.")
)

func (c *gatewayCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPackets, descBytes, descControl, descRefused, descHeld, descStreams, descEpoch, descDelay} {
		ch <- d
	}
}

func (c *gatewayCollector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.s
	counter(descPackets, s.PacketsIn.Load(), "in")
	counter(descPackets, s.PacketsOut.Load(), "out")
	counter(descBytes, s.BytesIn.Load(), "in")
	counter(descBytes, s.BytesOut.Load(), "out")
	counter(descControl, s.Control.Load())
	for _, r := range rtpseal.Reasons() {
		counter(descRefused, s.Refused[r].Load(), r.String())
	}
	gauge(descHeld, float64(s.Held.Load()))
	gauge(descStreams, float64(c.flows))
	for id, sender := range c.keys.sealers {
		gauge(descEpoch, float64(sender.Origin().Epoch), id.channel, strconv.Itoa(int(id.sender)))
	}
	buckets, total := map[float64]uint64{}, uint64(0)
	for i := range s.Delay.Buckets {
		total += s.Delay.Buckets[i].Load()
		buckets[float64(uint64(1)<<i)/1e6] = total
	}
	ch <- prometheus.MustNewConstHistogram(descDelay, total, float64(s.Delay.Sum.Load())/1e9, buckets)
}
