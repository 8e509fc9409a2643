package program

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// socketBuffer is what is asked of the kernel for packets that wait, in bytes.
const socketBuffer = 4 << 20

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// multicastBy has a socket send to groups by an interface.
func multicastBy(c *net.UDPConn, ifname string, v4 bool) error {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	if v4 {
		return ipv4.NewPacketConn(c).SetMulticastInterface(ifi)
	}
	return ipv6.NewPacketConn(c).SetMulticastInterface(ifi)
}

// listenRTP opens a socket; plus is 1 for RTCP.
func listenRTP(address, ifname string, plus int) (net.PacketConn, error) {
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, &failure{err: fmt.Errorf("--listen %s: %w", address, err), code: exitUsage}
	}
	if a.Port != 0 {
		a.Port += plus
	}
	var c *net.UDPConn
	if a.IP.IsMulticast() {
		var ifi *net.Interface
		if ifname != "" {
			if ifi, err = net.InterfaceByName(ifname); err != nil {
				return nil, &failure{err: fmt.Errorf("--interface %s: %w", ifname, err), code: exitUsage}
			}
		}
		c, err = net.ListenMulticastUDP("udp", ifi, a)
		if err == nil {
			if err = ownGroupsOnly(c, a.IP.To4() != nil); err != nil {
				c.Close()
			}
		}
	} else {
		c, err = net.ListenUDP("udp", a)
	}
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	c.SetReadBuffer(socketBuffer)
	return c, nil
}
