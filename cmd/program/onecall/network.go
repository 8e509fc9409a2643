package onecall

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// socketBuffer is what is asked of the kernel for datagrams that wait, in bytes.
const socketBuffer = 4 << 20

// packetID names an RTP packet of a call: streams, timestamps and sequence numbers stay as
// they are when packets are sealed one by one and none has to be cut.
type packetID struct {
	ssrc, timestamp uint32
	seq             uint16
}

// Network is a media network: what comes to its address goes to everybody who listens.
// It understands nothing of what it passes, keeps it all, and may lose some.
type Network struct {
	conn *net.UDPConn

	mu     sync.Mutex
	loss   float64
	dice   *rand.Rand
	to     []netip.AddrPort
	seen   [][]byte            // all that came
	passed map[packetID]uint64 // packets that were sent on, with their key ID
	last   uint64              // key ID of the newest
	bytes  int                 // of the packets of RTP that came
	count  int                 // and their number
	lost   int
	more   chan struct{} // has a value when something came
	done   chan struct{}
}

func newNetwork(loss float64, seed uint64) (*Network, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(socketBuffer)
	n := &Network{conn: c, loss: loss, dice: rand.New(rand.NewPCG(seed, 5)), passed: map[packetID]uint64{}, more: make(chan struct{}, 1), done: make(chan struct{})}
	go n.run()
	return n, nil
}

// Address is where it listens.
func (n *Network) Address() *net.UDPAddr { return n.conn.LocalAddr().(*net.UDPAddr) }

// listen has what comes sent to an address, too.
func (n *Network) listen(address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to = append(n.to, a)
	return nil
}

func (n *Network) run() {
	defer close(n.done)
	buf := make([]byte, 1<<16)
	for {
		size, _, err := n.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		n.pass(append([]byte(nil), buf[:size]...))
		select {
		case n.more <- struct{}{}:
		default:
		}
	}
}

// pass sends a packet on, or loses it.
func (n *Network) pass(pkt []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, pkt)
	h, payload, err := rtpseal.ParsePacket(pkt)
	if err == nil {
		n.count++
		n.bytes += len(pkt)
	}
	if n.loss > 0 && n.dice.Float64() < n.loss {
		n.lost++
		return
	}
	if err == nil {
		kid := uint64(0)
		if _, sealed, err := rtpseal.ParseDescriptor(payload); err == nil {
			if sh, _, err := cipher.ParseHeader(sealed); err == nil {
				kid = uint64(sh.KID)
			}
		}
		n.passed[packetID{h.SSRC, h.Timestamp, h.Sequence}] = kid
		n.last = kid
	}
	for _, a := range n.to {
		_, _ = n.conn.WriteToUDPAddrPort(pkt, a)
	}
}

// counts returns how many RTP packets came, their bytes, and how many were lost.
func (n *Network) counts() (came, bytes, lost int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count, n.bytes, n.lost
}

// epoch returns the low bits of the epoch that the newest packet was sealed in, which
// stand in the key ID's last 4 bits, full or short.
func (n *Network) epoch() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last & 0xF
}

func (n *Network) close() {
	n.conn.Close()
	<-n.done
}
