package live

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/chanseal/chanseal/rtpseal"
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
	sealing  *rtpseal.Sealing // nil: packets go as they are
	ready    []*sealedRow     // were sealed ahead, in order
	spare    []*sealedRow
}

// sealedRow is a row of packets, numbered from first on.
type sealedRow struct {
	first   uint32
	packets rtpseal.Packets
}

// newLoad makes a load whose packets go to a forwarder, and come to the sink.
func newLoad(b *testing.B, to netip.AddrPort, sink *net.UDPConn, rows int) *load {
	b.Helper()
	l := &load{rows: rows, to: unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, row: make([]byte, rows*packetSize),
		buf: make([]byte, 1<<16), oob: make([]byte, 128), hist: hdrhistogram.New(1, int64(time.Minute), 3)}
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
		unix.SetsockoptInt(l.sink, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		if rows > 1 {
			unix.SetsockoptInt(l.sink, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
	})
	if rows > 1 {
		l.control = segmentControl(packetSize)
	}
	for i := range rows {
		l.row[i*packetSize], l.row[i*packetSize+1] = 0x80, 96
	}
	return l
}

// run sends for as long as is said: at a rate in packets a second, or with 0 as many as
// pass; of a load that seals, only what was sealed ahead. It returns how many came, and in
// what time.
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
		sending := now.Sub(begun) < d && (rate > 0 || l.sealing == nil || len(l.ready) > 0)
		if !sending && (came >= sent || now.Sub(heard) > patience) {
			break
		}
		if now.Sub(heard) > patience {
			sent, heard = came, now // what is under way was lost
		}
		if sending && sent-came+l.rows <= inFlight && (every == 0 || !now.Before(due)) {
			due = due.Add(every)
			l.send(b)
			sent += l.rows
		}
		for {
			n := l.take()
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

func (l *load) send(b *testing.B) {
	if l.sealing == nil {
		first := l.number()
		l.leaves(first)
		l.sendRow(b, l.row, l.control)
		return
	}
	if len(l.ready) == 0 {
		l.prepare(b, 1)
	}
	r := l.ready[0]
	l.ready, l.spare = l.ready[1:], append(l.spare, r)
	l.leaves(r.first)
	one := r.packets.At(0)
	equal := l.rows > 1 && r.packets.Bytes() == l.rows*len(one)
	for i := range l.rows {
		equal = equal && len(r.packets.At(i)) == len(one)
	}
	if equal {
		binary.NativeEndian.PutUint16(l.control[unix.CmsgLen(0):], uint16(len(one)))
		l.sendRow(b, unsafe.Slice(unsafe.SliceData(one), r.packets.Bytes()), l.control)
		return
	}
	for i := range l.rows { // an announcement is longer
		l.sendRow(b, r.packets.At(i), nil)
	}
}

// prepare seals rows ahead.
func (l *load) prepare(b *testing.B, rows int) {
	b.Helper()
	for range rows {
		r := new(sealedRow)
		if n := len(l.spare); n > 0 {
			r, l.spare = l.spare[n-1], l.spare[:n-1]
		}
		r.first = l.number()
		r.packets.Reset()
		for i := range l.rows { // a header of 12 bytes, a descriptor, and at most 13 and 16 bytes of a sealed unit
			if err := l.sealing.Push(l.row[i*packetSize:][:packetSize-1-13-16], &r.packets); err != nil {
				b.Fatal(err)
			}
		}
		l.ready = append(l.ready, r)
	}
}

// number numbers the packets of the next row.
func (l *load) number() (first uint32) {
	first = l.next
	for i := range l.rows {
		p := l.row[i*packetSize:]
		binary.BigEndian.PutUint16(p[2:], uint16(l.next))
		binary.BigEndian.PutUint32(p[4:], l.next)
		l.next++
	}
	return first
}

// leaves notes when the packets of a row leave.
func (l *load) leaves(first uint32) {
	at := time.Now().UnixNano()
	for i := range uint32(l.rows) {
		l.sentAt[(first+i)&0xFFFF] = at
	}
}

func (l *load) sendRow(b *testing.B, row, control []byte) {
	if _, err := unix.SendmsgN(l.fd, row, control, &l.to, 0); err != nil && err != unix.ECONNREFUSED && err != unix.ENOBUFS {
		b.Fatal(err)
	}
}

// take takes in what one call gives, and returns the number of packets. When they came
// the kernel says: the thread may have been busy sending.
func (l *load) take() int {
	n, oobn, _, _, err := unix.Recvmsg(l.sink, l.buf, l.oob, unix.MSG_DONTWAIT)
	if err != nil || n < 12 {
		return 0
	}
	seg, at := n, time.Now().UnixNano()
	for rest := l.oob[:oobn]; len(rest) >= unix.SizeofCmsghdr; {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		switch data := rest[unix.CmsgLen(0):]; {
		case c.Level == unix.IPPROTO_UDP && c.Type == unix.UDP_GRO:
			seg = int(binary.NativeEndian.Uint32(data))
		case c.Level == unix.SOL_SOCKET && c.Type == unix.SO_TIMESTAMPNS:
			ts := (*unix.Timespec)(unsafe.Pointer(&data[0]))
			at = ts.Nano()
		}
		rest = rest[min(len(rest), unix.CmsgSpace(int(c.Len)-unix.CmsgLen(0))):]
	}
	packets := 0
	for pos := 0; pos+12 <= n; pos += seg {
		if l.buf[pos]&0x10 != 0 { // the first of the pieces of a packet: the last one counts
			continue
		}
		ts := binary.BigEndian.Uint32(l.buf[pos+4:])
		if when := l.sentAt[ts&0xFFFF]; when != 0 {
			l.hist.RecordValue(max(1, at-when))
			l.sentAt[ts&0xFFFF] = 0
			packets++
		}
	}
	return packets
}
