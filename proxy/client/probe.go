package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v4"

	"github.com/chanseal/chanseal/proxy"
)

// checkRow tries all ports of a line.
func checkRow(ctx context.Context, row proxy.Row, conf *tls.Config, timeout time.Duration) CheckedRow {
	out := CheckedRow{Row: row}
	type result struct {
		port uint16
		rtt  time.Duration
		err  error
	}
	var mu sync.Mutex
	var results []result
	var wg sync.WaitGroup
	gate := make(chan struct{}, 32)
	for _, p := range row.Ports {
		for port := int(p.First); port <= int(p.Last); port++ {
			gate <- struct{}{}
			wg.Go(func() {
				defer func() { <-gate }()
				a := netip.AddrPortFrom(row.Destination, uint16(port))
				began := time.Now()
				var err error
				if row.Protocol == "UDP" {
					err = probeUDP(ctx, a, timeout)
				} else {
					err = probeTCP(ctx, a, row.Purpose, conf, timeout)
				}
				mu.Lock()
				results = append(results, result{port: uint16(port), rtt: time.Since(began), err: err})
				mu.Unlock()
			})
		}
	}
	wg.Wait()
	slices.SortFunc(results, func(a, b result) int { return int(a.port) - int(b.port) })
	var open []result
	draining := false
	for _, r := range results {
		var cert *certificateError
		switch {
		case r.err == nil || errors.Is(r.err, errDraining):
			open = append(open, r)
			draining = draining || r.err != nil
		case errors.As(r.err, &cert):
			out.Status, out.Detail = Intercepted, cert.Error()
		default:
			if n := len(out.Blocked); n > 0 && out.Blocked[n-1].Last+1 == r.port {
				out.Blocked[n-1].Last = r.port
			} else {
				out.Blocked = append(out.Blocked, proxy.Port(r.port))
			}
			if out.Detail == "" {
				out.Detail = why(r.err)
			}
		}
	}
	switch {
	case out.Status == Intercepted:
		return out
	case len(open) == 0:
		out.Status = Blocked
		return out
	case len(out.Blocked) > 0:
		out.Status = Partly
	default:
		out.Status, out.Detail = Reachable, ""
	}
	if draining {
		out.Detail = detailDraining
	}
	slices.SortFunc(open, func(a, b result) int { return int(a.rtt - b.rtt) })
	best := open[0]
	out.RTT = milliseconds(best.rtt)
	if row.Protocol == "UDP" {
		measureUDP(ctx, netip.AddrPortFrom(row.Destination, best.port), &out)
		if out.Loss >= lossyAt && out.Status == Reachable {
			out.Status = Lossy
		}
	}
	return out
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// why says in a few words why a port cannot be reached.
func why(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(text, "timeout"):
		return detailNoAnswer
	case strings.Contains(text, "refused"):
		return detailRefused
	case strings.Contains(text, "reset"):
		return "connection reset"
	case strings.Contains(text, "unreachable"), strings.Contains(text, "not permitted"):
		return "no way there"
	}
	return text
}

// bindingRequest is a STUN Binding request that is size bytes long, or as short as can
// be.
func bindingRequest(size int) []byte {
	n := 0
	if size > stunLen+4 {
		n = (size - stunLen) &^ 3
	}
	b := make([]byte, stunLen+n)
	b[1] = 1
	b[2], b[3] = byte(n>>8), byte(n)
	copy(b[4:], []byte{0x21, 0x12, 0xA4, 0x42})
	rand.Read(b[8:stunLen])
	if n > 0 { // PADDING (RFC 5780, Section 7.6) is optional to understand when it is of the upper half
		b[stunLen], b[stunLen+1] = 0x80, 0x22 // SOFTWARE
		b[stunLen+2], b[stunLen+3] = byte((n-4)>>8), byte(n-4)
		for i := stunLen + 4; i < len(b); i++ {
			b[i] = 'x'
		}
	}
	return b
}

const stunLen = 20

// isAnswer reports whether b answers a request.
func isAnswer(b, request []byte) bool {
	return stun.IsMessage(b) && b[0] == 1 && b[1] == 1 && bytes.Equal(b[8:stunLen], request[8:stunLen])
}

// probeUDP asks three times.
func probeUDP(ctx context.Context, a netip.AddrPort, timeout time.Duration) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", a.String())
	if err != nil {
		return err
	}
	defer c.Close()
	request, buf := bindingRequest(0), make([]byte, 1500)
	for range 3 {
		if _, err = c.Write(request); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(min(timeout/3, time.Second)))
		for {
			var n int
			if n, err = c.Read(buf); err != nil {
				break
			}
			if isAnswer(buf[:n], request) {
				return nil
			}
		}
		if !isTimeout(err) {
			return err
		}
	}
	return err
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// measureUDP measures loss, round trip and the largest packet.
func measureUDP(ctx context.Context, a netip.AddrPort, out *CheckedRow) {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", a.String())
	if err != nil {
		return
	}
	defer c.Close()
	dontFragment(c)
	buf := make([]byte, 2000)
	// 1. Loss and round trip: one every 20 ms, as a voice does.
	sent := map[[12]byte]time.Time{}
	var mu sync.Mutex
	var trips []time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			n, err := c.Read(buf)
			if isTimeout(err) || errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // an answer to what was sent
				continue
			}
			if n < stunLen {
				continue
			}
			mu.Lock()
			if at, ok := sent[[12]byte(buf[8:stunLen])]; ok {
				trips = append(trips, time.Since(at))
				delete(sent, [12]byte(buf[8:stunLen]))
			}
			mu.Unlock()
		}
	}()
	c.SetReadDeadline(time.Now().Add(probes*20*time.Millisecond + time.Second))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range probes {
		b := bindingRequest(172)
		mu.Lock()
		sent[[12]byte(b[8:stunLen])] = time.Now()
		mu.Unlock()
		c.Write(b)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	<-done
	out.Loss = float64(probes-len(trips)) / probes
	if len(trips) > 0 {
		slices.Sort(trips)
		out.RTT = milliseconds(trips[len(trips)/2])
	}
	// 2. The largest IP packet: 8 bytes of UDP and 20 or 40 of IP go on top.
	header := 28
	if a.Addr().Is6() {
		header = 48
	}
	for _, mtu := range []int{1500, 1492, 1480, 1460, 1420, 1400, 1380, 1340, 1300, 1280, 1200, 1000, 576} {
		request := bindingRequest((mtu - header) &^ 3)
		for range 2 {
			if _, err := c.Write(request); err != nil {
				break
			}
			c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := c.Read(buf)
			for err == nil && !isAnswer(buf[:n], request) {
				n, err = c.Read(buf)
			}
			if err == nil {
				out.MTU = mtu
				return
			}
		}
	}
}

var errDraining = errors.New(detailDraining)

// certificateError says that a certificate is not the proxy's.
type certificateError struct{ issuer string }

func (e *certificateError) Error() string {
	return fmt.Sprintf("the certificate is of %q and not trusted", e.issuer)
}

// probeTCP connects and lets the service say something of its own: that a port can be
// connected to proves nothing where a firewall answers for everybody.
func probeTCP(ctx context.Context, a netip.AddrPort, purpose string, conf *tls.Config, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(timeout))
	if purpose == "messages" || strings.Contains(purpose, "TLS") {
		return probeTLS(c, conf)
	}
	// TURN answers a Binding request; SOCKS5 sees a version that it does not know and
	// hangs up, and answers a greeting.
	request := bindingRequest(0)
	c.Write(request)
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	if err == nil && isAnswer(buf[:n], request) {
		return nil
	}
	again, err2 := (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
	if err2 != nil {
		return err2
	}
	defer again.Close()
	again.SetDeadline(time.Now().Add(timeout))
	again.Write([]byte{5, 1, 2})
	if n, err := io.ReadFull(again, buf[:2]); err != nil || n != 2 || buf[0] != 5 || buf[1] != 2 {
		return errors.New("something answers, but not the proxy")
	}
	return nil
}

// probeTLS looks at the certificate, and whether the proxy's health answers.
func probeTLS(c net.Conn, conf *tls.Config) error {
	conf = conf.Clone()
	conf.NextProtos = []string{"http/1.1"}
	t := tls.Client(c, conf)
	if err := t.Handshake(); err != nil {
		var bad *tls.CertificateVerificationError
		if errors.As(err, &bad) {
			issuer := "somebody"
			if len(bad.UnverifiedCertificates) > 0 {
				issuer = nameOf(bad.UnverifiedCertificates[0])
			}
			return &certificateError{issuer}
		}
		return err
	}
	io.WriteString(t, "GET /healthz HTTP/1.1\r\nHost: "+conf.ServerName+"\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(io.LimitReader(t, 4096))
	switch {
	case bytes.HasPrefix(b, []byte("HTTP/1.1 200")):
		return nil
	case bytes.HasPrefix(b, []byte("HTTP/1.1 503")):
		return errDraining
	}
	return errors.New("something answers, but not the proxy")
}

func nameOf(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	return c.Issuer.String()
}
