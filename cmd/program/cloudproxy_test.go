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
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/proxy"
)

// TestGatewayCloudProxy: sealed RTP leaves through a relay, with the flags as other
// SDKs spell them.
func TestGatewayCloudProxy(t *testing.T) {
	home := newTestRing(t)
	app := channelkey.NewApp()
	loopback := netip.MustParseAddr("127.0.0.1")
	any := []proxy.Ports{{}}
	srv, err := proxy.Start(t.Context(), proxy.Config{Apps: []channelkey.App{app}, Addresses: []netip.Addr{loopback}, RelayAddress4: loopback,
		Media: []string{"127.0.0.1"}, Listen: proxy.ListenPorts{Control: any, Edge: any}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
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

	ports := freePorts(t, 2)
	dst, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	background(t, home, "gateway", "open", "--channel", "stage", "--listen", fmt.Sprintf("127.0.0.1:%d", ports[1]), "--to", dst.LocalAddr().String(), "--rtcp-mux")
	said := background(t, home, "gateway", "seal", "--channel", "stage", "--listen", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--to", fmt.Sprintf("127.0.0.1:%d", ports[1]), "--rtcp-mux",
		"--enableCloudProxy", "1", "--proxyType", "2", "--proxyServer", fmt.Sprintf("127.0.0.1,%d", control),
		"--proxy-card-file", card, "--proxy-channel", "stage", "--proxy-uid", "7", "--proxy-insecure")
	src, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	buf := make([]byte, 2048)
	for n := 1; ; n++ {
		pkt := append([]byte{0x80, 96, 0, byte(n), 0, 0, 0, 0, 0, 0, 0, 1}, "a frame"...)
		src.Write(pkt)
		dst.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if got, err := dst.Read(buf); err == nil && bytes.Equal(buf[:got], pkt) {
			break
		} else if n == 20 {
			t.Fatalf("nothing comes through: %v\n%s", err, said())
		}
	}
	if srv.Sessions() == 0 || !strings.Contains(said(), "cloud proxy: connected, udp") {
		t.Errorf("%d sessions\n%s", srv.Sessions(), said())
	}
}
