// Package client is a member of a channel at a key server: it enters with a channel key,
// keeps the channel's epochs in a ring current, and comes back by itself when the
// connection or the server is lost.
//
//	m, err := client.Join(ctx, client.Options{Servers: []string{"https://keys.example.com"},
//		Ring: ring, Channel: "stage", UID: "123", Card: fetchCard})
//	ch, err := ring.Channel(ctx, "stage")
//	sender, err := ch.Sender(ctx, m.Sender(), keyring.SenderOptions{})
//
// The ring's Senders and Receivers follow every rotation. A member holds the next epoch
// before it is needed, so that a minute without a server is no gap.
package client

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
)

// Options of Join. Servers, Channel, UID, Card, and Ring or Keep are needed.
type Options struct {
	// Servers are the addresses of key servers that share their state, as in
	// https://keys.example.com. The next one is tried when one fails.
	Servers []string
	Channel string
	UID     string
	// Card fetches a channel key for this user: to enter, to go on when the service
	// ends, and to come back after a long time. It is called again when a card is over.
	Card func(ctx context.Context) (string, error)
	// Ring is kept current: it gets the channel, and every rotation of it.
	Ring *keyring.Ring
	// Keep is called instead, with the channel's epochs whenever they change, in order,
	// and the member's sender number. Moments are by this machine's clock, whatever the server's shows. After an error it is called again with the next
	// change or connection. The secrets are wiped after it returns.
	Keep func(ctx context.Context, k *api.Keys, sender uint16) error
	// Issuer is the fingerprint of who keeps a blind channel, whose server cannot open
	// what it forwards; it needs Ring. Learn it on another way than from the server.
	Issuer string
	// Plain asks for secrets as they are, inside TLS. Otherwise they come wrapped to an
	// ephemeral key of this member, by MLKEM768-X25519.
	Plain bool
	// TLS is for a private authority, or a client certificate; nil for the system's.
	TLS *tls.Config
	// Pin, if set, is what keyserver.Pin says of the server's certificate: then that is
	// checked instead of an authority.
	Pin string
	// Transport replaces the connection to the server; TLS and Pin are not used then.
	Transport http.RoundTripper
	// Logger gets what happens to the connection; nil for none.
	Logger *slog.Logger
	// Now is the wall clock, for tests; nil for the system's.
	Now func() time.Time
}

// Refused is what a server answered instead.
type Refused struct{ api.Problem }

func (e *Refused) Error() string {
	text := "client: the key server refuses: " + e.Title + " (" + e.Reason + ")"
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Reason returns the reason in an error of this package, such as "entry-over"; "" if it
// has none.
func Reason(err error) string {
	var r *Refused
	if errors.As(err, &r) {
		return r.Problem.Reason
	}
	return ""
}

func (o *Options) complete() error {
	switch {
	case len(o.Servers) == 0:
		return errors.New("client: no server: set Options.Servers")
	case o.Channel == "" || o.UID == "":
		return errors.New("client: no channel or no user: set Options.Channel and Options.UID")
	case o.Card == nil:
		return errors.New("client: no card: set Options.Card")
	case o.Issuer != "" && o.Ring == nil:
		return errors.New("client: a blind channel needs a ring: set Options.Ring")
	case o.Keep == nil && o.Ring == nil:
		return errors.New("client: nobody keeps the keys: set Options.Ring or Options.Keep")
	}
	if o.Keep == nil {
		o.Keep = into(o.Ring)
	}
	for i, s := range o.Servers {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("client: %q is no address of a key server, as in https://keys.example.com", s)
		}
		o.Servers[i] = strings.TrimSuffix(s, "/")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// transport returns the connection to the servers: TLS 1.3, and one connection for the
// stream, by HTTP/1.1, whose end is noticed at once.
func (o *Options) transport() (http.RoundTripper, error) {
	if o.Transport != nil {
		return o.Transport, nil
	}
	conf := &tls.Config{}
	if o.TLS != nil {
		conf = o.TLS.Clone()
	}
	conf.MinVersion = tls.VersionTLS13
	conf.NextProtos = []string{"http/1.1"}
	if o.Pin != "" {
		if err := CheckPin(conf, o.Pin); err != nil {
			return nil, err
		}
	}
	return &http.Transport{TLSClientConfig: conf, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: requestTimeout,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment}, nil
}

// CheckPin has a TLS client check a server's certificate by what keyserver.Pin says of it,
// instead of an authority.
func CheckPin(conf *tls.Config, pin string) error {
	want, ok := strings.CutPrefix(pin, "sha256//")
	hash, err := base64.StdEncoding.DecodeString(want)
	if !ok || err != nil || len(hash) != sha256.Size {
		return errors.New("client: the pin is not of the form sha256//BASE64, as the server prints it")
	}
	conf.InsecureSkipVerify = true // the pin is checked instead, here:
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("client: the server has no certificate")
		}
		return checkPin(s.PeerCertificates[0], hash)
	}
	return nil
}

func checkPin(c *x509.Certificate, want []byte) error {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	if subtle.ConstantTimeCompare(sum[:], want) != 1 {
		return errors.New("client: the server's certificate is not the one of the pin")
	}
	return nil
}

// requestTimeout bounds every request but the stream.
const requestTimeout = 10 * time.Second

// maxReply bounds a reply, and an event, in bytes.
const maxReply = 1 << 20

// wrapping is the member's ephemeral HPKE key; nil for none.
type wrapping struct {
	kem api.EnterRequestKem
	key hpke.PrivateKey
}

func newWrapping() (*wrapping, error) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	kem := api.KEMMLKEM768X25519
	if err != nil { // where there is no ML-KEM
		key, err = hpke.DHKEM(ecdh.P256()).GenerateKey()
		kem = api.KEMP256
	}
	if err != nil {
		return nil, fmt.Errorf("client: make a key: %w", err)
	}
	return &wrapping{kem, key}, nil
}

// call makes a request and reads the answer into out. The server's own words of refusal
// are a *Refused.
func call(ctx context.Context, c *http.Client, method, address, bearer string, in, out any, heard ...func(http.Header)) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer resp.Body.Close()
	for _, f := range heard {
		f(resp.Header)
	}
	if err := refusal(resp); err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	clear(b)
	if err != nil {
		return fmt.Errorf("client: the server's answer cannot be read: %w", err)
	}
	return nil
}

// refusal returns what a reply says, if it is none of success.
func refusal(resp *http.Response) error {
	if resp.StatusCode < 300 {
		return nil
	}
	t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	r := &Refused{}
	if t == "application/problem+json" {
		_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&r.Problem) // what cannot be read stays empty
	}
	r.Status = resp.StatusCode
	if r.Problem.Reason == "" {
		r.Title, r.Problem.Reason = "it answers "+resp.Status, "unknown"
	}
	return r
}
