package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// SOCKS5 (RFC 1928) with user name and password (RFC 1929). The user name is
// "channel/uid" and the password the channel key; or both are a ticket's, which a key
// of more than 255 bytes needs.

const (
	socksVersion      = 5
	socksUserPassword = 2
	socksNoMethod     = 0xFF
	socksConnect      = 1
	socksAssociate    = 3
	socksIPv4         = 1
	socksName         = 3
	socksIPv6         = 4
)

// Replies (RFC 1928, Section 6).
const (
	socksOK          = 0
	socksFailure     = 1
	socksNotAllowed  = 2
	socksNetwork     = 3
	socksHost        = 4
	socksRefused     = 5
	socksTTL         = 6
	socksNoCommand   = 7
	socksNoAddress   = 8
	socksNegotiation = 30 * time.Second
	socksDial        = 10 * time.Second
	socksIdle        = 5 * time.Minute
)

type socksServer struct {
	srv    *Server
	fronts []*front

	mu      sync.Mutex
	waiting map[netip.Addr][]*relay // associations whose client has not sent anything
}

func newSOCKSServer(s *Server) *socksServer {
	return &socksServer{srv: s, waiting: map[netip.Addr][]*relay{}}
}

func (s *socksServer) add(f *front) {
	s.fronts = append(s.fronts, f)
}

// serve speaks SOCKS5 with a client.
func (s *socksServer) serve(c net.Conn, release func()) {
	defer release()
	defer c.Close()
	c.SetDeadline(time.Now().Add(socksNegotiation))
	h, err := s.login(c)
	if err != nil {
		return
	}
	command, host, port, err := readSOCKSRequest(c)
	if err != nil {
		if errors.Is(err, errSOCKSAddress) {
			reply(c, socksNoAddress, netip.AddrPort{})
		}
		return
	}
	switch command {
	case socksConnect:
		s.connect(c, h, host, port)
	case socksAssociate:
		s.associate(c, h, host, port)
	default:
		reply(c, socksNoCommand, netip.AddrPort{})
	}
}

var errSOCKS = errors.New("proxy: not SOCKS5")

// login reads the greeting and the credentials.
func (s *socksServer) login(c net.Conn) (holder, error) {
	var b [512]byte
	defer clear(b[:])
	if _, err := io.ReadFull(c, b[:2]); err != nil || b[0] != socksVersion {
		return holder{}, errSOCKS
	}
	methods := b[2 : 2+int(b[1])]
	if _, err := io.ReadFull(c, methods); err != nil {
		return holder{}, errSOCKS
	}
	if !strings.Contains(string(methods), string(rune(socksUserPassword))) {
		c.Write([]byte{socksVersion, socksNoMethod})
		s.srv.reg.refused("credentials")
		return holder{}, errSOCKS
	}
	c.Write([]byte{socksVersion, socksUserPassword})
	if _, err := io.ReadFull(c, b[:2]); err != nil || b[0] != 1 {
		return holder{}, errSOCKS
	}
	name := make([]byte, b[1])
	if _, err := io.ReadFull(c, name); err != nil {
		return holder{}, errSOCKS
	}
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return holder{}, errSOCKS
	}
	password := b[1 : 1+int(b[0])]
	if _, err := io.ReadFull(c, password); err != nil {
		return holder{}, errSOCKS
	}
	h, err := s.srv.socksHolder(string(name), string(password))
	if err != nil {
		s.srv.reg.refused("credentials")
		c.Write([]byte{1, 1})
		return holder{}, err
	}
	_, err = c.Write([]byte{1, 0})
	return h, err
}

// sameSecret compares in constant time, lengths included.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// socksHolder checks a user name and password.
func (s *Server) socksHolder(name, password string) (holder, error) {
	if want, ok := s.cfg.StaticUsers[name]; ok {
		if !sameSecret(password, want) {
			return holder{}, errTicket
		}
		return s.holderOf(name)
	}
	if isTicket(name) {
		h, want, err := s.tickets.read(name, time.Now())
		if err == nil && !sameSecret(password, want) {
			err = errTicket
		}
		if err == nil {
			err = s.check(&h)
		}
		return h, err
	}
	channel, uid, ok := strings.Cut(name, "/")
	if !ok {
		return holder{}, errTicket
	}
	return s.admit(password, channelkey.Claims{Channel: channel, User: user(uid)})
}

var errSOCKSAddress = errors.New("proxy: unknown kind of address")

// readSOCKSRequest reads a request (RFC 1928, Section 4).
func readSOCKSRequest(r io.Reader) (command byte, host string, port uint16, err error) {
	var b [260]byte
	if _, err := io.ReadFull(r, b[:4]); err != nil || b[0] != socksVersion || b[2] != 0 {
		return 0, "", 0, errSOCKS
	}
	command = b[1]
	n := 0
	switch b[3] {
	case socksIPv4:
		n = 4
	case socksIPv6:
		n = 16
	case socksName:
		var l [1]byte
		if _, err := io.ReadFull(r, l[:]); err != nil || l[0] == 0 {
			return 0, "", 0, errSOCKS
		}
		n = int(l[0])
	default:
		return 0, "", 0, errSOCKSAddress
	}
	kind := b[3]
	if _, err := io.ReadFull(r, b[:n+2]); err != nil {
		return 0, "", 0, errSOCKS
	}
	port = binary.BigEndian.Uint16(b[n:])
	if kind == socksName {
		return command, string(b[:n]), port, nil
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return command, a.String(), port, nil
}

// reply answers a request.
func reply(c net.Conn, code byte, bound netip.AddrPort) error {
	b := []byte{socksVersion, code, 0}
	a := bound.Addr().Unmap()
	switch {
	case a.Is6():
		b = append(b, socksIPv6)
		b = append(b, a.AsSlice()...)
	case a.Is4():
		b = append(b, socksIPv4)
		b = append(b, a.AsSlice()...)
	default:
		b = append(b, socksIPv4, 0, 0, 0, 0)
	}
	_, err := c.Write(binary.BigEndian.AppendUint16(b, bound.Port()))
	return err
}

// refusal is the reply for a session that may not begin.
func refusal(err error) byte {
	switch {
	case errors.Is(err, errQuota), errors.Is(err, errCardFull), errors.Is(err, errFull), errors.Is(err, errDraining),
		errors.Is(err, errTicket), errors.Is(err, errRevoked):
		return socksNotAllowed
	}
	return socksFailure
}

// resolve finds the addresses of a host that the policy lets through. What is dialled
// is the address that was checked, so that a name cannot change its mind between.
func (s *Server) resolve(ctx context.Context, host string, port uint16) ([]netip.AddrPort, byte) {
	var all []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		all = []netip.Addr{a}
	} else if all, err = s.cfg.lookup(ctx, "ip", host); err != nil {
		return nil, socksHost
	}
	var list []netip.AddrPort
	for _, a := range all {
		if dst := netip.AddrPortFrom(a.Unmap(), port); s.policy.Reaches(dst) {
			list = append(list, dst)
		}
	}
	if len(list) == 0 {
		s.reg.refused("destination")
		return nil, socksNotAllowed
	}
	return list, socksOK
}

// connect is CONNECT: bytes both ways, unchanged.
func (s *socksServer) connect(c net.Conn, h holder, host string, port uint16) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var peer net.Conn
	var mu sync.Mutex
	sess, err := s.srv.reg.begin(h, overSOCKSTCP, func() {
		cancel()
		discard(c)
		mu.Lock()
		defer mu.Unlock()
		if peer != nil {
			discard(peer)
		}
	})
	if err != nil {
		reply(c, refusal(err), netip.AddrPort{})
		return
	}
	defer s.srv.finish(sess, endedByClient)
	dial, stop := context.WithTimeout(ctx, socksDial)
	defer stop()
	list, code := s.srv.resolve(dial, host, port)
	if code != socksOK {
		reply(c, code, netip.AddrPort{})
		return
	}
	var p net.Conn
	for _, dst := range list {
		d := net.Dialer{LocalAddr: s.srv.localFor(dst.Addr())}
		if p, err = d.DialContext(dial, "tcp", dst.String()); err == nil {
			break
		}
	}
	if err != nil {
		reply(c, dialReply(err), netip.AddrPort{})
		return
	}
	defer p.Close()
	mu.Lock()
	peer = p
	mu.Unlock()
	if ctx.Err() != nil { // ended meanwhile
		return
	}
	bound, _ := netip.ParseAddrPort(p.LocalAddr().String())
	if reply(c, socksOK, bound) != nil {
		return
	}
	c.SetDeadline(time.Time{})
	over := func() { sess.end(endedByNetwork) }
	defer s.srv.backlogs.watch(c, over)()
	defer s.srv.backlogs.watch(p, over)()
	q := s.srv.reg.quotas[h.customer]
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(p, c, newBucket(q.BitsPerSecond), func(n int) { t := &sess.traffic; t.sentPackets.Add(1); t.sentBytes.Add(uint64(n)) })
	}()
	pipe(c, p, newBucket(q.BitsPerSecond), func(n int) { t := &sess.traffic; t.receivedPackets.Add(1); t.receivedBytes.Add(uint64(n)) })
	<-done
}

func dialReply(err error) byte {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return socksRefused
	case errors.Is(err, syscall.ENETUNREACH):
		return socksNetwork
	case errors.Is(err, context.DeadlineExceeded):
		return socksTTL
	}
	return socksHost
}

// localFor is the address that connections to the media network come from.
func (s *Server) localFor(dst netip.Addr) net.Addr {
	a := s.cfg.RelayBind4
	if dst.Is6() {
		a = s.cfg.RelayBind6
	}
	if !a.IsValid() || a.IsUnspecified() {
		return nil
	}
	return &net.TCPAddr{IP: a.AsSlice()}
}

// pipe copies bytes until the end, then closes dst for writing. Its buffer is wiped.
// Over the bit rate it waits.
func pipe(dst, src net.Conn, rate bucket, count func(int)) {
	buf := make([]byte, 16<<10)
	defer clear(buf)
	for {
		src.SetReadDeadline(time.Now().Add(socksIdle))
		n, err := src.Read(buf)
		if n > 0 {
			for rest := n; rest > 0 && rate.perSecond > 0; {
				piece := min(rest, 4096)
				if rate.take(piece, time.Now().UnixNano()) {
					rest -= piece
					continue
				}
				time.Sleep(time.Duration(int64(piece) * int64(time.Second) / rate.perSecond))
			}
			dst.SetWriteDeadline(time.Now().Add(maxOwnQueueTime))
			_, werr := dst.Write(buf[:n])
			clear(buf[:n])
			if werr != nil {
				src.Close()
				dst.Close()
				return
			}
			count(n)
		}
		if err != nil {
			if half, ok := dst.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) {
				half.CloseWrite()
			} else {
				dst.Close()
				src.Close()
			}
			return
		}
	}
}

// associate is UDP ASSOCIATE: the association lasts as long as the connection.
func (s *socksServer) associate(c net.Conn, h holder, host string, port uint16) {
	remote, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return
	}
	remote = unmap(remote)
	f := s.frontFor(c.LocalAddr())
	if f == nil {
		reply(c, socksNoCommand, netip.AddrPort{})
		return
	}
	r, err := s.srv.newRelay(h, overSOCKSUDP, !s.srv.cfg.RelayBind4.IsValid(), 0)
	if err != nil {
		reply(c, refusal(err), netip.AddrPort{})
		return
	}
	defer s.srv.finish(r.sess, endedByClient)
	defer r.close()
	go r.serve()
	s.expect(remote.Addr(), r)
	defer s.unexpect(remote.Addr(), r)
	// RFC 1928, Section 7: the address that the client will send from, if it knows.
	if a, err := netip.ParseAddr(host); err == nil && port != 0 && a.Unmap() == remote.Addr() {
		s.claim(f, netip.AddrPortFrom(remote.Addr(), port), r)
	}
	local, _ := netip.ParseAddrPort(c.LocalAddr().String())
	udp, _ := netip.ParseAddrPort(f.LocalAddr().String())
	if reply(c, socksOK, netip.AddrPortFrom(local.Addr().Unmap(), udp.Port())) != nil {
		return
	}
	c.SetDeadline(time.Time{})
	if t, ok := c.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
	closed := make(chan struct{})
	go func() { // whatever else it sends means nothing
		var b [256]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				close(closed)
				return
			}
		}
	}()
	select {
	case <-closed:
	case <-r.gone: // expired or revoked
	}
}

// frontFor is the UDP socket that belongs to the TCP port's service.
func (s *socksServer) frontFor(net.Addr) *front {
	if len(s.fronts) == 0 {
		return nil
	}
	return s.fronts[0]
}

func (s *socksServer) expect(a netip.Addr, r *relay) {
	s.mu.Lock()
	s.waiting[a] = append(s.waiting[a], r)
	s.mu.Unlock()
}

func (s *socksServer) unexpect(a netip.Addr, r *relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.waiting[a]
	for i, x := range list {
		if x == r {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(s.waiting, a)
	} else {
		s.waiting[a] = list
	}
}

// claim says that an association's client is at an address.
func (s *socksServer) claim(f *front, a netip.AddrPort, r *relay) {
	s.unexpect(a.Addr(), r)
	r.setClient(&client{addr: a, front: f, name: f.name(a)})
}

// receive relays a datagram that came to the UDP port. The first datagram of an address
// and port nobody knows belongs to the oldest association of that address that has not
// sent anything.
func (s *socksServer) receive(f *front, b []byte, from netip.AddrPort, now int64) {
	dst, payload, ok := splitSOCKS(b)
	if !ok {
		if isSTUN(b) && stunType(b) == typeBinding && f.guard.admit(from.Addr(), now) {
			f.conn.WriteToUDPAddrPort(bindingAnswer(b, from), from) // for proxy check
			return
		}
		s.srv.stray.Add(1)
		return
	}
	r := f.lookup(from)
	if r == nil {
		s.mu.Lock()
		if list := s.waiting[from.Addr()]; len(list) > 0 {
			r = list[0]
		}
		s.mu.Unlock()
		if r == nil {
			s.srv.stray.Add(1)
			return
		}
		s.claim(f, from, r)
	}
	dst = unmap(dst)
	if !r.peers.Load().permits(dst.Addr()) {
		if !s.srv.policy.Reaches(dst) {
			r.sess.traffic.dropped.Add(1)
			return
		}
		r.permit(dst.Addr())
	}
	r.sendTo(dst, payload, now)
}
