package live

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	packetSize = 1200
	inFlight   = 512 // packets under way at most: nothing is lost for want of buffers
	patience   = 50 * time.Millisecond
)

// load is a generator and a sink in one thread: it sends rows of packets and takes in
// what comes, so that neither waits for the other to be woken.
type load struct {
	fd, sink int
	to       unix.SockaddrInet4
	rows     int // packets a send call (UDP_SEGMENT)
	row      []byte
	control  []byte
	sentAt   [1 << 16]int64
	next     uint32 // the number of the next packet, its RTP timestamp
	buf, oob []byte
	hist     *hdrhistogram.Histogram
}

// newLoad makes a load whose packets go to a forwarder, and come to the sink.
func newLoad(b *testing.B, to netip.AddrPort, sink *net.UDPConn, rows int) *load {
	b.Helper()
	l := &load{rows: rows, to: unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, row: make([]byte, rows*packetSize),
		buf: make([]byte, 1<<16), oob: make([]byte, 64), hist: hdrhistogram.New(1, int64(time.Minute), 3)}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	l.fd = fd
	raw, err := sink.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		l.sink = int(fd)
		if rows > 1 {
			unix.SetsockoptInt(l.sink, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
	})
	if rows > 1 {
		l.control = make([]byte, unix.CmsgSpace(2))
		binary.NativeEndian.PutUint64(l.control, uint64(unix.CmsgLen(2)))
		binary.NativeEndian.PutUint32(l.control[8:], unix.IPPROTO_UDP)
		binary.NativeEndian.PutUint32(l.control[12:], unix.UDP_SEGMENT)
		binary.NativeEndian.PutUint16(l.control[unix.CmsgLen(0):], packetSize)
	}
	for i := range rows {
		l.row[i*packetSize], l.row[i*packetSize+1] = 0x80, 96
	}
	return l
}

// run sends for as long as is said: at a rate in packets a second, or with 0 as many as
// pass. It returns how many came, and in what time.
func (l *load) run(b *testing.B, rate float64, d time.Duration) (came int, took time.Duration) {
	b.Helper()
	l.hist.Reset()
	var every time.Duration
	if rate > 0 {
		every = time.Duration(float64(l.rows) / rate * 1e9)
	}
	begun := time.Now()
	due, heard := begun, begun
	sent := 0
	for {
		now := time.Now()
		if now.Sub(begun) >= d && (came >= sent || now.Sub(heard) > patience) {
			break
		}
		if now.Sub(heard) > patience {
			sent, heard = came, now // what is under way was lost
		}
		if now.Sub(begun) < d && sent-came+l.rows <= inFlight && (every == 0 || !now.Before(due)) {
			due = due.Add(every)
			l.send(b, now.Sub(begun))
			sent += l.rows
		}
		for {
			n := l.take(time.Since(begun))
			if n == 0 {
				break
			}
			came += n
			heard = time.Now()
			if n < 8 && l.rows > 1 || every > 0 && !time.Now().Before(due) {
				break
			}
		}
	}
	return came, time.Since(begun)
}

func (l *load) send(b *testing.B, at time.Duration) {
	for i := range l.rows {
		p := l.row[i*packetSize:]
		binary.BigEndian.PutUint16(p[2:], uint16(l.next))
		binary.BigEndian.PutUint32(p[4:], l.next)
		l.sentAt[l.next&0xFFFF] = int64(at)
		l.next++
	}
	if _, err := unix.SendmsgN(l.fd, l.row, l.control, &l.to, 0); err != nil && err != unix.ECONNREFUSED && err != unix.ENOBUFS {
		b.Fatal(err)
	}
}

// take takes in what one call gives, and returns the number of packets.
func (l *load) take(now time.Duration) int {
	n, oobn, _, _, err := unix.Recvmsg(l.sink, l.buf, l.oob, unix.MSG_DONTWAIT)
	if err != nil || n < 12 {
		return 0
	}
	seg := n
	if oobn >= unix.CmsgLen(4) && l.rows > 1 {
		seg = int(binary.NativeEndian.Uint32(l.oob[unix.CmsgLen(0):]))
	}
	packets := 0
	for at := 0; at+12 <= n; at += seg {
		ts := binary.BigEndian.Uint32(l.buf[at+4:])
		if when := l.sentAt[ts&0xFFFF]; when >= 0 { // the first of what a packet was cut into counts
			l.hist.RecordValue(int64(now) - when)
			l.sentAt[ts&0xFFFF] = -1
			packets++
		}
	}
	return packets
}
