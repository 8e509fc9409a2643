package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpProgress returns how many bytes a peer has acknowledged, and how many it has not.
func tcpProgress(c *net.TCPConn) (acked, waiting uint64, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		if err != nil || n == 0 {
			ok = err == nil
			return
		}
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			acked, waiting, ok = info.Bytes_acked, uint64(n), true
		}
	})
	return acked, waiting, ok
}
