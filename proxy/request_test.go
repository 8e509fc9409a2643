package proxy

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
)

// peerOf is XOR-PEER-ADDRESS of IPv4.
func peerOf(a netip.AddrPort) stun.RawAttribute { return (*rawTURN)(nil).peer(a) }

// peer is XOR-PEER-ADDRESS; one of IPv6 is masked for the next request, whose transaction
// is told by it.
func (c *rawTURN) peer(a netip.AddrPort) stun.RawAttribute {
	port := a.Port() ^ 0x2112
	v := []byte{0, 1, byte(port >> 8), byte(port)}
	if a.Addr().Is6() {
		v[1] = 2
	}
	mask := [16]byte{0x21, 0x12, 0xA4, 0x42}
	if a.Addr().Is6() {
		c.count++
		binary.BigEndian.PutUint64(c.next[4:], c.count)
		copy(mask[4:], c.next[:])
	}
	for i, b := range a.Addr().AsSlice() {
		v = append(v, b^mask[i])
	}
	return stun.RawAttribute{Type: stun.AttrXORPeerAddress, Value: v}
}

// channelOf is CHANNEL-NUMBER.
func channelOf(n uint16) stun.RawAttribute {
	return stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{byte(n >> 8), byte(n), 0, 0}}
}

// TestForbidden: a channel or permission for a forbidden peer is 403 under the client's
// key, and harms nothing; whoever
// shows no good credentials is not told.
func TestForbidden(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *Config) { c.Media = []string{"127.0.0.1/32"} })
	user, password := l.credentials(1, 0)
	closed := netip.MustParseAddrPort("10.0.0.1:9")
	for _, over := range transports[:3] {
		t.Run(over, func(t *testing.T) {
			c := l.rawTURNOver(over, user, password)
			if _, _, code := c.allocate(t); code != 0 {
				t.Fatalf("allocate: %d", code)
			}
			for m, attributes := range map[stun.Method][]stun.RawAttribute{
				stun.MethodChannelBind: {channelOf(0x4001), peerOf(closed)}, stun.MethodCreatePermission: {peerOf(closed)},
			} {
				res, code := c.do(t, m, attributes...)
				if code != 403 {
					t.Errorf("%s: %d, want 403", m, code)
				}
				if err := c.key.Check(res); err != nil {
					t.Errorf("%s: the answer is not under the client's key: %v", m, err)
				}
			}
			if _, code := c.do(t, stun.MethodChannelBind, channelOf(0x4001), peerOf(l.echo)); code != 0 {
				t.Errorf("the same channel to a peer that is listed: %d", code)
			}
			stranger := l.rawTURNOver(over, user, password+"x")
			if _, code := stranger.try(stun.MethodChannelBind, channelOf(0x4001), peerOf(closed)); code == 0 || code == 403 {
				t.Errorf("with a wrong password: %d", code)
			}
		})
	}
}
