package rtpseal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// TestDrain: what had arrived when the context ended still passes, RTCP on its own port
// included, by all paths, though reads fail in between; then Run returns, though more comes all the time.
func TestDrain(t *testing.T) {
	for _, path := range []string{"batched", "single", "faulty", "exchange"} {
		t.Run(path, func(t *testing.T) {
			seal, open := pair(t, cipher.AES128GCM())
			const host = "127.0.0.1:0"
			wrap := func(c *net.UDPConn) net.PacketConn {
				switch path {
				case "single":
					return slowConn{c}
				case "faulty":
					return &faultyConn{PacketConn: c}
				}
				return c
			}
			src, dst, controlDst := socket(t, host), socket(t, host), socket(t, host)
			in, out, controlIn, controlOut := socket(t, host), socket(t, host), socket(t, host), socket(t, host)
			o := rtpseal.GatewayOptions{In: wrap(in), Out: wrap(out), To: local(dst), ControlIn: wrap(controlIn), ControlOut: wrap(controlOut), ControlTo: local(controlDst)}
			running, stop := context.WithCancel(context.Background())
			defer stop()
			if path == "exchange" {
				o.Exchange = rtpseal.NewExchange(out)
				o.Out, o.ControlOut = nil, nil
				go o.Exchange.Run(running)
			}
			g, err := rtpseal.NewGateway(o, func(func(*rtpseal.Unit, error), func(rtpseal.Drop)) (rtpseal.Mapper, error) {
				return rtpseal.MapSealing(sealing(t, seal, 1200)), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			const n = 500
			for i := range n {
				src.WriteToUDPAddrPort(plain(5, uint32(i), uint16(i), false, nil, fmt.Append(nil, "packet ", i)), local(in))
			}
			bye := []byte{0x81, 203, 0, 1, 0, 0, 0, 5}
			src.WriteToUDPAddrPort(bye, local(controlIn))
			ended, end := context.WithCancel(context.Background())
			end()
			g.Run(ended)

			opened := opening(t, open, func(_ *rtpseal.Unit, err error) { t.Error(err) })
			buf := make([]byte, 4096)
			var got rtpseal.Packets
			dst.SetReadDeadline(time.Now().Add(10 * time.Second))
			for i := range n {
				k, _, err := dst.ReadFromUDPAddrPort(buf)
				if err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				if err := opened.Push(buf[:k], time.Now(), &got); err != nil || got.Len() != i+1 || binary.BigEndian.Uint32(got.At(i)[4:]) != uint32(i) {
					t.Fatalf("packet %d: %v, %d came out", i, err, got.Len())
				}
			}
			controlDst.SetReadDeadline(time.Now().Add(10 * time.Second))
			if k, _, err := controlDst.ReadFromUDPAddrPort(buf); err != nil || !bytes.Equal(buf[:k], bye) {
				t.Errorf("BYE: %v, %x", err, buf[:k])
			}
			if err := in.SetDeadline(time.Time{}); err == nil {
				t.Error("the socket is open")
			}
		})
	}
}

// faultyConn has every second read fail, as some systems have one behind each packet that
// the other side's machine refused.
type faultyConn struct {
	net.PacketConn
	reads int
}

func (f *faultyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if f.reads++; f.reads%2 == 0 {
		return 0, nil, errors.New("connection reset by peer")
	}
	return f.PacketConn.ReadFrom(b)
}

// TestDrainEnds: it does not go on for as long as packets come.
func TestDrainEnds(t *testing.T) {
	const host = "127.0.0.1:0"
	for _, fast := range []bool{true, false} {
		seal, _ := pair(t, cipher.AES128GCM())
		src, dst, in, out := socket(t, host), socket(t, host), socket(t, host), socket(t, host)
		to := local(in)
		o := rtpseal.GatewayOptions{In: in, Out: out, To: local(dst)}
		if !fast {
			o.In = slowConn{in}
		}
		g, err := rtpseal.NewGateway(o, func(func(*rtpseal.Unit, error), func(rtpseal.Drop)) (rtpseal.Mapper, error) {
			return rtpseal.MapSealing(sealing(t, seal, 1200)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		var flooding sync.WaitGroup
		flooding.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					src.WriteToUDPAddrPort(plain(5, 1, 1, false, nil, []byte("more")), to)
				}
			}
		})
		ended, end := context.WithCancel(context.Background())
		end()
		g.Run(ended)
		close(over)
		flooding.Wait()
	}
}

// registering is a context that says how many functions wait for its end.
type registering struct {
	context.Context
	waiting *atomic.Int64
}

func (r registering) AfterFunc(f func()) func() bool {
	r.waiting.Add(1)
	stop := context.AfterFunc(r.Context, f)
	return func() bool {
		stopped := stop()
		if stopped {
			r.waiting.Add(-1)
		}
		return stopped
	}
}

func (registering) Value(any) any { return nil } // or the context package would go past AfterFunc

// TestRunForgets: what ends because its sockets were closed leaves nothing with a context
// that goes on.
func TestRunForgets(t *testing.T) {
	const host = "127.0.0.1:0"
	seal, _ := pair(t, cipher.AES128GCM())
	ctx := registering{t.Context(), new(atomic.Int64)}
	in, out, shared := socket(t, host), socket(t, host), socket(t, host)
	g, err := rtpseal.NewGateway(rtpseal.GatewayOptions{In: in, Out: out, To: local(socket(t, host))}, func(func(*rtpseal.Unit, error), func(rtpseal.Drop)) (rtpseal.Mapper, error) {
		return rtpseal.MapSealing(sealing(t, seal, 1200)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	e := rtpseal.NewExchange(shared)
	for _, c := range []*net.UDPConn{in, out, shared} {
		c.Close()
	}
	g.Run(ctx)
	e.Run(ctx)
	if n := ctx.waiting.Load(); n != 0 {
		t.Errorf("%d functions wait for the context's end", n)
	}
}

// TestDrainLate: frames that wait for a packet in front of them, which does not come any
// more, pass before a gateway ends.
func TestDrainLate(t *testing.T) {
	const host = "127.0.0.1:0"
	seal, _ := pair(t, cipher.AES128GCM())
	codec, err := rtpseal.LookupCodec("opus")
	if err != nil {
		t.Fatal(err)
	}
	src, dst, in, out := socket(t, host), socket(t, host), socket(t, host), socket(t, host)
	stats := new(rtpseal.Stats)
	g, err := rtpseal.NewGateway(rtpseal.GatewayOptions{In: in, Out: out, To: local(dst), Stats: stats}, func(_ func(*rtpseal.Unit, error), dropped func(rtpseal.Drop)) (rtpseal.Mapper, error) {
		return rtpseal.NewFrameSealing(codec, rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(seal), MTU: 1200}, dropped)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range append(numbers(0, 10), numbers(11, 10)...) { // 10 is lost
		src.WriteToUDPAddrPort(plain(5, uint32(seq), seq, true, nil, []byte("frame")), local(in))
	}
	ended, end := context.WithCancel(context.Background())
	end()
	g.Run(ended)
	buf := make([]byte, 4096)
	dst.SetReadDeadline(time.Now().Add(10 * time.Second))
	for i := range 20 {
		if _, _, err := dst.ReadFromUDPAddrPort(buf); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	if n := stats.Refused[rtpseal.Missing].Load(); n != 1 || stats.Held.Load() != 0 {
		t.Errorf("%d packets are missing, %d bytes held", n, stats.Held.Load())
	}
}
