package proxy

import (
	"net"
	"net/netip"
	"sync"
)

// callers counts TCP connections, and those of each address, so that one address cannot
// take the places of all. It may be used by many goroutines.
type callers struct {
	max, each int

	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

// fewest is how many connections an address may have however few there may be: a company
// behind NAT is one.
const fewest = 64

func newCallers(limit int) *callers {
	return &callers{max: limit, each: max(fewest, limit/4), from: map[netip.Prefix]int{}}
}

// admit counts a connection until release is called, or does not admit it.
func (c *callers) admit(a net.Addr) (release func(), ok bool) {
	whose := network(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.max || c.from[whose] >= c.each {
		return nil, false
	}
	c.all++
	c.from[whose]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.from[whose]--; c.from[whose] == 0 {
			delete(c.from, whose)
		}
	}), true
}

// network is what one customer has: an address of IPv4, or a /64 of IPv6.
func network(a net.Addr) netip.Prefix {
	ap, _ := netip.ParseAddrPort(a.String())
	ip, bits := ap.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// len is how many connections there are.
func (c *callers) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}
