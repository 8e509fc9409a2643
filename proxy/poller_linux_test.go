//go:build linux && (amd64 || arm64)

package proxy

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSocketsAreEmptied: a socket tells once that packets came, so all of them must be
// read, of more than fit into a batch, too, and of those that came before it was watched.
func TestSocketsAreEmptied(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	const packets = 3*frontBatch + 5
	from, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	send := func(to netip.AddrPort) {
		t.Helper()
		for range packets {
			if _, err := from.WriteToUDPAddrPort([]byte("a packet"), to); err != nil {
				t.Fatal(err)
			}
		}
	}
	address := netip.AddrPortFrom(loopback, 0)

	// A front: what it gets means nothing, and is counted.
	c, err := listenUDP("udp", address.String(), false)
	if err != nil {
		t.Fatal(err)
	}
	send(unmap(c.LocalAddr().(*net.UDPAddr).AddrPort()))
	f := newFront(l.Server, c, false)
	if err := f.in.open(c); err != nil {
		t.Fatal(err)
	}
	before := l.stray.Load()
	if err := f.start(l.pollers[0]); err != nil {
		t.Fatal(err)
	}
	l.eventually("a front is empty", func() bool { return l.stray.Load() == before+packets })

	// A relay: its client gets all.
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	to.SetReadBuffer(1 << 20)
	b, err := bindSocket(address)
	if err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(b.fd)
	if err != nil {
		t.Fatal(err)
	}
	send(netip.AddrPortFrom(loopback, uint16(name.(*unix.SockaddrInet4).Port)))
	r := &relay{srv: l.Server, sess: &session{}, gone: make(chan struct{})}
	r.peers.Store(&peers{allowed: []netip.Addr{loopback}})
	addr := unmap(to.LocalAddr().(*net.UDPAddr).AddrPort())
	r.client.Store(&client{addr: addr, front: f, name: f.name(addr)})
	if err := r.useSocket(b, l.pollers[0]); err != nil {
		t.Fatal(err)
	}
	defer r.sock.close()
	buf := make([]byte, 1500)
	for i := range packets {
		to.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := to.Read(buf); err != nil {
			t.Fatalf("of %d packets from a peer %d came: %v", packets, i, err)
		}
	}
}

// TestGate: whoever waits hears of every event, whenever it comes, and of nothing else.
func TestGate(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, fewEvents} { // the gate is opened at once, or after a look
		testGate(t, n)
	}
}

// testGate has events come n at a time.
func testGate(t *testing.T, n int) {
	t.Helper()
	inner, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inner)
	var sockets []int
	for range n {
		s, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(s)
		if err := unix.EpollCtl(inner, unix.EPOLL_CTL_ADD, s, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}); err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, s)
	}
	var g gate
	if err := g.open(inner); err != nil {
		t.Fatal(err)
	}
	const rounds = 20000
	heard := make(chan int)
	ended := make(chan error)
	go func() {
		events := make([]unix.EpollEvent, 4)
		for {
			n, err := g.wait(events)
			if err != nil {
				ended <- err
				return
			}
			heard <- n
		}
	}()
	one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	for i := range rounds {
		for _, s := range sockets {
			if _, err := unix.Write(s, one); err != nil {
				t.Fatal(err)
			}
		}
		for came := 0; came < n; {
			if came += <-heard; came > n {
				t.Fatalf("round %d: %d events of %d", i, came, n)
			}
		}
		if i%1000 == 0 { // nothing comes: the read is empty handed
			for _, s := range sockets {
				unix.Read(s, make([]byte, 8))
			}
		}
	}
	g.close()
	if err := <-ended; err == nil {
		t.Error("a wait went on after close")
	}
}
