package proxy

import (
	"net/netip"
	"sync"
	"time"
)

// pairs are ports that are kept for EVEN-PORT and the RESERVATION-TOKEN that may follow
// (RFC 8656, Section 7.2): an even port and the one above. Their sockets are open, so that
// neither another program nor the system, for an outgoing socket, gets hold of one of them
// meanwhile. It may be used by many goroutines.
type pairs struct {
	ports *portList
	max   int // ports that are kept at a time

	mu   sync.Mutex
	kept map[uint16]*keptPort
}

// keptPort is a port that waits for its allocation.
type keptPort struct {
	sock  boundSocket
	at    netip.Addr
	timer *time.Timer
}

const (
	// keepEven is how long a pair waits for the allocation it was looked for: pion/turn
	// asks for it at once, unless a quota is reached.
	keepEven = time.Second
	// keepOdd is how long the upper one waits for the token.
	keepOdd = 30 * time.Second
)

func newPairs(ports *portList, size int) *pairs {
	return &pairs{ports: ports, max: max(2, size/4), kept: map[uint16]*keptPort{}}
}

// find takes a pair and returns the even port.
func (p *pairs) find(at netip.Addr) (uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept)+2 > p.max {
		return 0, errNoPort
	}
	var unfit []uint16 // put back at the end, so that each is looked at once
	defer func() {
		for _, port := range unfit {
			p.ports.give(port)
		}
	}()
	for {
		port, err := p.ports.take()
		if err != nil {
			return 0, err
		}
		if p.ports.takeThis(port^1) != nil {
			unfit = append(unfit, port)
			continue
		}
		port &^= 1
		low, err := bindSocket(netip.AddrPortFrom(at, port))
		if err == nil {
			var high boundSocket
			if high, err = bindSocket(netip.AddrPortFrom(at, port+1)); err == nil {
				p.keep(port, low, at)
				p.keep(port+1, high, at)
				return port, nil
			}
			low.close()
		}
		unfit = append(unfit, port, port+1) // another program's
	}
}

// keep holds a port for a moment. The lock is held.
func (p *pairs) keep(port uint16, sock boundSocket, at netip.Addr) {
	k := &keptPort{sock: sock, at: at}
	k.timer = time.AfterFunc(keepEven, func() { p.drop(port, k) })
	p.kept[port] = k
}

func (p *pairs) drop(port uint16, k *keptPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept[port] == k {
		delete(p.kept, port)
		k.sock.close()
		p.ports.give(port)
	}
}

// take hands over a port that is kept. With an even one the time of the one above
// begins.
func (p *pairs) take(port uint16, at netip.Addr) (boundSocket, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.kept[port]
	if k == nil || !k.timer.Stop() { // the timer's end has it, as soon as the lock is free
		return boundSocket{}, false
	}
	delete(p.kept, port)
	if next := p.kept[port+1]; port%2 == 0 && next != nil && next.timer.Stop() {
		next.timer.Reset(keepOdd)
	}
	if k.at == at {
		return k.sock, true
	}
	k.sock.close() // of the other family, as it turns out
	sock, err := bindSocket(netip.AddrPortFrom(at, port))
	if err != nil {
		p.ports.give(port)
		return boundSocket{}, false
	}
	return sock, true
}

// close drops what is kept.
func (p *pairs) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port, k := range p.kept {
		k.timer.Stop()
		k.sock.close()
		delete(p.kept, port)
		p.ports.give(port)
	}
}

// relayPort takes a port for a relay and opens its socket: the port that was asked for,
// or any if that is 0. A port of the range may be in use by another program: it is put
// back last.
func (s *Server) relayPort(want uint16, at netip.Addr) (uint16, boundSocket, error) {
	if want != 0 {
		if sock, ok := s.pairs.take(want, at); ok {
			return want, sock, nil
		}
		if err := s.ports.takeThis(want); err != nil {
			return 0, boundSocket{}, err
		}
		sock, err := bindSocket(netip.AddrPortFrom(at, want))
		if err != nil {
			s.ports.give(want)
		}
		return want, sock, err
	}
	var err error
	for range min(s.cfg.RelayPorts.Len(), 64) {
		var port uint16
		if port, err = s.ports.take(); err != nil {
			break
		}
		var sock boundSocket
		if sock, err = bindSocket(netip.AddrPortFrom(at, port)); err == nil {
			return port, sock, nil
		}
		s.ports.give(port)
	}
	return 0, boundSocket{}, err
}
