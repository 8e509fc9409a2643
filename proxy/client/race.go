package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/chanseal/chanseal/proxy"
)

// candidate is a way to try: directly, or by a relay over a transport.
type candidate struct {
	over  Transport
	host  string
	ports []proxy.Ports
}

func (c candidate) String() string {
	if c.over == Direct {
		return "directly"
	}
	return fmt.Sprintf("%s over %s", c.host, c.over)
}

// order is over what a relay is tried.
func (d *Dialer) order() []Transport {
	order := []Transport{UDP, TCP, TLS}
	switch d.cfg.Mode {
	case ForceUDP:
		order = order[:1]
	case ForceTCP:
		order = order[1:]
	}
	if was := d.remembered(); slices.Contains(order, was) {
		order = slices.DeleteFunc(order, func(t Transport) bool { return t == was })
		order = slices.Insert(order, 0, was)
	}
	return order
}

// remembered is what worked within the last hour.
func (d *Dialer) remembered() Transport {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return d.worked
	}
	return ""
}

// candidates are the ways by relays in the order to try them: over every transport that
// the mode allows, at the best relay first.
func (d *Dialer) candidates(found *proxy.Discovery) []candidate {
	order := d.order()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	var good, bad []candidate
	for _, r := range found.Relays {
		for _, a := range r.Addresses {
			for _, t := range order {
				c := candidate{over: t, host: a.String(), ports: map[Transport][]proxy.Ports{UDP: r.UDP, TCP: r.TCP, TLS: r.TLS}[t]}
				switch {
				case len(c.ports) == 0:
				case now.Before(d.bad[c.host]):
					bad = append(bad, c)
				default:
					good = append(good, c)
				}
			}
		}
	}
	return append(good, bad...)
}

// directAlone is how long the direct way is waited for when discovery gave no relay.
const directAlone = 2 * time.Second

// race tries the ways, one every Step or as soon as one has failed, and returns the first
// that works. The direct way, to a target if there is one, needs no discovery and does not
// wait for it.
func (d *Dialer) race(ctx context.Context, target string) (*path, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	type result struct {
		p   *path
		err error
		c   candidate
	}
	results := make(chan result)
	var found *proxy.Discovery
	running := 0
	start := func(c candidate, why error) {
		if running > 0 || why != nil {
			d.event(Event{Kind: FallingBack, Transport: c.over, Elapsed: time.Since(began), Err: why})
		}
		running++
		go func() {
			var p *path
			var err error
			if c.over == Direct {
				p, err = d.goDirectly(ctx, target)
			} else {
				p, err = d.goBy(ctx, c, found)
			}
			select {
			case results <- result{p, err, c}:
			case <-ctx.Done():
				if p != nil {
					p.close()
				}
			}
		}()
	}
	direct := d.cfg.Mode == Automatic && target != ""
	var list []candidate
	if was := d.remembered(); direct && (was == "" || was == Direct) {
		start(candidate{over: Direct}, nil)
		direct = false
	}
	discovered := make(chan error, 1)
	go func() {
		answer, err := d.Discover(ctx)
		found = answer // read after the channel
		discovered <- err
	}()
	asking := true
	tick := time.NewTicker(d.cfg.Step)
	defer tick.Stop()
	var errs []error
	for {
		var why error
		select {
		case <-ctx.Done():
			if len(errs) == 0 {
				errs = append(errs, ctx.Err())
			}
			return nil, fmt.Errorf("proxy/client: nothing could be reached: %w", errors.Join(errs...))
		case <-tick.C:
		case err := <-discovered:
			asking = false
			if err != nil {
				errs = append(errs, err)
				// Only the direct way is left: who waits for it is told of the other soon.
				defer time.AfterFunc(directAlone, cancel).Stop()
				break
			}
			if list = d.candidates(found); len(list) == 0 {
				errs = append(errs, fmt.Errorf("no relay offers what mode %s wants", d.cfg.Mode))
			}
			if direct {
				list = slices.Insert(list, min(1, len(list)), candidate{over: Direct})
			}
			if running > 0 && time.Since(began) < d.cfg.Step {
				continue // the direct way has its time
			}
		case r := <-results:
			running--
			if r.err == nil {
				d.mu.Lock()
				d.worked, d.until = r.c.over, time.Now().Add(remember)
				delete(d.bad, r.c.host)
				d.mu.Unlock()
				d.event(Event{Kind: Connected, Transport: r.c.over, Elapsed: time.Since(began), Address: r.p.conn.LocalAddr()})
				return r.p, nil
			}
			why = r.err
			errs = append(errs, fmt.Errorf("%s: %w", r.c, r.err))
		}
		if len(list) > 0 {
			start(list[0], why)
			list = list[1:]
		} else if running == 0 && !asking {
			return nil, fmt.Errorf("proxy/client: no relay could be used: %w", errors.Join(errs...))
		}
	}
}

// RelayAddresses are the addresses that the relays of the last discovery send from and
// peers send to: whoever comes by the same proxy comes from one of them.
func (d *Dialer) RelayAddresses() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []netip.Addr
	if d.found != nil {
		for _, r := range d.found.Relays {
			for _, a := range r.Relayed {
				if !slices.Contains(list, a) {
					list = append(list, a)
				}
			}
		}
	}
	return list
}

// addrOf is the IP address of a socket's.
func addrOf(a net.Addr) netip.Addr {
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}
