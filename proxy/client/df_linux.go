package client

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// dontFragment lets packets that are too long for the way be lost, so that the longest
// that is not shows the MTU.
func dontFragment(c net.Conn) {
	u, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	})
}
