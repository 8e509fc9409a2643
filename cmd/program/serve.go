package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// serveOptions are the flags of serve. Each can also come from a file or the environment.
type serveOptions struct {
	config  string
	app     string
	listen  string
	dev     bool
	cert    string
	key     string
	audit   string
	metrics string
	admin   string
	replace bool
	resume  durationValue
	skew    durationValue
	limits  keyserver.Limits
}

func (p *program) serveCommand() *cobra.Command {
	o := serveOptions{resume: durationValue{30 * time.Second}}
	c := &cobra.Command{
		Use:     "serve --app-certificate-file FILE {--tls-certificate FILE --tls-key FILE | --dev}",
		GroupID: groupServices,
		Short:   "the key server: who is let in gets the channel's keys",
		Long: `Hand the secrets of the ring's channels to members, over HTTPS (TLS 1.3). A member
shows a channel key, gets the current epoch and the next one, and follows a stream of
events with every rotation:

  POST   /v1/channels/CHANNEL/members      Authorization: Bearer CHANNEL-KEY   {"uid":"123"}
  GET    /v1/channels/CHANNEL/keys         Authorization: Bearer TOKEN, of the answer
  GET    /v1/channels/CHANNEL/watch
  POST   /v1/channels/CHANNEL/renew        {"card":"CHANNEL-KEY"}
  DELETE /v1/channels/CHANNEL/members/me

The interface is described at /v1/openapi.yaml. Whoever leaves, is revoked or reaches the
end of service does not get the next epoch. When that is made the channel's policy says:
see "channel policy".

Who is inside and what is revoked lies in the ring's store. Several servers on one store
(--ring etcd://…) serve the same members: each may go to any, and finds another if one
dies, without a new channel key.

Every entry, hand-out, rotation and refusal stands in the audit record before it takes
effect: see "audit verify". Channels are created with "channel create"; the ring may be
used by other commands meanwhile.

A configuration file is a JSON object of flags, such as {"listen": ":8443"}. Any flag can
be set in the environment: CHANSEAL_SERVE_LISTEN for --listen. The command line wins over
the environment, and that over the file.`,
		Example: `  chanseal token app create -o app.json
  chanseal channel create stage
  chanseal serve --app-certificate-file app.json --dev
  chanseal serve --app-certificate-file app.json --tls-certificate cert.pem --tls-key key.pem --metrics 127.0.0.1:9465`,
		Args: exactArgs(),
		PreRunE: func(c *cobra.Command, _ []string) error {
			if err := fromEnvironment(c, "CHANSEAL_SERVE_"); err != nil {
				return err
			}
			return fromFile(c, o.config)
		},
		RunE: func(c *cobra.Command, _ []string) error { return p.serve(c, &o) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "read flags from the JSON `FILE`")
	f.StringVar(&o.app, "app-certificate-file", "", "`FILE` of the project, from token app create (required)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8443", "serve at `ADDRESS`")
	f.BoolVar(&o.dev, "dev", false, "make a certificate that signs itself, and print its fingerprint; for trials")
	f.StringVar(&o.cert, "tls-certificate", "", "`FILE` with the TLS certificate, PEM; read again when it changes")
	f.StringVar(&o.key, "tls-key", "", "`FILE` with its key")
	f.StringVar(&o.audit, "audit", "", "keep the audit record in `FILE` (default audit.log beside the ring)")
	f.StringVar(&o.metrics, "metrics", "", "serve /metrics, /healthz and /readyz at `ADDRESS`, without TLS")
	f.StringVar(&o.admin, "admin-listen", "", "serve the administration at `ADDRESS`: see serve admin")
	f.BoolVar(&o.replace, "replace", false, "who enters again puts out their first session, instead of being refused")
	f.Var(&o.resume, "resume-for", "how long a membership may be silent before it has left")
	f.Var(&o.skew, "skew", "admit cards made in the future by this much, for clocks that differ (default none)")
	f.Float64Var(&o.limits.AddressRate, "address-rate", 50, "`N` attempts to enter a second from one address")
	f.Float64Var(&o.limits.MemberRate, "member-rate", 20, "`N` requests a second by one member")
	f.IntVar(&o.limits.Connections, "connections", 50_000, "`N` connections altogether")
	f.IntVar(&o.limits.ConnectionsPerAddress, "connections-per-address", 1000, "`N` connections from one address")
	c.AddCommand(p.serveAdminCommand())
	return c
}

// fromFile sets the flags that neither command line nor environment gave.
func fromFile(c *cobra.Command, name string) error {
	if name == "" {
		return nil
	}
	settings, err := readSettings(name)
	if err != nil {
		return err
	}
	for flag, value := range settings {
		f := c.LocalNonPersistentFlags().Lookup(flag)
		if f == nil || flag == "config" || flag == "help" {
			return &failure{err: fmt.Errorf("%s: there is no setting %q", name, flag), code: exitUsage, hints: []string{"the settings are the flags: " + c.CommandPath() + " --help"}}
		}
		if !f.Changed {
			if err := c.Flags().Set(flag, value); err != nil {
				return &failure{err: fmt.Errorf("%s: %s: %v", name, flag, err), code: exitUsage}
			}
		}
	}
	return nil
}

func (p *program) serve(c *cobra.Command, o *serveOptions) error {
	ctx := c.Context()
	switch {
	case o.app == "":
		return usagef(c, "%s: --app-certificate-file FILE is missing", c.CommandPath())
	case o.dev && (o.cert != "" || o.key != ""):
		return usagef(c, "%s: --dev makes a certificate: leave --tls-certificate and --tls-key out", c.CommandPath())
	case !o.dev && (o.cert == "" || o.key == ""):
		return usagef(c, "%s: --tls-certificate and --tls-key are needed, or --dev for a trial", c.CommandPath())
	}
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: p.logLevel()}))
	app, err := p.serveApp(o)
	if err != nil {
		return err
	}
	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{Skew: o.skew.d})
	if err != nil {
		return err
	}
	ring, err := p.openRing(ctx, "")
	if err != nil {
		return err
	}
	defer ring.Close()
	dir, err := p.ring()
	if err != nil {
		return err
	}
	if o.audit == "" {
		if strings.Contains(dir, "://") {
			return usagef(c, "%s: --audit FILE is needed with a ring in a cluster: each server keeps a record of its own", c.CommandPath())
		}
		o.audit = filepath.Join(dir, "audit.log")
	}
	state, err := keyserver.GateStore(ring)
	if err != nil {
		return err
	}
	record, err := audit.Open(o.audit)
	if err != nil {
		return auditError(o.audit, err)
	}
	defer record.Close()
	gate, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier, Store: state, Replace: o.replace, Logger: log})
	if err != nil {
		return err
	}
	defer gate.Close()
	srv, err := keyserver.New(keyserver.Config{Ring: ring, Gate: gate, Audit: record, Logger: log,
		ResumeFor: o.resume.d, Limits: o.limits, Shared: true, Replace: o.replace})
	if err != nil {
		return err
	}
	defer srv.Close()
	people, err := keyserver.NewPersons(ring)
	if err != nil {
		return err
	}
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		return err
	}
	return p.runServer(ctx, srv, o, record, keyserver.AdminConfig{Persons: people, Dev: o.dev, Issuer: issuer, AuditFile: o.audit})
}

// serveApp reads the project.
func (p *program) serveApp(o *serveOptions) (app channelkey.App, err error) {
	data, err := os.ReadFile(o.app)
	if err != nil {
		return app, fileError(o.app, err)
	}
	app, err = channelkey.ParseAppFile(data)
	clear(data)
	if err != nil {
		return app, fileError(o.app, err)
	}
	if app.ID == "" {
		return app, hinted(&named{o.app, "has a certificate but no App ID", nil}, "make one with both: chanseal token app create -o app.json")
	}
	return app, nil
}

// runServer serves until ctx ends.
func (p *program) runServer(ctx context.Context, srv *keyserver.Server, o *serveOptions, record *audit.Log, admin keyserver.AdminConfig) error {
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = hinted(err, "ports below 1024 are for root: give another one, --listen :8443")
		}
		return fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	conf, pin, err := o.tls(l.Addr())
	if err != nil {
		l.Close()
		return err
	}
	if o.metrics != "" {
		stop, err := p.serveServerMetrics(o.metrics, srv)
		if err != nil {
			l.Close()
			return err
		}
		defer stop()
	}
	if head := record.Head(); head.Seq == 0 {
		p.notef("audit record %s, new", o.audit)
	} else {
		p.notef("audit record %s, head %s", o.audit, head)
	}
	p.notef("serving at https://%s", l.Addr())
	if o.dev {
		p.notef("the certificate signs itself; its fingerprint is %s", pin)
		p.notef("for curl: --insecure --pinnedpubkey %s", pin)
		p.notef("to try it: chanseal token mint --app-certificate-file %s --channel NAME --uid 1 > card", o.app)
		p.notef("           chanseal channel join NAME --uid 1 --card-file card --server https://%s --pin %s --ring RING-OF-THE-MEMBER", l.Addr(), pin)
	}
	var administration chan error
	if o.admin != "" {
		al, err := net.Listen("tcp", o.admin)
		if err != nil {
			l.Close()
			return fmt.Errorf("--admin-listen %s: %w", o.admin, err)
		}
		p.notef("administration at https://%s", al.Addr())
		administration = make(chan error, 1)
		go func() { administration <- srv.ServeAdmin(ctx, al, conf, admin) }()
	}
	p.notef("running; ctrl-c ends it")
	err = srv.Serve(ctx, l, conf)
	if administration != nil {
		err = errors.Join(err, <-administration)
	}
	p.notef("stopped; audit record's head %s", record.Head())
	return err
}

// tls returns the server's TLS settings, and its certificate's pin.
func (o *serveOptions) tls(at net.Addr) (*tls.Config, string, error) {
	if o.dev {
		hosts := []string{"localhost", "127.0.0.1", "::1"}
		if host, _, err := net.SplitHostPort(at.String()); err == nil {
			hosts = append(hosts, host)
		}
		cert, err := keyserver.SelfSigned(hosts...)
		if err != nil {
			return nil, "", err
		}
		return &tls.Config{Certificates: []tls.Certificate{cert}}, keyserver.Pin(cert.Leaf), nil
	}
	file := &certificateFile{cert: o.cert, key: o.key}
	cert, err := file.get(nil)
	if err != nil {
		return nil, "", err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, "", fileError(o.cert, err)
	}
	return &tls.Config{GetCertificate: file.get}, keyserver.Pin(leaf), nil
}

func (p *program) serveServerMetrics(address string, srv *keyserver.Server) (stop func(), err error) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(srv.Collector())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", srv)
	mux.Handle("GET /readyz", srv)
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics %s: %w", address, err)
	}
	hs := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14}
	go hs.Serve(ln)
	p.notef("metrics at http://%s/metrics", ln.Addr())
	return func() { hs.Close() }, nil
}
