package program

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/proxy"
)

// cloud is a proxy on loopback, and the flags that lead through it.
type cloud struct {
	*proxy.Server
	flags []string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	app := channelkey.NewApp()
	loopback := netip.MustParseAddr("127.0.0.1")
	any := []proxy.Ports{{}}
	srv, err := proxy.Start(t.Context(), proxy.Config{Apps: []channelkey.App{app}, Addresses: []netip.Addr{loopback}, RelayAddress4: loopback,
		Media: []string{"127.0.0.1"}, Listen: proxy.ListenPorts{Control: any, Edge: any}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	var control uint16
	for _, l := range srv.Listening() {
		if l.Service == "control" {
			control = l.Address.Port()
		}
	}
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "stage", User: "7", Issued: uint32(time.Now().Unix()), Random: channelkey.NewRandom()})
	if err != nil {
		t.Fatal(err)
	}
	card := filepath.Join(t.TempDir(), "card")
	os.WriteFile(card, []byte(key+"\n"), 0o600)
	return &cloud{srv, []string{"--enableCloudProxy", "1", "--proxyType", "2", "--proxyServer", fmt.Sprintf("127.0.0.1,%d", control),
		"--proxy-card-file", card, "--proxy-channel", "stage", "--proxy-uid", "7", "--proxy-insecure"}}
}

// comes sends packets to an address until one of them comes at a socket.
func comes(t *testing.T, to string, dst *net.UDPConn, said ...func() string) {
	t.Helper()
	src, err := net.Dial("udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	buf := make([]byte, 2048)
	for n := 1; ; n++ {
		pkt := rtpPacket(uint16(n), "a frame...")
		src.Write(pkt)
		dst.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if got, err := dst.Read(buf); err == nil && bytes.Equal(buf[12:got], pkt[12:]) {
			return
		} else if n == 20 {
			for _, s := range said {
				t.Log(s())
			}
			t.Fatalf("nothing comes through: %v", err)
		}
	}
}

func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// printedAddress is the address that a receiver printed for something.
func printedAddress(t *testing.T, said, what string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^(127\.0\.0\.1:\d+) ` + regexp.QuoteMeta(what) + `$`).FindStringSubmatch(said)
	if m == nil {
		t.Fatalf("no address is printed: %s", said)
	}
	return m[1]
}

// TestGatewayCloudProxy: sealed RTP leaves through a relay, with the flags as other SDKs
// spell them; directly, where the other end answers.
func TestGatewayCloudProxy(t *testing.T) {
	home := newTestRing(t)
	srv := newCloud(t)
	ports := freePorts(t, 2)
	in, mid := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	dst := listenUDP(t)
	opening := background(t, home, "gateway", "open", "--channel", "stage", "--listen", mid, "--to", dst.LocalAddr().String(), "--rtcp-mux")
	seal := []string{"gateway", "seal", "--channel", "stage", "--listen", in, "--to", mid, "--rtcp-mux"}
	said := background(t, home, append(append(seal, "--direct-probe", "none"), srv.flags...)...)
	comes(t, in, dst, said, opening)
	if srv.Sessions() == 0 || !strings.Contains(said(), "cloud proxy: connected over udp") {
		t.Errorf("%d sessions\n%s", srv.Sessions(), said())
	}
	before := srv.Sessions()
	seal[5] = "127.0.0.1:" + fmt.Sprint(freePort(t, "127.0.0.1"))
	said = background(t, home, append(seal, srv.flags...)...)
	comes(t, seal[5], dst, said, opening)
	if srv.Sessions() != before || !strings.Contains(said(), "cloud proxy: connected directly") {
		t.Errorf("%d sessions more\n%s", srv.Sessions()-before, said())
	}
}

// TestBothThroughCloudProxy: gateways that both have no way but through the proxy, and a
// recorder.
func TestBothThroughCloudProxy(t *testing.T) {
	home := newTestRing(t)
	srv := newCloud(t)
	dst := listenUDP(t)
	opening := background(t, home, append([]string{"gateway", "open", "--channel", "stage", "--to", dst.LocalAddr().String(), "--rtcp-mux"}, srv.flags...)...)
	file := filepath.Join(t.TempDir(), "talk.sealed.rtpdump")
	recording := background(t, home, append([]string{"gateway", "record", "-o", file, "--from", "127.0.0.1"}, srv.flags...)...)
	in := make([]string, 2)
	for i, to := range []string{printedAddress(t, opening(), "stage"), printedAddress(t, recording(), file)} {
		in[i] = fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1"))
		sealing := background(t, home, append([]string{"gateway", "seal", "--channel", "stage", "--listen", in[i], "--to", to, "--rtcp-mux"}, append(srv.flags, "--cloud-proxy", "udp")...)...)
		if i == 0 {
			comes(t, in[i], dst, sealing, opening)
			continue
		}
		src, err := net.Dial("udp4", in[i])
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		for n := uint16(1); ; n++ {
			src.Write(rtpPacket(n, "a frame that is kept"))
			if info, err := os.Stat(file); err == nil && info.Size() > 400 {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-t.Context().Done():
			}
			if n == 1000 {
				t.Fatalf("nothing is recorded: %s\n%s", recording(), sealing())
			}
		}
	}
	if srv.Sessions() != 4 {
		t.Errorf("%d sessions, want 4", srv.Sessions())
	}
}

// TestCardEndsGateway: where the card is revoked during a call the gateway says so and
// ends, for whoever started it to start it with another.
func TestCardEndsGateway(t *testing.T) {
	home := newTestRing(t)
	srv := newCloud(t)
	errs := &locked{said: make(chan struct{})}
	p := &program{stdin: strings.NewReader(""), stdout: errs, stderr: errs, home: home}
	ended := make(chan int, 1)
	go func() {
		ended <- p.run(t.Context(), append([]string{"gateway", "seal", "--channel", "stage", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9", "--rtcp-mux", "--direct-probe", "none"}, append(srv.flags, "--cloud-proxy", "tcp")...))
	}()
	select {
	case <-errs.said:
	case code := <-ended:
		t.Fatalf("exit status %d\n%s", code, errs.String())
	}
	if n, err := srv.Revoke(channelkey.Revocation{User: "7", Until: time.Now().Add(time.Hour)}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if code := <-ended; code != exitAuth || !strings.Contains(errs.String(), "hint: chanseal token inspect") {
		t.Errorf("exit status %d\n%s", code, errs.String())
	}
}
