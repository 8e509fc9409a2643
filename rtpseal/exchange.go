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
	peers map[netip.AddrPort]func(*batch, netip.AddrPort)
}

// NewExchange makes an Exchange of a socket, which Run closes.
func NewExchange(pc net.PacketConn) *Exchange {
	e := &Exchange{pc: pc, link: newLink(pc), peers: map[netip.AddrPort]func(*batch, netip.AddrPort){}}
	e.link.sys.everySource(true)
	return e
}

func (e *Exchange) add(peer netip.AddrPort, f func(*batch, netip.AddrPort)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.peers[peer] = f
}

// Run passes RTCP back until the context ends.
func (e *Exchange) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { e.pc.Close() })()
	var one batch
	pump(ctx, e.link, func(b *batch, from netip.AddrPort) {
		for _, m := range b.msgs {
			if m.from.IsValid() {
				from = m.from
			}
			e.mu.RLock()
			f := e.peers[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
			e.mu.RUnlock()
			if f != nil {
				one.msgs = append(one.msgs[:0], m)
				f(&one, from)
			}
		}
	})
	return nil
}
