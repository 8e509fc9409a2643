//go:build !linux

package rtpseal

import (
	"errors"
	"net"
	"net/netip"
)

type sysLink struct{}

type sysBatch struct{}

func (*sysLink) init(*net.UDPConn) error { return errors.ErrUnsupported }

func (*sysLink) drain() {}

func (*sysBatch) source(int) netip.AddrPort { return netip.AddrPort{} }

func (*sysLink) read(func(*batch)) error { return errors.ErrUnsupported }

func (*sysLink) write(*Packets, netip.AddrPort) (int, error) { return 0, errors.ErrUnsupported }
