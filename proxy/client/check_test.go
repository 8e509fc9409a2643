package client

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/proxy"
)

// lossyWay passes datagrams on to a relay and back, but of the first ones every n-th
// gets lost on its way there.
func lossyWay(t *testing.T, to string, n int) netip.AddrPort {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close() })
	go func() {
		ways := map[netip.AddrPort]net.Conn{}
		buf := make([]byte, 2000)
		for count := 1; ; count++ {
			k, from, err := front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			c := ways[from]
			if c == nil {
				if c, err = net.Dial("udp4", to); err != nil {
					return
				}
				t.Cleanup(func() { c.Close() })
				ways[from] = c
				go func() {
					b := make([]byte, 2000)
					for {
						k, err := c.Read(b)
						if err != nil {
							return
						}
						front.WriteToUDPAddrPort(b[:k], from)
					}
				}()
			}
			if n == 0 || count%n != 0 {
				c.Write(buf[:k])
			}
		}
	}()
	return front.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestCheckLossy: where the way loses datagrams, the check says so and how many.
func TestCheckLossy(t *testing.T) {
	l := newLab(t)
	s := l.start(nil)
	udp := ""
	for _, x := range s.Listening() {
		if x.Service == "edge" && x.Protocol == "udp" {
			udp = x.Address.String()
		}
	}
	for _, c := range []struct {
		every     int
		want      Status
		low, high float64
	}{{0, Reachable, 0, 0}, {5, Lossy, 0.15, 0.25}} {
		a := lossyWay(t, udp, c.every)
		row := checkRow(t.Context(), proxy.Row{Protocol: "UDP", Destination: a.Addr(), Ports: []proxy.Ports{proxy.Port(a.Port())}}, nil, time.Second)
		if row.Status != c.want || row.Loss < c.low || row.Loss > c.high || row.RTT <= 0 || row.MTU != 1500 {
			t.Errorf("every %d lost: %+v", c.every, row)
		}
	}
}

// TestCheckIntercepted: where somebody else answers TLS, the check says so.
func TestCheckIntercepted(t *testing.T) {
	l := newLab(t)
	a := netip.MustParseAddrPort(at(l.start(nil), "tls"))
	c, err := tls.Dial("tcp", a.String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	real := c.ConnectionState().PeerCertificates[0]
	c.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(real)
	row := proxy.Row{Protocol: "TCP", Destination: a.Addr(), Ports: []proxy.Ports{proxy.Port(a.Port())}, Purpose: "messages"}
	for _, c := range []struct {
		roots *x509.CertPool
		want  Status
	}{{trusted, Reachable}, {x509.NewCertPool(), Intercepted}} {
		if got := checkRow(t.Context(), row, &tls.Config{RootCAs: c.roots, ServerName: "localhost"}, 5*time.Second); got.Status != c.want {
			t.Errorf("%+v, want %s", got, c.want)
		}
	}
}

// TestCheckNotes: what the lines tell together: a proxy that does not run, a machine that
// does not answer, one that drains; and a certificate that may be the proxy's own.
func TestCheckNotes(t *testing.T) {
	l := newLab(t)
	s := l.start(nil)
	at := netip.MustParseAddrPort(at(s, "control"))
	rows := []proxy.Row{{Protocol: "TCP", Destination: at.Addr(), Ports: []proxy.Ports{proxy.Port(at.Port())}, Purpose: "messages"}}
	check := func(conf *tls.Config) *Report {
		t.Helper()
		r, err := Check(t.Context(), CheckConfig{Server: at.String(), TLS: conf, Rows: rows, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	insecure := &tls.Config{InsecureSkipVerify: true}
	if r := check(insecure); len(r.Notes) != 0 || len(r.Ask) != 0 {
		t.Errorf("all is well: %q %q", r.Notes, r.Ask)
	}
	if r := check(&tls.Config{RootCAs: x509.NewCertPool()}); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "--ca FILE") {
		t.Errorf("not trusted: %q", r.Notes)
	}
	go s.Drain(t.Context())
	l.eventually(s.Draining)
	if r := check(insecure); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "takes nobody new") || r.Rows[0].Status != Reachable || len(r.Ask) != 0 {
		t.Errorf("draining: %q %+v", r.Notes, r.Rows)
	}
	s.Close()
	if r := check(insecure); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "is refused, not lost") || len(r.Ask) != 1 {
		t.Errorf("not running: %q", r.Notes)
	}
	r := &Report{Rows: []CheckedRow{{Row: rows[0], Status: Blocked, Detail: detailNoAnswer}}}
	if r.conclude(); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "nothing answers at all") {
		t.Errorf("no answer: %q", r.Notes)
	}
}
