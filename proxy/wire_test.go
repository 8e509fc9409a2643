package proxy

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
	"pgregory.net/rapid"
)

// FuzzSTUN: what the front takes out of a message is inside it, and streams are cut
// the same however they arrive.
func FuzzSTUN(f *testing.F) {
	f.Add([]byte("\x40\x00\x00\x04abcd"))
	f.Add([]byte("\x00\x16\x00\x14\x21\x12\xa4\x42abcdefghijkl\x00\x12\x00\x08\x00\x01\x21\x12\x21\x12\xa4\x42\x00\x13\x00\x04data"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if isChannelData(b) {
			if _, p, ok := splitChannelData(b); ok && len(p) > len(b)-channelHeaderLen {
				t.Fatal("payload longer than the message")
			}
		}
		if isSTUN(b) {
			if !stun.IsMessage(b) {
				t.Fatal("not STUN for pion")
			}
			peer, ok := peerAddress(b)
			m := &stun.Message{Raw: bytes.Clone(b)}
			if m.Decode() == nil {
				var x stun.XORMappedAddress
				if err := x.GetFromAs(m, stun.AttrXORPeerAddress); err == nil {
					a, _ := netip.AddrFromSlice(x.IP)
					if want := netip.AddrPortFrom(a, uint16(x.Port)); ok && peer != want { // ours is stricter about lengths
						t.Fatalf("peer %s, pion reads %s", peer, want)
					}
				}
			}
			if _, p, ok := splitSend(b); ok && !bytes.Contains(b[stunHeaderLen:], p) {
				t.Fatalf("%x is not in %x", p, b)
			}
		}
		if n, err := frameLen(b); err == nil && (n < 0 || n > stunHeaderLen+65536) {
			t.Fatalf("a frame of %d bytes", n)
		} else if err == nil {
			for k := range min(len(b), stunHeaderLen) { // what has come so far
				if got, err := frameLen(b[:k]); err != nil || k < 4 && got != 0 || k >= 4 && got != n {
					t.Fatalf("a frame of %d bytes, of whose first %d: %d, %v", n, k, got, err)
				}
			}
		}
	})
}

// TestDataIndication: what is written is what pion/stun reads.
func TestDataIndication(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload")
		peer := netip.MustParseAddrPort(rapid.SampledFrom([]string{"192.0.2.7:4000", "[2001:db8::9]:65535", "1.2.3.4:1"}).Draw(t, "peer"))
		buf := bytes.Repeat([]byte{0xAA}, headroom+len(payload)+4)
		copy(buf[headroom:], payload)
		begin, end := putDataHeader(buf, headroom, len(payload), peer, rapid.Uint64().Draw(t, "transaction"))
		if begin < 0 || !isSTUN(buf[begin:end]) {
			t.Fatalf("not a STUN message: %x", buf[begin:end])
		}
		m := &stun.Message{Raw: buf[begin:end]}
		if err := m.Decode(); err != nil {
			t.Fatal(err)
		}
		var x stun.XORMappedAddress
		if err := x.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
			t.Fatal(err)
		}
		a, _ := netip.AddrFromSlice(x.IP)
		data, err := m.Get(stun.AttrData)
		if err != nil || !bytes.Equal(data, payload) || netip.AddrPortFrom(a, uint16(x.Port)) != peer {
			t.Fatalf("read back %s %x, %v", x, data, err)
		}
		if got, p, ok := splitSend(buf[begin:end]); !ok || got != peer || !bytes.Equal(p, payload) {
			t.Fatal("our own reader reads something else")
		}
	})
}

// TestFrames: a stream cut anywhere gives the same messages.
func TestFrames(t *testing.T) {
	for n := range 8 {
		if got, err := frameLen([]byte("\x40\x00\x00\x05abcde\x00\x00\x00")[:n]); err != nil || n < 4 && got != 0 || n >= 4 && got != 12 {
			t.Errorf("first %d bytes: %d, %v", n, got, err)
		}
	}
	for _, bad := range []string{"\x80\x00\x00\x00", "\xff\xff\xff\xff", "\x00\x01\x00\x03", "\x00\x01\x00\x00GET "} {
		if _, err := frameLen([]byte(bad)); !errors.Is(err, errFraming) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

// TestPorts: every port of a range is handed out once, also after some came back.
func TestPorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 151).Draw(t, "ports")
		l := newPortList(Ports{4500, uint16(4499 + n)})
		taken := map[uint16]bool{}
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				p, err := l.take()
				if (err == nil) != (len(taken) < n) || err == nil && taken[p] {
					t.Fatalf("take with %d of %d taken: %d, %v", len(taken), n, p, err)
				}
				if err == nil {
					taken[p] = true
				}
			case 1:
				p := uint16(4500 + rapid.IntRange(-1, n).Draw(t, "port"))
				err := l.takeThis(p)
				if ok := p >= 4500 && int(p) < 4500+n && !taken[p]; ok != (err == nil) {
					t.Fatalf("takeThis %d: %v", p, err)
				}
				if err == nil {
					taken[p] = true
				}
			case 2:
				for p := range taken {
					l.give(p)
					delete(taken, p)
					break
				}
			}
			if l.left() != n-len(taken) {
				t.Fatalf("%d are left, want %d", l.left(), n-len(taken))
			}
		}
	})
}

// TestPolicy: what is listed is reached and nothing else.
func TestPolicy(t *testing.T) {
	var list []Network
	for _, s := range []string{"198.51.100.0/24:4000-5000", "0.0.0.0/0:443", "10.1.0.0/16:8000", "[::/0]:443", "[fd00:1::/32]:8000", "127.0.0.1/32"} {
		n, err := ParseNetwork(s)
		if err != nil {
			t.Fatal(err)
		}
		if n.String() != s {
			t.Errorf("%q prints as %q", s, n)
		}
		list = append(list, n)
	}
	p := NewPolicy(list)
	for _, s := range []string{"198.51.100.7:4000", "198.51.100.7:5000", "8.8.8.8:443", "10.1.2.3:8000", "[2600::1]:443", "[fd00:1::5]:8000", "127.0.0.1:1", "[::ffff:8.8.8.8]:443"} {
		if !p.Reaches(netip.MustParseAddrPort(s)) {
			t.Errorf("%s is not reached", s)
		}
	}
	for _, s := range []string{"198.51.100.7:443", "198.51.100.7:3999", "198.51.100.7:5001", "8.8.8.8:80", "8.8.8.8:0", "10.1.2.3:443", "10.2.0.1:8000", "10.0.0.1:443",
		"169.254.169.254:443", "127.0.0.2:443", "192.168.0.1:443", "224.0.0.1:443", "0.0.0.0:443", "255.255.255.255:443", "100.64.0.1:443",
		"[::1]:443", "[::]:443", "[fe80::1]:443", "[fd00:2::1]:443", "[ff02::1]:443", "[::ffff:10.0.0.1]:443", "[::ffff:169.254.169.254]:443",
		"[64:ff9b::a9fe:a9fe]:443", "[2002:a00:1::1]:443", "[::7f00:1]:443"} {
		if p.Reaches(netip.MustParseAddrPort(s)) {
			t.Errorf("%s is reached", s)
		}
	}
	if NewPolicy(nil).Reaches(netip.MustParseAddrPort("8.8.8.8:443")) {
		t.Error("an empty policy reaches something")
	}
}

// TestBucket: no more than the rate goes through, and nearly all of it.
func TestBucket(t *testing.T) {
	b := newBucket(800_000) // 100 kB/s
	sent := 0
	for now := int64(1e9); now < 11e9; now += 1e6 {
		for range 3 {
			if b.take(1000, now) {
				sent += 1000
			}
		}
	}
	if sent < 990_000 || sent > 1_025_000 {
		t.Errorf("%d bytes in 10 s, want about 1,000,000", sent)
	}
}
