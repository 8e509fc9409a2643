package keyserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
)

// TestRates: attempts are bounded by card and by address, requests by member, and the
// audit record grows by no more than its own bound.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *keyserver.Config, _ *channelkey.GateConfig) {
			c.Limits = keyserver.Limits{AddressRate: 100, CardRate: 1, MemberRate: 2, RefusalRate: 3}
		})
		m := r.enter(r.card(1, 0, 0), api.EnterRequest{UID: "1"})
		tries := func(n int, f func(i int) string) (reasons map[string]int) {
			reasons = map[string]int{}
			for i := range n {
				reasons[f(i)]++
			}
			return reasons
		}
		card := r.card(2, 0, 0)
		got := tries(50, func(int) string {
			_, reason := r.refused("POST", "/v1/channels/stage/members", card, api.EnterRequest{UID: "3"})
			return reason
		})
		if got["not-authentic"] != 10 || got["rate"] != 40 {
			t.Errorf("with one card: %v", got)
		}
		got = tries(1200, func(i int) string {
			_, reason := r.refused("POST", "/v1/channels/stage/members", fmt.Sprint("garbage", i), api.EnterRequest{UID: "3"})
			return reason
		})
		if got["unknown-format"] != 949 || got["rate"] != 251 { // of 1000, 51 were used above
			t.Errorf("from one address: %v", got)
		}
		if _, reason := r.refused("GET", "/v1/channels/stage/keys", "csm_NONE", nil); reason != "rate" {
			t.Errorf("a token that is none, over the rate: %s", reason)
		}
		got = tries(30, func(int) string {
			resp, _ := r.call("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil)
			if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return resp.Status[:3]
		})
		if got["200"] != 20 || got["429"] != 10 {
			t.Errorf("by one member: %v", got)
		}
		time.Sleep(11 * time.Second)
		if resp, _ := r.call("GET", "/v1/channels/stage/keys", m.Token.Reveal(), nil); resp.StatusCode != 200 {
			t.Errorf("after a while: %s", resp.Status)
		}
		synctest.Wait()
		n := 0
		for _, e := range r.entries() {
			if strings.HasPrefix(e, "enter refused") {
				n++
			}
		}
		if last := strings.Join(r.entries(), "\n"); n != 31 || !strings.Contains(last, "929 more, not listed") {
			t.Errorf("%d refusals are on record:\n%s", n, last)
		}
	})
}

// TestSlowReader: who does not read loses the stream, and others do not wait for it.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		slow := r.enter(r.card(1, 0, 0), api.EnterRequest{UID: "1"})
		quick := r.enter(r.card(2, 0, 0), api.EnterRequest{UID: "2"})
		req := must(http.NewRequestWithContext(t.Context(), "GET", "http://server/v1/channels/stage/watch", nil))(t)
		req.Header.Set("Authorization", "Bearer "+slow.Token.Reveal())
		resp := must(r.client.Do(req))(t) // reads no more than the header
		defer resp.Body.Close()
		w := r.watch(quick.Token.Reveal(), "")
		w.next(t, "keys")
		for i := range 5 { // more than the client's own buffer holds
			before := time.Now()
			must(r.ch.Rotate(t.Context(), "operator"))(t)
			w.keysUntil(t, quick.Keys.Epochs[0].Epoch+uint64(i)+1)
			if d := time.Since(before); d > 0 {
				t.Fatalf("a member waited %v for another", d)
			}
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := testutil.CollectAndCount(r.srv.Collector(), "chanseal_keyserver_streams"); n != 1 {
			t.Fatalf("%d metrics", n)
		}
		want := "# HELP chanseal_keyserver_slow_readers_total Streams that ended because they were not read.\n# TYPE chanseal_keyserver_slow_readers_total counter\nchanseal_keyserver_slow_readers_total 1\n"
		if err := testutil.CollectAndCompare(r.srv.Collector(), strings.NewReader(want), "chanseal_keyserver_slow_readers_total"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if r.srv.Members() != 1 {
			t.Fatalf("%d are inside", r.srv.Members())
		}
	})
}

// TestMetricsTellNothing: metrics hold no names, and their labels are bounded.
func TestMetricsTellNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		m := r.enter(r.card(4294901760, 0, 0), api.EnterRequest{UID: "4294901760"})
		r.refused("POST", "/v1/channels/stage/members", "x"+m.Token.Reveal(), api.EnterRequest{UID: "4294901760"})
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(r.srv.Collector())
		text := fmt.Sprint(must(reg.Gather())(t))
		for _, s := range []string{"4294901760", "stage", m.Token.Reveal(), m.Member} {
			if strings.Contains(text, s) {
				t.Errorf("%q stands in the metrics", s)
			}
		}
		if !strings.Contains(text, "chanseal_keyserver_members") || !strings.Contains(text, "unknown-format") {
			t.Errorf("metrics: %s", text)
		}
	})
}

// TestServe: TLS 1.3 alone, HTTP/2 and HTTP/1.1, bounds of headers and connections, and
// an end that waits for requests.
func TestServe(t *testing.T) {
	r := newRig(t, func(c *keyserver.Config, _ *channelkey.GateConfig) { c.Limits.ConnectionsPerAddress = 3 })
	cert := must(keyserver.SelfSigned("127.0.0.1"))(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 2)
	var listeners [2]net.Listener
	for i := range listeners {
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		listeners[i] = l
		go func() { served <- r.srv.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{cert}}) }()
	}
	l, crowded := listeners[0], listeners[1]
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	if !strings.HasPrefix(keyserver.Pin(cert.Leaf), "sha256//") {
		t.Error("no pin")
	}
	clientOf := func(max uint16, h2 bool) (*http.Client, *http.Transport) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: max}, ForceAttemptHTTP2: h2}
		if !h2 {
			tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		return &http.Client{Transport: tr}, tr
	}
	base := "https://" + l.Addr().String()
	for _, h2 := range []bool{true, false} {
		c, tr := clientOf(0, h2)
		resp, err := c.Get(base + "/healthz")
		if err != nil || resp.StatusCode != 200 || (resp.ProtoMajor == 2) != h2 || resp.TLS.Version != tls.VersionTLS13 {
			t.Fatalf("h2 %v: %v %v", h2, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		req := must(http.NewRequest("GET", base+"/healthz", nil))(t)
		req.Header.Set("X-Large", strings.Repeat("x", 64<<10))
		if resp, err := c.Do(req); err == nil {
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("64 KiB of header: %s", resp.Status)
			}
			resp.Body.Close()
		}
		tr.CloseIdleConnections()
	}
	old, _ := clientOf(tls.VersionTLS12, false)
	if _, err := old.Get(base + "/healthz"); err == nil {
		t.Error("TLS 1.2 works")
	}
	// The fourth connection of an address is closed; the first three stay.
	var open []net.Conn
	for range 3 {
		c := must(tls.Dial("tcp", crowded.Addr().String(), &tls.Config{RootCAs: pool}))(t)
		open = append(open, c)
	}
	if c, err := tls.Dial("tcp", crowded.Addr().String(), &tls.Config{RootCAs: pool}); err == nil {
		c.Close()
		t.Error("a fourth connection")
	}
	for _, c := range open {
		c.Close()
	}
	cancel()
	for range listeners {
		if err := <-served; err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlowBody: a body that does not come is not waited for, and holds nothing.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		conn := must(r.dial(t.Context(), "", ""))(t)
		defer conn.Close()
		began := time.Now()
		go io.WriteString(conn, "POST /v1/channels/stage/members HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"uid\"")
		answer := make([]byte, 4096)
		n, err := conn.Read(answer)
		if err != nil || !strings.Contains(string(answer[:n]), "408 Request Timeout") {
			t.Fatalf("%v: %s", err, answer[:n])
		}
		if d := time.Since(began); d != 10*time.Second {
			t.Fatalf("waited %v", d)
		}
	})
}
