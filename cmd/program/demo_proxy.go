package program

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/proxy"
	"github.com/chanseal/chanseal/proxy/client"
)

// relay shows the cloud proxy: in with a card, over UDP, TCP and TLS, out at once when the
// card is revoked.
func (d *demo) relay() error {
	file, err := os.ReadFile(d.path("app.json"))
	if err != nil {
		return err
	}
	app, err := channelkey.ParseAppFile(file)
	if err != nil {
		return err
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	any := []proxy.Ports{{}} // ports that the system chooses
	srv, err := proxy.Start(d.ctx, proxy.Config{Apps: []channelkey.App{app}, Addresses: []netip.Addr{loopback}, RelayAddress4: loopback, Media: []string{"127.0.0.1"},
		Listen: proxy.ListenPorts{Control: any, Edge: any, TLS: any}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	defer srv.Close()
	control := ""
	for _, l := range srv.Listening() {
		if l.Service == "control" {
			control = l.Address.String()
		}
	}
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0") // the media network
	if err != nil {
		return err
	}
	defer peer.Close()
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := peer.ReadFrom(b)
			if err != nil {
				return
			}
			peer.WriteTo(b[:n], from)
		}
	}()
	code, key, _ := d.command("token", "mint", "--app-certificate-file", "./app.json", "--channel", "stage", "--uid", "123")
	if err := wantExit(code, exitDone); err != nil {
		return err
	}
	connect := func(mode client.Mode, uid string) (net.PacketConn, error) {
		c, err := client.New(client.Config{Mode: mode, Type: client.List, Server: control, Card: strings.TrimSpace(key), Channel: "stage", UID: uid,
			TLS: &tls.Config{InsecureSkipVerify: true}})
		if err != nil {
			return nil, err
		}
		return c.ListenPacket(d.ctx)
	}
	if _, err := connect(client.Automatic, "124"); err == nil {
		return errors.New("somebody came in with another's card")
	}
	sealed, err := os.ReadFile(d.path("talk.sealed.mkv"))
	if err != nil {
		return err
	}
	frame := sealed[len(sealed)-1000:]
	for _, mode := range []client.Mode{client.Automatic, client.ForceTCP} {
		c, err := connect(mode, "123")
		if err != nil {
			return err
		}
		defer c.Close()
		if err := echoes(c, peer.LocalAddr(), frame); err != nil {
			return err
		}
		d.sayf("1000 sealed bytes through a relay over %s and back, unchanged", c.(*client.Conn).Transport())
	}
	n, err := srv.Revoke(channelkey.Revocation{User: "123", Until: time.Now().Add(time.Hour)})
	if err != nil || n != 2 {
		return fmt.Errorf("revoking the user ended %d sessions of 2: %v", n, err)
	}
	if _, err := connect(client.Automatic, "123"); err == nil {
		return errors.New("a revoked user came in")
	}
	d.sayf("the user is revoked: both sessions ended at once, and no new one begins")
	return nil
}

// echoes wants a payload back from a peer; UDP may lose some.
func echoes(c net.PacketConn, peer net.Addr, payload []byte) error {
	b := make([]byte, 2000)
	for try := 0; ; try++ {
		if _, err := c.WriteTo(payload, peer); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		n, _, err := c.ReadFrom(b)
		if err == nil && !bytes.Equal(b[:n], payload) {
			return errors.New("the relay changed a payload")
		}
		if err == nil || try == 5 {
			return err
		}
	}
}
