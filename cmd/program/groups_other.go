//go:build !linux

package program

import "net"

// ownGroupsOnly has nothing to do: a socket gets packets of the groups that it joined.
func ownGroupsOnly(*net.UDPConn, bool) error { return nil }
