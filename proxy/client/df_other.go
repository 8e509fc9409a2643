//go:build !linux

package client

import "net"

// dontFragment is for Linux; elsewhere the MTU is what comes through in fragments.
func dontFragment(net.Conn) {}
