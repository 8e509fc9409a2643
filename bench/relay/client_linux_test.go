package relay

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v4"
)

// client is as much of a TURN client as is needed to measure: it has one request under
// way at a time, and its socket is the caller's as soon as there is an allocation.
type client struct {
	conn     *net.UDPConn
	nonce    stun.Nonce
	relayed  netip.AddrPort
	key      stun.MessageIntegrity
	received []byte
}

var (
	typeChannelBind = stun.NewType(stun.MethodChannelBind, stun.ClassRequest)
	typeAllocate    = stun.NewType(stun.MethodAllocate, stun.ClassRequest)

	longTermKey = stun.NewLongTermIntegrity(user, realm, password)
)

const channelNumber = 0x4000

// attribute is one of TURN's.
type attribute struct {
	t stun.AttrType
	v []byte
}

func (a attribute) AddTo(m *stun.Message) error { m.Add(a.t, a.v); return nil }

var transportUDP = attribute{stun.AttrRequestedTransport, []byte{17, 0, 0, 0}}

// allocate makes an allocation from a socket of its own.
func allocate(at netip.AddrPort) (*client, error) {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, key: longTermKey, received: make([]byte, 2048)}
	m, err := c.do(stun.TransactionID, typeAllocate, transportUDP)
	if err == nil && m.Type.Class == stun.ClassErrorResponse { // 401 brings the nonce
		if err = c.nonce.GetFrom(m); err == nil {
			c.nonce = slices.Clone(c.nonce) // out of the buffer
			m, err = c.authenticated(typeAllocate, transportUDP)
		}
	}
	if err == nil {
		var a stun.XORMappedAddress
		if err = a.GetFromAs(m, stun.AttrXORRelayedAddress); err == nil {
			ip, _ := netip.AddrFromSlice(a.IP)
			c.relayed = netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
			return c, nil
		}
	}
	conn.Close()
	return nil, err
}

// bind binds the channel to a peer.
func (c *client) bind(peer netip.AddrPort) error {
	number := binary.BigEndian.AppendUint32(nil, channelNumber<<16)
	m, err := c.authenticated(typeChannelBind, attribute{stun.AttrChannelNumber, number}, peerAddress{peer})
	if err == nil && m.Type.Class != stun.ClassSuccessResponse {
		var code stun.ErrorCodeAttribute
		code.GetFrom(m)
		err = fmt.Errorf("ChannelBind was refused: %s", code)
	}
	return err
}

type peerAddress struct{ netip.AddrPort }

func (p peerAddress) AddTo(m *stun.Message) error {
	return stun.XORMappedAddress{IP: p.Addr().AsSlice(), Port: int(p.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// authenticated sends a request with credentials and returns the answer.
func (c *client) authenticated(t stun.MessageType, what ...stun.Setter) (*stun.Message, error) {
	set := append([]stun.Setter{stun.TransactionID, t}, what...)
	return c.do(append(set, stun.NewUsername(user), stun.NewRealm(realm), c.nonce, c.key)...)
}

// do sends a request until there is an answer.
func (c *client) do(set ...stun.Setter) (*stun.Message, error) {
	request, err := stun.Build(set...)
	if err != nil {
		return nil, err
	}
	for range 8 {
		if _, err = c.conn.Write(request.Raw); err != nil {
			return nil, err
		}
		c.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			var n int
			if n, err = c.conn.Read(c.received); err != nil {
				break
			}
			answer := &stun.Message{Raw: c.received[:n]}
			if answer.Decode() == nil && answer.TransactionID == request.TransactionID {
				return answer, c.conn.SetReadDeadline(time.Time{})
			}
		}
	}
	return nil, fmt.Errorf("no answer: %w", err)
}
