package proxy

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// rawTURN is a client that says what pion's does not.
type rawTURN struct {
	net.Conn
	socket             net.Conn
	user, realm, nonce string
	key                stun.MessageIntegrity
	next               [12]byte // transaction of a request with an IPv6 peer
	count              uint64
}

func (l *lab) rawTURN(user, password string) *rawTURN {
	l.Helper()
	return l.rawTURNOver(overUDP, user, password)
}

// messages is a connection with a message a Read.
type messages struct {
	net.Conn
	framed net.PacketConn
}

func (m messages) Read(p []byte) (int, error) {
	n, _, err := m.framed.ReadFrom(p)
	return n, err
}

func (l *lab) rawTURNOver(over, user, password string) *rawTURN {
	l.Helper()
	c := l.newRawTURN(over, user, password)
	socket := c.socket // without what is wrapped round it
	l.Cleanup(func() { socket.Close() })
	return c
}

// newRawTURN makes one that has to be closed.
func (l *lab) newRawTURN(over, user, password string) *rawTURN {
	l.Helper()
	var c net.Conn
	var err error
	switch over {
	case overUDP:
		c, err = net.Dial("udp", l.at("edge", "udp").String())
	case overTCP:
		c, err = net.Dial("tcp", l.at("edge", "tcp").String())
	case overTLS:
		c, err = tls.Dial("tcp", l.at("tls", "tcp").String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpnTURN}})
	}
	if err != nil {
		l.Fatal(err)
	}
	socket := c
	if over != overUDP {
		c = messages{c, Framed(c)}
	}
	return &rawTURN{Conn: c, socket: socket, user: user, realm: defaultRealm, key: stun.NewLongTermIntegrity(user, defaultRealm, password)}
}

// do sends a request and returns the answer, and the code of an error.
func (c *rawTURN) do(t *testing.T, m stun.Method, attributes ...stun.RawAttribute) (*stun.Message, int) {
	t.Helper()
	res, code := c.ask(30*time.Second, m, attributes)
	if res == nil {
		t.Fatalf("%s is not answered", m)
	}
	return res, code
}

// try is do with a code of -1 where there is no answer within a moment.
func (c *rawTURN) try(m stun.Method, attributes ...stun.RawAttribute) (*stun.Message, int) {
	return c.ask(200*time.Millisecond, m, attributes)
}

func (c *rawTURN) ask(wait time.Duration, m stun.Method, attributes []stun.RawAttribute) (*stun.Message, int) {
	for {
		req := &stun.Message{Type: stun.NewType(m, stun.ClassRequest)}
		if req.TransactionID = c.next; c.next == [12]byte{} {
			rand.Read(req.TransactionID[:])
		}
		req.WriteHeader()
		for _, a := range attributes {
			req.Add(a.Type, a.Value)
		}
		if c.nonce != "" {
			stun.NewUsername(c.user).AddTo(req)
			stun.NewRealm(c.realm).AddTo(req)
			stun.NewNonce(c.nonce).AddTo(req)
			c.key.AddTo(req)
		}
		c.Write(req.Raw)
		c.SetReadDeadline(time.Now().Add(wait))
		buf := make([]byte, 1500)
		res := &stun.Message{}
		for { // answers to earlier requests may still come
			n, err := c.Read(buf)
			if err != nil {
				return nil, -1
			}
			res.Raw = buf[:n]
			if res.Decode() == nil && res.TransactionID == req.TransactionID {
				break
			}
		}
		var code stun.ErrorCodeAttribute
		if errors.Is(code.GetFrom(res), stun.ErrAttributeNotFound) {
			c.next = [12]byte{}
			return res, 0
		}
		var nonce stun.Nonce
		if code.Code != stun.CodeUnauthorized || c.nonce != "" || nonce.GetFrom(res) != nil {
			c.next = [12]byte{}
			return res, int(code.Code)
		}
		c.nonce = nonce.String()
	}
}

// allocate asks for a relay address over UDP.
func (c *rawTURN) allocate(t *testing.T, attributes ...stun.RawAttribute) (relayed netip.AddrPort, token []byte, code int) {
	t.Helper()
	res, code := c.do(t, stun.MethodAllocate, append(attributes, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}})...)
	if code != 0 {
		return relayed, nil, code
	}
	var a stun.XORMappedAddress
	if err := a.GetFromAs(res, stun.AttrXORRelayedAddress); err != nil {
		t.Fatal(err)
	}
	token, _ = res.Get(stun.AttrReservationToken)
	return netip.AddrPortFrom(addrOf(a.IP), uint16(a.Port)), token, 0
}

var evenAttribute = stun.RawAttribute{Type: stun.AttrEvenPort, Value: []byte{0x80}}

// fourPorts are an even port of loopback and the three above it, free a moment ago.
func fourPorts(t *testing.T) Ports {
	t.Helper()
	for range 1000 {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		first := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		c.Close()
		if first%2 != 0 || first > 65000 {
			continue
		}
		free := true
		for i := range uint16(4) {
			s, err := bindSocket(netip.AddrPortFrom(loopback, first+i))
			if free = free && err == nil; err == nil {
				s.close()
			}
		}
		if free {
			return Ports{first, first + 3}
		}
	}
	t.Skip("no four free ports side by side")
	return Ports{}
}

// TestEvenPort: RTP and RTCP get ports side by side, by EVEN-PORT and the token that
// comes with it (RFC 8656, Section 7.2), also where another program has ports of the
// range; what was kept comes back.
func TestEvenPort(t *testing.T) {
	t.Parallel()
	ports := fourPorts(t)
	l := newLab(t, func(c *Config) { c.RelayPorts = ports })
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(ports.First) + 1})
	if err != nil {
		t.Skip(err)
	}
	defer taken.Close()
	user, password := l.credentials(1, 0)
	rtp, token, code := l.rawTURN(user, password).allocate(t, evenAttribute)
	if code != 0 || rtp.Port() != ports.First+2 || len(token) != 8 {
		t.Fatalf("EVEN-PORT: error %d, %v, token of %d bytes; want port %d", code, rtp, len(token), ports.First+2)
	}
	if c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(ports.Last)}); err == nil {
		c.Close()
		t.Error("another program gets hold of the port that is kept")
	}
	if _, _, code := l.rawTURN(user, password).allocate(t, evenAttribute); code != 508 {
		t.Errorf("a second pair: error %d, want 508: there is none", code)
	}
	if _, _, code := l.rawTURN(user, password).allocate(t, stun.RawAttribute{Type: stun.AttrReservationToken, Value: []byte("notatokn")}); code != 508 {
		t.Errorf("another token: error %d, want 508", code)
	}
	second := l.rawTURN(user, password)
	rtcp, _, code := second.allocate(t, stun.RawAttribute{Type: stun.AttrReservationToken, Value: token})
	if code != 0 || rtcp.Port() != rtp.Port()+1 {
		t.Fatalf("RESERVATION-TOKEN: error %d, %v; want port %d", code, rtcp, rtp.Port()+1)
	}
	if _, _, code := l.rawTURN(user, password).allocate(t, stun.RawAttribute{Type: stun.AttrReservationToken, Value: token}); code != 508 {
		t.Errorf("a token that was used: error %d, want 508", code)
	}
	if _, _, code := second.allocate(t); code != 437 {
		t.Errorf("a five-tuple that has an allocation: error %d, want 437", code)
	}
	if free := l.ports.left(); free != 2 {
		t.Errorf("%d ports of four are free, want 2", free)
	}
	l.Close()
	if free := l.ports.left(); free != 4 {
		t.Errorf("%d ports of four are free after the end", free)
	}
}

// TestPairs: a pair that nobody takes comes back, and only some of the range is kept at
// a time.
func TestPairs(t *testing.T) {
	t.Parallel()
	ports := newPortList(Ports{61000, 61063})
	p := newPairs(ports, 64)
	var found []uint16
	for {
		port, err := p.find(loopback)
		if err != nil {
			break
		}
		found = append(found, port)
	}
	if len(found) == 0 || len(found) > 8 {
		t.Fatalf("%d pairs of 64 ports are kept, want at most 8", len(found))
	}
	sock, ok := p.take(found[0], loopback)
	if !ok {
		t.Fatal("a port that is kept is not handed over")
	}
	if _, ok := p.take(found[0], loopback); ok {
		t.Error("it is handed over twice")
	}
	sock.close()
	ports.give(found[0])
	p.close()
	if ports.left() != 64 {
		t.Errorf("%d ports of 64 are free", ports.left())
	}
}
