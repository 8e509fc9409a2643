package proxy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// TestChromium: a call between two peers in a browser that may use relay candidates only
// (iceTransportPolicy "relay"), with data and video, over UDP, TCP and TLS, whose certificate
// the browser checks: without the pin there is no call.
func TestChromium(t *testing.T) {
	bin, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	l := newLab(t, nil)
	user, password := l.credentials(1, 0)
	var servers []ICEServer
	for _, url := range []string{fmt.Sprintf("turn:%s?transport=udp", l.at("edge", "udp")), fmt.Sprintf("turn:%s?transport=tcp", l.at("edge", "tcp")),
		fmt.Sprintf("turns:%s?transport=tcp", l.at("tls", "tcp"))} {
		servers = append(servers, ICEServer{URLs: []string{url}, Username: user, Credential: password})
	}
	cert, err := x509.ParseCertificate(l.certs.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	type result struct {
		Error string
		Log   []string
		Calls []struct {
			Same           bool
			Frames         int
			Pair, Protocol string
			Types          []string
		}
	}
	results := make(chan result, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "testdata/relay.html") })
	mux.HandleFunc("GET /servers", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(servers) })
	mux.HandleFunc("POST /result", func(w http.ResponseWriter, r *http.Request) {
		var res result
		if err := json.NewDecoder(r.Body).Decode(&res); err != nil {
			res.Error = err.Error()
		}
		select {
		case results <- res:
		default:
		}
	})
	page := httptest.NewServer(mux)
	defer page.Close()

	home := t.TempDir()
	browser := exec.CommandContext(t.Context(), bin, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--allow-loopback-in-peer-connection",
		"--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(pin[:]),
		"--user-data-dir="+home, "--remote-debugging-port=0", page.URL)
	browser.Env = append(os.Environ(), "HOME="+home)
	if err := browser.Start(); err != nil {
		t.Skip(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- browser.Wait() }()
	defer func() { browser.Process.Signal(os.Interrupt); <-ended }()
	select {
	case err := <-ended:
		ended <- err
		t.Skipf("chromium ends at once: %v", err)
	case <-time.After(60 * time.Second):
		t.Fatal("the page says nothing")
	case r := <-results:
		if r.Error != "" || len(r.Calls) != len(servers) {
			t.Fatalf("%d calls: %s %q", len(r.Calls), r.Error, r.Log)
		}
		for i, want := range []string{"udp", "tcp", "tls"} {
			c := r.Calls[i]
			t.Logf("%+v", c)
			if !c.Same || c.Frames < 10 || c.Pair != "relay relay" || c.Protocol != want || !slices.Equal(c.Types, []string{"relay"}) {
				t.Errorf("over %s: %+v", want, c)
			}
		}
	}
	l.reg.mu.Lock()
	defer l.reg.mu.Unlock()
	if l.reg.startedBy[overUDP] < 2 || l.reg.startedBy[overTCP] < 2 || l.reg.startedBy[overTLS] < 2 {
		t.Errorf("sessions: %v", l.reg.startedBy)
	}
}
