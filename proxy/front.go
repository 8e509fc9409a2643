package proxy

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// front is a UDP socket that clients send to. For pion/turn it is a PacketConn out of
// which only the protocol comes, never a payload: ChannelData and Send indications of
// known five-tuples are sent on right here, by the poller that reads the socket.
type front struct {
	srv   *Server
	conn  *net.UDPConn
	in    inbox
	socks bool

	mu      sync.RWMutex
	clients map[netip.AddrPort]*relay

	control chan controlMessage // messages of the protocol, for pion/turn
	gone    chan struct{}
	once    sync.Once

	turns sync.Mutex // held while pion/turn handles a request
	busy  bool       // it is held: of the goroutine that reads

	asked request // that pion/turn handles

	guard guard // the poller's
}

// controlMessage is a message of the protocol.
type controlMessage struct {
	b    []byte
	from netip.AddrPort
}

// What waits for pion/turn is bounded: messages of a front, and bytes of all fronts, of
// which a proxy has a hundred and more. What is beyond is lost, and clients ask again, as
// they do over UDP.
const (
	maxControlQueued = 4096
	maxControlBytes  = 16 << 20
)

func newFront(s *Server, c *net.UDPConn, socks bool) *front {
	f := &front{srv: s, conn: c, socks: socks, clients: map[netip.AddrPort]*relay{}, gone: make(chan struct{})}
	if !socks {
		f.control = make(chan controlMessage, maxControlQueued)
	}
	f.guard.perSecond = max(0, s.cfg.UnauthenticatedPerSecond)
	return f
}

var _ net.PacketConn = (*front)(nil)

// lookup finds whose packet it is.
func (f *front) lookup(from netip.AddrPort) *relay {
	f.mu.RLock()
	r := f.clients[from]
	f.mu.RUnlock()
	return r
}

func (f *front) learn(a netip.AddrPort, r *relay) {
	f.mu.Lock()
	f.clients[a] = r
	f.mu.Unlock()
}

func (f *front) forget(a netip.AddrPort, r *relay) {
	f.mu.Lock()
	if f.clients[a] == r {
		delete(f.clients, a)
	}
	f.mu.Unlock()
}

// receive handles a datagram of a client, which is good until it returns.
func (f *front) receive(b []byte, from netip.AddrPort, now int64) {
	if f.socks {
		f.srv.socks.receive(f, b, from, now)
		return
	}
	if !f.take(b, from, now) && !f.queue(b, from) {
		f.srv.stray.Add(1)
	}
}

// queue queues a message for pion/turn, if there is room.
func (f *front) queue(b []byte, from netip.AddrPort) bool {
	n := int64(len(b))
	if f.srv.controlBytes.Add(n) <= maxControlBytes {
		select {
		case f.control <- controlMessage{bytes.Clone(b), from}:
			return true
		default:
		}
	}
	f.srv.controlBytes.Add(-n)
	return false
}

// ReadFrom returns the next message of the protocol.
func (f *front) ReadFrom(p []byte) (int, net.Addr, error) {
	if f.busy {
		f.busy = false
		f.turns.Unlock()
	}
	select {
	case m := <-f.control:
		f.srv.controlBytes.Add(-int64(len(m.b)))
		f.turns.Lock()
		f.busy = true
		f.asked.begin(m.b)
		return copy(p, m.b), net.UDPAddrFromAddrPort(m.from), nil
	case <-f.gone:
		return 0, nil, net.ErrClosed
	}
}

// take handles a payload and drops what is nothing; it reports false for messages of
// the protocol. It does not allocate.
func (f *front) take(b []byte, from netip.AddrPort, now int64) bool {
	if isChannelData(b) {
		r := f.lookup(from)
		number, payload, ok := splitChannelData(b)
		if r == nil || !ok {
			f.srv.stray.Add(1)
			return true
		}
		r.sendChannel(number, payload, now)
		return true
	}
	if !isSTUN(b) {
		f.srv.stray.Add(1)
		return true
	}
	t := stunType(b)
	if t == typeSend {
		r := f.lookup(from)
		dst, payload, ok := splitSend(b)
		if r == nil || !ok {
			f.srv.stray.Add(1)
			return true
		}
		r.sendTo(dst, payload, now)
		return true
	}
	if !isRequest(t) || len(b) > maxControl {
		f.srv.stray.Add(1)
		return true
	}
	if f.lookup(from) == nil && (!isFirst(t, b) || !f.guard.admit(from.Addr(), now)) {
		f.srv.stray.Add(1)
		return true
	}
	return false
}

// isFirst reports whether a request may be a client's first. All others are about an
// allocation that is not there: to answer them would help those only who have somebody
// else's address in their packets.
func isFirst(t uint16, b []byte) bool {
	return t == typeBinding || t == typeAllocate && len(b) >= minAllocate
}

// WriteTo sends an answer of the protocol.
func (f *front) WriteTo(p []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errors.New("proxy: not a UDP address")
	}
	return f.conn.WriteToUDPAddrPort(f.srv.answer(&f.asked, p), a.AddrPort())
}

// Close ends what pion/turn reads. The socket is closed when the pollers have ended.
func (f *front) Close() error {
	f.once.Do(func() { close(f.gone) })
	return nil
}

func (f *front) LocalAddr() net.Addr                { return f.conn.LocalAddr() }
func (f *front) SetDeadline(t time.Time) error      { return f.conn.SetDeadline(t) }
func (f *front) SetReadDeadline(t time.Time) error  { return f.conn.SetReadDeadline(t) }
func (f *front) SetWriteDeadline(t time.Time) error { return f.conn.SetWriteDeadline(t) }

// guard bounds what addresses without an allocation can make the proxy answer, since
// the address of a datagram may be somebody else's. It is used by one goroutine.
type guard struct {
	perSecond int // messages from one address, 0 for no bound
	seen      map[netip.Addr]int
	second    int64
}

// maxGuarded bounds the addresses that are counted in a second. Beyond, all further
// ones share one count.
const maxGuarded = 16384

func (g *guard) admit(a netip.Addr, now int64) bool {
	if g.perSecond == 0 {
		return true
	}
	if s := now / int64(time.Second); s != g.second || g.seen == nil {
		g.second = s
		if g.seen == nil {
			g.seen = map[netip.Addr]int{}
		} else {
			clear(g.seen)
		}
	}
	n, known := g.seen[a]
	if !known && len(g.seen) >= maxGuarded {
		a = netip.Addr{}
		n = g.seen[a]
	}
	g.seen[a] = n + 1
	return n < g.perSecond
}
