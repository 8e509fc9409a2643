// Package proxy is the cloud proxy: a relay that lets media out through a company's
// firewall, once a fixed list of addresses and ports is allowed there.
//
// It speaks standards, so that clients work unchanged: TURN (RFC 8656) over UDP, TCP
// and TLS, and SOCKS5 (RFC 1928, RFC 1929) with CONNECT and UDP ASSOCIATE. Who shows
// a valid channel key (package channelkey) at the control port is told which relays
// to use, with credentials that are good as long as the card:
//
//	srv, err := proxy.Start(ctx, proxy.Config{Apps: apps, Listen: proxy.DefaultPorts(), …})
//
// What it relays is sealed. The package cannot link cipher or keyring: a relay is
// unable to open a frame, and passes every payload on unchanged.
//
// # One packet's way
//
// pion/turn has the protocol: authentication, allocations, permissions, channels. It
// never sees a payload. Its packets come out of a front (front.go), which takes
// ChannelData messages and Send indications of known five-tuples out of the stream
// and sends them on itself, many per system call, without a copy or an allocation;
// the way back is the same in the other direction (relay.go, poller_linux.go).
// Buffers are wiped when their packets have left.
//
// # Destinations
//
// Destinations are closed: only the networks and ports of Config.Media are reached.
// Private, loopback, link-local, multicast and metadata addresses are refused, unless
// a network that is listed lies within them (see Policy).
package proxy
