package rtpseal_test

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// TestStrangers: RTCP of the receiver goes back to where packets come from that
// authenticate, whoever else sends, and is taken from nobody but the receiver's host.
func TestStrangers(t *testing.T) {
	for _, own := range []bool{false, true} { // RTCP on a port of its own
		for _, fast := range []bool{true, false} {
			strangers(t, own, fast)
		}
	}
}

func strangers(t *testing.T, own, fast bool) {
	seal, open := pair(t, cipher.AES128GCM())
	s := sealing(t, seal, 1200)
	at := func(host string) *net.UDPConn { return socket(t, host+":0") }
	wrap := func(c *net.UDPConn) net.PacketConn {
		if fast {
			return c
		}
		return slowConn{c}
	}
	in, out, end := at("127.0.0.1"), at("127.0.0.1"), at("127.0.0.1")
	o := rtpseal.GatewayOptions{In: wrap(in), Out: wrap(out), To: local(end), Stats: new(rtpseal.Stats)}
	controlIn, controlOut, controlEnd := in, out, end
	if own {
		controlIn, controlOut, controlEnd = at("127.0.0.1"), at("127.0.0.1"), at("127.0.0.1")
		o.ControlIn, o.ControlOut, o.ControlTo = wrap(controlIn), wrap(controlOut), local(controlEnd)
	}
	gateway(t, o, func(r func(*rtpseal.Unit, error), _ func(rtpseal.Drop)) (rtpseal.Mapper, error) {
		return opening(t, open, r), nil
	})
	sender, stranger := at("127.0.0.2"), at("127.0.0.3")
	buf := make([]byte, 4096)
	expect := func(at, from *net.UDPConn, to *net.UDPConn, pkt, want []byte) {
		t.Helper()
		from.WriteToUDPAddrPort(pkt, local(to))
		at.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, _, err := at.ReadFromUDPAddrPort(buf); err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("own %v, fast %v: %v, %x, want %x", own, fast, err, buf[:n], want)
		}
	}
	var sealed rtpseal.Packets
	media := plain(5, 1, 1, true, nil, []byte("of the sender"))
	if err := s.Push(media, &sealed); err != nil {
		t.Fatal(err)
	}
	report := func(i byte) []byte { return []byte{0x80, 201, 0, 1, 0, 0, 0, i} }
	expect(end, sender, in, sealed.At(0), media)
	expect(controlEnd, sender, controlIn, report(1), report(1))
	// What a stranger sends: garbage, what was sent before, and reports, which pass.
	stranger.WriteToUDPAddrPort([]byte("garbage"), local(in))
	stranger.WriteToUDPAddrPort(sealed.At(0), local(in))
	expect(controlEnd, stranger, controlIn, report(2), report(2))
	// What the receiver answers goes to the sender; what others send to that port is not passed.
	stranger.WriteToUDPAddrPort(report(3), local(controlOut))
	expect(sender, controlEnd, controlOut, report(4), report(4))
	// The sender is somewhere else now.
	sender = at("127.0.0.4")
	media = plain(5, 2, 2, true, nil, []byte("of the sender"))
	sealed.Reset()
	if err := s.Push(media, &sealed); err != nil {
		t.Fatal(err)
	}
	expect(end, sender, in, sealed.At(0), media)
	expect(controlEnd, sender, controlIn, report(5), report(5))
	expect(sender, controlEnd, controlOut, report(6), report(6))
	stranger.SetReadDeadline(time.Now())
	if n, _, err := stranger.ReadFromUDPAddrPort(buf); err == nil {
		t.Errorf("own %v, fast %v: the stranger got %x", own, fast, buf[:n])
	}
}

// newcomers opens streams below 10 of whoever sends them, and others only if they come
// from where something authenticated before.
type newcomers struct{ rtpseal.StreamOpener }

func (n newcomers) OpenStream(ssrc uint32, dst, sealed []byte) ([]byte, error) {
	if ssrc >= 10 {
		return dst, cipher.ErrUnknownKey
	}
	return n.StreamOpener.OpenStream(ssrc, dst, sealed)
}

func (n newcomers) OpenFamiliar(ssrc uint32, dst, sealed []byte) ([]byte, error) {
	return n.StreamOpener.OpenStream(ssrc, dst, sealed)
}

// TestFamiliar: a Gateway tells its opener which packets come from where others
// authenticated, and gives those room to wait that a flood from elsewhere does not get.
func TestFamiliar(t *testing.T) {
	seal, open := pair(t, cipher.AES128GCM())
	s := sealing(t, seal, 1200)
	in, out, end := socket(t, "127.0.0.1:0"), socket(t, "127.0.0.1:0"), socket(t, "127.0.0.1:0")
	stats := new(rtpseal.Stats)
	gateway(t, rtpseal.GatewayOptions{In: in, Out: out, To: local(end), Stats: stats}, func(r func(*rtpseal.Unit, error), _ func(rtpseal.Drop)) (rtpseal.Mapper, error) {
		return rtpseal.NewOpening(rtpseal.OpeningOptions{Opener: newcomers{rtpseal.Shared(open)}, Limits: rtpseal.Limits{Age: rtpseal.MaxAge, Held: 20}, Refused: r})
	})
	buf := make([]byte, 4096)
	var sealed rtpseal.Packets
	send := func(from *net.UDPConn, ssrc, ts uint32, opens bool) {
		t.Helper()
		pkt := plain(ssrc, ts, uint16(ts), true, nil, []byte("from somewhere"))
		sealed.Reset()
		if err := s.Push(pkt, &sealed); err != nil {
			t.Fatal(err)
		}
		from.WriteToUDPAddrPort(sealed.At(0), local(in))
		if !opens {
			return
		}
		end.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, _, err := end.ReadFromUDPAddrPort(buf); err != nil || !bytes.Equal(buf[:n], pkt) {
			t.Fatalf("stream %d: %v, %x, want %x", ssrc, err, buf[:n], pkt)
		}
	}
	one, two, stranger := socket(t, "127.0.0.1:0"), socket(t, "127.0.0.1:0"), socket(t, "127.0.0.1:0")
	send(one, 1, 1, true)
	send(two, 2, 2, true)
	report := []byte{0x80, 201, 0, 1, 0, 0, 0, 9} // proves nothing
	stranger.WriteToUDPAddrPort(report, local(in))
	end.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, _, err := end.ReadFromUDPAddrPort(buf); err != nil || !bytes.Equal(buf[:n], report) {
		t.Fatalf("%v, %x", err, buf[:n])
	}
	for i := range uint32(30) {
		send(stranger, 20, 100+i, false)
	}
	send(one, 11, 3, true)
	send(two, 12, 4, true)
	if n := stats.Refused[rtpseal.UnknownKID].Load(); n != 20 {
		t.Errorf("%d packets of the stranger were refused, want 20: only 10 wait", n)
	}
}
