package program

import (
	"net"

	"golang.org/x/sys/unix"
)

// ownGroupsOnly has a socket get packets of no group but those that it joined itself.
// Linux gives a socket those of all groups that anybody on the machine joined: a stream
// would get those of another one whose group has the same port, and seal them for the
// wrong channel.
func ownGroupsOnly(c *net.UDPConn, v4 bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL
	if v4 {
		level, option = unix.IPPROTO_IP, unix.IP_MULTICAST_ALL
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 0) }); err != nil {
		return err
	}
	return set
}
