package relay

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	offered  = flag.String("offered", "10000,40000,80000,120000,160000,240000", "messages a second that BenchmarkLoad offers, both ways counted")
	loadSize = flag.String("sizes", "172,1000", "payloads of BenchmarkLoad, in bytes")
	step     = flag.Duration("step", 100*time.Millisecond, "how long BenchmarkLoad offers a load to a server until it is another's turn")
	steps    = flag.Int("steps", 25, "how often BenchmarkLoad offers each load")
)

const (
	loadSessions = 50
	// burst is how many packets a client has on its way at once when a load is high: of
	// more than 20,000 a second the system is told once for each burst.
	burst = 4
)

// BenchmarkLoad offers loads up to and beyond what one core relays, the same to each
// server, whatever comes back: the server has a core for itself, and clients and peer the
// other. Half of a load goes from clients to the peer, the other half back.
func BenchmarkLoad(b *testing.B) {
	need(b, "turnserver")
	if runtime.NumCPU() < 2 {
		b.Skip("needs two processors")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, size := range integers(b, *loadSize) {
		for _, rate := range integers(b, *offered) {
			b.Run(fmt.Sprintf("size=%d/offered=%d", size, rate), func(b *testing.B) {
				defer onOneThread(b)()
				t := table{}
				for b.Loop() {
					offer(b, t, size, float64(rate))
				}
				t.report(b)
			})
		}
	}
}

// onOneThread keeps this goroutine, which no other benchmark's is, on its thread, for pin; what it
// returns lets the thread run everywhere again.
func onOneThread(b *testing.B) (undo func()) {
	b.Helper()
	runtime.LockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		b.Fatal(err)
	}
	return func() { unix.SchedSetaffinity(0, &all); runtime.UnlockOSThread() }
}

func integers(b *testing.B, list string) (n []int) {
	b.Helper()
	for s := range strings.SplitSeq(list, ",") {
		v, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		n = append(n, v)
	}
	return n
}

// offer offers a load to all servers by turns, in short steps: what else the machine has
// to do, and how fast it is at the time, is the same for all of them then.
func offer(b *testing.B, t table, size int, rate float64) {
	b.Helper()
	var running []*server
	var generators []*generator
	for _, which := range servers {
		pin(b, 0) // the server inherits it
		s := start(b, which)
		pin(b, 1)
		g := newGenerator(b, s, size)
		defer s.stop()
		defer g.close()
		g.run(min(rate, 10000), *step)
		running, generators = append(running, s), append(generators, g)
	}
	sent, came := map[string]float64{}, map[string]float64{}
	for i := range *steps {
		cost := map[string]float64{}
		for j := range servers {
			k := (i + j) % len(servers)
			s, which := running[k], servers[k]
			cpu := s.cpu(b)
			r := generators[k].run(rate, *step)
			cost[which] = float64((s.cpu(b) - cpu).Nanoseconds()) / 1000 / max(1, r.arrived)
			t.add(which, "us/msg", cost[which])
			t.add(which, "relayed/s", r.rate)
			t.add(which, "offered/s", r.sent/step.Seconds())
			sent[which] += r.sent
			came[which] += r.arrived
		}
		for _, which := range servers[1:] {
			t.add(which, "ratio", cost[which]/cost[coturn])
		}
	}
	for _, which := range servers { // of all steps: a median would hide a rare loss
		t.add(which, "lost-%", 100*(sent[which]-came[which])/sent[which])
	}
}

// loadResult is what became of a step's messages, and how many arrived a second.
type loadResult struct{ sent, arrived, rate float64 }

// generator is clients and peer in one thread.
type generator struct {
	b       *testing.B
	clients []*client
	peer    *net.UDPConn
	fds     []int // of the clients, and the peer's
	back    []unix.Sockaddr
	epoll   int
	up      []byte // a burst of ChannelData
	down    []byte // a burst of payloads
	size    int
	in      received
}

func newGenerator(b *testing.B, s *server, size int) *generator {
	b.Helper()
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		b.Fatal(err)
	}
	g := &generator{b: b, peer: peer, size: size, down: make([]byte, burst*size)}
	for range burst {
		g.up = binary.BigEndian.AppendUint16(g.up, channelNumber)
		g.up = binary.BigEndian.AppendUint16(g.up, uint16(size))
		g.up = append(g.up, make([]byte, size)...)
	}
	at := peer.LocalAddr().(*net.UDPAddr).AddrPort()
	for range loadSessions {
		c, err := allocate(s.at)
		if err == nil {
			err = c.bind(at)
		}
		if err != nil {
			b.Fatal(err)
		}
		g.clients = append(g.clients, c)
		g.fds = append(g.fds, descriptor(c.conn))
		g.back = append(g.back, &unix.SockaddrInet4{Port: int(c.relayed.Port()), Addr: c.relayed.Addr().As4()})
	}
	g.fds = append(g.fds, descriptor(peer))
	if g.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	for i, fd := range g.fds {
		message := size // packets of this length leave as one
		if i < loadSessions {
			message += channelHeader
		}
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, message)
		if err == nil {
			err = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	g.in.prepare()
	return g
}

func (g *generator) close() {
	closeAll(g.clients)
	g.peer.Close()
	unix.Close(g.epoll)
}

// run offers a load for as long as is said, and waits for what is under way.
func (g *generator) run(rate float64, d time.Duration) loadResult {
	g.b.Helper()
	var on unix.CPUSet
	if err := unix.SchedGetaffinity(0, &on); err != nil || on.Count() != 1 {
		g.b.Fatalf("the load comes from a thread on %d processors (%v): it was to be one", on.Count(), err)
	}
	n := 1
	if rate > 20000 {
		n = burst
	}
	every := time.Duration(float64(time.Second) * 2 * float64(n) / rate) // a burst each way
	begun := time.Now()
	heard := begun
	sent, came := 0, 0
	for turn := 0; ; {
		now := time.Now()
		over := now.Sub(begun) >= d
		if over && (came >= sent || now.Sub(heard) > patience) {
			break
		}
		for k := 0; k < 8 && !over && now.Sub(begun) >= time.Duration(turn)*every; k++ {
			i := turn % loadSessions
			if _, err := unix.Write(g.fds[i], g.up[:n*(g.size+channelHeader)]); err != nil {
				g.b.Fatal(err)
			}
			if err := unix.Sendto(g.fds[loadSessions], g.down[:n*g.size], 0, g.back[i]); err != nil {
				g.b.Fatal(err)
			}
			sent += 2 * n
			turn++
		}
		if m := g.take(); m > 0 {
			came += m
			heard = time.Now()
		}
	}
	return loadResult{sent: float64(sent), arrived: float64(came), rate: float64(came) / heard.Sub(begun).Seconds()}
}

// take takes in what came, and counts it.
func (g *generator) take() (n int) {
	var events [32]unix.EpollEvent
	ready, _ := unix.EpollWait(g.epoll, events[:], 0)
	for _, e := range events[:max(0, ready)] {
		n += g.in.take(int(e.Fd))
	}
	return n
}

// received is room for packets that nobody looks at.
type received struct {
	headers [64]struct {
		header unix.Msghdr
		length uint32
	}
	iov  unix.Iovec
	data [2048]byte
}

func (r *received) prepare() {
	r.iov.Base = &r.data[0]
	r.iov.SetLen(len(r.data))
	for i := range r.headers {
		r.headers[i].header.Iov = &r.iov
		r.headers[i].header.SetIovlen(1)
	}
}

func (r *received) take(fd int) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.headers)), uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
