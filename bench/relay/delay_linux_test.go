package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	delaySessions = 20
	delaySize     = 172
	delayWindow   = 200 * time.Millisecond
	delayWindows  = 9   // whose median counts: a window in which the system did something else does not
	inFlight      = 256 // round trips under way at most
	patience      = 50 * time.Millisecond
)

// BenchmarkDelay has the server on one core and generator, clients and peer on another, in
// one thread: no packet waits for a program to be woken but the server. A round trip is
// two messages; up and down are the ways from client to peer and back.
func BenchmarkDelay(b *testing.B) {
	need(b, "turnserver")
	if runtime.NumCPU() < 2 {
		b.Skip("needs two processors")
	}
	runtime.LockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		b.Fatal(err)
	}
	defer func() { unix.SchedSetaffinity(0, &all); runtime.UnlockOSThread() }()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	t := table{}
	for b.Loop() {
		for i := range *rounds {
			direct := newBouncer(b, nil)
			for j := range servers {
				which := servers[(i+j)%len(servers)]
				func() {
					pin(b, 0) // the server inherits it
					s := start(b, which)
					defer s.stop()
					pin(b, 1)
					p := newBouncer(b, s)
					defer p.close()
					p.run(0, delayWindow)
					most := p.run(0, 5*delayWindow)
					up50, up99, down50, down99 := p.quantiles(most / 2)
					_, directUp, _, directDown := direct.quantiles(most / 2)
					added := max(up99-directUp, down99-directDown)
					for unit, v := range map[string]float64{"roundtrips/s": most, "up-p50-us": up50, "up-p99-us": up99, "down-p50-us": down50, "down-p99-us": down99, "added-p99-us": added} {
						t.add(which, unit, v)
					}
					b.Logf("round %d, %s: %.0f round trips/s at most; at half of that p99 up %.0f us, down %.0f us, added %.0f us", i+1, which, most, up99, down99, added)
				}()
			}
			direct.close()
		}
	}
	t.report(b)
}

// pin puts this thread, and what it starts, on one processor.
func pin(b *testing.B, cpu int) {
	b.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		b.Skip(err)
	}
}

// bouncer sends packets from clients to a peer, and sends them back from there.
type bouncer struct {
	b        *testing.B
	clients  []*client
	fds      []int
	to       []unix.Sockaddr // whom the peer sends to, by client
	peer     *net.UDPConn
	peerFD   int
	header   int // bytes before a client's payload
	sentAt   [1 << 12]time.Time
	backAt   [1 << 12]time.Time
	next     uint32
	out, in  []byte
	up, down *hdrhistogram.Histogram
}

// newBouncer allocates; without a server client and peer talk directly.
func newBouncer(b *testing.B, s *server) *bouncer {
	b.Helper()
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		b.Fatal(err)
	}
	peer.SetReadBuffer(4 << 20)
	p := &bouncer{b: b, peer: peer, peerFD: descriptor(peer), out: make([]byte, channelHeader+delaySize), in: make([]byte, 2048),
		up: hdrhistogram.New(1, int64(time.Minute), 3), down: hdrhistogram.New(1, int64(time.Minute), 3)}
	at := peer.LocalAddr().(*net.UDPAddr).AddrPort()
	for range delaySessions {
		var c *client
		var back netip.AddrPort
		if s != nil {
			if c, err = allocate(s.at); err == nil {
				err = c.bind(at)
				back = c.relayed
			}
			p.header = channelHeader
		} else {
			var conn *net.UDPConn
			if conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at)); err == nil {
				c, back = &client{conn: conn}, conn.LocalAddr().(*net.UDPAddr).AddrPort()
			}
		}
		if err != nil {
			b.Fatal(err)
		}
		p.clients = append(p.clients, c)
		p.fds = append(p.fds, descriptor(c.conn))
		p.to = append(p.to, &unix.SockaddrInet4{Port: int(back.Port()), Addr: back.Addr().As4()})
	}
	if p.header > 0 {
		binary.BigEndian.PutUint16(p.out, channelNumber)
		binary.BigEndian.PutUint16(p.out[2:], delaySize)
	}
	return p
}

const channelHeader = 4

func (p *bouncer) close() {
	closeAll(p.clients)
	p.peer.Close()
}

// run sends for as long as is said: at a rate in round trips a second, or with 0 as many
// as pass. It returns the rate.
func (p *bouncer) run(rate float64, d time.Duration) float64 {
	p.b.Helper()
	p.up.Reset()
	p.down.Reset()
	var every time.Duration
	if rate > 0 {
		every = time.Duration(1e9 / rate)
	}
	begun := time.Now()
	due, heard := begun, begun
	underWay, done := 0, 0
	for {
		now := time.Now()
		if now.Sub(begun) >= d && (underWay <= 0 || now.Sub(heard) > patience) {
			return float64(done) / heard.Sub(begun).Seconds()
		}
		if now.Sub(heard) > patience {
			underWay, heard = 0, now // what is under way was lost
		}
		if now.Sub(begun) < d && underWay < inFlight && (every == 0 || !now.Before(due)) {
			due = due.Add(every)
			p.send(now)
			underWay++
		}
		for p.bounce() {
		}
		for _, fd := range p.fds {
			for p.take(fd) {
				underWay--
				done++
				heard = time.Now()
			}
		}
	}
}

// quantiles sends at a rate, and returns medians over the windows, in microseconds.
func (p *bouncer) quantiles(rate float64) (up50, up99, down50, down99 float64) {
	p.b.Helper()
	var all [4][]float64
	for range delayWindows {
		p.run(rate, delayWindow)
		for i, v := range []int64{p.up.ValueAtQuantile(50), p.up.ValueAtQuantile(99), p.down.ValueAtQuantile(50), p.down.ValueAtQuantile(99)} {
			all[i] = append(all[i], float64(v)/1000)
		}
	}
	return median(all[0]), median(all[1]), median(all[2]), median(all[3])
}

// send sends the next packet from its client.
func (p *bouncer) send(now time.Time) {
	message := p.out[channelHeader-p.header:]
	binary.BigEndian.PutUint32(p.out[channelHeader:], p.next)
	p.sentAt[p.next%uint32(len(p.sentAt))] = now
	if _, err := unix.Write(p.fds[p.next%delaySessions], message); err != nil {
		p.b.Fatal(err)
	}
	p.next++
}

// bounce sends one packet back that came to the peer, if there is one.
func (p *bouncer) bounce() bool {
	n, err := unix.Read(p.peerFD, p.in)
	if err != nil || n < 4 {
		return false
	}
	now := time.Now()
	i := binary.BigEndian.Uint32(p.in)
	slot := i % uint32(len(p.sentAt))
	p.up.RecordValue(int64(now.Sub(p.sentAt[slot])))
	p.backAt[slot] = now
	return unix.Sendto(p.peerFD, p.in[:n], 0, p.to[i%delaySessions]) == nil
}

// take takes in one packet that came back to a client, if there is one.
func (p *bouncer) take(fd int) bool {
	n, err := unix.Read(fd, p.in)
	if err != nil || n < p.header+4 {
		return false
	}
	slot := binary.BigEndian.Uint32(p.in[p.header:]) % uint32(len(p.backAt))
	p.down.RecordValue(int64(time.Since(p.backAt[slot])))
	return true
}

// descriptor is a connection's; it stays the connection's own.
func descriptor(c *net.UDPConn) (fd int) {
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(f uintptr) { fd = int(f) })
	}
	return fd
}
