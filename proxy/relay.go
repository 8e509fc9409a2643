package proxy

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// relay is a relay address: a UDP socket that faces the media network, for one TURN
// allocation or SOCKS5 association. The way up (client to peer) runs in the goroutine
// that reads from the client, the way down in a poller.
type relay struct {
	srv   *Server
	sess  *session
	sock  relaySocket
	addr  netip.AddrPort // as the client is told
	local netip.AddrPort
	socks bool
	door  *door // TURN

	client atomic.Pointer[client]
	peers  atomic.Pointer[peers] // replaced, never changed

	mu     sync.Mutex // of changes to peers and closing
	closed bool
	ready  bool          // there is a socket
	gone   chan struct{} // closed with the socket

	forgotten bool // by pion/turn
	ending    bool // pion/turn is about to forget it, and turns is locked

	up, down bucket
	count    uint64 // of Data indications; the poller's
}

// client is how a client is reached.
type client struct {
	addr   netip.AddrPort
	front  *front  // UDP
	stream *stream // TCP, TLS
	name   sockaddr
}

// peers is who a client may talk to.
type peers struct {
	channels []channel
	allowed  []netip.Addr // TURN permissions; SOCKS5: whoever was sent to
}

type channel struct {
	number    uint16
	permitted bool // its address is among those allowed
	addr      netip.AddrPort
	name      sockaddr
}

var nobody = &peers{}

func (p *peers) byNumber(n uint16) *channel {
	for i := range p.channels {
		if p.channels[i].number == n {
			return &p.channels[i]
		}
	}
	return nil
}

func (p *peers) byAddr(a netip.AddrPort) *channel {
	for i := range p.channels {
		if p.channels[i].addr == a {
			return &p.channels[i]
		}
	}
	return nil
}

func (p *peers) permits(a netip.Addr) bool { return slices.Contains(p.allowed, a) }

// maxPeers bounds permissions and channels of one allocation.
const maxPeers = 256

// change replaces peers by a changed copy.
func (r *relay) change(f func(*peers)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.peers.Load()
	p := &peers{channels: slices.Clone(old.channels), allowed: slices.Clone(old.allowed)}
	f(p)
	for i := range p.channels {
		p.channels[i].permitted = p.permits(p.channels[i].addr.Addr())
	}
	r.peers.Store(p)
}

func (r *relay) permit(a netip.Addr) {
	a = a.Unmap()
	r.change(func(p *peers) {
		if !p.permits(a) && len(p.allowed) < maxPeers {
			p.allowed = append(p.allowed, a)
		}
	})
}

func (r *relay) forbid(a netip.Addr) {
	a = a.Unmap()
	r.change(func(p *peers) { p.allowed = slices.DeleteFunc(p.allowed, func(x netip.Addr) bool { return x == a }) })
}

func (r *relay) bind(number uint16, a netip.AddrPort) {
	a = unmap(a)
	if !r.srv.policy.Reaches(a) {
		return // was refused before; nothing goes there in any case
	}
	r.change(func(p *peers) {
		if p.byNumber(number) == nil && len(p.channels) < maxPeers {
			p.channels = append(p.channels, channel{number: number, addr: a, name: r.sock.name(a)})
		}
	})
}

func (r *relay) unbind(number uint16) {
	r.change(func(p *peers) {
		p.channels = slices.DeleteFunc(p.channels, func(c channel) bool { return c.number == number })
	})
}

// sendChannel sends a payload to the peer of a channel.
func (r *relay) sendChannel(number uint16, payload []byte, now int64) {
	p := r.peers.Load()
	c := p.byNumber(number)
	if c == nil || !c.permitted || !r.up.take(len(payload), now) {
		r.sess.traffic.dropped.Add(1)
		return
	}
	r.sent(len(payload), r.sock.send(payload, &c.name))
}

// sendTo sends a payload to a peer that there is a permission for.
func (r *relay) sendTo(dst netip.AddrPort, payload []byte, now int64) {
	dst = unmap(dst)
	if !r.peers.Load().permits(dst.Addr()) || !r.srv.policy.Reaches(dst) || !r.up.take(len(payload), now) {
		r.sess.traffic.dropped.Add(1)
		return
	}
	name := r.sock.name(dst)
	r.sent(len(payload), r.sock.send(payload, &name))
}

func (r *relay) sent(n int, ok bool) {
	if !ok {
		r.sess.traffic.dropped.Add(1)
		return
	}
	r.sess.traffic.sentPackets.Add(1)
	r.sess.traffic.sentBytes.Add(uint64(n))
}

// wrap puts the header before a packet from a peer that lies in buf at headroom, n
// bytes long, and returns where the message for the client begins and ends; c is nil
// if it goes nowhere. Behind the packet there is room for padding.
func (r *relay) wrap(buf []byte, n int, from netip.AddrPort, now int64) (c *client, begin, end int) {
	c = r.client.Load()
	if c == nil {
		return nil, 0, 0
	}
	p := r.peers.Load()
	ch := p.byAddr(from)
	permitted := ch != nil && ch.permitted || ch == nil && p.permits(from.Addr()) && (r.socks || r.srv.policy.Reaches(from))
	if !permitted || !r.down.take(n, now) {
		r.sess.traffic.dropped.Add(1)
		return nil, 0, 0
	}
	begin, end = headroom, headroom+n
	switch {
	case r.socks:
		begin = putSOCKSHeader(buf, begin, from)
	case ch != nil:
		begin = putChannelHeader(buf, begin, n, ch.number)
		if c.stream != nil { // RFC 8656, Section 12.5: padded over a stream
			pad := -n & 3
			clear(buf[end : end+pad])
			end += pad
		}
	default:
		r.count++
		begin, end = putDataHeader(buf, begin, n, from, r.sess.id<<32|r.count&0xffffffff)
	}
	r.sess.traffic.receivedPackets.Add(1)
	r.sess.traffic.receivedBytes.Add(uint64(n))
	return c, begin, end
}

// close closes the socket and gives its port back. Every payload that was on its way
// is wiped by whoever holds it, in the same call that held it.
func (r *relay) close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	ready := r.ready
	r.mu.Unlock()
	if ready { // else newRelay, which is at it, sees that it is over
		r.release()
	}
}

// release gives back what a relay has.
func (r *relay) release() {
	if c := r.client.Load(); c != nil && c.front != nil {
		c.front.forget(c.addr, r)
	} else if c != nil && c.stream != nil {
		c.stream.relay.CompareAndSwap(r, nil)
		if why := r.sess.reason.Load(); why != nil && *why != endedByClient {
			c.stream.Close()
		} else {
			c.stream.Conn.SetReadDeadline(time.Now().Add(firstMessage))
			c.stream.ended()
		}
	}
	r.sock.close()
	r.srv.ports.give(r.local.Port())
	close(r.gone)
}

// setClient says where the client is and lets packets flow.
func (r *relay) setClient(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client.Store(c)
	if r.closed {
		return
	}
	if c.front != nil {
		c.front.learn(c.addr, r)
	}
	if c.stream != nil {
		c.stream.relay.Store(r)
	}
}

// bucket bounds a rate; the zero bucket does not. It is used by one goroutine.
type bucket struct {
	perSecond int64 // bytes
	level     int64 // bytes that may go now
	last      int64 // unix nanoseconds
}

func newBucket(bitsPerSecond int64) bucket {
	return bucket{perSecond: bitsPerSecond / 8}
}

// burst is how much may go at once: what a fifth of a second allows, and at least a
// few packets.
func (b *bucket) burst() int64 { return max(b.perSecond/5, 6000) }

func (b *bucket) take(n int, now int64) bool {
	if b.perSecond == 0 {
		return true
	}
	if b.last == 0 {
		b.last, b.level = now, b.burst()
	}
	if passed := min(now-b.last, int64(time.Second)); passed > 0 {
		add := passed / 1000 * b.perSecond / 1_000_000
		if add > 0 {
			b.level, b.last = min(b.level+add, b.burst()), now
		}
	}
	if b.level < int64(n) {
		return false
	}
	b.level -= int64(n)
	return true
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
