package client

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Type says what a proxy server string names, in the numbers of the vendor's SDK.
type Type int

// The types.
const (
	OwnSOCKS5 Type = 0 // "ip:port": a SOCKS5 server of one's own
	Domain    Type = 1 // "domain:port": the cloud proxy's name, the default
	List      Type = 2 // "ip1,ip2,…:port": its addresses, for where names do not resolve
)

// The ports that 0 stands for.
const (
	DefaultControlPort = 4000
	DefaultSOCKSPort   = 1080
)

// Servers is a proxy server string, read.
type Servers struct {
	Hosts []string // names or addresses
	Port  uint16   // never 0
}

// Addresses are the hosts with the port.
func (s Servers) Addresses() []string {
	list := make([]string, len(s.Hosts))
	for i, h := range s.Hosts {
		list[i] = net.JoinHostPort(h, strconv.Itoa(int(s.Port)))
	}
	return list
}

// ParseServers reads a proxy server string: "domain:port" for Domain, "ip:port" for
// OwnSOCKS5, "ip1,ip2,…:port" for List, and for all of them the recorder's "ip,port".
// Without a port or with port 0 it is the default one. IPv6 addresses stand in brackets.
func ParseServers(t Type, s string) (Servers, error) {
	wrong := func(why string) (Servers, error) {
		form := map[Type]string{OwnSOCKS5: "ip:port", Domain: "domain:port", List: "ip1,ip2,…:port"}[t]
		return Servers{}, fmt.Errorf("proxy/client: proxy server %q: %s, give %s (port 0 is the default)", s, why, form)
	}
	out := Servers{Port: DefaultControlPort}
	switch t {
	case OwnSOCKS5:
		out.Port = DefaultSOCKSPort
	case Domain, List:
	default:
		return Servers{}, fmt.Errorf("proxy/client: there is no proxy type %d, give 0 (own SOCKS5), 1 (domain) or 2 (list of addresses)", t)
	}
	parts := strings.Split(strings.TrimSpace(s), ",")
	port := ""
	last := strings.TrimSpace(parts[len(parts)-1])
	switch {
	case len(parts) > 1 && isNumber(last): // ip,port
		port, parts = last, parts[:len(parts)-1]
	case strings.Contains(last, "]:") || strings.Count(last, ":") == 1:
		i := strings.LastIndexByte(last, ':')
		port, parts[len(parts)-1] = last[i+1:], last[:i]
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return wrong("the port is no number from 0 to 65535")
		}
		if n != 0 {
			out.Port = uint16(n)
		}
	}
	for _, h := range parts {
		h = strings.Trim(strings.TrimSpace(h), "[]")
		a, err := netip.ParseAddr(h)
		switch {
		case err == nil && a.Zone() == "":
			out.Hosts = append(out.Hosts, a.String())
		case h == "":
			return wrong("there is no host")
		case t == List:
			return wrong("a list has addresses, not names")
		case strings.ContainsAny(h, " /:@[]"):
			return wrong("no name and no address")
		default:
			out.Hosts = append(out.Hosts, h)
		}
	}
	if t != List && len(out.Hosts) > 1 {
		return wrong("there is more than one host")
	}
	return out, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// RewriteArgs turns the spelling of the source's flags into ours: --enableCloudProxy 1,
// --proxyType N, --proxyServer S become --cloud-proxy=1, --proxy-type=N,
// --proxy-server=S. So does --cloud-proxy MODE, which may stand without one. All other
// arguments stay; behind "--" nothing is looked at.
func RewriteArgs(args []string) []string {
	names := map[string]string{"enableCloudProxy": "--cloud-proxy", "proxyType": "--proxy-type", "proxyServer": "--proxy-server"}
	var out []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(out, args[i:]...)
		}
		if a == "--cloud-proxy" && i+1 < len(args) {
			if _, err := ParseMode(args[i+1]); err == nil {
				i++
				out = append(out, a+"="+args[i])
				continue
			}
		}
		name, value, has := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		ours, ok := names[name]
		if !ok || !strings.HasPrefix(a, "--") {
			out = append(out, a)
			continue
		}
		if !has && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			value, has = args[i], true
		}
		if has {
			ours += "=" + value
		}
		out = append(out, ours)
	}
	return out
}
