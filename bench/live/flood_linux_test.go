package live

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
)

// BenchmarkFlood: somebody floods "gateway open" as fast as one core sends while 5,000
// good packets a second come. lost/1000 is how many of a thousand good packets were lost,
// junk/s what was sent beside them, peak-MB the gateway's largest resident memory.
//
//	random      random bytes, a datagram a call
//	forged      sealed packets of the same sender, but changed
//	keys        packets under keys that nobody has, another one each
//	pieces      beginnings of packets whose rest never comes, of another stream each
//	rotation    as keys, and the channel is rotated meanwhile
//	rows        forged packets in rows of 16: more than a core can read
func BenchmarkFlood(b *testing.B) {
	for _, kind := range []string{"none", "random", "forged", "keys", "pieces", "rotation", "rows"} {
		b.Run("kind="+kind, func(b *testing.B) { flooded(b, kind) })
	}
}

const (
	goodEvery = 200 * time.Microsecond
	floodFor  = 2 * time.Second
)

func flooded(b *testing.B, kind string) {
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	sink.SetReadBuffer(4 << 20)
	to := freePort(b)
	pid := start(b, "open", to, sink.LocalAddr().(*net.UDPAddr).AddrPort())
	good, junk := newLoad(b, to, sink, 1), newLoad(b, to, sink, 16)
	var ch *keyring.Channel
	good.sealing, ch = sealing(b)
	pin(os.Getpid(), 0)
	good.run(b, 5000, 200*time.Millisecond)
	rnd := rand.New(rand.NewPCG(1, 2))
	forged := append([]byte(nil), sealedExample(b, good)...)
	info, err := ch.Show(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	first := byte(info.Epoch)
	for b.Loop() {
		epoch := first
		good.hist.Reset()
		sent, came, flood := 0, 0, 0
		begun := time.Now()
		for due := begun; time.Since(begun) < floodFor; {
			if now := time.Now(); !now.Before(due) {
				due = due.Add(goodEvery)
				good.send(b)
				sent++
			}
			switch kind {
			case "random":
				p := junk.row[:100+rnd.IntN(1300)]
				for i := 0; i+8 <= len(p); i += 8 {
					binary.NativeEndian.PutUint64(p[i:], rnd.Uint64())
				}
				junk.sendRow(b, p, nil)
				flood++
			case "forged":
				binary.BigEndian.PutUint16(forged[2:], uint16(flood))
				forged[len(forged)-1-rnd.IntN(64)] ^= 1 + byte(rnd.UintN(255))
				junk.sendRow(b, forged, nil)
				flood++
			case "rotation", "keys": // 8 bytes of key ID, the last of which is the epoch
				copy(forged[12:], []byte{0xE0, 0xF0})
				binary.BigEndian.PutUint64(forged[14:], rnd.Uint64()|1<<63)
				forged[21] = epoch
				junk.sendRow(b, forged, nil)
				flood++
				if kind == "rotation" && time.Since(begun) > floodFor/4 && epoch == first {
					info, err := ch.Rotate(b.Context(), "")
					if err != nil {
						b.Fatal(err)
					}
					epoch = byte(info.Epoch)
				}
			case "pieces":
				forged[12] = 0xA0
				binary.BigEndian.PutUint32(forged[8:], rnd.Uint32())
				junk.sendRow(b, forged, nil)
				flood++
			case "rows":
				for i := range 16 {
					copy(junk.row[i*packetSize:][:packetSize], forged)
					junk.row[i*packetSize+30] = byte(rnd.Uint32())
				}
				junk.sendRow(b, junk.row, junk.control)
				flood += 16
			}
			for n := good.take(); n > 0; n = good.take() {
				came += n
			}
		}
		took := time.Since(begun)
		for heard := time.Now(); came < sent && time.Since(heard) < patience; {
			if n := good.take(); n > 0 {
				came, heard = came+n, time.Now()
			}
		}
		b.ReportMetric(float64(sent-came)/float64(sent)*1000, "lost/1000")
		b.ReportMetric(float64(flood)/took.Seconds(), "junk/s")
	}
	b.ReportMetric(float64(good.hist.ValueAtQuantile(50))/1e3, "p50-us")
	b.ReportMetric(float64(good.hist.ValueAtQuantile(99))/1e3, "p99-us")
	b.ReportMetric(peak(b, pid), "peak-MB")
	b.ReportMetric(0, "ns/op")
}

// sealedExample is a sealed packet that was not sent.
func sealedExample(b *testing.B, l *load) []byte {
	l.prepare(b, 1)
	pkt := l.ready[0].packets.At(0)
	l.ready = nil
	return pkt
}

// peak is the largest resident memory that a process had.
func peak(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmHWM:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1000
		}
	}
	b.Fatal("no VmHWM")
	return 0
}
