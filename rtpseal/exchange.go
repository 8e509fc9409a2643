package rtpseal

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// Exchange is one socket from which many gateways send: with thousands of streams, one
// each would be too many. RTCP that comes back to it belongs to the gateway that sends to
// where it came from.
type Exchange struct {
	pc   net.PacketConn
	link *link

	mu    sync.RWMutex
	peers map[netip.AddrPort]func(*batch)
}

// NewExchange makes an Exchange of a socket, which Run closes.
func NewExchange(pc net.PacketConn) *Exchange {
	return &Exchange{pc: pc, link: newLink(pc), peers: map[netip.AddrPort]func(*batch){}}
}

func (e *Exchange) add(peer netip.AddrPort, f func(*batch)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.peers[plainAddr(peer)] = f
}

// plainAddr is an address as it is compared: one of IPv4 by itself, none with a zone,
// whose names differ.
func plainAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// Run passes RTCP back until the context ends, and closes the socket: it is to end behind
// those of the gateways that send from it.
func (e *Exchange) Run(ctx context.Context) error {
	defer e.pc.Close()
	woken, stop := wake(ctx, e.link)
	defer stop()
	var one batch
	pump(ctx, woken, e.link, func(b *batch) {
		for i, m := range b.msgs {
			e.mu.RLock()
			f := e.peers[plainAddr(b.source(i))]
			e.mu.RUnlock()
			if f != nil {
				one.msgs = append(one.msgs[:0], m)
				f(&one)
			}
		}
	})
	return nil
}
