package keyserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Bounds of every connection.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes; net/http allows 4 KiB more
	maxStreams    = 64       // of one HTTP/2 connection
)

// Serve serves HTTPS on a listener until ctx ends, with TLS 1.3, HTTP/2 and HTTP/1.1.
// Then it drains: streams end, running requests have five seconds. conf names the
// certificate.
func (s *Server) Serve(ctx context.Context, l net.Listener, conf *tls.Config) error {
	return s.serve(ctx, l, conf, s)
}

// ServeAdmin serves the administration likewise. Unless it is for a trial, clients show
// a certificate.
func (s *Server) ServeAdmin(ctx context.Context, l net.Listener, conf *tls.Config, c AdminConfig) error {
	conf = conf.Clone()
	if !c.Dev {
		conf.ClientAuth = tls.RequireAnyClientCert // whose it is the pin tells
	}
	return s.serve(ctx, l, conf, s.Admin(c))
}

func (s *Server) serve(ctx context.Context, l net.Listener, conf *tls.Config, h http.Handler) error {
	conf = conf.Clone()
	conf.MinVersion = tls.VersionTLS13
	conf.NextProtos = []string{"h2", "http/1.1"}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 32 << 10},
		ErrorLog: slog.NewLogLogger(quietHandler{s.log.Handler()}, slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() {
		served <- srv.Serve(tls.NewListener(&limitListener{Listener: l, s: s, of: map[netip.Prefix]int{}}, conf))
	}()
	select {
	case err := <-served:
		return fmt.Errorf("keyserver: %w", err)
	case <-ctx.Done():
	}
	s.Drain()
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if srv.Shutdown(wait) != nil {
		srv.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("keyserver: %w", err)
	}
	return nil
}

// quietHandler drops what net/http says of clients: it holds their addresses.
type quietHandler struct{ slog.Handler }

func (quietHandler) Enabled(context.Context, slog.Level) bool { return false }

// SelfSigned makes a certificate that signs itself, for names or addresses, and is good
// for 30 days: for a trial on one machine.
func SelfSigned(hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("keyserver: %w", err)
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "chanseal key server"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, 30), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("keyserver: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("keyserver: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Pin names a certificate's public key: sha256// and the SHA-256 of its
// SubjectPublicKeyInfo in base64, as curl's --pinnedpubkey takes it (RFC 7469, Section 2.4).
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
}
