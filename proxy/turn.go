package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

// Buffers of sockets, in bytes: bursts of video, and a read loop that waits its turn.
const (
	frontBuffer = 4 << 20
	relayBuffer = 1 << 20
)

// door is what pion/turn is given for one front or one listener of streams: it makes
// relays, and is asked about destinations.
type door struct {
	srv    *Server
	front  *front    // UDP
	accept *acceptor // streams
}

var _ turn.RelayAddressGenerator = (*door)(nil)

func (d *door) Validate() error { return nil }

func (d *door) over() string {
	if d.front != nil {
		return overUDP
	}
	return d.accept.over
}

// AllocatePacketConn makes the relay of an allocation.
func (d *door) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	if c.UserID == "" { // pion/turn looks for an even port, for RTP and RTCP side by side
		port, err := d.srv.evenPort()
		if err != nil {
			return nil, nil, err
		}
		return probe{}, &net.UDPAddr{Port: int(port)}, nil
	}
	h, err := d.srv.holderOf(c.UserID)
	if err != nil {
		return nil, nil, err
	}
	r, err := d.srv.newRelay(h, d.over(), c.Network == "udp6", uint16(c.RequestedPort))
	if err != nil {
		return nil, nil, err
	}
	r.door = d
	d.srv.relays.Store(r.addr, r)
	return allocation{r}, net.UDPAddrFromAddrPort(r.addr), nil
}

// AllocateListener refuses relayed TCP (RFC 6062): media is datagrams, and what needs
// a connection has SOCKS5.
func (d *door) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoTCP
}

// AllocateConn refuses, as AllocateListener does.
func (d *door) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoTCP }

var errNoTCP = errors.New("proxy: TURN relays UDP only, use SOCKS5 for connections")

// connect tells a relay where its client is.
func (d *door) connect(r *relay, from net.Addr) {
	if d.front == nil {
		if s := d.accept.stream(from); s != nil {
			s.Conn.SetReadDeadline(time.Time{})
			r.setClient(&client{stream: s})
		}
		return
	}
	if ua, ok := from.(*net.UDPAddr); ok {
		a := unmap(ua.AddrPort())
		r.setClient(&client{addr: a, front: d.front, name: d.front.name(a)})
	}
}

// asked is the request of a client that pion/turn handles now.
func (d *door) asked(client net.Addr) *request {
	if d.front != nil {
		return &d.front.asked
	}
	if s := d.accept.stream(client); s != nil {
		return &s.asked
	}
	return nil
}

// permitted decides about a permission or channel.
func (d *door) permitted(client net.Addr, ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return false
	}
	q := d.asked(client)
	if q != nil && q.peerPort != 0 {
		ok = d.srv.policy.Reaches(netip.AddrPortFrom(a, q.peerPort))
	} else {
		ok = d.srv.policy.ReachesAddr(a)
	}
	if !ok && q != nil {
		q.forbidden = true
	}
	if !ok {
		d.srv.reg.refused("destination")
	}
	return ok
}

// allocation is a relay as pion/turn sees it: a socket that nothing comes out of until
// it is closed.
type allocation struct{ *relay }

// ReadFrom returns when the relay is closed by us, to have pion/turn forget the
// allocation, and not at all when pion/turn closed it.
//
// pion/turn v5.1.1 starts a permission's timer after it has let go of its lock, and
// stops it at the allocation's end without one: an end in the middle of a request would
// read a timer that is not there yet. So the end waits for the request, and keeps the
// next one waiting until Close. And it forgets by five-tuple: behind its own end that
// could hit the next allocation of the same client, so that goroutine ends here.
func (a allocation) ReadFrom([]byte) (int, net.Addr, error) {
	a.serve()
	t := a.turns()
	if t == nil {
		return 0, nil, net.ErrClosed
	}
	t.Lock()
	a.mu.Lock()
	a.ending = !a.forgotten
	a.mu.Unlock()
	if !a.ending {
		t.Unlock()
		runtime.Goexit()
	}
	return 0, nil, net.ErrClosed
}

// turns is locked while pion/turn handles a request of the relay's client.
func (r *relay) turns() *sync.Mutex {
	c := r.client.Load()
	switch {
	case c == nil:
		return nil
	case c.stream != nil:
		return &c.stream.turns
	}
	return &c.front.turns
}

func (a allocation) WriteTo([]byte, net.Addr) (int, error) { return 0, net.ErrClosed }
func (a allocation) LocalAddr() net.Addr                   { return net.UDPAddrFromAddrPort(a.local) }
func (a allocation) SetDeadline(time.Time) error           { return nil }
func (a allocation) SetReadDeadline(time.Time) error       { return nil }
func (a allocation) SetWriteDeadline(time.Time) error      { return nil }

// Close is called by pion/turn for every allocation that is over.
func (a allocation) Close() error {
	a.mu.Lock()
	a.forgotten = true
	ending := a.ending
	a.mu.Unlock()
	if ending {
		defer a.turns().Unlock()
	}
	a.srv.relays.CompareAndDelete(a.addr, a.relay)
	a.srv.finish(a.sess, endedByClient)
	a.relay.close()
	return nil
}

// probe stands for a socket of which only the port is wanted.
type probe struct{ allocation }

func (probe) Close() error { return nil }

// auth is asked for every request. The holder is in the ticket itself.
func (s *Server) auth(ra *turn.RequestAttributes) (string, []byte, bool) {
	if password, ok := s.cfg.StaticUsers[ra.Username]; ok {
		return ra.Username, turn.GenerateAuthKey(ra.Username, s.cfg.Realm, password), true
	}
	h, password, err := s.tickets.read(ra.Username, time.Now())
	if err == nil {
		err = s.check(&h)
	}
	if err != nil {
		s.reg.refused("credentials")
		return "", nil, false
	}
	return ra.Username, turn.GenerateAuthKey(ra.Username, s.cfg.Realm, password), true
}

// holderOf returns who a username is that auth accepted.
func (s *Server) holderOf(username string) (holder, error) {
	if _, ok := s.cfg.StaticUsers[username]; ok {
		return holder{customer: staticCustomer, user: s.tickets.pseudonym("static", username)}, nil
	}
	h, _, err := s.tickets.read(username, time.Now())
	return h, err
}

// quota answers 486 when it returns false.
func (s *Server) quota(username, _ string, _ net.Addr) bool {
	h, err := s.holderOf(username)
	return err == nil && s.reg.may(&h) == nil
}

// newRelay makes a relay address with its session.
func (s *Server) newRelay(h holder, over string, v6 bool, port uint16) (*relay, error) {
	bind, shown := s.cfg.RelayBind4, s.cfg.RelayAddress4
	if v6 {
		bind, shown = s.cfg.RelayBind6, s.cfg.RelayAddress6
	}
	if !bind.IsValid() {
		return nil, errors.New("proxy: no relay address of this family, set one in the configuration")
	}
	r := &relay{srv: s, gone: make(chan struct{}), socks: over == overSOCKSUDP}
	q := s.reg.quotas[h.customer]
	r.up, r.down = newBucket(q.BitsPerSecond), newBucket(q.BitsPerSecond)
	r.peers.Store(nobody)
	sess, err := s.reg.begin(h, over, r.close)
	if err != nil {
		return nil, err
	}
	r.sess = sess
	p, sock, err := s.relayPort(port, bind)
	if err == nil {
		r.local = netip.AddrPortFrom(bind, p)
		r.addr = netip.AddrPortFrom(shown, p)
		if err = r.useSocket(sock, s.pollers[int(p)%len(s.pollers)]); err == nil {
			r.mu.Lock()
			r.ready = true
			over := r.closed
			r.mu.Unlock()
			if !over {
				return r, nil
			}
			r.release()
			err = errors.New("proxy: the session is over before it began")
		} else {
			s.ports.give(p)
		}
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	s.reg.done(sess, endedByNetwork)
	return nil, fmt.Errorf("proxy: no relay address: %w", err)
}

// evenPort finds a port that is even; it is asked for again by its number.
func (s *Server) evenPort() (uint16, error) {
	at := s.cfg.RelayBind4
	if !at.IsValid() {
		at = s.cfg.RelayBind6
	}
	return s.pairs.find(at)
}

// events keeps the relays in step with pion/turn's allocations.
func (s *Server) events() turn.EventHandler {
	return turn.EventHandler{
		OnAllocationCreated: func(src, _ net.Addr, _, _, _ string, relayAddr net.Addr, _ int) {
			if r := s.relayAt(relayAddr); r != nil {
				r.door.connect(r, src)
			}
		},
		OnPermissionCreated: func(_, _ net.Addr, _, _, _ string, relayAddr net.Addr, peer net.IP) {
			if r, a := s.relayAt(relayAddr), addrOf(peer); r != nil {
				r.permit(a)
			}
		},
		OnPermissionDeleted: func(_, _ net.Addr, _, _, _ string, relayAddr net.Addr, peer net.IP) {
			if r, a := s.relayAt(relayAddr), addrOf(peer); r != nil {
				r.forbid(a)
			}
		},
		OnChannelCreated: func(_, _ net.Addr, _, _, _ string, relayAddr, peer net.Addr, number uint16) {
			if r := s.relayAt(relayAddr); r != nil {
				if a, ok := peer.(*net.UDPAddr); ok {
					r.bind(number, a.AddrPort())
				}
			}
		},
		OnChannelDeleted: func(_, _ net.Addr, _, _, _ string, relayAddr, _ net.Addr, number uint16) {
			if r := s.relayAt(relayAddr); r != nil {
				r.unbind(number)
			}
		},
	}
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func (s *Server) relayAt(a net.Addr) *relay {
	ua, ok := a.(*net.UDPAddr)
	if !ok {
		return nil
	}
	v, ok := s.relays.Load(unmap(ua.AddrPort()))
	if !ok {
		return nil
	}
	return v.(*relay)
}

// startTURN hands all fronts and acceptors to pion/turn.
func (s *Server) startTURN() error {
	cfg := turn.ServerConfig{Realm: s.cfg.Realm, AuthHandler: s.auth, QuotaHandler: s.quota, EventHandler: s.events(),
		LoggerFactory: silent{}}
	for _, d := range s.doors {
		if d.front != nil {
			cfg.PacketConnConfigs = append(cfg.PacketConnConfigs, turn.PacketConnConfig{PacketConn: d.front, RelayAddressGenerator: d, PermissionHandler: d.permitted})
		} else {
			cfg.ListenerConfigs = append(cfg.ListenerConfigs, turn.ListenerConfig{Listener: d.accept, RelayAddressGenerator: d, PermissionHandler: d.permitted})
		}
	}
	if len(s.doors) == 0 {
		return nil
	}
	var err error
	s.turn, err = turn.NewServer(cfg)
	return err
}

// silent throws pion/turn's log away: it names addresses and users.
type silent struct{}

func (silent) NewLogger(string) logging.LeveledLogger { return silent{} }
func (silent) Trace(string)                           {}
func (silent) Tracef(string, ...any)                  {}
func (silent) Debug(string)                           {}
func (silent) Debugf(string, ...any)                  {}
func (silent) Info(string)                            {}
func (silent) Infof(string, ...any)                   {}
func (silent) Warn(string)                            {}
func (silent) Warnf(string, ...any)                   {}
func (silent) Error(string)                           {}
func (silent) Errorf(string, ...any)                  {}

// acceptor hands streams to pion/turn.
type acceptor struct {
	srv   *Server
	over  string
	addr  net.Addr
	conns chan *stream
	done  chan struct{}
	once  sync.Once

	mu      sync.Mutex
	streams map[string]*stream
}

func newAcceptor(s *Server, over string, addr net.Addr) *acceptor {
	return &acceptor{srv: s, over: over, addr: addr, conns: make(chan *stream), done: make(chan struct{}), streams: map[string]*stream{}}
}

func (a *acceptor) Accept() (net.Conn, error) {
	select {
	case s := <-a.conns:
		return s, nil
	case <-a.done:
		return nil, net.ErrClosed
	}
}

func (a *acceptor) Addr() net.Addr { return a.addr }

func (a *acceptor) Close() error {
	a.once.Do(func() { close(a.done) })
	return nil
}

func (a *acceptor) stream(client net.Addr) *stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams[client.String()]
}

// hand gives a connection to pion/turn.
func (a *acceptor) hand(c net.Conn, release func()) {
	s := newStream(a.srv, c, a.over == overTLS)
	key := c.RemoteAddr().String()
	a.mu.Lock()
	a.streams[key] = s
	a.mu.Unlock()
	s.onClose = func() {
		a.mu.Lock()
		if a.streams[key] == s {
			delete(a.streams, key)
		}
		a.mu.Unlock()
		release()
	}
	select {
	case a.conns <- s:
	case <-a.done:
		s.Close()
	}
}
