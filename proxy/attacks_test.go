package proxy

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// TestAmplification: nobody who shows no credentials makes the proxy send much more than
// he sent, to whatever address: errors name realm and nonce and little else. What is no
// request, and what is about an allocation that is not there, gets no answer at all.
func TestAmplification(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, service := range []string{"media", "edge", "socks"} {
		c, err := net.Dial("udp", l.at(service, "udp").String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 65536)
		marker := []byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 'm', 'a', 'r', 'k', 'e', 'r', 0, 0, 0, 0, 0, 0} // Binding: it is answered
		for m := range stun.Method(0x10) {
			for _, class := range []stun.MessageClass{stun.ClassRequest, stun.ClassIndication, stun.ClassSuccessResponse, stun.ClassErrorResponse} {
				req := &stun.Message{Type: stun.NewType(m, class)}
				rand.Read(req.TransactionID[:])
				req.WriteHeader()
				if m == stun.MethodAllocate {
					c.Write(req.Raw) // says nothing of what it wants: no answer
					req.Add(stun.AttrRequestedTransport, []byte{17, 0, 0, 0})
				}
				c.Write(req.Raw)
				c.Write(marker)
				answered := 0
				for {
					c.SetReadDeadline(time.Now().Add(5 * time.Second))
					n, err := c.Read(buf)
					if err != nil {
						t.Fatalf("%s: no answer to a Binding request: %v", service, err)
					}
					if string(buf[8:14]) == "marker" {
						break
					}
					answered += n
				}
				// At the port of SOCKS5 only "proxy check" is answered.
				if first := m == stun.MethodBinding || m == stun.MethodAllocate && service != "socks"; (class != stun.ClassRequest || !first) && answered != 0 {
					t.Errorf("%s: %s is answered", service, req.Type)
				}
				if answered > 3*len(req.Raw) {
					t.Errorf("%s: %s of %d bytes is answered by %d", service, req.Type, len(req.Raw), answered)
				}
			}
		}
	}
	c, err := net.Dial("udp", l.at("socks", "udp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	strays := l.stray.Load()
	c.Write(append([]byte{0, 0, 0, socksIPv4, 127, 0, 0, 1, byte(l.echo.Port() >> 8), byte(l.echo.Port())}, "payload"...))
	l.eventually("a stranger's datagram is counted", func() bool { return l.stray.Load() > strays })
	if l.Sessions() != 0 {
		t.Error("there are sessions")
	}
}

// TestPortScan: with good credentials, nothing but the listed ports of the listed networks
// gets a packet, or tells that it is there.
func TestPortScan(t *testing.T) {
	t.Parallel()
	hidden := echoUDP(t)
	open := echoUDP(t)
	l := newLab(t, func(c *Config) { c.Media = []string{"127.0.0.1/32:" + Port(open.Port()).String()} })
	user, password := l.credentials(1, 0)
	c := l.rawTURN(user, password)
	if _, _, code := c.allocate(t); code != 0 {
		t.Fatal(code)
	}
	bind := func(a netip.AddrPort, number uint16) int {
		t.Helper()
		ip := a.Addr().As4()
		port := a.Port() ^ 0x2112
		_, code := c.do(t, stun.MethodChannelBind, stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{byte(number >> 8), byte(number), 0, 0}},
			stun.RawAttribute{Type: stun.AttrXORPeerAddress, Value: []byte{0, 1, byte(port >> 8), byte(port), ip[0] ^ 0x21, ip[1] ^ 0x12, ip[2] ^ 0xA4, ip[3] ^ 0x42}})
		return code
	}
	if code := bind(open, 0x4000); code != 0 {
		t.Fatalf("the listed port: %d", code)
	}
	number := uint16(0x4001)
	for _, port := range []uint16{1, 22, 80, 443, 3306, hidden.Port(), l.at("control", "tcp").Port(), 65535} {
		if port == open.Port() {
			continue
		}
		if code := bind(netip.AddrPortFrom(loopback, port), number); code != 403 {
			t.Errorf("port %d: %d, want 403", port, code)
		}
		number++
	}
	// TCP, by SOCKS5: a port that is open and one that is not give the same answer.
	var replies []byte
	for _, port := range []uint16{l.at("control", "tcp").Port(), 1} {
		s := l.socksHello(t, user, password)
		s.Write([]byte{5, 1, 0, socksIPv4, 127, 0, 0, 1, byte(port >> 8), byte(port)})
		b := make([]byte, 2)
		s.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := s.Read(b); err != nil || n < 2 {
			t.Fatal(err)
		}
		replies = append(replies, b[1])
	}
	if replies[0] == 0 || replies[0] != replies[1] {
		t.Errorf("SOCKS5 replies %v", replies)
	}
}

// TestPermittedAddress: a permission is for an address and names no port: those that are
// not listed get nothing by Send indications, and what they send goes nowhere.
func TestPermittedAddress(t *testing.T) {
	t.Parallel()
	open := echoUDP(t)
	hidden, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer hidden.Close()
	l := newLab(t, func(c *Config) { c.Media = []string{"127.0.0.1/32:" + Port(open.Port()).String()} })
	user, password := l.credentials(1, 0)
	c := l.rawTURN(user, password)
	relayed, _, code := c.allocate(t)
	if code != 0 {
		t.Fatal(code)
	}
	if _, code := c.do(t, stun.MethodCreatePermission, c.peer(open)); code != 0 {
		t.Fatal(code)
	}
	send := func(to netip.AddrPort, payload string) {
		m := &stun.Message{Type: stun.NewType(stun.MethodSend, stun.ClassIndication)}
		rand.Read(m.TransactionID[:])
		m.WriteHeader()
		peer := c.peer(to)
		m.Add(peer.Type, peer.Value)
		m.Add(stun.AttrData, []byte(payload))
		c.Write(m.Raw)
	}
	buf := make([]byte, 1500)
	came := func(want string) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if n, err := c.Read(buf); err != nil || !strings.Contains(string(buf[:n]), want) {
			t.Fatalf("%q came, not %q: %v", buf[:n], want, err)
		}
	}
	send(unmap(hidden.LocalAddr().(*net.UDPAddr).AddrPort()), "a scan")
	send(open, "a frame")
	came("a frame")
	hidden.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // it was sent before, and would be there
	if n, _, err := hidden.ReadFromUDPAddrPort(buf); err == nil {
		t.Errorf("a port that is not listed got %q", buf[:n])
	}
	if _, err := hidden.WriteToUDPAddrPort([]byte("nobody asked"), relayed); err != nil {
		t.Fatal(err)
	}
	send(open, "another frame")
	came("another frame")
}

// socksHello connects and logs in.
func (l *lab) socksHello(t *testing.T, user, password string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.at("socks", "tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 2)
	c.Write([]byte{5, 1, 2})
	if _, err := c.Read(b); err != nil || b[1] != 2 {
		t.Fatalf("greeting: %v %v", b, err)
	}
	login := append([]byte{1, byte(len(user))}, user...)
	login = append(append(login, byte(len(password))), password...)
	c.Write(login)
	if _, err := c.Read(b); err != nil || b[1] != 0 {
		t.Fatalf("login: %v %v", b, err)
	}
	return c
}

// TestConnections: connections of every kind count against the bound on them, as long as
// they last, and no longer.
func TestConnections(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *Config) { c.MaxConnections = 4 })
	open := map[string]func() (net.Conn, error){
		"HTTP/2": func() (net.Conn, error) { return l.dialTLS("control", "h2") }, "HTTP/1.1": func() (net.Conn, error) { return l.dialTLS("control", "http/1.1") },
		"TURN over TLS": func() (net.Conn, error) { return l.dialTLS("tls", alpnTURN) },
		"TURN over TCP": func() (net.Conn, error) { return net.Dial("tcp", l.at("edge", "tcp").String()) },
		"SOCKS5":        func() (net.Conn, error) { return net.Dial("tcp", l.at("socks", "tcp").String()) },
	}
	for name, connect := range open {
		var list []net.Conn
		for range 4 {
			c, err := connect()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if name == "HTTP/1.1" {
				c.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
			}
			list = append(list, c)
		}
		l.eventually(name+": all count", func() bool { return l.callers.len() == 4 })
		if c, err := connect(); err == nil { // over TCP it is closed at once, over TLS there is no handshake
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.Read(make([]byte, 1)); err == nil || isTimeoutError(err) {
				t.Errorf("%s: a connection over the bound is served: %v", name, err)
			}
			c.Close()
		}
		for _, c := range list {
			c.Close()
		}
		l.eventually(name+": none is left", func() bool { return l.callers.len() == 0 })
	}
}

// TestCallers: one address has a quarter of the connections at most, and what it does not
// take is there for others.
func TestCallers(t *testing.T) {
	c := newCallers(1000)
	from := func(text string) net.Addr {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(text), 1))
	}
	fill := func(text string) (releases []func()) {
		for {
			release, ok := c.admit(from(text))
			if !ok {
				return releases
			}
			releases = append(releases, release)
		}
	}
	first := fill("192.0.2.1")
	six := fill("2001:db8::1")
	if len(first) != 250 || len(six) != 250 || len(fill("2001:db8::2")) != 0 || len(fill("::ffff:192.0.2.1")) != 0 {
		t.Errorf("%d and %d of 1000", len(first), len(six))
	}
	if n := len(fill("2001:db8:0:1::1")) + len(fill("192.0.2.2")); n != 500 {
		t.Errorf("%d others", n)
	}
	if n := len(fill("192.0.2.3")); n != 0 {
		t.Errorf("%d over the bound of all", n)
	}
	first[0]()
	first[0]() // counts once
	if n := len(fill("192.0.2.3")); n != 1 || c.len() != 1000 {
		t.Errorf("%d after one has gone, %d in all", n, c.len())
	}
}

func isTimeoutError(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func (l *lab) dialTLS(service, alpn string) (net.Conn, error) {
	return tls.Dial("tcp", l.at(service, "tcp").String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}})
}

// TestFairness: a client over TCP or TLS that reads nothing, while its peer floods it, costs
// the proxy a bounded queue, and neither others nor its own session their life.
func TestFairness(t *testing.T) {
	t.Parallel()
	for _, over := range []string{overTCP, overTLS} {
		t.Run(over, func(t *testing.T) {
			l := newLab(t, nil)
			user, password := l.credentials(1, 0)
			slow := l.rawTURNOver(over, user, password)
			relayed, _, code := slow.allocate(t)
			if code != 0 {
				t.Fatal(code)
			}
			if _, code := slow.do(t, stun.MethodCreatePermission, peerOf(netip.AddrPortFrom(loopback, 9))); code != 0 {
				t.Fatal(code)
			}
			peer, err := net.Dial("udp", relayed.String())
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			var victim *session
			l.reg.mu.Lock()
			for _, s := range l.reg.sessions {
				victim = s
			}
			l.reg.mu.Unlock()
			others := map[string]net.PacketConn{}
			for _, x := range transports[:3] {
				if others[x], err = l.turnClient(x, user, password).Allocate(); err != nil {
					t.Fatal(err)
				}
			}
			packet := make([]byte, 1200)
			for victim.traffic.dropped.Load() < 1000 { // by far more than its queue and the system's buffers
				for range 100 {
					peer.Write(packet)
				}
				for x, c := range others {
					if err := exchange(c, l.echo, "not the same client"); err != nil {
						t.Fatalf("%s: %v", x, err)
					}
				}
			}
			door := l.stream(over)
			door.mu.Lock()
			n, room := len(door.out), cap(door.out)
			door.mu.Unlock()
			if n > maxQueued || room > 4*maxQueued {
				t.Errorf("%d bytes wait, room for %d", n, room)
			}
			if victim.reason.Load() != nil {
				t.Error("the session of the slow one is over")
			}
		})
	}
}

// stream is that of the first session over a transport.
func (l *lab) stream(over string) *stream {
	l.Helper()
	var first *relay
	l.relays.Range(func(_, v any) bool {
		if r := v.(*relay); r.sess.over == over && (first == nil || r.sess.id < first.sess.id) {
			first = r
		}
		return true
	})
	if first == nil {
		l.Fatal("no session over " + over)
	}
	return first.client.Load().stream
}
