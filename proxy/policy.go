package proxy

import (
	"fmt"
	"net/netip"
	"strings"
)

// Network is a destination that the proxy reaches: addresses and ports.
type Network struct {
	Prefix netip.Prefix `json:"network"`
	Ports  Ports        `json:"ports"` // zero: all
}

// ParseNetwork reads "198.51.100.0/24", "198.51.100.0/24:4000-5000" or, for IPv6,
// "[2001:db8::/32]:4000". A single address needs no length.
func ParseNetwork(s string) (Network, error) {
	n := Network{Ports: AllPorts}
	wrong := func() (Network, error) {
		return Network{}, fmt.Errorf("proxy: %q is no media network, give one as 198.51.100.0/24:4000-5000 or [2001:db8::/32]:4000", s)
	}
	prefix, ports := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return wrong()
		}
		prefix, ports = s[1:end], s[end+1:]
		if ports != "" && ports[0] != ':' {
			return wrong()
		}
		ports = strings.TrimPrefix(ports, ":")
	} else if strings.Count(s, ":") == 1 {
		prefix, ports, _ = strings.Cut(s, ":")
	}
	if ports != "" {
		p, err := ParsePorts(ports)
		if err != nil {
			return wrong()
		}
		n.Ports = p
	}
	if !strings.Contains(prefix, "/") {
		a, err := netip.ParseAddr(prefix)
		if err != nil || a.Zone() != "" {
			return wrong()
		}
		prefix = netip.PrefixFrom(a, a.BitLen()).String()
	}
	p, err := netip.ParsePrefix(prefix)
	if err != nil || p.Addr().Is4In6() {
		return wrong()
	}
	n.Prefix = p.Masked()
	return n, nil
}

// String returns the form that ParseNetwork reads.
func (n Network) String() string {
	p := n.Prefix.String()
	if n.Prefix.Addr().Is6() {
		p = "[" + p + "]"
	}
	if n.Ports == AllPorts {
		return p
	}
	return p + ":" + n.Ports.String()
}

// special are the networks that nobody means who lists a wide prefix such as
// 0.0.0.0/0: what is behind the proxy's own firewall. They are reached only if the
// listed prefix itself lies within them.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16",
	"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// Policy says which destinations are reached. The zero value reaches none.
type Policy struct {
	v4, v6 []allowed
}

type allowed struct {
	prefix netip.Prefix
	ports  Ports
	inside int // index of the special network that the prefix lies in, -1 for none
}

// NewPolicy returns the policy that reaches these networks and nothing else. An
// address in a special-purpose network (private, loopback, link-local, multicast,
// documentation, metadata, an IPv6 form of an IPv4 address) is reached only through
// an entry that lies within that network: to list 0.0.0.0/0 does not open 10.0.0.1,
// to list 10.1.0.0/16 does.
func NewPolicy(networks []Network) *Policy {
	p := &Policy{}
	for _, n := range networks {
		a := allowed{prefix: n.Prefix.Masked(), ports: n.Ports, inside: specialOf(n.Prefix)}
		if a.ports == (Ports{}) {
			a.ports = AllPorts
		}
		if n.Prefix.Addr().Is4() {
			p.v4 = append(p.v4, a)
		} else {
			p.v6 = append(p.v6, a)
		}
	}
	return p
}

// specialOf returns the special network that a whole prefix lies in.
func specialOf(p netip.Prefix) int {
	for i, s := range special {
		if s.Addr().Is4() == p.Addr().Is4() && s.Bits() <= p.Bits() && s.Contains(p.Addr()) {
			return i
		}
	}
	return -1
}

func (p *Policy) entries(a netip.Addr) []allowed {
	if a.Is4() {
		return p.v4
	}
	return p.v6
}

// Reaches reports whether a destination may be reached. It does not allocate.
func (p *Policy) Reaches(dst netip.AddrPort) bool {
	a := dst.Addr().Unmap()
	return dst.Port() != 0 && a.Zone() == "" && p.match(a, dst.Port())
}

// ReachesAddr reports whether any port of an address may be reached.
func (p *Policy) ReachesAddr(a netip.Addr) bool {
	a = a.Unmap()
	return a.Zone() == "" && p.match(a, 0)
}

func (p *Policy) match(a netip.Addr, port uint16) bool {
	in := -2 // the special network of the address, looked up at the first hit only
	for _, e := range p.entries(a) {
		if !e.prefix.Contains(a) || port != 0 && !e.ports.Contains(port) {
			continue
		}
		if in == -2 {
			in = specialOf(netip.PrefixFrom(a, a.BitLen()))
		}
		if in == -1 || in == e.inside {
			return true
		}
	}
	return false
}
