package program

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
)

// freePort finds an even port of a host, free with that above it.
func freePort(t *testing.T, host string) int {
	t.Helper()
	for range 1000 {
		a, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Skipf("no UDP on %s: %v", host, err)
		}
		port := a.LocalAddr().(*net.UDPAddr).Port
		b, err := net.ListenPacket("udp", net.JoinHostPort(host, fmt.Sprint(port+1)))
		a.Close()
		if err != nil {
			continue
		}
		b.Close()
		if port%2 == 0 {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func rtpPacket(seq uint16, payload string) []byte {
	pkt := make([]byte, 12, 12+len(payload))
	pkt[0], pkt[1] = 0x80, 96
	binary.BigEndian.PutUint16(pkt[2:], seq)
	return append(pkt, payload...)
}

// arrives sends a packet to an address and waits until one comes at c that equals it.
func arrives(t *testing.T, to string, c net.PacketConn, pkt []byte) {
	t.Helper()
	src, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Write(pkt); err != nil {
		t.Fatal(err)
	}
	receives(t, c, pkt)
}

// receives waits until a packet comes at c that equals pkt.
func receives(t *testing.T, c net.PacketConn, pkt []byte) {
	t.Helper()
	buf := make([]byte, 4096)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := c.ReadFrom(buf)
	if err != nil || !bytes.Equal(buf[:n], pkt) {
		t.Fatalf("at %v: %v, %q, want %q", c.LocalAddr(), err, buf[:n], pkt)
	}
}

func listenAt(t *testing.T, address string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestGatewayStreams: several streams of one process, from a configuration file, over
// IPv4 and IPv6, with RTCP on the port above and on the same.
func TestGatewayStreams(t *testing.T) {
	home := newTestRing(t)
	runHere(t, home, "channel", "create", "foyer")
	type stream struct {
		Channel string `json:"channel"`
		Sender  int    `json:"sender,omitempty"`
		Listen  string `json:"listen"`
		To      string `json:"to"`
		Mux     bool   `json:"rtcp_mux"`
	}
	var seal, open []stream
	var ends []string
	for i, s := range []struct {
		host, channel string
		mux           bool
	}{{"127.0.0.1", "stage", false}, {"127.0.0.1", "foyer", true}, {"::1", "stage", true}, {"::1", "foyer", false}} {
		if s.host == "::1" {
			if c, err := net.ListenPacket("udp", "[::1]:0"); err != nil {
				t.Log("no IPv6: only IPv4 is tested")
				break
			} else {
				c.Close()
			}
		}
		at := func() string { return net.JoinHostPort(s.host, fmt.Sprint(freePort(t, s.host))) }
		in, mid, out := at(), at(), at()
		seal = append(seal, stream{s.channel, 7 + i, in, mid, s.mux})
		open = append(open, stream{s.channel, 0, mid, out, s.mux})
		ends = append(ends, out)
	}
	for direction, streams := range map[string][]stream{"open": open, "seal": seal} {
		file := filepath.Join(t.TempDir(), "streams.json")
		data, err := json.Marshal(map[string]any{"streams": streams})
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(file, data, 0o600)
		background(t, home, "gateway", direction, "--config", file)
	}
	report := []byte{0x80, 201, 0, 1, 0, 0, 0, 9}
	above := func(address string) string {
		a, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		a.Port++
		return a.String()
	}
	for i := range seal {
		end := listenAt(t, ends[i])
		arrives(t, seal[i].Listen, end, rtpPacket(uint16(i), "of one stream"))
		if seal[i].Mux {
			arrives(t, seal[i].Listen, end, report)
			continue
		}
		arrives(t, above(seal[i].Listen), listenAt(t, above(ends[i])), report)
	}
}

// loopback is the interface, if it has multicast.
func loopback(t *testing.T) *net.Interface {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if all[i].Flags&net.FlagLoopback == 0 || all[i].Flags&net.FlagUp == 0 {
			continue
		}
		c, err := net.ListenMulticastUDP("udp4", &all[i], &net.UDPAddr{IP: net.IPv4(239, 77, 7, 7)})
		if err != nil {
			t.Skipf("no multicast here: %v", err)
		}
		c.Close()
		return &all[i]
	}
	t.Skip("no loopback interface")
	return nil
}

// TestGatewayMulticast: sealed packets go to a group and are taken from it.
func TestGatewayMulticast(t *testing.T) {
	lo := loopback(t).Name
	home := newTestRing(t)
	group := fmt.Sprintf("239.77.7.7:%d", freePort(t, "127.0.0.1"))
	in, end := fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1")), listenAt(t, "127.0.0.1:0")
	background(t, home, "gateway", "open", "--channel", "stage", "--listen", group, "--to", end.LocalAddr().String(), "--interface", lo, "--rtcp-mux")
	background(t, home, "gateway", "seal", "--channel", "stage", "--listen", in, "--to", group, "--interface", lo, "--rtcp-mux")
	arrives(t, in, end, rtpPacket(5, "to a group"))
}

// TestGatewayPutOut: what is held of a sender goes when he is put out, by whoever shares
// the ring, though it might be held for much longer, and packets of his no longer wait for
// a key. What is held of others stays.
func TestGatewayPutOut(t *testing.T) {
	home := newTestRing(t)
	in := freePort(t, "127.0.0.1")
	errs := background(t, home, "gateway", "open", "--channel", "stage", "--listen", fmt.Sprintf("127.0.0.1:%d", in), "--to", "127.0.0.1:9", "--rtcp-mux", "--hold", "10s", "--metrics", "127.0.0.1:0")
	url := regexp.MustCompile(`http://\S+/metrics`).FindString(errs())
	metric := func(name string) string {
		t.Helper()
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "chanseal_gateway_"+name+" "); ok {
				return strings.TrimSpace(v)
			}
		}
		t.Fatalf("no %s in\n%s", name, text)
		return ""
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !done(); { // a packet is held for 7.5 s at least
			if time.Now().After(end) {
				t.Fatalf("%s: %s bytes are held", what, metric("held_bytes"))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	src, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", in))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	// A unit under a short key ID that was not announced, and the beginning of another.
	send := func(sender byte) (size int) {
		sealed := "\x80" + string([]byte{sender<<4 | 1}) + strings.Repeat("?", 100)
		for i, d := range []string{"\xE0", "\xA0"} {
			pkt := rtpPacket(uint16(i), d+sealed)
			pkt[11] = sender
			src.Write(pkt)
			size += len(pkt)
		}
		return size
	}
	send(7)
	size := send(8)
	until("two senders", func() bool { return metric("held_bytes") == fmt.Sprint(2*size-2) }) // whole units without their descriptors
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, home: home}
	ring, err := p.openRing(t.Context(), "stage")
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	ch, err := p.openChannel(t.Context(), ring, "stage")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.PutOut(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	until("one put out", func() bool { return metric("held_bytes") == fmt.Sprint(size-1) })
	send(7)
	until("who was put out sends", func() bool { return strings.Contains(metric(`refused_total{reason="unknown-kid"}`), "1") })
	if got := keyring.SenderOf(7<<4 | 1); got != 7 {
		t.Fatalf("the key ID is of sender %d", got)
	}
}
