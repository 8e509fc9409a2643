package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// tlsHandshake is how long a TLS handshake and a first byte may take.
const tlsHandshake = 10 * time.Second

// alpnTURN is TURN over TLS (RFC 7443).
const alpnTURN = "stun.turn"

// serveTLS tells TURN and HTTPS apart: by ALPN, and for clients without it by the first
// byte, which is no letter in TURN. a is nil where there is no TURN.
func (s *Server) serveTLS(c net.Conn, conf *tls.Config, a *acceptor, web *webServer, release func()) {
	t := tls.Server(c, conf)
	ctx, cancel := context.WithTimeout(context.Background(), tlsHandshake)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		release()
		return
	}
	closing := &closeConn{Conn: t, release: release}
	switch t.ConnectionState().NegotiatedProtocol {
	case alpnTURN:
		if a == nil {
			closing.Close()
			return
		}
		a.hand(t, release)
	case "h2":
		web.h2(t, release)
	default:
		t.SetReadDeadline(time.Now().Add(tlsHandshake))
		var first [1]byte
		if _, err := t.Read(first[:]); err != nil {
			closing.Close()
			return
		}
		t.SetReadDeadline(time.Time{})
		// ChannelData begins like a letter, but no client begins with ChannelData.
		again := &firstByte{Conn: t, b: first[0], have: true}
		if first[0] >= 'A' && first[0] <= 'Z' {
			web.hand(&closeConn{Conn: again, release: release})
		} else if a != nil {
			a.hand(again, release)
		} else {
			closing.Close()
		}
	}
}

// closeConn releases its token when it is closed.
type closeConn struct {
	net.Conn
	release func()
}

func (c *closeConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// firstByte gives a byte back that was read.
type firstByte struct {
	net.Conn
	b    byte
	have bool
}

// NetConn is what it wraps.
func (c *firstByte) NetConn() net.Conn { return c.Conn }

func (c *firstByte) Read(p []byte) (int, error) {
	if c.have && len(p) > 0 {
		c.have = false
		p[0] = c.b
		return 1, nil
	}
	return c.Conn.Read(p)
}

// webServer serves HTTPS on connections that are handed to it.
type webServer struct {
	http  *http.Server
	conns chan net.Conn
	done  chan struct{}

	mu      sync.Mutex
	release map[net.Conn]func() // of connections that are handed over as they are
}

func (w *webServer) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *webServer) Close() error   { return nil }
func (w *webServer) Addr() net.Addr { return &net.TCPAddr{} }

func (w *webServer) hand(c net.Conn) {
	select {
	case w.conns <- c:
	case <-w.done:
		c.Close()
	}
}

// h2 hands a connection over as it is, since net/http looks for the TLS state itself; its
// token is given back at its end.
func (w *webServer) h2(t *tls.Conn, release func()) {
	w.mu.Lock()
	w.release[t] = release
	w.mu.Unlock()
	select {
	case w.conns <- t:
	case <-w.done:
		t.Close()
		w.state(t, http.StateClosed)
	}
}

// state is told by net/http what becomes of a connection.
func (w *webServer) state(c net.Conn, s http.ConnState) {
	if s != http.StateClosed {
		return
	}
	w.mu.Lock()
	release := w.release[c]
	delete(w.release, c)
	w.mu.Unlock()
	if release != nil {
		release()
	}
}

// web is the HTTPS server of discovery and health.
func (s *Server) web() *webServer {
	w := &webServer{conns: make(chan net.Conn), done: s.done, release: map[net.Conn]func(){}}
	w.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: 20 * time.Second, IdleTimeout: 60 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0), ConnState: w.state}
	s.wg.Go(func() { w.http.Serve(w) })
	s.closers = append(s.closers, func() { w.http.Close() })
	return w
}
