package proxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/chanseal/chanseal/channelkey"
)

// lab is a proxy on loopback with a customer, and an echo as its media network.
type lab struct {
	*testing.T
	*Server
	app  channelkey.App
	echo netip.AddrPort
	log  *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var loopback = netip.MustParseAddr("127.0.0.1")

// anyPort is a port that the system chooses.
var anyPort = []Ports{{0, 0}}

func newLab(t *testing.T, change func(*Config)) *lab {
	t.Helper()
	l := &lab{T: t, app: channelkey.NewApp(), log: &logBuffer{}}
	l.echo = echoUDP(t)
	cfg := Config{Apps: []channelkey.App{l.app}, Addresses: []netip.Addr{loopback}, RelayAddress4: loopback, Media: []string{"127.0.0.1/32"},
		Listen: ListenPorts{Control: anyPort, Media: anyPort, SOCKS: anyPort, Edge: anyPort, TLS: anyPort},
		Logger: slog.New(slog.NewTextHandler(l.log, nil))}
	if change != nil {
		change(&cfg)
	}
	var err error
	if l.Server, err = Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// echoUDP sends back what it gets.
func echoUDP(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return unmap(c.LocalAddr().(*net.UDPAddr).AddrPort())
}

func (l *lab) at(service, protocol string) netip.AddrPort {
	l.Helper()
	for _, x := range l.Listening() {
		if x.Service == service && x.Protocol == protocol {
			return x.Address
		}
	}
	l.Fatalf("nothing listens for %s over %s", service, protocol)
	return netip.AddrPort{}
}

// card mints a dk4 for channel "room" that is good now, with an end of service, 0 for
// none.
func (l *lab) card(uid uint32, end int64) string {
	l.Helper()
	issuer, err := channelkey.NewIssuer(l.app, channelkey.Legacy{})
	if err != nil {
		l.Fatal(err)
	}
	key, err := issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "room", User: channelkey.UID(uid), Issued: uint32(time.Now().Unix()),
		Expires: uint32(end), Random: channelkey.NewRandom()})
	if err != nil {
		l.Fatal(err)
	}
	return key
}

// discover asks the proxy as uid with a card.
func (l *lab) discover(card, uid string) (d Discovery, status int, refused APIError) {
	l.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	req, _ := http.NewRequest("GET", "https://"+l.at("control", "tcp").String()+"/v1/proxy?channel=room&uid="+uid, nil)
	if card != "" {
		req.Header.Set("Authorization", "Bearer "+card)
	}
	resp, err := client.Do(req)
	if err != nil {
		l.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &d)
	} else {
		err = json.Unmarshal(body, &refused)
	}
	if err != nil {
		l.Fatalf("%v: %s", err, body)
	}
	return d, resp.StatusCode, refused
}

// credentials are good ones for uid.
func (l *lab) credentials(uid uint32, end int64) (username, password string) {
	l.Helper()
	d, status, refused := l.discover(l.card(uid, end), channelkeyUID(uid))
	if status != http.StatusOK {
		l.Fatalf("discovery: %d %+v", status, refused)
	}
	return d.Username, d.Credential
}

func channelkeyUID(uid uint32) string { return string(channelkey.UID(uid)) }

// turnClient connects a TURN client.
func (l *lab) turnClient(over, username, password string) *turn.Client {
	l.Helper()
	var conn net.PacketConn
	var to string
	switch over {
	case overUDP:
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			l.Fatal(err)
		}
		conn, to = c, l.at("edge", "udp").String()
	case overTCP:
		to = l.at("edge", "tcp").String()
		c, err := net.Dial("tcp", to)
		if err != nil {
			l.Fatal(err)
		}
		conn = Framed(c)
	case overTLS, "tls-without-alpn":
		to = l.at("tls", "tcp").String()
		conf := &tls.Config{InsecureSkipVerify: true}
		if over == overTLS {
			conf.NextProtos = []string{alpnTURN}
		}
		c, err := tls.Dial("tcp", to, conf)
		if err != nil {
			l.Fatal(err)
		}
		conn = Framed(c)
	}
	l.Cleanup(func() { conn.Close() })
	client, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: to, TURNServerAddr: to, Conn: conn, Username: username, Password: password,
		Realm: defaultRealm, LoggerFactory: silent{}, RTO: 500 * time.Millisecond})
	if err != nil {
		l.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(client.Close)
	return client
}

// exchange sends a payload to a peer and wants it back.
func exchange(c net.PacketConn, peer netip.AddrPort, payload string) error {
	buf := make([]byte, 65536)
	for try := 0; ; try++ {
		if _, err := c.WriteTo([]byte(payload), net.UDPAddrFromAddrPort(peer)); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, _, err := c.ReadFrom(buf)
		if err == nil && string(buf[:n]) == payload {
			return nil
		}
		if try == 2 {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// eventually waits until f holds.
func (l *lab) eventually(what string, f func() bool) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			l.Fatal("never came about: " + what)
		case <-tick.C:
		}
	}
}
