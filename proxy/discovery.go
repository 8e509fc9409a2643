package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// Relay is a machine that clients may use.
type Relay struct {
	Addresses []netip.Addr `json:"addresses"`
	// Relayed are the addresses that face the media network: who is relayed sends from
	// them, and is sent to there.
	Relayed  []netip.Addr `json:"relayed,omitempty"`
	Region   string       `json:"region,omitempty"`
	ISP      string       `json:"isp,omitempty"`
	Load     float64      `json:"load"` // sessions in use, 0 to 1
	UDP      []Ports      `json:"udp,omitempty"`
	TCP      []Ports      `json:"tcp,omitempty"`
	TLS      []Ports      `json:"tls,omitempty"`
	SOCKS5   []Ports      `json:"socks5,omitempty"`
	Draining bool         `json:"draining,omitempty"`
}

// ICEServer is an entry of a WebRTC configuration, as browsers take it.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// Discovery is the answer of GET /v1/proxy: which relays to use, the best first, and
// the credentials for all of them.
type Discovery struct {
	Relays     []Relay     `json:"relays"`
	Realm      string      `json:"realm"`
	Username   string      `json:"username"`
	Credential string      `json:"credential"`
	TTL        int64       `json:"ttl"`     // seconds
	Expires    int64       `json:"expires"` // unix seconds
	ICEServers []ICEServer `json:"ice_servers"`
}

// APIError is what the proxy answers instead.
type APIError struct {
	Status int    `json:"-"`
	Code   string `json:"error"` // a channelkey reason, or what the proxy says itself
	Text   string `json:"message"`
}

func (e *APIError) Error() string { return fmt.Sprintf("proxy: %s (%s)", e.Text, e.Code) }

// handler serves discovery and health:
//
//	GET /v1/proxy?region=R&channel=C&uid=U   Authorization: Bearer CHANNEL-KEY
//	GET /v1/relay                            this relay alone: load, ports; for other relays
//	GET /v1/allowlist?set=production|test
//	GET /healthz
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/proxy", s.discover)
	mux.HandleFunc("GET /v1/relay", s.describe)
	mux.HandleFunc("GET /v1/allowlist", s.allowlist)
	mux.HandleFunc("GET /healthz", s.health)
	return mux
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// describe answers other relays. They know by the proof that it is one of theirs.
func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(s.self(localAddr(r)))
	if err != nil {
		http.Error(w, "cannot be described", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(proofHeader, s.tickets.proof(r.URL.Query().Get("nonce"), body))
	w.Write(body)
}

// proofHeader holds the HMAC of a nonce and the answer under the shared secret.
const proofHeader = "Chanseal-Proof"

func (t *tickets) proof(nonce string, body []byte) string {
	p := t.pseudonym("relay "+strconv.Itoa(len(nonce))+" "+nonce, string(body))
	return hex.EncodeToString(p[:])
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if s.Draining() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

// bearer reads the channel key of a request.
func bearer(r *http.Request) string {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return strings.TrimSpace(key)
}

func (s *Server) discover(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	card := bearer(r)
	if card == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeJSON(w, http.StatusUnauthorized, &APIError{Code: "no-card", Text: "show a channel key: Authorization: Bearer KEY, with channel and uid in the query"})
		return
	}
	h, err := s.admit(card, channelkey.Claims{Channel: q.Get("channel"), User: user(q.Get("uid"))})
	if err != nil {
		s.reg.refused("card")
		writeJSON(w, http.StatusForbidden, refusalOf(err))
		return
	}
	d := Discovery{Realm: s.cfg.Realm, Expires: h.end, TTL: h.end - time.Now().Unix()}
	d.Username, d.Credential = s.tickets.issue(h)
	d.Relays = s.rank(r.Context(), localAddr(r), q.Get("region"), q.Get("isp"))
	if len(d.Relays) == 0 {
		writeJSON(w, http.StatusServiceUnavailable, &APIError{Code: "no-relay", Text: "no relay is healthy now, ask again in a few seconds"})
		return
	}
	d.ICEServers = []ICEServer{{URLs: iceURLs(d.Relays), Username: d.Username, Credential: d.Credential}}
	writeJSON(w, http.StatusOK, &d)
}

// refusalOf tells why a card is refused: the reason that channelkey gives.
func refusalOf(err error) *APIError {
	var refusal *channelkey.Refusal
	switch {
	case errors.As(err, &refusal):
		return &APIError{Code: refusal.Reason().String(), Text: "the channel key is refused"}
	case errors.Is(err, errRevoked):
		return &APIError{Code: channelkey.Revoked.String(), Text: "the channel key is refused"}
	}
	return &APIError{Code: channelkey.OtherApp.String(), Text: "the channel key is refused"}
}

// maxURLs bounds the URLs in an ICE configuration: browsers slow down with many.
const maxURLs = 6

// iceURLs names two relays over every transport.
func iceURLs(relays []Relay) (urls []string) {
	for _, r := range relays[:min(2, len(relays))] {
		for _, a := range r.Addresses[:min(1, len(r.Addresses))] {
			host := a.String()
			if a.Is6() {
				host = "[" + host + "]"
			}
			add := func(format string, ports []Ports) {
				if len(ports) > 0 && len(urls) < maxURLs {
					urls = append(urls, fmt.Sprintf(format, host, ports[0].First))
				}
			}
			add("turn:%s:%d?transport=udp", r.UDP)
			add("turn:%s:%d?transport=tcp", r.TCP)
			add("turns:%s:%d?transport=tcp", r.TLS)
		}
	}
	return urls
}

func localAddr(r *http.Request) netip.Addr {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}

// self describes this relay; reached is where the client found it.
func (s *Server) self(reached netip.Addr) Relay {
	r := Relay{Addresses: s.cfg.Public, Region: s.cfg.Region, ISP: s.cfg.ISP, Load: float64(s.reg.len()) / float64(s.cfg.MaxSessions), Draining: s.Draining()}
	if len(r.Addresses) == 0 && reached.IsValid() {
		r.Addresses = []netip.Addr{reached}
	}
	for _, a := range []netip.Addr{s.cfg.RelayAddress4, s.cfg.RelayAddress6} {
		if a.IsValid() {
			r.Relayed = append(r.Relayed, a)
		}
	}
	for _, l := range s.listening {
		p := l.Address.Port()
		switch {
		case l.Service == "media", l.Service == "edge" && l.Protocol == "udp":
			r.UDP = joinPort(r.UDP, p)
		case l.Service == "edge":
			r.TCP = joinPort(r.TCP, p)
		case l.Service == "tls":
			r.TLS = joinPort(r.TLS, p)
		case l.Service == "socks" && l.Protocol == "tcp":
			r.SOCKS5 = joinPort(r.SOCKS5, p)
		}
	}
	return r
}

// joinPort adds a port to a list of ranges.
func joinPort(list []Ports, p uint16) []Ports {
	if n := len(list); n > 0 && int(list[n-1].Last)+1 == int(p) {
		list[n-1].Last = p
		return list
	}
	for _, have := range list {
		if have.Contains(p) {
			return list
		}
	}
	return append(list, Port(p))
}

// rank returns the healthy relays: of the region first, then of the provider, then
// those with the least load.
func (s *Server) rank(_ context.Context, reached netip.Addr, region, isp string) []Relay {
	list := s.others.healthy()
	if self := s.self(reached); !self.Draining && len(self.UDP)+len(self.TCP)+len(self.TLS) > 0 {
		list = append(list, self)
	}
	far := func(r *Relay) float64 {
		d := r.Load
		if region != "" && !strings.EqualFold(r.Region, region) {
			d += 4
		}
		if isp != "" && !strings.EqualFold(r.ISP, isp) {
			d += 2
		}
		return d
	}
	slices.SortStableFunc(list, func(a, b Relay) int {
		switch x, y := far(&a), far(&b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return list
}

// otherRelays knows the relays on other machines, by asking them again and again.
type otherRelays struct {
	srv    *Server
	client *http.Client

	mu   sync.Mutex
	refs map[string]bool
	up   map[string]Relay
}

const healthEvery = 2 * time.Second

func newOtherRelays(s *Server) *otherRelays {
	o := &otherRelays{srv: s, refs: map[string]bool{}, up: map[string]Relay{},
		// Certificates are not checked: the answer is authenticated by the secret that
		// the relays share.
		client: &http.Client{Timeout: healthEvery, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Proxy: nil}}}
	for _, r := range s.cfg.Relays {
		o.refs[r.Address] = true
	}
	if len(o.refs) > 0 {
		o.check()
	}
	s.wg.Go(o.watch)
	return o
}

func (o *otherRelays) watch() {
	t := time.NewTicker(healthEvery)
	defer t.Stop()
	for {
		select {
		case <-o.srv.done:
			return
		case <-t.C:
			o.check()
		}
	}
}

// check asks every relay, at the same time.
func (o *otherRelays) check() {
	o.mu.Lock()
	var list []string
	for a := range o.refs {
		list = append(list, a)
	}
	o.mu.Unlock()
	var wg sync.WaitGroup
	for _, a := range list {
		wg.Go(func() {
			r, err := o.ask(a)
			o.mu.Lock()
			defer o.mu.Unlock()
			if err != nil || r.Draining || !o.refs[a] {
				delete(o.up, a)
			} else {
				o.up[a] = r
			}
		})
	}
	wg.Wait()
}

func (o *otherRelays) ask(address string) (r Relay, err error) {
	nonce := rand.Text()
	resp, err := o.client.Get("https://" + address + "/v1/relay?nonce=" + nonce)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return r, fmt.Errorf("proxy: relay answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return r, err
	}
	if !sameSecret(resp.Header.Get(proofHeader), o.srv.tickets.proof(nonce, body)) {
		return r, errors.New("proxy: not a relay with our secret")
	}
	return r, json.Unmarshal(body, &r)
}

func (o *otherRelays) healthy() []Relay {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []Relay
	for _, r := range o.up {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Relay) int { return strings.Compare(fmt.Sprint(a.Addresses), fmt.Sprint(b.Addresses)) })
	return list
}

// certificate reads the TLS certificate, or makes one that signs itself.
func (s *Server) certificate() (tls.Certificate, error) {
	if s.cfg.CertFile != "" || s.cfg.KeyFile != "" {
		c, err := tls.LoadX509KeyPair(s.cfg.CertFile, s.cfg.KeyFile)
		if err != nil {
			return c, fmt.Errorf("proxy: TLS certificate: %w", err)
		}
		return c, nil
	}
	if len(s.cfg.Listen.TLS)+len(s.cfg.Listen.Control) > 0 {
		s.log.Warn("proxy: the TLS certificate signs itself and clients must be told not to check it; give --tls-certificate and --tls-key")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "chanseal proxy"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"localhost"}}
	if s.cfg.Domain != "" {
		t.DNSNames = append(t.DNSNames, s.cfg.Domain)
	}
	for _, a := range append(slices.Clone(s.cfg.Addresses), s.cfg.Public...) {
		t.IPAddresses = append(t.IPAddresses, a.AsSlice())
	}
	t.IPAddresses = append(t.IPAddresses, net.IPv4(127, 0, 0, 1), net.IPv6loopback)
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
