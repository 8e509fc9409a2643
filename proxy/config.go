package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// ListenPorts are the ports that clients send to: all of them stand in the customer's
// allow-list. An empty list turns a service off.
type ListenPorts struct {
	Control []Ports `json:"control"` // TCP, HTTPS: discovery, health
	Media   []Ports `json:"media"`   // UDP: TURN
	SOCKS   []Ports `json:"socks"`   // TCP and UDP: SOCKS5
	Edge    []Ports `json:"edge"`    // TCP and UDP: TURN
	TLS     []Ports `json:"tls"`     // TCP: TURN and HTTPS over TLS, told apart by ALPN
}

// DefaultPorts are those of the vendor's cloud proxy, and 443.
func DefaultPorts() ListenPorts {
	return ListenPorts{
		Control: []Ports{Port(4000)},
		Media:   []Ports{{4500, 4650}},
		SOCKS:   []Ports{Port(1080)},
		Edge:    []Ports{Port(8000), Port(25000), Port(9700)},
		TLS:     []Ports{Port(443)},
	}
}

// Node is one machine of the proxy as clients see it.
type Node struct {
	Address  netip.Addr `json:"address"`
	Services []string   `json:"services,omitempty"` // of control, media, edge, tls; none: all
	Region   string     `json:"region,omitempty"`
	ISP      string     `json:"isp,omitempty"`
}

// services are what a Node may offer; edge is SOCKS5 and TURN.
var services = []string{"control", "media", "edge", "tls"}

func (n *Node) offers(service string) bool {
	return len(n.Services) == 0 || slices.Contains(n.Services, service)
}

// Config says how a Server works. Durations are nanoseconds in Go and texts such as
// "24h" in a file.
type Config struct {
	// Apps are the customers' projects, whose channel keys are admitted.
	Apps []channelkey.App `json:"-"`
	// Quotas are by App ID; DefaultQuota is for all others.
	Quotas       map[string]Quota `json:"quotas,omitempty"`
	DefaultQuota Quota            `json:"default_quota,omitzero"`
	// MaxSessions bounds all sessions of this relay; 0 for 20,000.
	MaxSessions int `json:"max_sessions,omitempty"`
	// MaxConnections bounds TCP connections, of all kinds; 0 for twice MaxSessions
	// and 1000. One address, or one /64 of IPv6, may have a quarter of them.
	MaxConnections int `json:"max_connections,omitempty"`

	// Addresses are the local addresses to listen at; none: all of the machine.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Listen    ListenPorts  `json:"listen"`

	// RelayAddress4 and RelayAddress6 are what relay addresses are in; RelayBind4
	// and RelayBind6 where their sockets are bound, if that differs (NAT).
	RelayAddress4 netip.Addr `json:"relay_address4,omitzero"`
	RelayAddress6 netip.Addr `json:"relay_address6,omitzero"`
	RelayBind4    netip.Addr `json:"relay_bind4,omitzero"`
	RelayBind6    netip.Addr `json:"relay_bind6,omitzero"`
	// RelayPorts is the range that faces the media network; zero for 49152-65535. It
	// is no matter of the customer's firewall.
	RelayPorts Ports `json:"relay_ports,omitzero"`
	// Media are the destinations; there are no others.
	Media []string `json:"media"`

	// Realm is TURN's; empty for "chanseal".
	Realm string `json:"realm,omitempty"`
	// Secret makes and checks credentials; relays that share it accept each other's.
	// Empty: a random one.
	Secret []byte `json:"-"`
	// TicketLife bounds credentials whose card does not end; 0 for 24 hours.
	TicketLife Duration `json:"ticket_life,omitzero"`

	// CertFile and KeyFile are the TLS certificate; without, a self-signed one is
	// made at the start.
	CertFile string `json:"tls_certificate,omitempty"`
	KeyFile  string `json:"tls_key,omitempty"`

	// Nodes and TestNodes are the production and the test set of machines, for the
	// allow-list.
	Nodes     []Node `json:"nodes,omitempty"`
	TestNodes []Node `json:"test_nodes,omitempty"`
	// Domain is the proxy's name, which discovery is asked at.
	Domain string `json:"domain,omitempty"`
	// Region and ISP are this relay's labels. Public are its addresses as clients
	// see it; none: what the client reached.
	Region string       `json:"region,omitempty"`
	ISP    string       `json:"isp,omitempty"`
	Public []netip.Addr `json:"public,omitempty"`
	// Peers are the health URLs of other relays, for discovery without etcd.
	Relays []RelayRef `json:"relays,omitempty"`

	// Registry finds relays on other machines, and Announce is this one's address for
	// it: host:port of the control service, empty for the first of Public or
	// Addresses. They must share Secret.
	Registry Registry `json:"-"`
	Announce string   `json:"announce,omitempty"`

	// Metrics is an address for /metrics and /healthz, such as 127.0.0.1:9464; empty:
	// none.
	Metrics string `json:"metrics,omitempty"`
	// RevocationFile is a JSON list that is read again when it changes.
	RevocationFile string `json:"revocations,omitempty"`

	// StaticUsers are user names and passwords without a card. For tests only: Start
	// warns of them.
	StaticUsers map[string]string `json:"-"`
	// UnauthenticatedPerSecond bounds the messages from one address without an
	// allocation that are looked at; 0 for 5000, negative for no bound.
	UnauthenticatedPerSecond int `json:"unauthenticated_per_second,omitempty"`
	// lookup finds the addresses of names that SOCKS5 clients ask for.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// Logger gets the log, without addresses and names; nil for slog.Default.
	Logger *slog.Logger `json:"-"`
}

// RelayRef is another relay that discovery may name.
type RelayRef struct {
	Address string `json:"address"` // host:port of its control service
	Region  string `json:"region,omitempty"`
	ISP     string `json:"isp,omitempty"`
}

// Duration is a time span that is a text in a file.
type Duration time.Duration

// MarshalText writes Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("proxy: %q is no time span, give one such as 90s or 24h", b)
	}
	*d = Duration(v)
	return nil
}

// ReadConfig reads a configuration file. What it does not say stays as in c.
func (c *Config) ReadConfig(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return fmt.Errorf("proxy: configuration: %w", err)
	}
	return nil
}

const (
	defaultMaxSessions = 20_000
	defaultTicketLife  = 24 * time.Hour
	defaultGuard       = 5000
	defaultRealm       = "chanseal"
)

// complete fills in the defaults and refuses what cannot work.
func (c *Config) complete() error {
	if c.MaxSessions <= 0 {
		c.MaxSessions = defaultMaxSessions
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = 2*c.MaxSessions + 1000
	}
	if c.RelayPorts == (Ports{}) {
		c.RelayPorts = Ports{49152, 65535}
	}
	if c.Realm == "" {
		c.Realm = defaultRealm
	}
	if c.TicketLife == 0 {
		c.TicketLife = Duration(defaultTicketLife)
	}
	if c.UnauthenticatedPerSecond == 0 {
		c.UnauthenticatedPerSecond = defaultGuard
	}
	if len(c.Secret) == 0 {
		if c.Registry != nil || len(c.Relays) > 0 {
			return errors.New("proxy: several relays must share a secret, give the same to all of them (--secret-file)")
		}
		c.Secret = randomSecret()
	}
	if c.lookup == nil {
		c.lookup = net.DefaultResolver.LookupNetIP
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if !c.RelayBind4.IsValid() {
		c.RelayBind4 = c.RelayAddress4
	}
	if !c.RelayBind6.IsValid() {
		c.RelayBind6 = c.RelayAddress6
	}
	switch {
	case !c.RelayAddress4.IsValid() && !c.RelayAddress6.IsValid():
		return errors.New("proxy: no relay address, set relay_address4 (--relay-address) to the address that faces the media network")
	case c.RelayAddress4.IsValid() && !c.RelayAddress4.Is4(), c.RelayBind4.IsValid() && !c.RelayBind4.Is4():
		return fmt.Errorf("proxy: relay_address4 %s is no IPv4 address", c.RelayAddress4)
	case c.RelayAddress6.IsValid() && !c.RelayAddress6.Is6(), c.RelayBind6.IsValid() && !c.RelayBind6.Is6():
		return fmt.Errorf("proxy: relay_address6 %s is no IPv6 address", c.RelayAddress6)
	case len(c.Apps) == 0 && len(c.StaticUsers) == 0:
		return errors.New("proxy: nobody could come in, give a project (--app-certificate-file)")
	case len(c.Media) == 0:
		return errors.New("proxy: no media network, list at least one (--media 198.51.100.0/24:4000-5000); the proxy reaches nothing else")
	}
	for _, nodes := range [][]Node{c.Nodes, c.TestNodes} {
		if err := checkNodes(nodes); err != nil {
			return err
		}
	}
	return nil
}

func checkNodes(nodes []Node) error {
	for _, n := range nodes {
		if !n.Address.IsValid() {
			return errors.New("proxy: a node has no address")
		}
		for _, s := range n.Services {
			if !slices.Contains(services, s) {
				return fmt.Errorf("proxy: node %s: no service %q, there are %s", n.Address, s, strings.Join(services, ", "))
			}
		}
	}
	return nil
}

func (c *Config) networks() ([]Network, error) {
	var list []Network
	for _, m := range c.Media {
		n, err := ParseNetwork(m)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// customerID stands for an App ID in tickets.
func customerID(appID string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(strings.ToLower(appID)))
	if id := h.Sum32(); id != staticCustomer {
		return id
	}
	return 0
}

// revocation is one entry of a revocation file.
type revocation struct {
	Card        string    `json:"card,omitempty"`
	Certificate string    `json:"certificate,omitempty"`
	User        string    `json:"user,omitempty"`
	Channel     string    `json:"channel,omitempty"`
	Until       time.Time `json:"until"`
}

// readRevocations reads a revocation file: a JSON list of objects with until (RFC 3339)
// and card or certificate (hexadecimal), or user, channel or both.
func readRevocations(file string) ([]channelkey.Revocation, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var entries []revocation
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&entries); err != nil {
		return nil, fmt.Errorf("proxy: revocations in %s: %w", file, err)
	}
	var list []channelkey.Revocation
	for i, e := range entries {
		r := channelkey.Revocation{User: channelkey.User(e.User), Channel: e.Channel, Until: e.Until}
		if e.Card != "" {
			if r.Card, err = channelkey.ParseCardID(e.Card); err != nil {
				return nil, fmt.Errorf("proxy: revocation %d in %s: %w", i+1, file, err)
			}
		}
		if e.Certificate != "" {
			id, err := channelkey.ParseCardID(e.Certificate)
			if err != nil {
				return nil, fmt.Errorf("proxy: revocation %d in %s: the certificate's name is 32 hexadecimal digits", i+1, file)
			}
			r.Certificate = channelkey.CertificateID(id)
		}
		if e.Until.IsZero() {
			return nil, fmt.Errorf(`proxy: revocation %d in %s: "until" is missing`, i+1, file)
		}
		list = append(list, r)
	}
	return list, nil
}
