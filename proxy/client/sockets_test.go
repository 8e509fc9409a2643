package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chanseal/chanseal/proxy"
)

// TestOwnSockets: whatever the mode, every socket is made by Dial or Listen where they
// are given; so that nothing gets past a wall that they are.
func TestOwnSockets(t *testing.T) {
	l := newLab(t)
	echo := l.echo()
	all := l.start(nil)
	tlsOnly := l.start(func(c *proxy.Config) { c.Listen.Edge = nil })
	errWall := errors.New("not through this wall")
	for name, cfg := range map[string]Config{
		"auto":       l.config(Automatic, Domain, at(all, "control")),
		"tcp":        l.config(ForceTCP, Domain, at(all, "control")),
		"tls":        l.config(ForceTCP, Domain, at(tlsOnly, "control")),
		"own SOCKS5": l.config(Automatic, OwnSOCKS5, at(all, "socks")),
		"off":        {},
	} {
		t.Run(name, func(t *testing.T) {
			var made atomic.Int32
			cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				made.Add(1)
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}
			cfg.Listen = func(network, address string) (net.PacketConn, error) {
				made.Add(1)
				return net.ListenPacket(network, address)
			}
			conn, err := l.open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := works(conn, echo, 4); err != nil {
				t.Error(err)
			}
			if made.Load() == 0 {
				t.Error("it works without the sockets it was given")
			}
			cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errWall }
			cfg.Listen = func(string, string) (net.PacketConn, error) { return nil, errWall }
			if _, err := l.open(cfg); !errors.Is(err, errWall) {
				t.Errorf("behind a wall: %v", err)
			}
		})
	}
}

// TestRefusedAndSilent: a card that is refused is told of, though a direct way that does
// not answer could be waited for long.
func TestRefusedAndSilent(t *testing.T) {
	l := newLab(t)
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := l.config(Automatic, Domain, at(l.start(nil), "control"))
	cfg.UID = "6"
	cfg.Timeout = time.Hour
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Listen(t.Context(), Options{Direct: silent.LocalAddr().String()})
	var refused *proxy.APIError
	if !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
		t.Errorf("got %v, want the refusal", err)
	}
}
