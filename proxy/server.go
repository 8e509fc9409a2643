package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"

	"github.com/chanseal/chanseal/channelkey"
)

// Server is a running proxy. Its methods may be used by many goroutines.
type Server struct {
	cfg       Config
	log       *slog.Logger
	policy    *Policy
	tickets   *tickets
	reg       *registry
	ports     *portList
	verifiers map[string]*verifier // by App ID in lower case
	apps      map[uint32]bool

	pollers []*poller
	relays  sync.Map // relay address -> *relay
	pairs   *pairs
	doors   []*door
	fronts  []*front
	turn    *turn.Server
	socks   *socksServer
	certs   tls.Certificate
	others  *otherRelays
	stray   atomic.Uint64 // packets that belong to nobody

	controlBytes atomic.Int64 // of messages that wait for pion/turn
	backlogs     backlogs

	listening []Listening
	start     []func() // what serves, once everything is open: clients are told of all ports or of none
	closers   []func()
	callers   *callers // who has TCP connections
	done      chan struct{}
	wg        sync.WaitGroup
	closeOnce sync.Once
}

type verifier struct {
	*channelkey.Verifier
	customer uint32
}

// Listening is a socket that is open.
type Listening struct {
	Service  string // control, media, socks, edge, tls, metrics
	Protocol string // tcp or udp
	Address  netip.AddrPort
}

// Start opens everything that the configuration names. It returns an error if anything
// of it cannot be opened. The server runs until Close; ctx is for the start only.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	networks, err := cfg.networks()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, policy: NewPolicy(networks), verifiers: map[string]*verifier{}, apps: map[uint32]bool{},
		ports: newPortList(cfg.RelayPorts), callers: newCallers(cfg.MaxConnections), done: make(chan struct{})}
	if s.tickets, err = newTickets(cfg.Secret); err != nil {
		return nil, err
	}
	s.pairs = newPairs(s.ports, cfg.RelayPorts.Len())
	s.closers = append(s.closers, s.pairs.close)
	quotas := map[uint32]Quota{staticCustomer: cfg.DefaultQuota}
	for _, app := range cfg.Apps {
		v, err := channelkey.NewVerifier(app, channelkey.Policy{})
		if err != nil {
			return nil, err
		}
		id := customerID(app.ID)
		if s.apps[id] {
			return nil, fmt.Errorf("proxy: the app %s is listed twice", app.ID)
		}
		s.verifiers[strings.ToLower(app.ID)] = &verifier{v, id}
		s.apps[id] = true
		quotas[id] = cfg.DefaultQuota
	}
	for id, q := range cfg.Quotas {
		if !s.apps[customerID(id)] {
			return nil, fmt.Errorf("proxy: a quota is for the app %s, which is not listed", id)
		}
		quotas[customerID(id)] = q
	}
	s.reg = newRegistry(cfg.MaxSessions, quotas)
	if len(cfg.StaticUsers) > 0 {
		s.log.Warn("proxy: static users are let in without a channel key; this is for tests only", "users", len(cfg.StaticUsers))
	}
	if s.certs, err = s.certificate(); err != nil {
		return nil, err
	}
	if s.pollers, err = newPollers(); err != nil {
		return nil, err
	}
	for _, p := range s.pollers {
		s.closers = append(s.closers, p.close)
	}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.register(); err != nil {
		s.Close()
		return nil, err
	}
	if cfg.RevocationFile != "" {
		if err := s.readRevocations(); err != nil {
			s.Close()
			return nil, err
		}
		s.wg.Go(s.watchRevocations)
	}
	s.wg.Go(s.watchBacklogs)
	s.log.Info("proxy: serving", "sockets", len(s.listening), "relay_ports", cfg.RelayPorts.String(), "media_networks", len(networks),
		"customers", len(cfg.Apps), "region", cfg.Region)
	return s, nil
}

// tlsConfig is what the ports with TLS have in common. A message of TURN fits into a record
// from the connection's first on (see stream.send).
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{s.certs}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, DynamicRecordSizingDisabled: true}
}

// open opens the sockets and starts to serve them.
func (s *Server) open(ctx context.Context) error {
	s.socks = newSOCKSServer(s)
	s.others = newOtherRelays(s)
	web := s.web()
	tlsConf := s.tlsConfig()
	withTURN := tlsConf.Clone()
	withTURN.NextProtos = []string{alpnTURN, "h2", "http/1.1"} // some TURN clients offer http/1.1 as well

	l := &s.cfg.Listen
	for _, service := range []struct {
		name     string
		ports    []Ports
		tcp, udp bool
	}{
		{"control", l.Control, true, false}, {"media", l.Media, false, true}, {"socks", l.SOCKS, true, true},
		{"edge", l.Edge, true, true}, {"tls", l.TLS, true, false},
	} {
		for _, ports := range service.ports {
			for port := int(ports.First); port <= int(ports.Last); port++ {
				for _, a := range s.localAddresses() {
					address := net.JoinHostPort(a, fmt.Sprint(port))
					if service.udp {
						if err := s.openFronts(service.name, address, ports.Len() == 1); err != nil {
							return err
						}
					}
					conf := tlsConf
					if service.name == "tls" {
						conf = withTURN
					}
					if service.tcp {
						if err := s.openListener(ctx, service.name, address, conf, web); err != nil {
							return err
						}
					}
				}
			}
		}
	}
	if s.cfg.Metrics != "" {
		if err := s.openMetrics(ctx); err != nil {
			return err
		}
	}
	if err := s.startTURN(); err != nil {
		return err
	}
	for i, f := range s.fronts {
		if err := f.start(s.pollers[i%len(s.pollers)]); err != nil {
			return err
		}
	}
	for _, f := range s.start {
		s.wg.Go(f)
	}
	return nil
}

// localAddresses are the addresses to listen at, "" for all of the machine.
func (s *Server) localAddresses() []string {
	if len(s.cfg.Addresses) == 0 {
		return []string{""}
	}
	var list []string
	for _, a := range s.cfg.Addresses {
		list = append(list, a.String())
	}
	return list
}

// maxFronts bounds the sockets of one port.
const maxFronts = 8

// openFronts opens the UDP sockets of a port: one for every two cores where the port is
// a service's only one, so that one read loop is no bound.
func (s *Server) openFronts(service, address string, only bool) error {
	n := 1
	if only && canShare && service == "edge" {
		n = max(1, min(runtime.GOMAXPROCS(0)/2, maxFronts))
	}
	for i := range n {
		c, err := listenUDP("udp", address, n > 1)
		if err != nil {
			return fmt.Errorf("proxy: %s: %w", service, err)
		}
		f := newFront(s, c, service == "socks")
		s.closers = append(s.closers, func() { f.Close(); c.Close() })
		if err := f.in.open(c); err != nil {
			return err
		}
		s.fronts = append(s.fronts, f)
		if f.socks {
			s.socks.add(f)
		} else {
			s.doors = append(s.doors, &door{srv: s, front: f})
		}
		if i == 0 {
			s.opened(service, "udp", c.LocalAddr())
		}
	}
	return nil
}

func (s *Server) opened(service, protocol string, a net.Addr) {
	ap, err := netip.ParseAddrPort(a.String())
	if err == nil {
		s.listening = append(s.listening, Listening{service, protocol, unmap(ap)})
	}
}

// Listening returns the sockets that are open for clients.
func (s *Server) Listening() []Listening { return s.listening }

// openListener opens a TCP port and starts to serve it.
func (s *Server) openListener(ctx context.Context, service, address string, tlsConf *tls.Config, web *webServer) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("proxy: %s: %w", service, err)
	}
	s.closers = append(s.closers, func() { l.Close() })
	s.opened(service, "tcp", l.Addr())
	var serve func(c net.Conn, release func())
	switch service {
	case "socks":
		serve = s.socks.serve
	case "edge":
		a := newAcceptor(s, overTCP, l.Addr())
		s.doors = append(s.doors, &door{srv: s, accept: a})
		s.closers = append(s.closers, func() { a.Close() })
		serve = a.hand
	case "tls", "control":
		var a *acceptor
		if service == "tls" {
			a = newAcceptor(s, overTLS, l.Addr())
			s.doors = append(s.doors, &door{srv: s, accept: a})
			s.closers = append(s.closers, func() { a.Close() })
		}
		serve = func(c net.Conn, release func()) { s.serveTLS(c, tlsConf, a, web, release) }
	}
	s.start = append(s.start, func() { s.accept(l, serve) })
	return nil
}

// accept serves connections, each in a goroutine of its own, until the listener is
// closed. Beyond the bounds of connections, new ones are closed at once.
func (s *Server) accept(l net.Listener, serve func(net.Conn, func())) {
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors: wait for some to come back
			case <-time.After(50 * time.Millisecond):
				continue
			case <-s.done:
				return
			}
		}
		release, ok := s.callers.admit(c.RemoteAddr())
		if !ok {
			s.reg.refused("connections")
			c.Close()
			continue
		}
		go serve(c, release)
	}
}

// finish takes a session out and logs it, without addresses and names.
func (s *Server) finish(sess *session, why string) {
	reason, first := s.reg.done(sess, why)
	if !first {
		return
	}
	t := &sess.traffic
	s.log.Info("proxy: session ended", "session", sess.id, "transport", sess.over, "reason", reason,
		"seconds", int64(time.Since(sess.began)/time.Second), "sent_bytes", t.sentBytes.Load(), "received_bytes", t.receivedBytes.Load(),
		"sent_packets", t.sentPackets.Load(), "received_packets", t.receivedPackets.Load(), "dropped_packets", t.dropped.Load())
}

// Sessions is how many sessions there are.
func (s *Server) Sessions() int { return s.reg.len() }

// Revoke bars what r names until r.Until and ends at once the sessions it meets; a
// later Revoke of the same sets another end. It returns how many were ended.
func (s *Server) Revoke(r channelkey.Revocation) (int, error) {
	k, err := s.tickets.revocationKey(&r)
	if err != nil {
		return 0, err
	}
	return s.reg.revoke(k, r.Until)
}

func (s *Server) readRevocations() error {
	list, err := readRevocations(s.cfg.RevocationFile)
	if err != nil {
		return err
	}
	for _, r := range list {
		if _, err := s.Revoke(r); err != nil {
			return err
		}
	}
	return nil
}

// watchRevocations reads the file again when it has changed.
func (s *Server) watchRevocations() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var last os.FileInfo
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
		}
		info, err := os.Stat(s.cfg.RevocationFile)
		if err != nil || last != nil && info.ModTime().Equal(last.ModTime()) && info.Size() == last.Size() {
			continue // a file that is gone revokes what it did
		}
		last = info
		if err := s.readRevocations(); err != nil {
			s.log.Error("proxy: revocations are not read", "error", err)
		}
	}
}

// Drain takes no new sessions from now on and returns when the last one has ended by
// itself, or with ctx's error.
func (s *Server) Drain(ctx context.Context) error {
	idle := s.reg.drain()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Draining reports whether Drain was called.
func (s *Server) Draining() bool {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	return s.reg.draining
}

// Close ends all sessions and closes all sockets.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		close(s.done)
		idle := s.reg.drain()
		s.reg.endAll(endedShutdown, func(*session) bool { return true })
		select { // pion/turn forgets each allocation in its turn, before it is closed
		case <-idle:
		case <-time.After(closeWait):
		}
		if s.turn != nil {
			s.turn.Close()
		}
		for _, f := range s.closers {
			f()
		}
		s.wg.Wait()
	})
	return nil
}

// closeWait bounds how long Close waits for sessions that have been told to end.
const closeWait = 5 * time.Second
