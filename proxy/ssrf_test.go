package proxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// inward are addresses that nobody may reach who was given the whole Internet, with the
// forms that lead to one of IPv4 by way of IPv6.
var inward = []string{
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.170",
	"192.168.1.1", "198.18.0.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
	"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
	"64:ff9b:1::a00:1", "100::1", "2001::1", "2002:a00:1::", "2002:7f00:1::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
}

// outward are addresses that are anybody's.
var outward = []string{"8.8.8.8", "172.32.0.1", "192.0.1.1", "2606:4700::1", "2a00::1"}

// TestSSRF: who was given the whole Internet does not get behind the proxy's firewall, by
// no form of an address and no name, over TURN, and SOCKS5 with TCP and UDP.
func TestSSRF(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	names := map[string][]string{ // what inet_aton makes of it, what a name may say
		"2130706433": {"127.0.0.1"}, "0x7f000001": {"127.0.0.1"}, "0177.0.0.1": {"127.0.0.1"}, "127.1": {"127.0.0.1"}, "127.0.0.1.": {"127.0.0.1"}, "0": {"0.0.0.0"},
		"localhost": {"127.0.0.1", "::1"}, "metadata.internal": {"169.254.169.254"}, "inside.example": {"10.0.0.1", "192.168.0.1"}, "mapped.example": {"::ffff:10.0.0.1"},
		"nat64.example": {"64:ff9b::a00:1"}, "zone.example": {"fe80::1%lo"}, "none.example": {},
	}
	l := newLab(t, func(c *Config) {
		c.Media, c.RelayAddress6 = []string{"0.0.0.0/0", "::/0"}, netip.IPv6Loopback()
		c.lookup = func(_ context.Context, _, host string) (list []netip.Addr, _ error) {
			asked.Add(1)
			all, ok := names[host]
			if !ok {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			for _, a := range all {
				list = append(list, netip.MustParseAddr(a))
			}
			return list, nil
		}
	})
	user, password := l.credentials(1, 0)

	four, six := l.rawTURN(user, password), l.rawTURN(user, password)
	if _, _, code := four.allocate(t); code != 0 {
		t.Fatal(code)
	}
	_, sixErr := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if sixErr == nil {
		if _, code := six.do(t, stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{2, 0, 0, 0}},
			stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}); code != 0 {
			t.Fatal(code)
		}
	}
	number := uint16(0x4000)
	try := func(a netip.Addr) (permission, channel int) {
		t.Helper()
		c := four
		if a.Is6() {
			c = six
		}
		number++
		_, permission = c.do(t, stun.MethodCreatePermission, c.peer(netip.AddrPortFrom(a, 53)))
		_, channel = c.do(t, stun.MethodChannelBind, channelOf(number), c.peer(netip.AddrPortFrom(a, 53)))
		return permission, channel
	}
	for _, text := range inward {
		a := netip.MustParseAddr(text)
		if a.Is6() && sixErr != nil {
			continue
		}
		if p, c := try(a); p != 403 && p != 443 || c != p {
			t.Errorf("TURN to %s: permission %d, channel %d", text, p, c)
		}
		kind := byte(socksIPv4)
		if a.Is6() {
			kind = socksIPv6
		}
		if code := l.socksAsk(user, password, kind, a.AsSlice(), 53); code != socksNotAllowed {
			t.Errorf("SOCKS5 to %s: reply %d", text, code)
		}
		if code := l.socksAsk(user, password, socksName, append([]byte{byte(len(text))}, text...), 53); code != socksNotAllowed {
			t.Errorf("SOCKS5 to the name %q: reply %d", text, code)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d addresses were looked up as names", n)
	}
	for name := range names {
		if code := l.socksAsk(user, password, socksName, append([]byte{byte(len(name))}, name...), 53); code != socksNotAllowed {
			t.Errorf("SOCKS5 to %s: reply %d", name, code)
		}
	}
	for _, text := range outward { // the control
		a := netip.MustParseAddr(text)
		if a.Is6() && sixErr != nil {
			continue
		}
		if p, c := try(a); p != 0 || c != 0 {
			t.Errorf("TURN to %s: permission %d, channel %d", text, p, c)
		}
	}

	// SOCKS5 over UDP: nothing leaves.
	_, code, at := l.socksDial(user, password, socksAssociate, netip.MustParseAddrPort("0.0.0.0:0"))
	if code != socksOK {
		t.Fatal(code)
	}
	udp, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	dropped := func() (sent, dropped uint64) {
		l.reg.mu.Lock()
		defer l.reg.mu.Unlock()
		for _, s := range l.reg.sessions {
			if s.over == overSOCKSUDP {
				return s.traffic.sentPackets.Load(), s.traffic.dropped.Load()
			}
		}
		return 0, 0
	}
	secret := echoUDP(t)
	buf := make([]byte, 100)
	for _, text := range append(inward, secret.Addr().String()) {
		begin := putSOCKSHeader(buf, 64, netip.AddrPortFrom(netip.MustParseAddr(text), secret.Port()))
		udp.Write(append(buf[begin:64:64], "let me in"...))
	}
	l.eventually("all are dropped", func() bool { _, n := dropped(); return n >= uint64(len(inward)+1) })
	if sent, _ := dropped(); sent != 0 {
		t.Errorf("%d packets left", sent)
	}
}

// TestRebinding: of a name's addresses only those are dialled that were checked, however
// it is answered the next time.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	other := netip.MustParseAddr("127.0.0.9")
	trap, err := net.Listen("tcp4", "127.0.0.9:0")
	if err != nil {
		t.Skip(err)
	}
	defer trap.Close()
	port := uint16(trap.Addr().(*net.TCPAddr).Port)
	good, err := net.Listen("tcp4", netip.AddrPortFrom(loopback, port).String())
	if err != nil {
		t.Skip(err)
	}
	defer good.Close()
	l := newLab(t, func(c *Config) {
		c.Media = []string{"127.0.0.1/32"}
		c.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			if asked.Add(1) == 1 {
				return []netip.Addr{other, loopback, other}, nil
			}
			return []netip.Addr{other}, nil
		}
	})
	user, password := l.credentials(1, 0)
	name := "rebinds.example"
	if code := l.socksAsk(user, password, socksName, append([]byte{byte(len(name))}, name...), port); code != socksOK {
		t.Fatalf("reply %d", code)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the name was looked up %d times", n)
	}
	if code := l.socksAsk(user, password, socksName, append([]byte{byte(len(name))}, name...), port); code != socksNotAllowed {
		t.Errorf("the name that moved inside: reply %d", code)
	}
	c, err := good.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	trap.(*net.TCPListener).SetDeadline(time.Now()) // what was connected is there by now
	if c, err := trap.Accept(); err == nil {
		c.Close()
		t.Error("the address that is not listed was connected to")
	}
}

// socksAsk asks for CONNECT and returns the reply, 0xFF if there is none.
func (l *lab) socksAsk(user, password string, kind byte, host []byte, port uint16) byte {
	l.Helper()
	c := l.socksHello(l.T, user, password)
	defer c.Close()
	c.Write(binary.BigEndian.AppendUint16(append([]byte{5, socksConnect, 0, kind}, host...), port))
	var b [4]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return 0xFF
	}
	return b[1]
}
