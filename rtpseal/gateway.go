package rtpseal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Mapper turns packets of one side into packets of the other. [Sealing], [Opening] and
// [FrameSealing] become one by [MapSealing], [MapOpening] and [MapFrames].
type Mapper interface {
	Push(pkt []byte, now time.Time, out *Packets) error
	Sweep(now time.Time, out *Packets)
	Leave(ssrc uint32)
	Kept() int
}

// MapSealing makes a Mapper of a Sealing, which keeps nothing.
func MapSealing(s *Sealing) Mapper { return sealingMapper{s} }

type sealingMapper struct{ *Sealing }

func (m sealingMapper) Push(pkt []byte, _ time.Time, out *Packets) error {
	return m.Sealing.Push(pkt, out)
}
func (sealingMapper) Sweep(time.Time, *Packets) {}
func (sealingMapper) Leave(uint32)              {}
func (sealingMapper) Kept() int                 { return 0 }

// GatewayOptions of [NewGateway].
type GatewayOptions struct {
	// In is where packets come, Out is where they leave from, to To. RTCP that comes
	// to Out goes back to where the last packet of In came from that went on.
	In, Out net.PacketConn
	To      netip.AddrPort
	// ControlIn, ControlOut and ControlTo are the same for RTCP on ports of its own;
	// nil if there are none. RTCP on the ports of RTP (RFC 5761) always passes.
	ControlIn, ControlOut net.PacketConn
	ControlTo             netip.AddrPort
	// Exchange, if it is set, stands for Out and ControlOut.
	Exchange *Exchange

	Stats *Stats // nil for none to look at
	// Log, which may be nil, is told of what does not go on. It must return soon, and
	// may keep nothing of unit, which is nil if the packet was none.
	Log func(unit *Unit, err error)
}

// Gateway passes one flow of RTP from a socket to another, through a [Mapper], and RTCP
// both ways as it is. It closes its sockets.
type Gateway struct {
	o GatewayOptions
	m Mapper

	mu    sync.Mutex                  // the Mapper
	armed bool                        // a sweep is due
	held  int64                       // as Stats.Held counts it
	late  Packets                     // of sweeps
	open  *Opening                    // the Mapper, if it is one
	known map[netip.AddrPort]struct{} // where something came from that authenticated
	last  netip.AddrPort              // of them

	in, out               *link
	controlIn, controlOut *link
	peer, controlPeer     atomic.Pointer[netip.AddrPort]
}

// NewGateway makes a Gateway. mapper makes its Mapper, with the functions to tell of
// units that are refused and packets that are given up.
func NewGateway(o GatewayOptions, mapper func(refused func(*Unit, error), dropped func(Drop)) (Mapper, error)) (*Gateway, error) {
	if o.In == nil || (o.Out == nil) == (o.Exchange == nil) || !o.To.IsValid() {
		return nil, errors.New("rtpseal: a Gateway needs a socket to listen on, one to send from, and an address")
	}
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	if o.Log == nil {
		o.Log = func(*Unit, error) {}
	}
	g := &Gateway{o: o, in: newLink(o.In)}
	if o.Exchange != nil {
		g.out, g.controlOut = o.Exchange.link, o.Exchange.link
	} else {
		g.out = newLink(o.Out)
	}
	if o.ControlIn != nil {
		g.controlIn = newLink(o.ControlIn)
	}
	if o.ControlOut != nil {
		g.controlOut = newLink(o.ControlOut)
	}
	m, err := mapper(g.refused, func(d Drop) { g.o.Stats.Refused[d.reason()].Add(uint64(d.Packets)) })
	if err != nil {
		return nil, err
	}
	g.m = m
	g.open, _ = m.(*Opening)
	if o.Exchange != nil {
		o.Exchange.add(o.To, g.backward(g.in, &g.peer))
		if g.controlIn != nil {
			o.Exchange.add(o.ControlTo, g.backward(g.controlIn, &g.controlPeer))
		}
	}
	return g, nil
}

func (g *Gateway) refused(u *Unit, err error) {
	g.o.Stats.Refused[reasonOf(err)].Add(1)
	g.o.Log(u, err)
}

// Run passes packets on until the context ends, and then those that have arrived before,
// for at most drainAtMost; then it closes the sockets.
func (g *Gateway) Run(ctx context.Context) error {
	own := []*link{g.in, g.controlIn}
	if g.o.Exchange == nil {
		own = append(own, g.out, g.controlOut)
	}
	woken, stop := wake(ctx, own...)
	defer stop()
	var running sync.WaitGroup
	loop := func(l *link, f func(*batch)) {
		if l == nil {
			return
		}
		running.Go(func() { pump(ctx, woken, l, f) })
	}
	if g.o.Exchange == nil {
		loop(g.out, g.backward(g.in, &g.peer))
	}
	loop(g.controlIn, g.control(g.controlOut))
	if g.o.Exchange == nil && g.controlOut != nil && g.controlIn != nil {
		loop(g.controlOut, g.backward(g.controlIn, &g.controlPeer))
	}
	pump(ctx, woken, g.in, g.media)
	running.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.m.Sweep(time.Now().Add(lateAge), &g.late) // what waits for its turn need not wait any more
	g.flush(&g.late)
	g.close()
	g.o.Stats.Held.Add(-g.held)
	g.held = 0
	return nil
}

func (g *Gateway) close() {
	for _, c := range []net.PacketConn{g.o.In, g.o.Out, g.o.ControlIn, g.o.ControlOut} {
		if c != nil {
			c.Close()
		}
	}
}

// media passes a batch of RTP on.
func (g *Gateway) media(b *batch) {
	now := time.Now()
	if !g.answer(b) {
		return
	}
	at, good, reports := -1, -1, -1 // messages: this one, and those of which something went on
	out := &b.out
	out.Reset()
	var packets, bytes uint64
	g.mu.Lock()
	b.each(func(pkt []byte) {
		if isRTCP(pkt) {
			if !checkRTCP(pkt, g.m.Leave) {
				g.refused(nil, ErrNotRTP)
				return
			}
			g.o.Stats.Control.Add(1)
			reports = b.at
			out.Add(pkt)
			return
		}
		packets++
		bytes += uint64(len(pkt))
		if at != b.at && g.open != nil {
			at = b.at
			g.open.rx.known = g.knows(b.source(at))
		}
		before := out.Len()
		if err := g.m.Push(pkt, now, out); err != nil {
			g.refused(nil, err)
		}
		if out.Len() > before && good != b.at {
			good = b.at
			if g.open != nil && !g.open.rx.known {
				g.meet(b.source(good))
			}
		}
		if out.Len() >= flushAt {
			g.flush(out)
		}
	})
	g.flush(out)
	g.kept()
	g.mu.Unlock()
	switch {
	case good >= 0:
		remember(&g.peer, b.source(good))
	case reports >= 0 && g.peer.Load() == nil:
		remember(&g.peer, b.source(reports))
	}
	g.o.Stats.PacketsIn.Add(packets)
	g.o.Stats.BytesIn.Add(bytes)
	g.o.Stats.Delay.add(time.Since(now), packets)
}

// knownAtMost is how many sources a gateway knows that something authenticated from.
const knownAtMost = 256

func (g *Gateway) knows(from netip.AddrPort) bool {
	if from == g.last {
		return true
	}
	_, ok := g.known[from]
	if ok {
		g.last = from
	}
	return ok
}

// meet remembers a source; mu is held.
func (g *Gateway) meet(from netip.AddrPort) {
	if g.known == nil {
		g.known = map[netip.AddrPort]struct{}{}
	}
	if len(g.known) >= knownAtMost {
		clear(g.known)
		g.last = netip.AddrPort{}
	}
	g.known[from] = struct{}{}
	g.open.rx.known = true
}

func (g *Gateway) flush(out *Packets) {
	if out.Len() == 0 {
		return
	}
	sent, _ := g.out.write(out, g.o.To)
	g.o.Stats.PacketsOut.Add(uint64(sent))
	g.o.Stats.BytesOut.Add(uint64(out.Bytes()))
	if lost := out.Len() - sent; lost > 0 {
		g.o.Stats.Refused[NotSent].Add(uint64(lost))
	}
	out.Reset()
}

// sweepEvery is how often a Mapper that keeps something is swept.
const sweepEvery = 100 * time.Millisecond

// kept counts what the Mapper keeps, and has it swept as long as that is anything; mu
// is held.
func (g *Gateway) kept() {
	n := int64(g.m.Kept())
	if n != g.held {
		g.o.Stats.Held.Add(n - g.held)
		g.held = n
	}
	if n > 0 && !g.armed {
		g.armed = true
		time.AfterFunc(sweepEvery, g.sweep)
	}
}

func (g *Gateway) sweep() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	g.m.Sweep(time.Now(), &g.late)
	g.flush(&g.late)
	g.kept()
}

// PutOut drops and wipes at once what is held of senders for whose key ID gone reports
// true, and tries all else that waits: what keys there are has changed.
func (g *Gateway) PutOut(gone func(cipher.KeyID) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o, ok := g.m.(*Opening); ok {
		o.LeaveSender(gone)
		o.Retry(time.Now(), &g.late)
		g.flush(&g.late)
	}
	g.kept()
}

// control passes RTCP on, from its own port to its own port.
func (g *Gateway) control(to *link) func(*batch) {
	return func(b *batch) {
		good := -1
		b.out.Reset()
		b.each(func(pkt []byte) {
			g.mu.Lock()
			ok := checkRTCP(pkt, g.m.Leave)
			g.kept()
			g.mu.Unlock()
			if !ok {
				g.refused(nil, ErrNotRTP)
				return
			}
			good = b.at
			b.out.Add(pkt)
		})
		if good >= 0 {
			g.reported(b.source(good))
		}
		if to != nil {
			sent, _ := to.write(&b.out, g.o.ControlTo)
			g.o.Stats.Control.Add(uint64(sent))
		}
	}
}

// backward passes RTCP from the receiver back to whoever sends. Where packets go to one
// host, only that one is heard.
func (g *Gateway) backward(to *link, peer *atomic.Pointer[netip.AddrPort]) func(*batch) {
	return func(b *batch) {
		p := peer.Load()
		b.out.Reset()
		b.each(func(pkt []byte) {
			if g.o.Exchange == nil && !g.receives(b.source(b.at).Addr()) {
				g.refused(nil, errStranger)
			} else if checkRTCP(pkt, nil) {
				b.out.Add(pkt)
			} else {
				g.refused(nil, ErrNotRTP)
			}
		})
		if p != nil {
			sent, _ := to.write(&b.out, *p)
			g.o.Stats.Control.Add(uint64(sent))
		}
	}
}

var errStranger = fmt.Errorf("%w of the receiver", ErrNotRTP)

// receives reports whether packets go to this host.
func (g *Gateway) receives(host netip.Addr) bool {
	to := g.o.To.Addr()
	return to.IsMulticast() || host.Unmap().WithZone("") == to.Unmap().WithZone("")
}

// reported remembers where RTCP came from. It proves nothing: once it is known where the
// media come from, reports from other hosts are not answered.
func (g *Gateway) reported(from netip.AddrPort) {
	if media := g.peer.Load(); media == nil || g.controlPeer.Load() == nil || media.Addr() == from.Addr() {
		remember(&g.controlPeer, from)
	}
}

// remember keeps the address that the last packet came from.
func remember(p *atomic.Pointer[netip.AddrPort], from netip.AddrPort) {
	if old := p.Load(); from.IsValid() && (old == nil || *old != from) {
		now := from // not from itself: that would be allocated at every call
		p.Store(&now)
	}
}
