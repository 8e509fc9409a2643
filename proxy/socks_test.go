package proxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// socksDial speaks SOCKS5 as far as the reply.
func (l *lab) socksDial(user, password string, command byte, dst netip.AddrPort) (net.Conn, byte, netip.AddrPort) {
	l.Helper()
	c, err := net.Dial("tcp", l.at("socks", "tcp").String())
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	b := []byte{5, 1, 2, 1, byte(len(user))}
	b = append(b, user...)
	b = append(b, byte(len(password)))
	b = append(b, password...)
	c.Write(b)
	var answer [4]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil || answer[3] != 0 {
		return c, 0xFF, netip.AddrPort{}
	}
	b = append([]byte{5, command, 0, 1}, dst.Addr().AsSlice()...)
	c.Write(binary.BigEndian.AppendUint16(b, dst.Port()))
	var reply [10]byte
	if _, err := io.ReadFull(c, reply[:]); err != nil {
		l.Fatal(err)
	}
	return c, reply[1], netip.AddrPortFrom(netip.AddrFrom4([4]byte(reply[4:8])), binary.BigEndian.Uint16(reply[8:]))
}

func (l *lab) webServer() *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "from inside") }))
	l.Cleanup(srv.Close)
	return srv
}

// TestSOCKS: CONNECT and UDP ASSOCIATE with a card or a ticket, and the refusals.
func TestSOCKS(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *Config) { c.DefaultQuota.Sessions = 2 })
	web := netip.MustParseAddrPort(strings.TrimPrefix(l.webServer().URL, "http://"))
	card := l.card(7, 0)
	user, password := l.credentials(8, 0)

	for _, who := range [][2]string{{"room/7", card}, {user, password}} {
		c, code, _ := l.socksDial(who[0], who[1], socksConnect, web)
		if code != socksOK {
			t.Fatalf("CONNECT: reply %d", code)
		}
		io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		got, err := io.ReadAll(c)
		if err != nil || !bytes.HasSuffix(got, []byte("from inside")) {
			t.Errorf("CONNECT: %q, %v", got, err)
		}
		c.Close()
	}
	for name, who := range map[string][2]string{"no card": {"room/7", "x"}, "another's card": {"room/9", card}, "other channel": {"hall/7", card},
		"wrong ticket": {user, password + "x"}, "no user": {"", ""}} {
		if _, code, _ := l.socksDial(who[0], who[1], socksConnect, web); code != 0xFF {
			t.Errorf("%s: reply %d", name, code)
		}
	}
	if _, code, _ := l.socksDial(user, password, socksConnect, netip.MustParseAddrPort("169.254.169.254:80")); code != socksNotAllowed {
		t.Errorf("metadata address: reply %d", code)
	}
	if _, code, _ := l.socksDial(user, password, 2, web); code != socksNoCommand {
		t.Errorf("BIND: reply %d", code)
	}
	l.eventually("all sessions are over", func() bool { return l.Sessions() == 0 })

	c, code, at := l.socksDial(user, password, socksAssociate, netip.MustParseAddrPort("0.0.0.0:0"))
	if code != socksOK || at != l.at("socks", "udp") {
		t.Fatalf("UDP ASSOCIATE: reply %d, at %s", code, at)
	}
	udp, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	packet := make([]byte, 64)
	header := putSOCKSHeader(packet, 32, l.echo)
	copy(packet[32:], "hello")
	if _, err := udp.Write(packet[header:37]); err != nil {
		t.Fatal(err)
	}
	udp.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, 100)
	n, err := udp.Read(got)
	if err != nil || !bytes.Equal(got[:n], packet[header:37]) {
		t.Fatalf("UDP: %x, %v", got[:n], err)
	}
	// One more is as many as bought.
	if _, code, _ := l.socksDial(user, password, socksAssociate, netip.MustParseAddrPort("0.0.0.0:0")); code != socksOK {
		t.Fatalf("second association: reply %d", code)
	}
	if _, code, _ := l.socksDial(user, password, socksConnect, web); code != socksNotAllowed {
		t.Errorf("over the quota: reply %d", code)
	}
	// The card is revoked during the session.
	if n, err := l.Revoke(channelkey.Revocation{User: "8", Until: time.Now().Add(time.Hour)}); n != 2 || err != nil {
		t.Fatalf("revoking ended %d sessions: %v", n, err)
	}
	if _, err := c.Read(got); err != io.EOF {
		t.Errorf("the connection of a revoked association: %v", err)
	}
	l.eventually("all sessions are over", func() bool { return l.Sessions() == 0 })
	if log := l.log.String(); strings.Contains(log, "room") || strings.Contains(log, "127.0.0.1") || strings.Contains(log, card[:20]) {
		t.Errorf("the log names somebody: %s", log)
	}
}

// TestCurl: curl through SOCKS5.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not here")
	}
	l := newLab(t, nil)
	web := l.webServer()
	config := filepath.Join(t.TempDir(), "curlrc")
	os.WriteFile(config, []byte("proxy-user = \"room/7:"+l.card(7, 0)+"\"\n"), 0o600)
	for _, scheme := range []string{"socks5", "socks5h"} {
		out, err := exec.Command(curl, "-sS", "-K", config, "--noproxy", "", "-x", scheme+"://"+l.at("socks", "tcp").String(), web.URL).CombinedOutput()
		if err != nil || string(out) != "from inside" {
			t.Errorf("%s: %q, %v", scheme, out, err)
		}
		out, err = exec.Command(curl, "-sS", "-K", config, "--noproxy", "", "-x", scheme+"://"+l.at("socks", "tcp").String(), "http://10.0.0.1/").CombinedOutput()
		if err == nil {
			t.Errorf("%s: curl reached 10.0.0.1: %q", scheme, out)
		}
	}
}

// TestDante: a program that knows no proxy, through dante's client.
func TestDante(t *testing.T) {
	t.Parallel()
	socksify, err := exec.LookPath("socksify")
	if err != nil {
		t.Skip("socksify (dante-client) is not here")
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not here")
	}
	// dante's client goes to loopback directly, whatever the route says.
	var outside netip.Addr
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			outside = p.Addr()
		}
	}
	if !outside.IsValid() {
		t.Skip("this machine has loopback addresses only")
	}
	l := newLab(t, func(c *Config) {
		c.Media = append(c.Media, outside.String())
		c.RelayAddress4 = outside
	})
	inside, err := net.Listen("tcp4", net.JoinHostPort(outside.String(), "0"))
	if err != nil {
		t.Skip(err)
	}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "from inside") }))
	web.Listener = inside
	web.Start()
	defer web.Close()
	at := l.at("socks", "tcp")
	conf := filepath.Join(t.TempDir(), "socks.conf")
	os.WriteFile(conf, []byte("resolveprotocol: fake\nroute {\n from: 0.0.0.0/0 to: 0.0.0.0/0 via: "+at.Addr().String()+" port = "+Port(at.Port()).String()+
		"\n proxyprotocol: socks_v5\n method: username\n}\n"), 0o600)
	cmd := exec.Command(socksify, curl, "-sS", "--noproxy", "*", web.URL)
	// Networks that this machine is in would be reached directly, too: outside is of one.
	cmd.Env = append(os.Environ(), "SOCKS_CONF="+conf, "SOCKS_AUTOADD_LANROUTES=no", "SOCKS_USERNAME=room/7", "SOCKS_PASSWORD="+l.card(7, 0))
	out, err := cmd.Output()
	if err != nil || string(out) != "from inside" {
		t.Errorf("%q, %v", out, err)
	}
	l.reg.mu.Lock()
	defer l.reg.mu.Unlock()
	if l.reg.startedBy[overSOCKSTCP] == 0 {
		t.Error("the program went past the proxy")
	}
}

// FuzzSOCKS: requests are read as what is in them, or not at all, and the header of a
// datagram as what is written again.
func FuzzSOCKS(f *testing.F) {
	f.Add([]byte("\x05\x01\x02\x01\x04user\x04pass\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"))
	f.Add([]byte("\x05\x01\x00"))
	f.Add([]byte("\x05\x01\x00\x03\xffname"))
	f.Fuzz(func(t *testing.T, b []byte) {
		command, host, _, err := readSOCKSRequest(bytes.NewReader(b))
		if err == nil && (host == "" || len(b) < 7 || command != b[1]) {
			t.Fatalf("%x is a request to %q", b, host)
		}
		if dst, payload, ok := splitSOCKS(b); ok {
			buf := make([]byte, headroom+len(payload))
			copy(buf[headroom:], payload)
			if begin := putSOCKSHeader(buf, headroom, dst); !dst.Addr().Is4In6() && !bytes.Equal(buf[begin:], b) {
				t.Fatalf("%x was read as %s and written as %x", b, dst, buf[begin:])
			}
		}
	})
}
