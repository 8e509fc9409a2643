package program

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/proxy/client"
	"github.com/chanseal/chanseal/rtpseal"
)

// gatewayStream is one flow of RTP. Its fields are those of the configuration file.
type gatewayStream struct {
	Channel   string  `json:"channel"`
	Sender    *uint16 `json:"sender"`
	Suite     string  `json:"suite"`
	Listen    string  `json:"listen"`
	To        string  `json:"to"`
	MTU       int     `json:"mtu"`
	RTCPMux   *bool   `json:"rtcp_mux"`
	PerFrame  string  `json:"per_frame"`
	Interface string  `json:"interface"`
	From      string  `json:"from"`
}

// gatewayConfig is a configuration file.
type gatewayConfig struct {
	Streams []gatewayStream `json:"streams"`
	Metrics string          `json:"metrics"`
}

type gatewayOptions struct {
	seal    bool
	common  gatewayStream // of the flags: what a stream of the file does not say
	suite   *suiteValue
	config  string
	metrics string
	hold    durationValue
	fullKID bool
	sender  uint16
	mux     bool
	cloud   cloudFlags
	dialer  *client.Dialer // nil: directly
	probe   string
}

// relayed reports whether packets come in at a relay.
func (o *gatewayOptions) relayed() bool { return o.dialer != nil && !o.seal }

func (p *program) gatewayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "gateway",
		GroupID: groupServices,
		Short:   "seal and open RTP between programs that know nothing of it",
		Long: `Seal and open RTP on its way between programs that know nothing of it.

"gateway seal" takes plain RTP in and sends sealed RTP; "gateway open" is the other end.
Every packet is sealed by itself, whatever codec it holds (SFrame over RTP, T=1). RTCP
passes as it is. What does not authenticate does not leave "gateway open".`,
		Args: cobra.ArbitraryArgs,
		RunE: needCommand,
	}
	c.AddCommand(p.gatewayDirection(true), p.gatewayDirection(false), p.gatewayRecord())
	return c
}

func (p *program) gatewayDirection(seal bool) *cobra.Command {
	o := gatewayOptions{seal: seal, hold: durationValue{time.Second}}
	c := &cobra.Command{Args: exactArgs()}
	if seal {
		c.Use = "seal --channel NAME --listen ADDRESS --to ADDRESS [flags]"
		c.Short = "plain RTP in, sealed RTP out"
		c.Long = `Take plain RTP in and send it sealed. Addresses are HOST:PORT; HOST may be a multicast
group. RTCP goes by the port above each, or, with --rtcp-mux, by the same ports.

A packet that sealing makes longer than --mtu leaves as several, and "gateway open"
makes one of them again, with the sequence number it had. The configuration file is
JSON, and what a stream does not say the flags say (mtu, suite, rtcp_mux, per_frame and
interface beside what is here):

  {"metrics": "127.0.0.1:9464", "streams": [
    {"channel": "stage", "sender": 7, "listen": "127.0.0.1:5004", "to": "192.0.2.9:6004"},
    {"channel": "stage", "sender": 8, "listen": "127.0.0.1:5008", "to": "192.0.2.9:6008"}]}

With --cloud-proxy the destination is asked first whether it can be reached without
(by STUN, which "gateway open" answers; or ask another with --direct-probe), and relays
are used where it does not answer: over UDP, TCP, or TLS on port 443.

With --per-frame CODEC whole frames are sealed (T=0), as SFrame peers such as cameras and
browsers do. That costs less for small packets; but packets are made anew at both ends, so
header extensions do not come out, RTCP reports of the far end count other packets, and
"gateway open" sends each frame in one burst: give what receives large keyframes a large
socket buffer (ffmpeg: -buffer_size).

Any flag can be set in the environment: CHANSEAL_GATEWAY_MTU for --mtu.`
		c.Example = `  chanseal gateway seal --channel stage --sender 7 --listen 127.0.0.1:5004 --to 192.0.2.9:6004
  chanseal gateway seal --channel stage --listen 127.0.0.1:5004 --to 239.1.2.3:6004 --interface eth0
  chanseal gateway seal --channel stage --listen 127.0.0.1:5004 --to 203.0.113.9:51234 --rtcp-mux --cloud-proxy --proxy-server proxy.example.com:0 --proxy-card-file card --proxy-channel stage --proxy-uid 7
  chanseal gateway seal --config streams.json`
	} else {
		c.Use = "open --channel NAME --listen ADDRESS --to ADDRESS [flags]"
		c.Short = "sealed RTP in, plain RTP out"
		c.Long = `Take sealed RTP in and send it plain. What did not authenticate does not leave.
Addresses, RTCP, the configuration file and the environment are as for "gateway seal".

Whole frames (T=0) need --per-frame CODEC, to become packets of that codec.

With --cloud-proxy packets come in at an address of a relay, in place of --listen. It is
printed as "ADDRESS CHANNEL", and again when it changes; the sender's --to is that, with
--rtcp-mux. A relay lets nobody send but whom --from names: in a file, "from".`
		c.Example = `  chanseal gateway open --channel stage --listen :6004 --to 127.0.0.1:7004
  chanseal gateway open --channel stage --listen 239.1.2.3:6004 --interface eth0 --to 127.0.0.1:7004
  chanseal gateway open --channel stage --to 127.0.0.1:7004 --rtcp-mux --cloud-proxy --proxy-server proxy.example.com:0 --proxy-card-file card --proxy-channel stage --proxy-uid 8`
	}
	f := c.Flags()
	p.addChannelFlag(c, &o.common.Channel)
	f.StringVar(&o.common.Listen, "listen", "", "take packets in at `ADDRESS`")
	f.StringVar(&o.common.To, "to", "", "send them to `ADDRESS`")
	if seal {
		f.Uint16Var(&o.sender, "sender", 0, "the sender's `NUMBER`, 0 to 65535, which is in clear")
		f.BoolVar(&o.fullKID, "full-kid", false, "have short packets, too, carry the full key ID: 6 bytes more, and nobody waits for an announcement")
		f.StringVar(&o.common.PerFrame, "per-frame", "", "seal whole frames of `CODEC`: opus, vp8, vp9, h264, h265 or av1")
	} else {
		f.StringVar(&o.common.PerFrame, "per-frame", "", "make packets of `CODEC` of whole frames: opus, vp8, vp9, h264, h265 or av1")
		f.Var(&o.hold, "hold", "keep incomplete packets, and those whose key is still to come, for `TIME`, at most 10s")
	}
	o.suite = p.addSuiteFlag(c, "use `SUITE` (default the channel's)")
	f.IntVar(&o.common.MTU, "mtu", rtpseal.DefaultMTU, "send RTP packets of at most `BYTES`")
	f.BoolVar(&o.mux, "rtcp-mux", false, "expect RTCP on the ports of RTP, and open no others")
	f.StringVar(&o.common.Interface, "interface", "", "listen to a multicast group, or send to one, on interface `NAME`")
	f.StringVar(&o.config, "config", "", "read streams from `FILE`")
	f.StringVar(&o.metrics, "metrics", "", "serve /metrics and /healthz at `ADDRESS`")
	o.cloud.add(c)
	if seal {
		f.StringVar(&o.probe, "direct-probe", "", "ask `ADDRESS` whether there is a way without the cloud proxy (default --to), or none")
	} else {
		o.cloud.addPeers(c, &o.common.From)
	}
	c.PreRunE = func(c *cobra.Command, _ []string) error { return fromEnvironment(c, "CHANSEAL_GATEWAY_") }
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if o.dialer, err = o.cloud.dialer(p, c); err != nil {
			return err
		}
		return p.gateway(c, &o)
	}
	return c
}

// fromEnvironment sets the flags that were not given from variables with this prefix.
func fromEnvironment(c *cobra.Command, prefix string) (err error) {
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		name := prefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok && !f.Changed && err == nil {
			if e := c.Flags().Set(f.Name, v); e != nil {
				err = usagef(c, "%s: %v", name, e)
			}
		}
	})
	return err
}

// maxGatewayConfig bounds a configuration file in bytes, and maxGatewayStreams what it
// holds.
const (
	maxGatewayConfig  = 64 << 20
	maxGatewayStreams = 65536
)

// streams puts flags and file together.
func (o *gatewayOptions) streams(c *cobra.Command) ([]gatewayStream, error) {
	o.common.Sender, o.common.RTCPMux = &o.sender, &o.mux
	if o.suite.suite != nil {
		o.common.Suite = o.suite.suite.Name()
	}
	if o.config == "" {
		for _, need := range []struct{ name, value string }{{"channel", o.common.Channel}, {"listen", o.common.Listen}, {"to", o.common.To}} {
			if need.value == "" && (need.name != "listen" || !o.relayed()) {
				return nil, usagef(c, "%s: --%s is missing", c.CommandPath(), need.name)
			}
		}
		if err := o.checkRelayed(c, &o.common); err != nil {
			return nil, err
		}
		return []gatewayStream{o.common}, nil
	}
	f, err := os.Open(o.config)
	if err != nil {
		return nil, fileError(o.config, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxGatewayConfig))
	if err != nil {
		return nil, fileError(o.config, err)
	}
	wrong := func(format string, args ...any) error {
		return &failure{err: fmt.Errorf(o.config+": "+format, args...), code: exitUsage, hints: []string{"see an example: " + c.CommandPath() + " --help"}}
	}
	var cfg gatewayConfig
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&cfg); err != nil {
		return nil, wrong("%v", err)
	}
	if len(cfg.Streams) == 0 || len(cfg.Streams) > maxGatewayStreams {
		return nil, wrong("%d streams, want 1 to %d", len(cfg.Streams), maxGatewayStreams)
	}
	if o.metrics == "" {
		o.metrics = cfg.Metrics
	}
	for i := range cfg.Streams {
		s := &cfg.Streams[i]
		for _, v := range []struct{ own, common *string }{
			{&s.Channel, &o.common.Channel}, {&s.Suite, &o.common.Suite}, {&s.Listen, &o.common.Listen}, {&s.To, &o.common.To},
			{&s.PerFrame, &o.common.PerFrame}, {&s.Interface, &o.common.Interface}, {&s.From, &o.common.From},
		} {
			if *v.own == "" {
				*v.own = *v.common
			}
		}
		if s.Sender == nil {
			s.Sender = o.common.Sender
		}
		if s.RTCPMux == nil {
			s.RTCPMux = o.common.RTCPMux
		}
		if s.MTU == 0 {
			s.MTU = o.common.MTU
		}
		if s.Channel == "" || s.Listen == "" && !o.relayed() || s.To == "" {
			return nil, wrong("stream %d: channel, listen and to are needed", i+1)
		}
		if err := o.checkRelayed(c, s); err != nil {
			return nil, err
		}
	}
	return cfg.Streams, nil
}

// checkRelayed refuses what cannot be with the cloud proxy, or without it.
func (o *gatewayOptions) checkRelayed(c *cobra.Command, s *gatewayStream) error {
	switch {
	case !o.relayed() && s.From != "":
		return usagef(c, "%s: --from is for --cloud-proxy", c.CommandPath())
	case o.relayed() && s.Listen != "":
		return usagef(c, "%s: with --cloud-proxy packets come in at a relay's address: leave --listen out", c.CommandPath())
	case o.relayed() && !*s.RTCPMux:
		return usagef(c, "%s: a relay's address has one port, for RTP and RTCP: add --rtcp-mux, here and where it is sealed", c.CommandPath())
	}
	return nil
}

func (p *program) gateway(c *cobra.Command, o *gatewayOptions) error {
	streams, err := o.streams(c)
	if err != nil {
		return err
	}
	if o.hold.d <= 0 || o.hold.d > rtpseal.MaxAge {
		return usagef(c, "%s: --hold: want more than nothing and at most %v", c.CommandPath(), rtpseal.MaxAge)
	}
	ctx, end := context.WithCancelCause(c.Context())
	defer end(nil)
	o.cloud.ended = end
	ring, err := p.openRing(ctx, streams[0].Channel)
	if err != nil {
		return err
	}
	defer ring.Close()
	keys := &gatewayKeys{p: p, ring: ring, o: o, channels: map[string]*keyring.Channel{}, sealers: map[sealerID]*keyring.Sender{}, openers: map[string]*keyring.Receiver{}, shown: map[string]string{}, streams: len(streams), exchanges: map[bool]*rtpseal.Exchange{}}
	log := newGatewayLog(p)
	stats := new(rtpseal.Stats)
	var flows []*rtpseal.Gateway
	for i := range streams {
		g, err := p.newFlow(ctx, keys, &streams[i], o, stats, log)
		if err != nil {
			return err
		}
		flows = append(flows, g)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.metrics != "" {
		stop, err := p.serveMetrics(o.metrics, stats, keys, len(flows))
		if err != nil {
			return err
		}
		defer stop()
	}
	go log.run(ctx) // not waited for: whoever reads it may have stopped
	var running, exchanging sync.WaitGroup
	exchange, stopExchange := context.WithCancel(context.WithoutCancel(ctx))
	defer stopExchange()
	// A gateway that hangs in a write to the Exchange would be waited for without end.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stopExchange) })()
	for _, e := range keys.exchanges {
		exchanging.Go(func() { e.Run(exchange) })
	}
	for _, g := range flows {
		running.Go(func() { g.Run(ctx) })
	}
	if !o.seal {
		for name, ch := range keys.channels {
			feed, err := ch.Feed(ctx)
			if err != nil {
				return err
			}
			defer feed.Close()
			running.Go(func() { keys.watch(ctx, name, feed, flows) })
		}
	}
	p.notef("running; ctrl-c ends it")
	running.Wait()
	stopExchange() // gateways send from it what has arrived before they were stopped
	exchanging.Wait()
	p.gatewaySummary(stats)
	if why := context.Cause(ctx); c.Context().Err() == nil && !errors.Is(why, context.Canceled) {
		return cloudError(c.Context(), why)
	}
	return nil
}

// newFlow makes one stream's gateway.
func (p *program) newFlow(ctx context.Context, keys *gatewayKeys, s *gatewayStream, o *gatewayOptions, stats *rtpseal.Stats, log *gatewayLog) (g *rtpseal.Gateway, err error) {
	var codec rtpseal.Codec
	if s.PerFrame != "" {
		if codec, err = rtpseal.LookupCodec(s.PerFrame); err != nil {
			return nil, &failure{err: err, code: exitUsage}
		}
	}
	to, err := net.ResolveUDPAddr("udp", s.To)
	if err != nil {
		return nil, &failure{err: fmt.Errorf("--to %s: %w", s.To, err), code: exitUsage}
	}
	opts := rtpseal.GatewayOptions{To: unmapped(to.AddrPort()), Stats: stats, Log: log.refused}
	var made []net.PacketConn
	defer func() {
		if err != nil {
			for _, c := range made {
				c.Close()
			}
		}
	}()
	listen := func(plus int) (net.PacketConn, error) {
		c, err := listenRTP(s.Listen, s.Interface, plus)
		if err == nil {
			made = append(made, c)
		}
		return c, err
	}
	// A group that is reached by a certain interface needs a socket of its own.
	own := s.Interface != "" && opts.To.Addr().IsMulticast()
	shared := keys.streams >= manyStreams && !own
	leave := func() (net.PacketConn, error) {
		if o.dialer != nil && o.seal {
			way := client.Options{Direct: o.probe, Peers: []netip.Addr{opts.To.Addr()}}
			switch {
			case way.Direct == "none" || opts.To.Addr().IsMulticast():
				way.Direct = ""
			case way.Direct == "":
				way.Direct = opts.To.String()
			}
			c, err := o.dialer.Listen(ctx, way)
			if err != nil {
				return nil, cloudError(ctx, err)
			}
			made = append(made, c)
			return c, nil
		}
		network := "udp6"
		if opts.To.Addr().Is4() {
			network = "udp4"
		}
		if p.wall != nil {
			c, err := p.wall.Listen(network, ":0")
			if err == nil {
				made = append(made, c)
			}
			return c, err
		}
		c, err := net.ListenUDP(network, nil)
		if err != nil {
			return nil, err
		}
		made = append(made, c)
		c.SetWriteBuffer(socketBuffer)
		if own {
			if err := multicastBy(c, s.Interface, opts.To.Addr().Is4()); err != nil {
				return nil, &failure{err: fmt.Errorf("--interface %s: %w", s.Interface, err), code: exitUsage}
			}
		}
		return c, nil
	}
	if o.relayed() {
		if opts.In, err = p.receive(ctx, o.dialer, s.From, s.Channel); err == nil {
			made = append(made, opts.In)
		}
	} else {
		opts.In, err = listen(0)
	}
	if err != nil {
		return nil, err
	}
	if shared {
		opts.Exchange, err = keys.exchange(opts.To.Addr().Is4(), leave)
	} else {
		opts.Out, err = leave()
	}
	if err != nil {
		return nil, err
	}
	if !*s.RTCPMux {
		if opts.ControlIn, err = listen(1); err != nil {
			return nil, hinted(err, "RTCP has the port above; if it comes on the same one: --rtcp-mux")
		}
		if !shared {
			if opts.ControlOut, err = leave(); err != nil {
				return nil, err
			}
		}
		opts.ControlTo = netip.AddrPortFrom(opts.To.Addr(), opts.To.Port()+1)
	}
	arrow := fmt.Sprintf("%s to %s, channel %q", opts.In.LocalAddr(), opts.To, s.Channel)
	if o.seal {
		sender, err := keys.sealer(ctx, s)
		if err != nil {
			return nil, err
		}
		so := rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(sender), MTU: s.MTU}
		g, err = rtpseal.NewGateway(opts, func(_ func(*rtpseal.Unit, error), dropped func(rtpseal.Drop)) (rtpseal.Mapper, error) {
			if s.PerFrame != "" {
				return rtpseal.NewFrameSealing(codec, so, dropped)
			}
			seal, err := rtpseal.NewSealing(so)
			if err != nil {
				return nil, err
			}
			return rtpseal.MapSealing(seal), nil
		})
		if err != nil {
			return nil, &failure{err: err, code: exitUsage}
		}
		log.started("sealing %s, sender %d%s", arrow, *s.Sender, keys.fingerprint(ctx, s.Channel))
		return g, nil
	}
	receiver, err := keys.opener(ctx, s)
	if err != nil {
		return nil, err
	}
	g, err = rtpseal.NewGateway(opts, func(refused func(*rtpseal.Unit, error), dropped func(rtpseal.Drop)) (rtpseal.Mapper, error) {
		oo := rtpseal.OpeningOptions{Opener: rtpseal.Shared(receiver), Limits: rtpseal.Limits{Age: o.hold.d, Bytes: keys.keeps()}, Waits: keys.waits(s.Channel), Refused: refused, Dropped: dropped}
		if s.PerFrame != "" {
			if oo.Frames, err = rtpseal.NewCutter(codec, s.MTU); err != nil {
				return nil, err
			}
		}
		return rtpseal.NewOpening(oo)
	})
	if err != nil {
		return nil, &failure{err: err, code: exitUsage}
	}
	log.started("opening %s%s", arrow, keys.fingerprint(ctx, s.Channel))
	return g, nil
}
