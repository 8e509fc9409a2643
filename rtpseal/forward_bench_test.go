//go:build linux

package rtpseal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

func benchSocket(b *testing.B) *net.UDPConn {
	b.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	c.SetReadBuffer(4 << 20)
	c.SetWriteBuffer(4 << 20)
	b.Cleanup(func() { c.Close() })
	return c
}

// BenchmarkForward: what passing a packet of 1,200 bytes on costs on one core, on
// loopback. The row "forward" is the bare batched forwarder that the others are compared
// with: the same sockets and system calls, nothing in between; "batched" does without
// UDP_SEGMENT, and "single" reads and writes
// one packet a call, as simple relays do. Only the forwarding is timed, not the load
// generator or the sink. rows=true has packets come and go joined (UDP_GRO), as
// between two gateways on one machine; rows=false is what other programs do.
func BenchmarkForward(b *testing.B) {
	base := bytes.Repeat([]byte{7}, 32)
	for _, rows := range []bool{false, true} {
		for _, what := range []string{"forward", "batched", "seal", "open", "single"} {
			b.Run(fmt.Sprintf("what=%s/rows=%v", what, rows), func(b *testing.B) {
				in, out, sink, src := benchSocket(b), benchSocket(b), benchSocket(b), benchSocket(b)
				to := sink.LocalAddr().(*net.UDPAddr).AddrPort()
				rx, tx, feed, drain := newLink(in), newLink(out), newLink(src), newLink(sink)
				if !rows || what == "single" {
					feed.sys.noRow.Store(true)
					drain.sys.raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_UDP, 104, 0) }) // UDP_GRO
				}
				if what == "batched" {
					tx.sys.noRow.Store(true)
				}
				suite := cipher.AES128GCM()
				seal, err := suite.NewSealKey(0x7007, base, cipher.FreshKey)
				if err != nil {
					b.Fatal(err)
				}
				open, err := suite.NewOpenKeyWindow(0x7007, base, cipher.PacketWindow)
				if err != nil {
					b.Fatal(err)
				}
				sealing, _ := NewSealing(SealingOptions{Sealer: SharedSealer(seal), MTU: 1400})
				opening, _ := NewOpening(OpeningOptions{Opener: Shared(open)})
				const batchSize = 32
				var load, mid Packets
				var spent time.Duration
				buf, pkt := make([]byte, 2048), make([]byte, 1200)
				handle := func(bt *batch) {
					bt.out.Reset()
					now := time.Now()
					bt.each(func(pkt []byte) {
						switch what {
						case "forward", "batched":
							bt.out.Add(pkt)
						case "seal":
							if err := sealing.Push(pkt, &bt.out); err != nil {
								b.Fatal(err)
							}
						case "open":
							if err := opening.Push(pkt, now, &bt.out); err != nil {
								b.Fatal(err)
							}
						}
					})
					if n, err := tx.write(&bt.out, to); err != nil || n != bt.out.Len() {
						b.Fatal(n, err)
					}
				}
				seq := uint16(0)
				passed := 0
				for b.Loop() {
					load.Reset()
					for range batchSize {
						pkt[0], pkt[1] = 0x80, 96
						binary.BigEndian.PutUint16(pkt[2:], seq)
						seq++
						if what == "open" {
							mid.Reset()
							if err := sealing.Push(pkt[:1174], &mid); err != nil {
								b.Fatal(err)
							}
							load.Add(mid.At(0))
						} else {
							load.Add(pkt)
						}
					}
					if n, err := feed.write(&load, in.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil || n != batchSize {
						b.Fatal(n, err)
					}
					begun := time.Now()
					if what == "single" {
						for range batchSize {
							n, _, err := in.ReadFromUDPAddrPort(buf)
							if err != nil {
								b.Fatal(err)
							}
							if _, err := out.WriteToUDPAddrPort(buf[:n], to); err != nil {
								b.Fatal(err)
							}
						}
					} else {
						for got := 0; got < batchSize; {
							if err := rx.read(func(bt *batch) {
								bt.each(func([]byte) { got++ })
								handle(bt)
							}); err != nil {
								b.Fatal(err)
							}
						}
					}
					spent += time.Since(begun)
					passed += batchSize
					for got := 0; got < batchSize; {
						drain.read(func(bt *batch) { bt.each(func([]byte) { got++ }) })
					}
				}
				b.ReportMetric(float64(spent.Nanoseconds())/float64(passed), "ns/packet")
				b.ReportMetric(float64(passed)/spent.Seconds(), "packets/s")
			})
		}
	}
}
