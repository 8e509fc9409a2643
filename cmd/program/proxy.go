package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/proxy"
	"github.com/chanseal/chanseal/proxy/etcdregistry"
)

// groupServices are the commands that run until they are stopped.
const groupServices = "services"

// proxyConfig is a configuration file of the proxy: its settings, and the files with
// the secrets, which are never in it.
type proxyConfig struct {
	proxy.Config
	AppFiles       []string       `json:"app_files,omitempty"`
	SecretFile     string         `json:"secret_file,omitempty"`
	StaticUserFile string         `json:"static_user_file,omitempty"`
	DrainTime      proxy.Duration `json:"drain_time,omitzero"`
	RegistryURL    string         `json:"registry,omitempty"`
}

// proxyFlags are the settings that can be given on the command line; the file says the
// rest.
type proxyFlags struct {
	file     string
	cfg      proxyConfig
	relay    []string
	bind     []string
	address  []string
	public   []string
	ports    map[string]*portsValue
	relayRng portsValue
	drain    durationValue
	quota    proxy.Quota
	given    *pflag.FlagSet
}

// portsValue is a flag that holds ranges of ports.
type portsValue struct {
	list  []proxy.Ports
	given bool
}

var _ pflag.Value = (*portsValue)(nil)

func (v *portsValue) String() string {
	parts := make([]string, len(v.list))
	for i, p := range v.list {
		parts[i] = p.String()
	}
	return strings.Join(parts, ",")
}

func (*portsValue) Type() string { return "PORTS" }

func (v *portsValue) Set(s string) (err error) {
	v.given = true
	if s == "none" {
		v.list = nil
		return nil
	}
	if v.list, err = proxy.ParsePortList(s); err != nil {
		return errors.New(message(err))
	}
	return nil
}

// add adds the flags that the server and the allow-list share.
func (f *proxyFlags) add(c *cobra.Command) {
	flags := c.Flags()
	f.given = flags
	flags.StringVar(&f.file, "config", "", "read settings from the JSON `FILE` ($CHANSEAL_PROXY_CONFIG)")
	flags.StringSliceVar(&f.address, "listen-address", nil, "listen at these `IPS` only (default: all of the machine)")
	flags.StringSliceVar(&f.public, "public", nil, "the `IPS` that clients reach it at (default: as --listen-address)")
	d := proxy.DefaultPorts()
	f.ports = map[string]*portsValue{}
	for _, p := range []struct {
		name, usage string
		ports       []proxy.Ports
	}{
		{"control-ports", "TCP, HTTPS: discovery; none for none", d.Control},
		{"media-ports", "UDP: TURN", d.Media},
		{"socks-ports", "TCP and UDP: SOCKS5", d.SOCKS},
		{"edge-ports", "TCP and UDP: TURN", d.Edge},
		{"tls-ports", "TCP: TURN and HTTPS over TLS", d.TLS},
	} {
		v := &portsValue{list: p.ports}
		f.ports[p.name] = v
		flags.Var(v, p.name, p.usage)
	}
}

// read puts file, environment and command line together; the later wins.
func (f *proxyFlags) read(c *cobra.Command) (*proxyConfig, error) {
	var err error
	c.Flags().VisitAll(func(flag *pflag.Flag) {
		name := "CHANSEAL_PROXY_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok && !flag.Changed && err == nil && c.InheritedFlags().Lookup(flag.Name) == nil {
			if e := c.Flags().Set(flag.Name, v); e != nil {
				err = usagef(c, "%s: $%s: %v", c.CommandPath(), name, e)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	cfg := &proxyConfig{}
	cfg.Listen = proxy.DefaultPorts()
	if f.file != "" {
		data, err := os.ReadFile(f.file)
		if err != nil {
			return nil, fileError(f.file, err)
		}
		d := json.NewDecoder(strings.NewReader(string(data)))
		d.DisallowUnknownFields()
		if err := d.Decode(cfg); err != nil {
			return nil, &failure{err: fmt.Errorf("%s: %w", f.file, err), code: exitUsage, hints: []string{"the settings are listed in " + c.Root().Name() + " proxy --help"}}
		}
	}
	addresses := func(texts []string, flag string) ([]netip.Addr, error) {
		var list []netip.Addr
		for _, t := range texts {
			a, err := netip.ParseAddr(t)
			if err != nil || a.Zone() != "" {
				return nil, usagef(c, "%s: --%s: %q is no IP address", c.CommandPath(), flag, t)
			}
			list = append(list, a.Unmap())
		}
		return list, nil
	}
	set := func(flag string, texts []string, into func([]netip.Addr)) {
		if err == nil && len(texts) > 0 {
			var list []netip.Addr
			if list, err = addresses(texts, flag); err == nil {
				into(list)
			}
		}
	}
	set("listen-address", f.address, func(l []netip.Addr) { cfg.Addresses = l })
	set("public", f.public, func(l []netip.Addr) { cfg.Public = l })
	family := func(v4, v6 *netip.Addr) func([]netip.Addr) {
		return func(l []netip.Addr) {
			for _, a := range l {
				if a.Is4() {
					*v4 = a
				} else {
					*v6 = a
				}
			}
		}
	}
	set("relay-address", f.relay, family(&cfg.RelayAddress4, &cfg.RelayAddress6))
	set("relay-bind", f.bind, family(&cfg.RelayBind4, &cfg.RelayBind6))
	if err != nil {
		return nil, err
	}
	for name, into := range map[string]*[]proxy.Ports{"control-ports": &cfg.Listen.Control, "media-ports": &cfg.Listen.Media,
		"socks-ports": &cfg.Listen.SOCKS, "edge-ports": &cfg.Listen.Edge, "tls-ports": &cfg.Listen.TLS} {
		if f.ports[name].given {
			*into = f.ports[name].list
		}
	}
	return cfg, nil
}

func (p *program) proxyCommand() *cobra.Command {
	f := &proxyFlags{}
	c := &cobra.Command{
		Use:     "proxy --app-certificate-file FILE --relay-address IP --media NETWORK,…",
		GroupID: groupServices,
		Short:   "relay media through firewalls, unable to open it",
		Long: `Relay media for clients behind firewalls: TURN over UDP, TCP and TLS, and SOCKS5. Who
shows a channel key of one of the projects is told by the control port which relays to
use, with credentials that end with the key:

  GET https://HOST:4000/v1/proxy?channel=NAME&uid=UID&region=REGION
  Authorization: Bearer CHANNEL-KEY

SOCKS5 takes "NAME/UID" as the user and the channel key as the password. Only networks
given with --media are reached; private, loopback and metadata addresses only if a
network within them is given. On SIGTERM no new sessions are taken, and the proxy stops
when the last one has ended, or after --drain-time.

A configuration file is a JSON object: app_files, secret_file, static_user_file, listen
{control, media, socks, edge, tls: lists of ports}, addresses, public, relay_address4,
relay_address6, relay_bind4, relay_bind6, relay_ports, media, quotas {APP-ID: {sessions,
sessions_per_card, bits_per_second}}, default_quota, max_sessions, max_connections,
nodes and test_nodes [{address, services, region, isp}], relays [{address}], region, isp,
domain, realm, ticket_life, tls_certificate, tls_key, metrics, revocations, registry,
announce, drain_time.
Every flag can come from the environment, as CHANSEAL_PROXY_FLAG.`,
		Example: `  chanseal proxy --app-certificate-file app.json --relay-address 203.0.113.9 --media 198.51.100.0/24:4000-5000
  chanseal proxy --config proxy.json --metrics 127.0.0.1:9464
  chanseal proxy allowlist --config proxy.json --format nftables
  chanseal proxy check --server proxy.example.com:4000`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error { return f.serve(c.Context(), p, c) },
	}
	f.add(c)
	flags := c.Flags()
	flags.StringSliceVar(&f.cfg.AppFiles, "app-certificate-file", nil, "`FILES` of projects, from token app create (required)")
	flags.StringSliceVar(&f.relay, "relay-address", nil, "the `IPS` that face the media network, one of each family (required)")
	flags.StringSliceVar(&f.bind, "relay-bind", nil, "bind relay sockets at these `IPS`, behind NAT")
	flags.Var(&f.relayRng, "relay-ports", "ports of relay addresses (default 49152-65535)")
	flags.StringSliceVar(&f.cfg.Media, "media", nil, "`NETWORKS` that are reached: 198.51.100.0/24:4000-5000,… (required)")
	flags.StringVar(&f.cfg.CertFile, "tls-certificate", "", "`FILE` with the TLS certificate (default: one that signs itself)")
	flags.StringVar(&f.cfg.KeyFile, "tls-key", "", "`FILE` with its key")
	flags.StringVar(&f.cfg.SecretFile, "secret-file", "", "`FILE` with the secret of credentials, for relays that share them")
	flags.StringVar(&f.cfg.StaticUserFile, "static-user-file", "", "`FILE` of user:password lines; for tests only")
	flags.StringVar(&f.cfg.Region, "region", "", "label: where it is")
	flags.StringVar(&f.cfg.ISP, "isp", "", "label: its network operator")
	flags.IntVar(&f.cfg.MaxSessions, "max-sessions", 0, "`N` sessions altogether (default 20000)")
	flags.IntVar(&f.quota.Sessions, "sessions-per-app", 0, "`N` sessions a project (default: no bound)")
	flags.IntVar(&f.quota.SessionsPerCard, "sessions-per-card", 0, "`N` sessions a channel key (default: no bound)")
	flags.Int64Var(&f.quota.BitsPerSecond, "bits-per-second", 0, "`N` bits a second and session, each way (default: no bound)")
	flags.StringVar(&f.cfg.Metrics, "metrics", "", "serve /metrics and /healthz at `ADDRESS`")
	flags.StringVar(&f.cfg.RevocationFile, "revocations", "", "JSON `FILE` of revoked cards, users, channels; read again when it changes")
	flags.StringVar(&f.cfg.RegistryURL, "registry", "", "find other relays by etcd: `URL` etcd://HOST,HOST/PREFIX?ca=FILE&…")
	flags.StringVar(&f.cfg.Announce, "announce", "", "`HOST:PORT` of the control port for other relays (default: of --public)")
	flags.Var(&f.drain, "drain-time", "how long to wait for sessions when stopped (default 30s)")
	c.AddCommand(p.proxyAllowListCommand(), p.proxyCheckCommand())
	return c
}

// merge puts the server's own flags over the file.
func (f *proxyFlags) merge(c *cobra.Command, cfg *proxyConfig) {
	changed := c.Flags().Changed
	for flag, set := range map[string]func(){
		"app-certificate-file": func() { cfg.AppFiles = f.cfg.AppFiles },
		"relay-ports": func() {
			if len(f.relayRng.list) > 0 {
				cfg.RelayPorts = f.relayRng.list[0]
			}
		},
		"media":             func() { cfg.Media = f.cfg.Media },
		"tls-certificate":   func() { cfg.CertFile = f.cfg.CertFile },
		"tls-key":           func() { cfg.KeyFile = f.cfg.KeyFile },
		"secret-file":       func() { cfg.SecretFile = f.cfg.SecretFile },
		"static-user-file":  func() { cfg.StaticUserFile = f.cfg.StaticUserFile },
		"region":            func() { cfg.Region = f.cfg.Region },
		"isp":               func() { cfg.ISP = f.cfg.ISP },
		"max-sessions":      func() { cfg.MaxSessions = f.cfg.MaxSessions },
		"sessions-per-app":  func() { cfg.DefaultQuota.Sessions = f.quota.Sessions },
		"sessions-per-card": func() { cfg.DefaultQuota.SessionsPerCard = f.quota.SessionsPerCard },
		"bits-per-second":   func() { cfg.DefaultQuota.BitsPerSecond = f.quota.BitsPerSecond },
		"metrics":           func() { cfg.Metrics = f.cfg.Metrics },
		"revocations":       func() { cfg.RevocationFile = f.cfg.RevocationFile },
		"registry":          func() { cfg.RegistryURL = f.cfg.RegistryURL },
		"announce":          func() { cfg.Announce = f.cfg.Announce },
		"drain-time":        func() { cfg.DrainTime = proxy.Duration(f.drain.d) },
	} {
		if changed(flag) {
			set()
		}
	}
	if cfg.DrainTime == 0 && !changed("drain-time") {
		cfg.DrainTime = proxy.Duration(30 * time.Second)
	}
}

// serve runs the proxy until the context ends.
func (f *proxyFlags) serve(ctx context.Context, p *program, c *cobra.Command) error {
	cfg, err := f.read(c)
	if err != nil {
		return err
	}
	f.merge(c, cfg)
	if f.relayRng.given && len(f.relayRng.list) != 1 {
		return usagef(c, "%s: --relay-ports takes one range", c.CommandPath())
	}
	if err := readProxySecrets(cfg); err != nil {
		return err
	}
	if cfg.RegistryURL != "" {
		if cfg.Registry, err = openRegistry(cfg.RegistryURL); err != nil {
			return err
		}
	}
	cfg.Logger = slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: p.logLevel()}))
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + max(1, runtime.GOMAXPROCS(0)/2)) // pollers hold processors of the scheduler while they wait
	srv, err := proxy.Start(ctx, cfg.Config)
	if err != nil {
		return proxyStartError(c, err)
	}
	defer srv.Close()
	for _, l := range srv.Listening() {
		if l.Service != "media" {
			p.notef("listening for %s at %s/%s", l.Service, l.Address, l.Protocol)
		}
	}
	if m := cfg.Listen.Media; len(m) > 0 {
		p.notef("listening for media at ports %s/udp", (&portsValue{list: m}).String())
	}
	<-ctx.Done()
	p.notef("stopping: no new sessions; %d are left", srv.Sessions())
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(cfg.DrainTime))
	defer cancel()
	if err := srv.Drain(wait); err != nil {
		p.notef("%d sessions were still there after %s", srv.Sessions(), time.Duration(cfg.DrainTime))
	}
	return nil
}

// openRegistry reads the URL of a registry, which has the form of a ring's. The password
// comes from the environment or a file.
func openRegistry(url string) (proxy.Registry, error) {
	o, err := etcdstore.ParseURL(url, os.Getenv(registryPasswordVariable))
	if err == nil {
		var reg proxy.Registry
		reg, err = etcdregistry.New(etcdregistry.Options{Endpoints: o.Endpoints, Prefix: o.Prefix, TLS: o.TLS, User: o.User, Password: o.Password})
		if err == nil {
			return reg, nil
		}
	}
	return nil, &failure{err: fmt.Errorf("--registry: %w", err), code: exitUsage, hints: []string{"such as etcd://host1,host2,host3/relays?ca=ca.pem&user=me&password-file=FILE"}}
}

// registryPasswordVariable holds the password of the registry's user.
const registryPasswordVariable = "CHANSEAL_PROXY_REGISTRY_PASSWORD"

func (p *program) logLevel() slog.Level {
	if p.quiet {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// proxyStartError says what to do about what does not start.
func proxyStartError(c *cobra.Command, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return hinted(err, "ports below 1024 are for root, or for programs with CAP_NET_BIND_SERVICE; or give others: --tls-ports 8443")
	case strings.Contains(err.Error(), "address already in use"):
		return hinted(err, "another program has this port; give other ports, see "+c.CommandPath()+" --help")
	case strings.Contains(err.Error(), "(--"):
		return &failure{err: err, code: exitUsage}
	}
	return err
}

// readProxySecrets reads projects, the secret and static users from their files.
func readProxySecrets(cfg *proxyConfig) error {
	for _, name := range cfg.AppFiles {
		data, err := os.ReadFile(name)
		if err != nil {
			return fileError(name, err)
		}
		app, err := channelkey.ParseAppFile(data)
		clear(data)
		if err != nil {
			return fileError(name, err)
		}
		if app.ID == "" {
			return hinted(&named{name, "has a certificate but no App ID", nil}, "make one with both: chanseal token app create -o app.json")
		}
		cfg.Apps = append(cfg.Apps, app)
	}
	if cfg.SecretFile != "" {
		data, err := os.ReadFile(cfg.SecretFile)
		if err != nil {
			return fileError(cfg.SecretFile, err)
		}
		cfg.Secret = []byte(strings.TrimSpace(string(data)))
	}
	if cfg.StaticUserFile != "" {
		data, err := os.ReadFile(cfg.StaticUserFile)
		if err != nil {
			return fileError(cfg.StaticUserFile, err)
		}
		cfg.StaticUsers = map[string]string{}
		for line := range strings.Lines(string(data)) {
			name, password, ok := strings.Cut(strings.TrimSpace(line), ":")
			if ok && name != "" && password != "" {
				cfg.StaticUsers[name] = password
			}
		}
		if len(cfg.StaticUsers) == 0 {
			return &named{cfg.StaticUserFile, "has no line of the form user:password", nil}
		}
	}
	return nil
}
