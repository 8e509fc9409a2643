package keyserver

import (
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/chanseal/chanseal/keyserver/audit"
)

// Limits bound what anybody can ask for. Rates are requests a second in the long run;
// ten times as many may come at once. A zero value stands for the default.
type Limits struct {
	// AddressRate bounds the attempts to enter, and requests with a token that is
	// none, from an address (IPv6: from a /64); 0 for 50.
	AddressRate float64
	// CardRate bounds the attempts to enter with one card or resume token; 0 for 0.5.
	CardRate float64
	// MemberRate bounds the requests of one member; 0 for 20.
	MemberRate float64
	// Connections bounds the connections altogether; 0 for 50,000.
	Connections int
	// ConnectionsPerAddress bounds those from an address; 0 for 1000.
	ConnectionsPerAddress int
	// RefusalRate bounds how many refusals are recorded one by one; the others are
	// counted, and their number is recorded. 0 for 20.
	RefusalRate float64
}

func (l *Limits) complete() {
	for _, x := range []struct {
		value *float64
		zero  float64
	}{{&l.AddressRate, 50}, {&l.CardRate, 0.5}, {&l.MemberRate, 20}, {&l.RefusalRate, 20}} {
		if *x.value <= 0 {
			*x.value = x.zero
		}
	}
	if l.Connections <= 0 {
		l.Connections = 50_000
	}
	if l.ConnectionsPerAddress <= 0 {
		l.ConnectionsPerAddress = 1000
	}
}

// burst is how many seconds' worth of requests may come at once.
const burst = 10

// bucket holds a bound of requests at a rate. The zero bucket is full.
type bucket struct {
	used float64 // of the burst
	last time.Time
}

// take takes one request out, or returns how long to wait for one.
func (b *bucket) take(now time.Time, rate float64) time.Duration {
	room := max(1, rate*burst)
	if since := now.Sub(b.last); since > 0 {
		b.used = max(0, b.used-since.Seconds()*rate)
		b.last = now
	}
	if b.used+1 > room {
		return time.Duration((b.used + 1 - room) / rate * float64(time.Second))
	}
	b.used++
	return 0
}

// full reports whether the bucket is as good as new.
func (b *bucket) full(now time.Time, rate float64) bool {
	return b.used <= now.Sub(b.last).Seconds()*rate
}

// maxBuckets bounds the keys that a table tells apart. Beyond them all share one bucket
// until others are full again.
const maxBuckets = 1 << 16

// buckets are a bucket for each key.
type buckets[K comparable] struct {
	rate float64

	mu    sync.Mutex
	table map[K]*bucket
	rest  bucket
	swept time.Time
}

func (b *buckets[K]) take(key K) time.Duration {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if x := b.table[key]; x != nil {
		return x.take(now, b.rate)
	}
	if len(b.table) >= maxBuckets && now.Sub(b.swept) >= time.Second {
		b.swept = now
		for k, x := range b.table {
			if x.full(now, b.rate) {
				delete(b.table, k)
			}
		}
	}
	if len(b.table) >= maxBuckets {
		return b.rest.take(now, b.rate)
	}
	if b.table == nil {
		b.table = map[K]*bucket{}
	}
	x := &bucket{last: now}
	b.table[key] = x
	return x.take(now, b.rate)
}

// client is what an address is counted as: an IPv4 address, or the /64 of an IPv6 one.
func client(address string) netip.Prefix {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	a := ap.Addr().Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// overRate is a refusal until some time has passed.
type overRate struct{ wait time.Duration }

func (e *overRate) Error() string { return "keyserver: too many requests" }

func (e *overRate) seconds() int { return max(1, int(math.Ceil(e.wait.Seconds()))) }

func limited(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	return &overRate{wait}
}

// refusals bounds the entries that outsiders can have written.
type refusals struct {
	mu      sync.Mutex
	bucket  bucket
	skipped int
}

// refused has a refusal recorded, or counted.
func (s *Server) refused(e audit.Entry, why string) {
	e.Outcome, e.Reason = "refused", why
	s.counters.refused(why)
	r := &s.refusals
	r.mu.Lock()
	over := r.bucket.take(time.Now(), s.cfg.Limits.RefusalRate) > 0
	if over {
		r.skipped++
	}
	r.mu.Unlock()
	if !over {
		s.later(e)
	}
}

// skippedEvery is how often the number of refusals that were not recorded is.
const skippedEvery = 10 * time.Second

// skippedRefusals returns an entry for those that were not recorded, if there are any.
func (s *Server) skippedRefusals() []audit.Entry {
	r := &s.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.skipped
	r.skipped = 0
	if n == 0 {
		return nil
	}
	return []audit.Entry{{Event: "enter", Outcome: "refused", Reason: plural(n)}}
}

// limitListener bounds connections, altogether and of one address.
type limitListener struct {
	net.Listener
	s *Server

	mu  sync.Mutex
	all int
	of  map[netip.Prefix]int
}

// Accept closes what is over the bounds at once: a client that is told to wait in a
// queue holds a place in it.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := client(c.RemoteAddr().String())
		if l.enter(from) {
			return &limitedConn{Conn: c, l: l, from: from}, nil
		}
		l.s.counters.connectionsRefused.Add(1)
		c.Close()
	}
}

func (l *limitListener) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.s.cfg.Limits.Connections || l.of[from] >= l.s.cfg.Limits.ConnectionsPerAddress {
		return false
	}
	l.all++
	l.of[from]++
	return true
}

func (l *limitListener) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

type limitedConn struct {
	net.Conn
	l    *limitListener
	from netip.Prefix
	once sync.Once
}

func (c *limitedConn) Close() error {
	c.once.Do(func() { c.l.leave(c.from) })
	return c.Conn.Close()
}
