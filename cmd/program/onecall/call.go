package onecall

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/chanseal/chanseal/channelkey"
)

// Call is a call in a world: a sender behind the firewall, a receiver and a recorder
// beyond it.
type Call struct {
	w                *World
	channel          string
	sender, receiver uint32 // the members' uids
	number           string // the sender's, in frames

	Net    *Network
	seal   *Process
	open   *Process
	record *Process
	file   string // the recording

	in  *net.UDPConn // the sender's application
	to  *net.UDPAddr // its gateway
	out *ear         // the receiver's application

	source *source
	sent   []Packet
}

// ear is an application that receives RTP.
type ear struct {
	conn *net.UDPConn
	mu   sync.Mutex
	got  map[packetID][]byte
	all  [][]byte
	bad  int // packets that came twice with another content
	more chan struct{}
	done chan struct{}
}

func newEar() (*ear, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(socketBuffer)
	e := &ear{conn: c, got: map[packetID][]byte{}, more: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			e.hear(bytes.Clone(buf[:n]))
		}
	}()
	return e, nil
}

func (e *ear) hear(pkt []byte) {
	e.mu.Lock()
	if len(pkt) >= 12 {
		p := Packet{Data: pkt}
		if _, again := e.got[p.id()]; again {
			e.bad++
		}
		e.got[p.id()] = pkt
	}
	e.all = append(e.all, pkt)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

func (e *ear) close() {
	e.conn.Close()
	<-e.done
}

// source makes the packets of the clip, pass by pass.
type source struct {
	clip *Clip
	pass int
	all  []Packet
	per  int // packets of a pass
}

// next returns the packets of the next pass.
func (s *source) next() ([]Packet, error) {
	if s.pass == 0 {
		one, err := s.clip.Packets(1)
		if err != nil {
			return nil, err
		}
		s.per = len(one)
	}
	if s.per*(s.pass+1) > len(s.all) {
		all, err := s.clip.Packets(2*s.pass + 4)
		if err != nil {
			return nil, err
		}
		s.all = all
	}
	s.pass++
	return s.all[s.per*(s.pass-1) : s.per*s.pass], nil
}

// NewCall sets a call up: two members join, the receiver's gateway and the recorder
// listen to the media network. Nothing is sent yet. Close it in any case.
func (w *World) NewCall(ctx context.Context, channel string, sender, receiver uint32) (c *Call, err error) {
	c = &Call{w: w, channel: channel, sender: sender, receiver: receiver, file: w.path(channel + ".sealed.rtpdump"), source: &source{clip: w.o.Clip}}
	for i, uid := range []uint32{sender, receiver} {
		card, err := w.Card(w.Desk, []channelkey.Format{channelkey.DK4, channelkey.V007}[i], channel, uid, 0, 0)
		if err != nil {
			return c, stepError("issue a card", err)
		}
		w.show(true, "channel", "join", channel, "--uid", fmt.Sprint(uid), "--card-file", card, "…")
		p, err := w.Join(ctx, channel, uid, card)
		if err != nil {
			return c, stepError("join the channel", err)
		}
		if uid == sender {
			c.number, _ = after(p.Said(), joined)
		}
	}
	if c.Net, err = newNetwork(w.o.Loss, uint64(sender)); err != nil {
		return c, stepError("open the media network", err)
	}
	if c.out, err = newEar(); err != nil {
		return c, stepError("open the receiver's application", err)
	}
	if c.in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return c, stepError("open the sender's application", err)
	}
	args := []string{"gateway", "record", "--rtcp-mux", "--listen", "127.0.0.1:0", "-o", c.file}
	w.show(true, args...)
	if c.record, err = w.spawn(ctx, args...); err != nil {
		return c, stepError("start the recorder", err)
	}
	at, err := c.record.Says(ctx, "recording ")
	if err != nil {
		return c, stepError("start the recorder", err)
	}
	if err := c.Net.listen(firstWord(at)); err != nil {
		return c, stepError("start the recorder", err)
	}
	args = []string{"gateway", "open", "--channel", channel, "--rtcp-mux", "--listen", "127.0.0.1:0", "--to", c.out.conn.LocalAddr().String()}
	if w.o.Loss > 0 { // for who is busy with ten calls
		args = append(args, "--hold", "10s")
	}
	w.show(true, args...)
	c.open = w.start(ctx, w.memberRing(receiver), nil, args...)
	if at, err = c.open.Says(ctx, "opening "); err == nil {
		if err = c.Net.listen(firstWord(at)); err == nil {
			_, err = c.open.Says(ctx, "running")
		}
	}
	if err != nil {
		return c, stepError("start the receiver's gateway", err)
	}
	return c, nil
}

func firstWord(s string) string {
	for i := range s {
		if s[i] == ' ' {
			return s[:i]
		}
	}
	return s
}

func (c *Call) sealArgs(more ...string) []string {
	return append([]string{"gateway", "seal", "--channel", c.channel, "--sender", c.number, "--rtcp-mux", "--listen", "127.0.0.1:0", "--to", c.Net.Address().String()}, more...)
}

// Seal starts the sender's gateway, behind the wall, with what a command line says more.
func (c *Call) Seal(ctx context.Context, more ...string) error {
	args := c.sealArgs(more...)
	c.w.show(true, args...)
	if c.seal != nil {
		c.seal.Stop()
	}
	c.seal = c.w.start(ctx, c.w.memberRing(c.sender), c.w.Wall, args...)
	at, err := c.seal.Says(ctx, "sealing ")
	if err == nil {
		_, err = c.seal.Says(ctx, "running")
	}
	if err != nil {
		return err
	}
	a, err := netip.ParseAddrPort(firstWord(at))
	if err == nil {
		c.to = net.UDPAddrFromAddrPort(a)
	}
	return err
}

// SayPlain has the sender's application send a packet to the media network as it is, past
// its gateway, and waits until it is there: for a test of the search.
func (c *Call) SayPlain(ctx context.Context) error {
	packets, err := c.w.o.Clip.Packets(1)
	if err != nil {
		return err
	}
	before, _, _ := c.Net.counts()
	if _, err := c.in.WriteTo(packets[len(packets)/2].Data, c.Net.Address()); err != nil {
		return err
	}
	return c.wait(ctx, c.Net.more, func() (bool, string) {
		came, _, _ := c.Net.counts()
		return came > before, "the packet did not come to the media network"
	})
}

// Sealer is the sender's gateway.
func (c *Call) Sealer() *Process { return c.seal }

// ThroughProxy are the flags that send a gateway's packets through the cloud proxy.
func (c *Call) ThroughProxy(card string) []string {
	return []string{"--cloud-proxy=auto", "--proxy-type", "2", "--proxy-server", c.w.control, "--proxy-card-file", card,
		"--proxy-channel", c.channel, "--proxy-uid", fmt.Sprint(c.sender), "--proxy-ca", c.w.path("proxy.pem")}
}

// Blocked sends some packets past the proxy, and wants the wall to stop them.
func (c *Call) Blocked(ctx context.Context) (int, error) {
	if err := c.Seal(ctx); err != nil {
		return 0, err
	}
	packets, err := c.w.o.Clip.Packets(1)
	if err != nil {
		return 0, err
	}
	before := c.w.Wall.Blocked()
	n := min(20, len(packets))
	for _, p := range packets[:n] {
		if _, err := c.in.WriteToUDP(p.Data, c.to); err != nil {
			return 0, err
		}
	}
	for c.w.Wall.Blocked() < before+n {
		if came, _, _ := c.Net.counts(); came != 0 {
			break
		}
		select {
		case <-c.w.Wall.changed:
		case <-c.Net.more:
		case <-ctx.Done():
			return 0, fmt.Errorf("the firewall stopped %d of %d packets: %w", c.w.Wall.Blocked()-before, n, context.Cause(ctx))
		}
	}
	if came, _, _ := c.Net.counts(); came != 0 {
		return 0, fmt.Errorf("%d packets came past the firewall", came)
	}
	return n, nil
}

// Close ends what of the call runs.
func (c *Call) Close() {
	for _, p := range []*Process{c.seal, c.open, c.record} {
		if p != nil {
			p.Stop()
		}
	}
	if c.in != nil {
		c.in.Close()
	}
	if c.out != nil {
		c.out.close()
	}
	if c.Net != nil {
		c.Net.close()
	}
}
