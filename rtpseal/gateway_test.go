package rtpseal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"
	"pgregory.net/rapid"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/rtpseal"
)

// plain makes an RTP packet.
func plain(ssrc, ts uint32, seq uint16, marker bool, extension []byte, payload []byte) []byte {
	b := make([]byte, 12)
	b[0], b[1] = 0x80, 111
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	if extension != nil {
		b[0] |= 0x10
		b = append(b, extension...)
	}
	return append(b, payload...)
}

func sealing(t testing.TB, s cipher.Sealer, mtu int) *rtpseal.Sealing {
	t.Helper()
	out, err := rtpseal.NewSealing(rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(s), MTU: mtu})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func opening(t testing.TB, o cipher.Opener, refused func(*rtpseal.Unit, error)) *rtpseal.Opening {
	t.Helper()
	out, err := rtpseal.NewOpening(rtpseal.OpeningOptions{Opener: rtpseal.Shared(o), Refused: refused})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestThroughBoth: what a Sealing took in comes out of an Opening bit for bit, sequence
// numbers and extensions included, though packets over the MTU travel in pieces, and
// whatever is lost, doubled or out of order on the way. Of what arrived whole nothing is
// missing.
func TestThroughBoth(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		loss := rapid.SampledFrom([]float64{0, 0.05}).Draw(rt, "loss")
		longest := rapid.SampledFrom([]int{200, 1300, 4000}).Draw(rt, "longest payload")
		kind := rapid.SampledFrom([]string{"none", "one byte", "two bytes", "one byte, its number", "two bytes, its number", "one byte, malformed", "two bytes, malformed"}).Draw(rt, "extension")
		seal, open := pair(t, cipher.AES128GCM())
		const mtu = 1200
		s := sealing(t, seal, mtu)
		o := opening(t, open, func(_ *rtpseal.Unit, err error) {
			if err != cipher.ErrReplayed {
				rt.Fatal(err)
			}
		})
		var extension []byte
		switch kind {
		case "one byte":
			extension = []byte{0xBE, 0xDE, 0, 1, 0x10, 7, 0, 0}
		case "two bytes":
			extension = []byte{0x10, 0, 0, 1, 5, 1, 9, 0}
		case "one byte, its number": // an element that looks like that of the sequence number
			extension = []byte{0xBE, 0xDE, 0, 2, 0x10, 7, 0, 0, rtpseal.SequenceID<<4 | 1, 1, 2, 0}
		case "one byte, malformed": // an end in the midst, and what goes beyond the header
			extension = []byte{0xBE, 0xDE, 0, 2, 0xF0, rtpseal.SequenceID<<4 | 1, 2, 3, 0x5F, 1, 2, 3}
		case "two bytes, malformed":
			extension = []byte{0x10, 0, 0, 2, rtpseal.SequenceID, 2, 3, 4, 5, 99, 9, 1}
		case "two bytes, its number":
			extension = []byte{0x10, 0, 0, 2, rtpseal.SequenceID, 2, 3, 4, 5, 1, 9, 0}
		}
		type sent struct {
			in  int
			pkt []byte
		}
		var air [][]sent
		want, whole, got := map[int][]byte{}, map[int]bool{}, map[int]int{}
		var out rtpseal.Packets
		at := 0
		put := func(when int, x sent) {
			for len(air) <= when {
				air = append(air, nil)
			}
			air[when] = append(air[when], x)
		}
		for i := range 400 {
			payload := make([]byte, rnd.IntN(longest))
			for j := range payload {
				payload[j] = byte(rnd.Uint32())
			}
			binary.BigEndian.AppendUint32(payload[:0], uint32(i))
			pkt := plain(uint32(i%2), uint32(i), uint16(65400+i/2), i%5 == 0, extension, payload)
			want[i], whole[i] = pkt, true
			out.Reset()
			if err := s.Push(pkt, &out); err != nil {
				rt.Fatal(err)
			}
			for j := range out.Len() {
				at++
				if len(out.At(j)) > mtu {
					rt.Fatalf("%d bytes leave, the MTU is %d", len(out.At(j)), mtu)
				}
				if len(payload) > 40 && bytes.Contains(out.At(j), payload[:40]) {
					rt.Fatal("a payload leaves in clear")
				}
				if rnd.Float64() < loss {
					whole[i] = false
					continue
				}
				for range 1 + rnd.IntN(10)/9 {
					put(at+rnd.IntN(64), sent{i, bytes.Clone(out.At(j))})
				}
			}
		}
		for when, xs := range air {
			for _, x := range xs {
				out.Reset()
				if err := o.Push(x.pkt, epoch.Add(time.Duration(when)*100*time.Microsecond), &out); err != nil {
					rt.Fatal(err)
				}
				for j := range out.Len() {
					got[x.in]++
					if !bytes.Equal(out.At(j), want[x.in]) {
						rt.Fatalf("packet %d: came out as\n%x, went in as\n%x", x.in, out.At(j), want[x.in])
					}
				}
			}
		}
		for i := range want {
			if whole[i] && got[i] != 1 || !whole[i] && got[i] != 0 {
				rt.Fatalf("packet %d: whole %v, came out %d times", i, whole[i], got[i])
			}
		}
	})
}

// TestSealingOdd: empty payloads, comfort noise, padding, CSRCs; what cannot be cut; and
// nothing leaves that was not sealed.
func TestSealingOdd(t *testing.T) {
	seal, open := pair(t, cipher.AES128CTRHMAC80())
	s, o := sealing(t, seal, 300), opening(t, open, nil)
	pass := func(name string, pkt, want []byte) {
		t.Helper()
		var mid, out rtpseal.Packets
		if err := s.Push(pkt, &mid); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range mid.Len() {
			if len(mid.At(i)) > 300 {
				t.Errorf("%s: a packet of %d bytes", name, len(mid.At(i)))
			}
			if err := o.Push(mid.At(i), epoch, &out); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if out.Len() != 1 || !bytes.Equal(out.At(0), want) {
			t.Errorf("%s: %d packets came out", name, out.Len())
		}
	}
	empty := plain(1, 2, 3, true, nil, nil)
	pass("empty", empty, empty)
	noise := plain(1, 2, 4, false, nil, []byte{0x40})
	pass("comfort noise", noise, noise)
	padded := append(plain(1, 2, 5, false, nil, []byte("abc")), 0, 0, 3)
	padded[0] |= 0x20
	pass("padding", padded, plain(1, 2, 5, false, nil, []byte("abc")))
	onlyPadding := append(plain(1, 2, 6, false, nil, nil), 0, 0, 0, 4)
	onlyPadding[0] |= 0x20
	pass("only padding", onlyPadding, plain(1, 2, 6, false, nil, nil))
	csrc := plain(1, 2, 7, true, nil, append([]byte{1, 2, 3, 4}, make([]byte, 900)...))
	csrc[0] |= 1
	pass("CSRC, in pieces", csrc, csrc)

	// Every length and header at the least MTU: no piece is empty or over it.
	s = sealing(t, seal, rtpseal.MinMTU)
	seq := uint16(100)
	for csrcs := range 16 {
		for n := 0; n < 60000; n += 1 + n/3 {
			pkt := plain(uint32(csrcs), 2, seq, true, nil, append(make([]byte, 4*csrcs), bytes.Repeat([]byte{9}, n)...))
			pkt[0] |= byte(csrcs)
			seq++
			if csrcs < 15 || n < 20000 {
				pass(fmt.Sprintf("%d CSRCs, %d bytes", csrcs, n), pkt, pkt)
			}
		}
	}

	var out rtpseal.Packets
	strange := plain(1, 2, 8, true, []byte{0xAB, 0xCD, 0, 0}, make([]byte, 900))
	if err := s.Push(strange, &out); !errors.Is(err, rtpseal.ErrExtension) || out.Len() != 0 {
		t.Errorf("a strange extension: %v, %d packets", err, out.Len())
	}
	if err := s.Push([]byte("hello"), &out); err != rtpseal.ErrNotRTP || out.Len() != 0 {
		t.Errorf("not RTP: %v", err)
	}
	broken := sealing(t, brokenSealer{}, 300)
	if err := broken.Push(noise, &out); err == nil || out.Len() != 0 {
		t.Errorf("a sealer that fails: %v, %d packets leave", err, out.Len())
	}
	for _, pkt := range [][]byte{noise, csrc, empty} {
		if o.Push(pkt, epoch, &out); out.Len() != 0 {
			t.Errorf("a plain packet passes the opening")
		}
	}
}

type brokenSealer struct{}

func (brokenSealer) Overhead() int { return 0 }
func (brokenSealer) Seal(dst, _, _ []byte) ([]byte, error) {
	return dst, cipher.ErrExhausted
}

// TestGatewayAllocs: a packet allocates nothing on its way through either half.
func TestGatewayAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("the race detector allocates")
	}
	seal, open := pair(t, cipher.AES128GCM())
	s, o := sealing(t, seal, 1200), opening(t, open, nil)
	short, long := plain(1, 2, 3, true, nil, make([]byte, 900)), plain(2, 2, 3, true, nil, make([]byte, 2900))
	var mid, out rtpseal.Packets
	step := func() {
		mid.Reset()
		out.Reset()
		for _, pkt := range [][]byte{short, long} {
			binary.BigEndian.PutUint16(pkt[2:], binary.BigEndian.Uint16(pkt[2:])+1)
			if err := s.Push(pkt, &mid); err != nil {
				t.Fatal(err)
			}
		}
		for i := range mid.Len() {
			if err := o.Push(mid.At(i), epoch, &out); err != nil {
				t.Fatal(err)
			}
		}
		if out.Len() != 2 {
			t.Fatalf("%d packets came out", out.Len())
		}
	}
	for range 100 {
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		t.Errorf("%v allocations for two packets", n)
	}
}

func socket(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP("udp", a)
	if err != nil {
		t.Skipf("no UDP on %s: %v", addr, err)
	}
	c.SetReadBuffer(4 << 20)
	c.SetWriteBuffer(4 << 20)
	t.Cleanup(func() { c.Close() })
	return c
}

func local(c net.PacketConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// slowConn hides that a socket is one of UDP, as one behind a relay is none.
type slowConn struct{ net.PacketConn }

func gateway(t testing.TB, o rtpseal.GatewayOptions, m func(func(*rtpseal.Unit, error), func(rtpseal.Drop)) (rtpseal.Mapper, error)) {
	t.Helper()
	g, err := rtpseal.NewGateway(o, m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// TestGateway passes packets through two gateways, over IPv4 and IPv6, by the system
// calls for many packets and by those for one, with RTCP both ways and garbage beside.
func TestGateway(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, fast := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/batched=%v", host, fast), func(t *testing.T) {
				seal, open := pair(t, cipher.AES128GCM())
				wrap := func(c *net.UDPConn) net.PacketConn {
					if fast {
						return c
					}
					return slowConn{c}
				}
				src, dst := socket(t, host), socket(t, host)
				in1, out1, in2, out2 := socket(t, host), socket(t, host), socket(t, host), socket(t, host)
				var sealStats, openStats rtpseal.Stats
				gateway(t, rtpseal.GatewayOptions{In: wrap(in1), Out: wrap(out1), To: local(in2), Stats: &sealStats}, func(r func(*rtpseal.Unit, error), _ func(rtpseal.Drop)) (rtpseal.Mapper, error) {
					return rtpseal.MapSealing(sealing(t, seal, 1200)), nil
				})
				gateway(t, rtpseal.GatewayOptions{In: wrap(in2), Out: wrap(out2), To: local(dst), Stats: &openStats}, func(r func(*rtpseal.Unit, error), _ func(rtpseal.Drop)) (rtpseal.Mapper, error) {
					return opening(t, open, r), nil
				})
				const n = 300
				garbage := socket(t, host)
				junk := append([]byte{0x80, 111}, make([]byte, 200)...)
				junk[12] = 0xFF
				buf := make([]byte, 4096)
				for i := range n {
					payload := make([]byte, i*9%2000)
					pkt := plain(5, uint32(i), uint16(i), true, nil, payload)
					src.WriteToUDPAddrPort(pkt, local(in1))
					garbage.WriteToUDPAddrPort(junk, local(in2))
					dst.SetReadDeadline(time.Now().Add(10 * time.Second))
					got, _, err := dst.ReadFromUDPAddrPort(buf)
					if err != nil || !bytes.Equal(buf[:got], pkt) {
						t.Fatalf("packet %d: %v, %d bytes", i, err, got)
					}
				}
				// Reports travel both ways, and back to whoever sent last.
				report := []byte{0x80, 201, 0, 1, 0, 0, 0, 9}
				src.WriteToUDPAddrPort(report, local(in1))
				got, _, err := dst.ReadFromUDPAddrPort(buf)
				if err != nil || !bytes.Equal(buf[:got], report) {
					t.Fatalf("a report: %v, %x", err, buf[:got])
				}
				back := []byte{0x80, 201, 0, 1, 0, 0, 0, 8}
				in2.WriteToUDPAddrPort(back, local(out1)) // as the far gateway sends it
				src.SetReadDeadline(time.Now().Add(10 * time.Second))
				if got, _, err = src.ReadFromUDPAddrPort(buf); err != nil || !bytes.Equal(buf[:got], back) {
					t.Fatalf("a report on its way back: %v", err)
				}
				if openStats.Refused[rtpseal.NoDescriptor].Load()+openStats.Refused[rtpseal.NotRTP].Load() == 0 || openStats.PacketsOut.Load() < n {
					t.Errorf("refused %d, passed %d", openStats.Refused[rtpseal.NoDescriptor].Load(), openStats.PacketsOut.Load())
				}
			})
		}
	}
}

// TestFrames: by whole frames, packets of a codec become sealed frames and packets of it
// again, with the same content.
func TestFrames(t *testing.T) {
	frame := func(n int) []byte {
		b := []byte{0, 0, 0, 1, 0x65}
		for i := range n {
			b = append(b, byte(i*7)|1)
		}
		return b
	}
	for _, name := range []string{"opus", "h264"} {
		codec, err := rtpseal.LookupCodec(name)
		if err != nil {
			t.Fatal(err)
		}
		cutPlain, _ := rtpseal.NewCutter(codec, 500)
		cutAgain, _ := rtpseal.NewCutter(codec, 1200)
		seal, open := pair(t, cipher.AES128GCM())
		s, err := rtpseal.NewFrameSealing(codec, rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(seal)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		o, err := rtpseal.NewOpening(rtpseal.OpeningOptions{Opener: rtpseal.Shared(open), Frames: cutAgain})
		if err != nil {
			t.Fatal(err)
		}
		back, err := rtpseal.NewFrameSealing(codec, rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(collect{&got})}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var want [][]byte
		for i := range 30 {
			f := frame(i * 100)
			want = append(want, f)
			var in, mid, out, end rtpseal.Packets
			u := rtpseal.Unit{}
			u.SSRC, u.Timestamp, u.Marker = 4, uint32(i), true
			if err := cutPlain.Cut(&u, f, &in); err != nil {
				t.Fatal(err)
			}
			for j := range in.Len() { // backwards
				if err := s.Push(in.At(in.Len()-1-j), epoch, &mid); err != nil {
					t.Fatal(err)
				}
				if i == 0 && in.Len() > 1 {
					t.Fatal("the first frame is to be one packet")
				}
			}
			for j := range mid.Len() {
				if err := o.Push(mid.At(j), epoch, &out); err != nil {
					t.Fatal(err)
				}
			}
			for j := range out.Len() {
				if err := back.Push(out.At(j), epoch, &end); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d frames came out of %d", name, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%s: frame %d is another one", name, i)
			}
		}
		if s.Kept() != 0 {
			t.Errorf("%s: %d bytes are kept", name, s.Kept())
		}
	}
	// Nothing of an access unit is dropped or reordered, whatever it holds.
	codec, _ := rtpseal.LookupCodec("h264")
	cutH264, _ := rtpseal.NewCutter(codec, 200)
	for _, au := range []string{
		"\x00\x00\x00\x01\x09\xf0\x00\x00\x00\x01\x67sps\x00\x00\x00\x01\x68one\x00\x00\x00\x01\x68two\x00\x00\x00\x01\x65slice",
		"\x00\x00\x00\x01\x67sps\x00\x00\x00\x00\x01\x68pps\x00\x00\x00\x01\x65slice", // as OpenH264 ends its parameter sets
		"\x00\x00\x00\x01\x68pps\x00\x00\x00\x01\x67" + strings.Repeat("s", 500) + "\x00\x00\x00\x01\x0c\xff\xff\x80",
	} {
		var pkts rtpseal.Packets
		if err := cutH264.Cut(&rtpseal.Unit{}, []byte(au), &pkts); err != nil {
			t.Fatal(err)
		}
		var back []byte
		d := &codecs.H264Packet{}
		for i := range pkts.Len() {
			if len(pkts.At(i)) > 200 {
				t.Errorf("a packet of %d bytes", len(pkts.At(i)))
			}
			b, err := d.Unmarshal(pkts.At(i)[12:])
			if err != nil {
				t.Fatal(err)
			}
			back = append(back, b...)
		}
		if string(back) != au {
			t.Errorf("%q came back as %q", au, back)
		}
	}
	var none rtpseal.Packets
	if err := cutH264.Cut(&rtpseal.Unit{}, bytes.Repeat([]byte{0, 0, 1}, 100000), &none); err == nil || none.Len() != 0 {
		t.Errorf("nothing but start codes: %v, %d packets", err, none.Len())
	}
	if _, err := rtpseal.LookupCodec("mjpeg"); err == nil {
		t.Error("an unknown codec passes")
	}
}

// collect is a Sealer that keeps what it is to seal.
type collect struct{ frames *[][]byte }

func (collect) Overhead() int { return 0 }
func (c collect) Seal(dst, frame, _ []byte) ([]byte, error) {
	*c.frames = append(*c.frames, bytes.Clone(frame))
	return append(dst, 1), nil
}

// TestSwallowed: behind an extension that ends in the midst of an element, that of the
// sequence number would be read as its content. Such a packet passes in one piece, and
// is refused where it has to be numbered.
func TestSwallowed(t *testing.T) {
	seal, open := pair(t, cipher.AES128GCM())
	s := sealing(t, seal, 300)
	o := opening(t, open, func(_ *rtpseal.Unit, err error) { t.Error(err) })
	swallows := []byte{0xBE, 0xDE, 0, 1, 0x10, 7, 0x23, 1} // the second element would be 4 bytes long
	var out, back rtpseal.Packets
	short := plain(1, 2, 3, true, swallows, []byte("payload"))
	if err := s.Push(short, &out); err != nil {
		t.Fatal(err)
	}
	if err := o.Push(out.At(0), epoch, &back); err != nil || back.Len() != 1 || !bytes.Equal(back.At(0), short) {
		t.Errorf("%v: %d packets came out", err, back.Len())
	}
	out.Reset()
	if err := s.Push(plain(1, 3, 4, true, swallows, make([]byte, 500)), &out); err != rtpseal.ErrExtension || out.Len() != 0 {
		t.Errorf("%v, and %d packets leave", err, out.Len())
	}
}
