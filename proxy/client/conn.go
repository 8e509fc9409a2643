package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// packet is one that came from a peer.
type packet struct {
	b    []byte
	from net.Addr
}

// Conn is a PacketConn through relays, or directly where Automatic found that that works.
// It stays the same when the way changes: peers see another address then, as with any
// change of network, and LocalAddr tells it.
type Conn struct {
	d    *Dialer
	o    Options
	in   chan packet
	done chan struct{}
	once sync.Once

	read deadline

	mu     sync.RWMutex
	p      *path
	peers  []net.Addr // of Permit
	permit sync.Mutex // held while peers are permitted
}

var _ net.PacketConn = (*Conn)(nil)

// queued is how many packets wait for a reader.
const queued = 512

func newConn(d *Dialer, o Options) *Conn {
	return &Conn{d: d, o: o, done: make(chan struct{}), in: make(chan packet, queued), peers: permitted(o.Peers)}
}

// use begins to use a path.
func (c *Conn) use(p *path) {
	c.mu.Lock()
	c.p = p
	c.mu.Unlock()
	if c.o.OnAddress != nil {
		c.o.OnAddress(p.conn.LocalAddr())
	}
	go c.pump(p)
	go func() {
		t := time.NewTicker(permitEvery)
		defer t.Stop()
		for {
			select {
			case <-c.done:
				return
			case <-p.dead:
				c.replace(p)
				return
			case <-t.C:
				c.permitAgain()
			}
		}
	}()
}

// permitEvery is how often permissions are asked for anew: they last for five minutes
// (RFC 8656, Section 9).
const permitEvery = 2 * time.Minute

// Permit lets these addresses send packets to the Conn before it has sent any to them; a
// relay passes on nothing else. It holds for relays that come later, too.
func (c *Conn) Permit(addrs ...netip.Addr) error {
	list := permitted(addrs)
	c.permit.Lock()
	defer c.permit.Unlock()
	if err := permit(c.path(), list); err != nil {
		return err
	}
	c.peers = append(c.peers, list...)
	return nil
}

func permitted(addrs []netip.Addr) (list []net.Addr) {
	for _, a := range addrs {
		list = append(list, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Unmap(), 9))) // the port means nothing
	}
	return list
}

func (c *Conn) permitAgain() error {
	c.permit.Lock()
	defer c.permit.Unlock()
	return permit(c.path(), c.peers)
}

// permit asks a relay. Only addresses of its own family are any use to it.
func permit(p *path, peers []net.Addr) error {
	if p.permit == nil {
		return nil
	}
	v4 := addrOf(p.conn.LocalAddr()).Is4()
	var list []net.Addr
	for _, a := range peers {
		if addrOf(a).Is4() == v4 {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		if len(peers) > 0 {
			return errors.New("proxy/client: the relay's address and the peers' are of different families of IP")
		}
		return nil
	}
	var err error
	for range 3 { // a nonce may be stale
		if err = p.permit(list...); err == nil {
			return nil
		}
	}
	return fmt.Errorf("proxy/client: the relay passes nothing to or from %s: %w", hosts(list), err)
}

func hosts(list []net.Addr) string {
	var b []byte
	for i, a := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = addrOf(a).AppendTo(b)
	}
	return string(b)
}

// pump reads from a path until it ends.
func (c *Conn) pump(p *path) {
	buf := make([]byte, 65536)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			if isTimeout(err) {
				continue
			}
			p.fail(err)
			return
		}
		select {
		case c.in <- packet{slices.Clone(buf[:n]), from}:
		case <-c.done:
			return
		default: // the reader is behind: lost, as UDP is
		}
	}
}

// replace looks for another way until one is found or the Conn is closed.
func (c *Conn) replace(old *path) {
	began := time.Now()
	c.d.event(Event{Kind: Lost, Transport: old.over, Err: old.why})
	if old.over == Direct {
		c.d.forget()
	} else {
		c.d.avoid(old.relay)
	}
	go old.close()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		ctx, cancel := context.WithCancel(context.Background())
		stop := make(chan struct{})
		go func() {
			select {
			case <-c.done:
				cancel()
			case <-stop:
			}
		}()
		p, err := c.d.race(ctx, c.o.Direct)
		close(stop)
		cancel()
		if err == nil {
			c.permit.Lock()
			err = permit(p, c.peers)
			c.permit.Unlock()
			select {
			case <-c.done:
				p.close()
				return
			default:
			}
			if err == nil {
				c.use(p)
				return
			}
			p.close()
			c.d.event(Event{Kind: Lost, Transport: p.over, Err: err})
		}
		if refused(err) { // the card is good no more
			c.d.event(Event{Kind: Lost, Transport: old.over, Err: err})
			c.Close()
			return
		}
		c.d.event(Event{Kind: Lost, Transport: old.over, Elapsed: time.Since(began), Err: err})
		select {
		case <-c.done:
			return
		case <-time.After(wait):
		}
	}
}

// avoid tries a relay last for a while.
func (d *Dialer) avoid(relay string) {
	host, _, _ := net.SplitHostPort(relay)
	d.mu.Lock()
	d.bad[host] = time.Now().Add(30 * time.Second)
	d.mu.Unlock()
}

// forget has the transports tried in their usual order.
func (d *Dialer) forget() {
	d.mu.Lock()
	d.until = time.Time{}
	d.mu.Unlock()
}

func (c *Conn) path() *path {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.p
}

// ReadFrom returns the next packet of a peer.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	timeout := c.read.wait()
	select {
	case <-timeout:
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case p := <-c.in:
		return copy(b, p.b), p.from, nil
	case <-c.done:
		return 0, nil, net.ErrClosed
	case <-timeout:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// WriteTo sends a packet to a peer. While the way is being replaced packets are lost
// without an error, as on any network.
func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, net.ErrClosed
	default:
	}
	p := c.path()
	select {
	case <-p.dead:
		return len(b), nil
	default:
	}
	n, err := p.conn.WriteTo(b, to)
	if err != nil {
		select {
		case <-p.dead:
			return len(b), nil
		default:
		}
	}
	return n, err
}

// Close ends the allocation.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.path().close()
	})
	return nil
}

// LocalAddr is where peers send to now.
func (c *Conn) LocalAddr() net.Addr { return c.path().conn.LocalAddr() }

// Transport is how the relay is reached now, or Direct.
func (c *Conn) Transport() Transport { return c.path().over }

// Relay is the relay's host and port now, empty for Direct.
func (c *Conn) Relay() string { return c.path().relay }

// SetDeadline is SetReadDeadline: writes do not wait.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline sets the deadline of reads, those included that wait.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// deadline is a channel that is closed when its time has come. The zero value never does.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() { // it has run, or is about to: of the channel there is
		d.over = nil
	}
	d.timer = nil
	if d.over != nil {
		select {
		case <-d.over:
			d.over = nil
		default:
		}
	}
	if d.over == nil {
		d.over = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	over := d.over
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(over) })
	} else {
		close(over)
	}
}
