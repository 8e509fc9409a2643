package rtpseal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
	"github.com/chanseal/chanseal/rtpseal"
)

var epoch = time.Unix(1_000_000, 0)

// packets cuts a unit.
func packets(t testing.TB, p *rtpseal.Packetizer, unit []byte, ts uint32, marker bool, kind rtpseal.Descriptor) (all [][]byte) {
	t.Helper()
	if err := p.Packetize(unit, ts, marker, kind, func(pkt []byte) error {
		all = append(all, bytes.Clone(pkt))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func packetizer(t testing.TB, ssrc uint32, seq uint16, mtu int) *rtpseal.Packetizer {
	t.Helper()
	p, err := rtpseal.NewPacketizer(rtpseal.PacketizerOptions{SSRC: ssrc, PayloadType: 96, Sequence: seq, MTU: mtu})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pair(t testing.TB, suite *cipher.Suite) (*cipher.SealKey, *cipher.OpenKey) {
	t.Helper()
	base := bytes.Repeat([]byte{7}, suite.BaseKeySize())
	s, err := suite.NewSealKey(9, base, cipher.FreshKey)
	if err != nil {
		t.Fatal(err)
	}
	o, err := suite.NewOpenKeyWindow(9, base, cipher.PacketWindow)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

// TestLossyNetwork: with loss, reordering by up to 64 packets and duplicates, every
// unit of which all packets arrived opens, once; no other opens; marker, time and
// payload type are those of the unit. Sequence numbers and SSRCs go anywhere.
func TestLossyNetwork(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 1))
		loss := rapid.SampledFrom([]float64{0, 0.05, 0.3}).Draw(rt, "loss")
		seq := rapid.SampledFrom([]uint16{0, 1, 32760, 65500}).Draw(rt, "sequence")
		ssrc := rapid.SampledFrom([]uint32{0, 5, 1<<32 - 1}).Draw(rt, "ssrc")
		kind := rapid.SampledFrom([]rtpseal.Descriptor{0, rtpseal.PerPacket}).Draw(rt, "kind")
		seal, open := pair(t, cipher.AES128CTRHMAC80())
		p := packetizer(t, ssrc, seq, 200)

		type flying struct {
			unit int
			pkt  []byte
			when int
		}
		var air []flying
		want, whole := map[int][]byte{}, map[int]bool{}
		n := 0
		for unit := range 150 {
			frame := make([]byte, rnd.IntN(1500))
			for i := range frame {
				frame[i] = byte(rnd.Uint32())
			}
			sealed, err := seal.Seal(nil, frame, nil)
			if err != nil {
				t.Fatal(err)
			}
			want[unit], whole[unit] = frame, true
			for _, pkt := range packets(t, p, sealed, uint32(unit)*3000, unit%3 != 0, kind) {
				n++
				if rnd.Float64() < loss {
					whole[unit] = false
					continue
				}
				air = append(air, flying{unit, pkt, n + rnd.IntN(64)})
				if rnd.Float64() < 0.1 {
					air = append(air, flying{unit, pkt, n + rnd.IntN(64)})
				}
			}
		}
		// A stable sort by arrival.
		byTime := map[int][]flying{}
		for _, f := range air {
			byTime[f.when] = append(byTime[f.when], f)
		}
		got := map[int]int{}
		r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: rtpseal.Shared(open), Frame: func(u *rtpseal.Unit, frame []byte) {
			unit := int(u.Timestamp / 3000)
			got[unit]++
			if !bytes.Equal(frame, want[unit]) || u.Marker != (unit%3 != 0) || u.PayloadType != 96 || u.Kind != kind || u.SSRC != ssrc {
				rt.Fatalf("unit %d came out as %d bytes, marker %v", unit, len(frame), u.Marker)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for when := range n + 65 {
			for _, f := range byTime[when] {
				if err := r.Push(f.pkt, epoch.Add(time.Duration(when)*time.Millisecond)); err != nil {
					rt.Fatal(err)
				}
			}
		}
		for unit := range want {
			if whole[unit] && got[unit] != 1 || !whole[unit] && got[unit] != 0 {
				rt.Fatalf("unit %d: whole %v, delivered %d times", unit, whole[unit], got[unit])
			}
		}
	})
}

// TestLongUnit: the longest unit comes out, whatever the order of its packets within what
// networks do; a longer one does not leave.
func TestLongUnit(t *testing.T) {
	const longest = 1920 * (1200 - 13)
	sealed := make([]byte, longest+1)
	for i := range sealed {
		sealed[i] = byte(i / 7)
	}
	p := packetizer(t, 5, 65000, 0)
	if err := p.Packetize(sealed, 1, true, 0, func([]byte) error { return nil }); err != rtpseal.ErrTooLong {
		t.Fatalf("a unit of %d bytes: %v", len(sealed), err)
	}
	sealed = sealed[:longest]
	d := rtpseal.NewDepacketizer(rtpseal.Limits{}, func(d rtpseal.Drop) { t.Errorf("dropped: %+v", d) })
	for range 2 {
		pkts := packets(t, p, sealed, 2, true, 0)
		rnd := rand.New(rand.NewPCG(1, 2))
		for i := 0; i < len(pkts); i += 64 {
			some := pkts[i:min(i+64, len(pkts))]
			rnd.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		}
		var got []byte
		for _, pkt := range pkts {
			if u, err := d.Push(pkt, epoch); err != nil {
				t.Fatal(err)
			} else if u != nil {
				got = bytes.Clone(u.Sealed)
			}
		}
		if !bytes.Equal(got, sealed) || d.Kept() != 0 {
			t.Fatalf("%d bytes came out, %d are kept", len(got), d.Kept())
		}
	}
}

// TestRuns: what does not fit together is not put together.
func TestRuns(t *testing.T) {
	mk := func(seq uint16, ts uint32, pt uint8, d rtpseal.Descriptor, body string) []byte {
		pkt := []byte{0x80, pt, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, byte(d)}
		binary.BigEndian.PutUint16(pkt[2:], seq)
		binary.BigEndian.PutUint32(pkt[4:], ts)
		return append(pkt, body...)
	}
	const s, e, T = rtpseal.First, rtpseal.Last, rtpseal.PerPacket
	for _, c := range []struct {
		name string
		pkts [][]byte
		want string
	}{
		{"in order", [][]byte{mk(1, 5, 96, s, "ab"), mk(2, 5, 96, 0, "cd"), mk(3, 5, 96, e, "ef")}, "abcdef"},
		{"backwards over the wrap", [][]byte{mk(1, 5, 96, e, "ef"), mk(0, 5, 96, 0, "cd"), mk(65535, 5, 96, s, "ab")}, "abcdef"},
		{"shortest run", [][]byte{mk(1, 5, 96, s, "xx"), mk(2, 5, 96, s, "ab"), mk(3, 5, 96, e, "ef")}, "abef"},
		{"two ends", [][]byte{mk(1, 5, 96, s, "ab"), mk(3, 5, 96, e, "xx"), mk(2, 5, 96, e, "ef")}, "abef"},
		{"a hole", [][]byte{mk(1, 5, 96, s, "ab"), mk(3, 5, 96, e, "ef")}, ""},
		{"other time", [][]byte{mk(1, 5, 96, s, "ab"), mk(2, 6, 96, e, "ef")}, ""},
		{"other payload type", [][]byte{mk(1, 5, 96, s, "ab"), mk(2, 5, 97, e, "ef")}, ""},
		{"other T", [][]byte{mk(1, 5, 96, s, "ab"), mk(2, 5, 96, e|T, "ef")}, ""},
		{"a duplicate", [][]byte{mk(1, 5, 96, s, "ab"), mk(1, 5, 96, s, "ab"), mk(2, 5, 96, e, "ef")}, "abef"},
		{"alone", [][]byte{mk(1, 5, 96, s|e, "abef")}, "abef"},
		{"alone and empty", [][]byte{mk(1, 5, 96, s|e, "")}, "empty"},
	} {
		d := rtpseal.NewDepacketizer(rtpseal.Limits{}, nil)
		got := ""
		for _, pkt := range c.pkts {
			u, err := d.Push(pkt, epoch)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if u != nil {
				if got += string(u.Sealed); got == "" {
					got = "empty"
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestRefusesPackets: what is no RTP, or has no descriptor, is an error and keeps
// nothing.
func TestRefusesPackets(t *testing.T) {
	d := rtpseal.NewDepacketizer(rtpseal.Limits{}, nil)
	good := []byte{0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xC0, 1}
	for name, c := range map[string]struct {
		pkt  []byte
		want error
	}{
		"nothing":             {nil, rtpseal.ErrNotRTP},
		"short":               {good[:11], rtpseal.ErrNotRTP},
		"version 1":           {append([]byte{0x40}, good[1:]...), rtpseal.ErrNotRTP},
		"CSRCs missing":       {append([]byte{0x8F}, good[1:]...), rtpseal.ErrNotRTP},
		"extension missing":   {append([]byte{0x90}, good[1:12]...), rtpseal.ErrNotRTP},
		"extension cut off":   {append(append([]byte{0x90}, good[1:12]...), 0xBE, 0xDE, 0xFF, 0xFF, 0), rtpseal.ErrNotRTP},
		"padding of 0":        {append(append([]byte{0xA0}, good[1:]...), 0), rtpseal.ErrNotRTP},
		"too much padding":    {append(append([]byte{0xA0}, good[1:]...), 200), rtpseal.ErrNotRTP},
		"no payload":          {good[:12], rtpseal.ErrDescriptor},
		"reserved bits":       {append(bytes.Clone(good[:12]), 0xC1, 1), rtpseal.ErrDescriptor},
		"fragment of nothing": {append(bytes.Clone(good[:12]), 0x80), rtpseal.ErrDescriptor},
	} {
		if u, err := d.Push(c.pkt, epoch); u != nil || err != c.want {
			t.Errorf("%s: %v, %v, want %v", name, u, err, c.want)
		}
	}
	if d.Kept() != 0 {
		t.Errorf("%d bytes kept", d.Kept())
	}
}

// TestFlood: fragments of streams that never authenticate take no more than their share
// of the memory, and a stream that does goes on. Without the share the flood would win.
func TestFlood(t *testing.T) {
	seal, open := pair(t, cipher.AES128GCM())
	got := 0
	r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: rtpseal.Shared(open), Limits: rtpseal.Limits{Bytes: 1 << 20}, Frame: func(*rtpseal.Unit, []byte) { got++ }})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	p := packetizer(t, 77, 10, 0)
	most := 0
	for i := range 2000 {
		sealed, err := seal.Seal(nil, make([]byte, 3000), nil)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch.Add(time.Duration(i) * 10 * time.Millisecond)
		for _, pkt := range packets(t, p, sealed, uint32(i), true, 0) {
			for range 20 {
				junk := make([]byte, 13+rnd.IntN(1400))
				for j := range junk {
					junk[j] = byte(rnd.Uint32())
				}
				junk[0], junk[12] = 0x80, byte(rnd.Uint32()&0x60)
				r.Push(junk, now)
			}
			if err := r.Push(pkt, now); err != nil {
				t.Fatal(err)
			}
			most = max(most, r.Kept())
		}
	}
	if got != 2000 {
		t.Errorf("%d of 2000 frames arrived", got)
	}
	if most > 1<<20 {
		t.Errorf("%d bytes kept, the limit is %d", most, 1<<20)
	}
}

// TestAge: nothing is held longer than the limit, which is 10 seconds at most, and what
// is dropped is reported.
func TestAge(t *testing.T) {
	for _, age := range []time.Duration{0, time.Second, time.Hour} {
		var drops []rtpseal.Drop
		_, open := pair(t, cipher.AES128GCM())
		other, err := cipher.AES128GCM().NewSealKey(10, make([]byte, 32), cipher.FreshKey)
		if err != nil {
			t.Fatal(err)
		}
		r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{
			Opener: rtpseal.Shared(open), Frame: func(*rtpseal.Unit, []byte) { t.Error("a frame") }, Limits: rtpseal.Limits{Age: age},
			Dropped: func(d rtpseal.Drop) { drops = append(drops, d) },
		})
		if err != nil {
			t.Fatal(err)
		}
		limit := min(age, rtpseal.MaxAge)
		if age == 0 {
			limit = 2 * time.Second
		}
		sealed, _ := other.Seal(nil, make([]byte, 3000), nil)
		all := packets(t, packetizer(t, 1, 0, 0), sealed, 5, true, 0)
		r.Push(all[0], epoch) // incomplete
		for _, pkt := range packets(t, packetizer(t, 2, 0, 0), sealed, 5, true, 0) {
			r.Push(pkt, epoch) // complete, of an unknown key
		}
		if r.Kept() < 4000 {
			t.Fatalf("%d bytes kept", r.Kept())
		}
		for at := time.Duration(0); at < limit-250*time.Millisecond && at < limit/2; at += 250 * time.Millisecond {
			r.Sweep(epoch.Add(at))
		}
		if r.Kept() < 4000 {
			t.Errorf("age %v: dropped after half of it", age)
		}
		for at := limit / 2; at <= limit; at += 250 * time.Millisecond {
			r.Sweep(epoch.Add(at))
		}
		if r.Kept() != 0 || len(drops) != 2 {
			t.Errorf("age %v: %d bytes are held after %v, reported %v", age, r.Kept(), limit, drops)
		}
	}
}

// TestLeave: who leaves or is put out leaves nothing behind.
func TestLeave(t *testing.T) {
	_, open := pair(t, cipher.AES128GCM())
	other, err := cipher.AES128GCM().NewSealKey(10, make([]byte, 32), cipher.FreshKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"ssrc", "kid", "nobody"} {
		r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: rtpseal.Shared(open), Frame: func(*rtpseal.Unit, []byte) {}})
		if err != nil {
			t.Fatal(err)
		}
		p := packetizer(t, 5, 0, 0)
		sealed, _ := other.Seal(nil, make([]byte, 3000), nil)
		for _, pkt := range packets(t, p, sealed, 5, true, 0) {
			r.Push(pkt, epoch)
		}
		r.Push(packets(t, p, sealed, 6, true, 0)[0], epoch)
		// Of another stream only the beginning came: that shows whose it is.
		r.Push(packets(t, packetizer(t, 6, 0, 0), sealed, 6, true, 0)[0], epoch)
		if how == "ssrc" {
			r.Leave(6)
		}
		switch how {
		case "ssrc":
			r.Leave(5)
		case "kid":
			r.LeaveSender(func(kid cipher.KeyID) bool { return kid == 10 })
		case "nobody":
			r.LeaveSender(func(kid cipher.KeyID) bool { return kid == 11 })
		}
		if (r.Kept() == 0) != (how != "nobody") {
			t.Errorf("%s: %d bytes are held", how, r.Kept())
		}
	}
}

// TestHeld: units whose key is still to come are opened when it is there, once.
func TestHeld(t *testing.T) {
	suite := cipher.AES128GCM()
	keys, err := rtpseal.NewKeys(suite, rtpseal.SharedKey)
	if err != nil {
		t.Fatal(err)
	}
	base := bytes.Repeat([]byte{3}, 32)
	seal, err := suite.NewSealKey(10, base, cipher.FreshKey)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: keys, Frame: func(_ *rtpseal.Unit, f []byte) { got[string(f)]++ }})
	if err != nil {
		t.Fatal(err)
	}
	p := packetizer(t, 5, 0, 0)
	for i := range 20 {
		sealed, _ := seal.Seal(nil, fmt.Append(nil, "frame ", i), nil)
		for _, pkt := range packets(t, p, sealed, uint32(i), true, 0) {
			r.Push(pkt, epoch)
			r.Push(pkt, epoch)
		}
	}
	if len(got) != 0 {
		t.Fatal("opened without a key")
	}
	if err := keys.Add(10, base); err != nil {
		t.Fatal(err)
	}
	r.Retry(epoch)
	if len(got) != 20 || got["frame 7"] != 1 || r.Kept() != 0 {
		t.Errorf("opened %v, %d bytes are left", got, r.Kept())
	}
}

// TestReceiverAllocs: in steady state no packet allocates, whole or in pieces.
func TestReceiverAllocs(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("the race detector allocates")
	}
	seal, open := pair(t, cipher.AES128GCM())
	r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: rtpseal.Shared(open), Frame: func(*rtpseal.Unit, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	p := packetizer(t, 5, 0, 0)
	frame, buf := make([]byte, 5000), make([]byte, 0, 6000)
	ts := uint32(0)
	push := func(pkt []byte) error { return r.Push(pkt, epoch) }
	step := func() {
		for _, n := range []int{5000, 80} {
			sealed, err := seal.Seal(buf[:0], frame[:n], nil)
			if err != nil {
				t.Fatal(err)
			}
			ts++
			if err := p.Packetize(sealed, ts, true, 0, push); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 100 {
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		t.Errorf("%v allocations for two frames", n)
	}
	// Nor do forged pieces of ever new streams.
	forged := make([]byte, 100)
	forged[0], forged[1], forged[12] = 0x80, 96, byte(rtpseal.First)
	flood := func() {
		ts++
		binary.BigEndian.PutUint32(forged[8:], 1000+ts)
		if err := push(forged); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		flood()
	}
	if n := testing.AllocsPerRun(1000, flood); n != 0 {
		t.Errorf("%v allocations for a forged packet", n)
	}
}

func FuzzReceiver(f *testing.F) {
	f.Add([]byte{14, 0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xC0, 1})
	_, open := pair(f, cipher.AES128GCM()) // nothing opens: it is as new for every input
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 400 {
			return // more of the same, and minimizing takes time with the square of the length
		}
		r, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{Opener: rtpseal.Shared(open), Frame: func(*rtpseal.Unit, []byte) { t.Fatal("opened") }, Limits: rtpseal.Limits{Bytes: 4096}})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; len(b) > 0; i++ {
			n := min(int(b[0]), len(b)-1)
			r.Push(b[1:1+n], epoch.Add(time.Duration(i)*time.Millisecond))
			b = b[1+n:]
			if r.Kept() > 4096+4096/4 {
				t.Fatalf("%d bytes kept", r.Kept())
			}
		}
	})
}
