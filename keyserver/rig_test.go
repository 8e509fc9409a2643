package keyserver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// plainKEK wraps nothing: these tests are not about wrapping a ring.
type plainKEK struct{}

func (plainKEK) Kind() string                              { return "test" }
func (plainKEK) Wrap(root, id []byte) ([]byte, error)      { return bytes.Clone(root), nil }
func (plainKEK) Unwrap(wrapped, id []byte) ([]byte, error) { return bytes.Clone(wrapped), nil }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

const appID = "970ca35de60c44645bbae8a215061b33"

// rig is a key server with its client, over pipes: it works inside a synctest bubble.
type rig struct {
	t      testing.TB
	app    channelkey.App
	issuer *channelkey.Issuer
	ring   *keyring.Ring
	ch     *keyring.Channel
	gate   *channelkey.Gate
	record string // the audit record's path
	srv    *keyserver.Server
	client *http.Client
	dial   func(context.Context, string, string) (net.Conn, error)
	log    *lockedBuffer
	seen   *lockedBuffer // all that replies said
	by     atomic.Int64  // by how many nanoseconds the wall clock is off
}

// wall is the rig's wall clock; set sets it.
func (r *rig) wall() time.Time     { return time.Now().Round(0).Add(time.Duration(r.by.Load())) }
func (r *rig) set(d time.Duration) { r.by.Store(int64(d)) }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRig(t testing.TB, set ...func(*keyserver.Config, *channelkey.GateConfig)) *rig {
	t.Helper()
	return newRigAt(t, 0, set...)
}

// newRigAt is newRig with a wall clock that is off from the beginning.
func newRigAt(t testing.TB, off time.Duration, set ...func(*keyserver.Config, *channelkey.GateConfig)) *rig {
	t.Helper()
	r := &rig{t: t, log: new(lockedBuffer), seen: new(lockedBuffer), record: filepath.Join(t.TempDir(), "audit.log")}
	r.set(off)
	r.app = channelkey.App{ID: appID, Primary: channelkey.NewCertificate([]byte("5cfd2fd1755d40ecb72977518be15d3b"))}
	r.issuer = must(channelkey.NewIssuer(r.app, channelkey.Legacy{}))(t)
	r.ring = must(keyring.Create(t.Context(), keyringtest.NewMemory(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}, Now: r.wall}))(t)
	r.ch = must(r.ring.Create(t.Context(), "stage", keyring.ChannelOptions{Policy: keyring.Policy{Delay: keyring.AtOnce}}))(t)
	gc := channelkey.GateConfig{Verifier: must(channelkey.NewVerifier(r.app, channelkey.Policy{}))(t), Now: r.wall}
	log := must(audit.Open(r.record))(t)
	cfg := keyserver.Config{Ring: r.ring, Audit: log, Now: r.wall, Logger: slog.New(slog.NewTextHandler(r.log, nil))}
	for _, f := range set {
		f(&cfg, &gc)
	}
	r.gate = must(channelkey.NewGate(gc))(t)
	cfg.Gate = r.gate
	r.srv = must(keyserver.New(cfg))(t)

	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	hs := &http.Server{Handler: r.srv, ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelError)}
	served := make(chan struct{})
	go func() { hs.Serve(l); close(served) }()
	r.dial = l.dial
	tr := &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 100}
	r.client = &http.Client{Transport: &validating{t: t, next: tr, router: contract(t), seen: r.seen}}
	t.Cleanup(func() {
		r.srv.Drain()
		tr.CloseIdleConnections()
		hs.Close()
		<-served
		if err := errors.Join(r.srv.Close(), log.Close(), r.ring.Close()); err != nil {
			t.Error(err)
		}
		r.gate.Close()
		time.Sleep(time.Second) // of the bubble: net/http closes what it had to refuse in half a second
		if _, err := audit.VerifyFile(r.record, nil); err != nil {
			t.Errorf("the audit record: %v", err)
		}
	})
	return r
}

// pipeListener is a listener whose connections are pipes.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// contract reads the OpenAPI document.
func contract(t testing.TB) routers.Router {
	t.Helper()
	doc := must(openapi3.NewLoader().LoadFromData(api.Document))(t)
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return must(legacy.NewRouter(doc))(t)
}

func init() {
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
}

// validating checks every reply against the OpenAPI document.
type validating struct {
	t      testing.TB
	next   http.RoundTripper
	router routers.Router
	seen   *lockedBuffer
}

func (v *validating) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := v.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	route, params, err := v.router.FindRoute(&http.Request{Method: req.Method, URL: &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath}, Header: req.Header})
	if err != nil {
		return resp, nil // of no path of the document
	}
	in := &openapi3filter.ResponseValidationInput{Status: resp.StatusCode, Header: resp.Header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}}
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		in.Options.ExcludeResponseBody = true
	} else {
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		v.seen.Write(body)
		resp.Body = io.NopCloser(bytes.NewReader(body))
		in.SetBodyBytes(body)
	}
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		v.t.Errorf("%s %s: the reply is not what the document says: %v", req.Method, req.URL.Path, err)
	}
	return resp, nil
}

// card mints a dk4 for a user of the channel, issued some seconds from now.
func (r *rig) card(uid uint32, issued, ends time.Duration) string {
	r.t.Helper()
	c := channelkey.Card{Format: channelkey.DK4, Channel: "stage", User: channelkey.UID(uid), Issued: uint32(time.Now().Add(issued).Unix()), Random: channelkey.NewRandom()}
	if ends != 0 {
		c.Expires = uint32(time.Now().Add(ends).Unix())
	}
	return must(r.issuer.Mint(c))(r.t)
}

// call makes a request; a body that is no string is sent as JSON.
func (r *rig) call(method, path, token string, body any) (*http.Response, []byte) {
	r.t.Helper()
	resp, err := r.send(method, path, token, body)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp, must(io.ReadAll(resp.Body))(r.t)
}

func (r *rig) send(method, path, token string, body any) (*http.Response, error) {
	var b io.Reader
	switch x := body.(type) {
	case nil:
	case string:
		b = strings.NewReader(x)
	default:
		b = bytes.NewReader(must(json.Marshal(x))(r.t))
	}
	req := must(http.NewRequestWithContext(r.t.Context(), method, "http://server"+path, b))(r.t)
	if b != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return r.client.Do(req)
}

// enter lets a user in.
func (r *rig) enter(card string, req api.EnterRequest) api.Membership {
	r.t.Helper()
	resp, body := r.call("POST", "/v1/channels/stage/members", card, req)
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("enter: %s: %s", resp.Status, body)
	}
	return decode[api.Membership](r.t, body)
}

// refused returns the reason of a request's refusal.
func (r *rig) refused(method, path, token string, body any) (status int, reason string) {
	r.t.Helper()
	resp, b := r.call(method, path, token, body)
	if resp.StatusCode < 400 {
		r.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
		r.t.Fatalf("%s %s: a refusal of type %q: %s", method, path, ct, b)
	}
	p := decode[api.Problem](r.t, b)
	if p.Status != resp.StatusCode {
		r.t.Fatalf("problem says %d, the reply %d", p.Status, resp.StatusCode)
	}
	return p.Status, p.Reason
}

func decode[T any](t testing.TB, b []byte) (v T) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return v
}

// event is a server-sent event.
type event struct{ name, id, data string }

// watching is a stream of events.
type watching struct {
	events chan event
	cancel func()
}

// watch opens a stream; lastID may be "".
func (r *rig) watch(token, lastID string) *watching {
	r.t.Helper()
	req := must(http.NewRequest("GET", "http://server/v1/channels/stage/watch", nil))(r.t)
	req.Header.Set("Authorization", "Bearer "+token)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	resp, err := r.client.Do(req.WithContext(ctx))
	if err != nil || resp.StatusCode != http.StatusOK {
		cancel()
		r.t.Fatalf("watch: %v %v", resp, err)
	}
	w := &watching{make(chan event, 1000), cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.events)
		readEvents(resp.Body, w.events)
		resp.Body.Close()
	}()
	r.t.Cleanup(func() { cancel(); <-done })
	return w
}

func readEvents(from io.Reader, into chan<- event) {
	var e event
	for s := bufio.NewScanner(from); s.Scan(); {
		field, value, _ := strings.Cut(s.Text(), ": ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if s.Text() == "" && e.name != "" {
				into <- e
				e = event{}
			}
		}
	}
}

// next returns the next event, which must be of this name.
func (w *watching) next(t testing.TB, name string) event {
	t.Helper()
	e, ok := <-w.events
	if !ok || e.name != name {
		t.Fatalf("event %+v (open: %v), want %s", e, ok, name)
	}
	return e
}

// keysUntil reads keys until one has this epoch active, and returns it.
func (w *watching) keysUntil(t testing.TB, active uint64) api.Keys {
	t.Helper()
	for {
		k := decode[api.Keys](t, []byte(w.next(t, "keys").data))
		if k.Epochs[0].Epoch >= active {
			return k
		}
	}
}

// entries returns the audit record so far, as "event outcome reason" lines.
func (r *rig) entries() (lines []string) {
	r.t.Helper()
	if _, err := audit.VerifyFile(r.record, func(e audit.Entry) error {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Event, e.Outcome, e.Reason)))
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return lines
}
