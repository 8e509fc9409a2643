package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
	"github.com/chanseal/chanseal/keyserver/client"
)

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

// world is a network of pipes with key servers in it, for a synctest bubble.
type world struct {
	t        *testing.T
	store    *keyringtest.Memory
	ring     *keyring.Ring // the operator's
	ch       *keyring.Channel
	app      channelkey.App
	issuer   *channelkey.Issuer
	verifier *channelkey.Verifier
	tr       *http.Transport

	mu    sync.Mutex
	hosts map[string]*host
}

// host is a key server's process.
type host struct {
	w    *world
	http *http.Server
	l    *pipes
	srv  *keyserver.Server
	gate *channelkey.Gate
	log  *audit.Log
	ring *keyring.Ring
	done chan struct{}
}

type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: keyringtest.NewMemory(), hosts: map[string]*host{}}
	w.app = channelkey.App{ID: "970ca35de60c44645bbae8a215061b33", Primary: channelkey.NewCertificate([]byte("5cfd2fd1755d40ecb72977518be15d3b"))}
	w.issuer = must(channelkey.NewIssuer(w.app, channelkey.Legacy{}))(t)
	w.verifier = must(channelkey.NewVerifier(w.app, channelkey.Policy{}))(t)
	w.ring = must(keyring.Create(t.Context(), w.store.Again(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(t)
	w.ch = must(w.ring.Create(t.Context(), "stage", keyring.ChannelOptions{Policy: keyring.Policy{Delay: keyring.AtOnce}}))(t)
	w.tr = &http.Transport{DialTLSContext: w.dial}
	t.Cleanup(func() {
		w.tr.CloseIdleConnections()
		w.mu.Lock()
		hosts := w.hosts
		w.hosts = map[string]*host{}
		w.mu.Unlock()
		for _, h := range hosts {
			h.stop()
		}
		w.ring.Close()
		time.Sleep(time.Second)
	})
	return w
}

func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	h := w.hosts[address]
	w.mu.Unlock()
	if h == nil {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	select {
	case h.l.conns <- b:
		return a, nil
	case <-h.l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start starts a key server.
func (w *world) start(name string, set ...func(*keyserver.Config)) *host {
	w.t.Helper()
	h := &host{w: w, done: make(chan struct{}), l: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}}
	h.ring = must(keyring.Open(w.t.Context(), w.store.Again(), keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}))(w.t)
	h.log = must(audit.Open(filepath.Join(w.t.TempDir(), "audit.log")))(w.t)
	cfg := keyserver.Config{Ring: h.ring, Audit: h.log}
	for _, f := range set {
		f(&cfg)
	}
	gc := channelkey.GateConfig{Verifier: w.verifier, Now: cfg.Now}
	if cfg.Shared {
		gc.Store = must(keyserver.GateStore(h.ring))(w.t)
	}
	h.gate = must(channelkey.NewGate(gc))(w.t)
	cfg.Gate = h.gate
	h.srv = must(keyserver.New(cfg))(w.t)
	people := must(keyserver.NewPersons(h.ring))(w.t)
	mux := http.NewServeMux()
	mux.Handle("/", h.srv)
	mux.Handle("/v1/admin/", h.srv.Admin(keyserver.AdminConfig{Persons: people, Dev: true}))
	h.http = &http.Server{Handler: mux}
	go func() { h.http.Serve(h.l); close(h.done) }()
	w.mu.Lock()
	w.hosts[name+":443"] = h
	w.mu.Unlock()
	return h
}

// kill takes a server off the network and ends it.
func (w *world) kill(name string) {
	w.mu.Lock()
	h := w.hosts[name+":443"]
	delete(w.hosts, name+":443")
	w.mu.Unlock()
	h.stop()
}

func (h *host) stop() {
	h.http.Close()
	<-h.done
	h.srv.Close()
	h.gate.Close()
	h.log.Close()
	h.ring.Close()
}

func (w *world) card(uid channelkey.User, ends time.Duration) (string, error) {
	return w.cardFor("stage", uid, ends)
}

func (w *world) cardFor(channel string, uid channelkey.User, ends time.Duration) (string, error) {
	c := channelkey.Card{Format: channelkey.DK4, Channel: channel, User: uid, Issued: uint32(time.Now().Unix()), Random: channelkey.NewRandom()}
	if ends != 0 {
		c.Expires = uint32(time.Now().Add(ends).Unix())
	}
	return w.issuer.Mint(c)
}

// kept is what a member was given.
type kept struct {
	mu   sync.Mutex
	keys []api.Keys
	more chan struct{}
}

func (k *kept) keep(_ context.Context, keys *api.Keys, _ uint16) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := *keys
	c.Epochs = nil
	for _, e := range keys.Epochs {
		e.Secret = bytes.Clone(e.Secret)
		c.Epochs = append(c.Epochs, e)
	}
	k.keys = append(k.keys, c)
	select {
	case k.more <- struct{}{}:
	default:
	}
	return nil
}

func (k *kept) last() api.Keys {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[len(k.keys)-1]
}

func (w *world) join(k *kept, o client.Options) *client.Member {
	w.t.Helper()
	o.Transport = w.tr
	if o.Channel == "" {
		o.Channel = "stage"
	}
	if o.Ring == nil {
		o.Keep = k.keep
	}
	if len(o.Servers) == 0 {
		o.Servers = []string{"https://one"}
	}
	if o.UID == "" {
		o.UID = "1"
	}
	if o.Card == nil {
		o.Card = func(context.Context) (string, error) { return w.card(channelkey.User(o.UID), 0) }
	}
	k.more = make(chan struct{}, 1)
	return must(client.Join(w.t.Context(), o))(w.t)
}

func (w *world) active() (uint64, []byte) {
	w.t.Helper()
	feed := must(w.ch.Feed(w.t.Context()))(w.t)
	defer feed.Close()
	h := must(feed.Current())(w.t)
	return h.Keys[0].Number, h.Keys[0].Secret()
}

// current waits until the member has what the ring has.
func (w *world) current(k *kept) {
	w.t.Helper()
	for range 100 {
		synctest.Wait()
		number, secret := w.active()
		if e := k.last().Epochs[0]; e.Epoch == number && bytes.Equal(e.Secret, secret) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	number, _ := w.active()
	w.t.Fatalf("the member has epoch %d, the ring %d", k.last().Epochs[0].Epoch, number)
}

// TestJoin: a member is kept current, with secrets wrapped and not, and leaves.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.start("one")
		var a, b kept
		m := w.join(&a, client.Options{})
		n := w.join(&b, client.Options{UID: "2", Plain: true})
		w.current(&a)
		w.current(&b)
		for range 3 {
			must(w.ch.Revoke(t.Context(), "operator"))(t)
			w.current(&a)
			w.current(&b)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if e := a.last().Epochs; e[1].State != api.StateStaged || len(e[1].Secret) != 32 {
			t.Fatal("the next epoch is not there")
		}
		if m.Sender() == n.Sender() || m.ID() == n.ID() {
			t.Fatal("two members in one seat")
		}
		held := a.last().Epochs[0].Epoch
		if err := m.Close(); err != nil || m.Err() != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if h.srv.Members() != 1 {
			t.Fatalf("%d are inside", h.srv.Members())
		}
		time.Sleep(10 * time.Second)
		w.current(&b)
		if b.last().Epochs[0].Epoch <= held {
			t.Fatal("no rotation after a leave")
		}
		if a.last().Epochs[0].Epoch != held {
			t.Fatal("keys after leaving")
		}
		n.Close()
	})
}

// TestServerAway: a minute without a server; the member comes back by itself, with its
// token if it can, and is current again.
func TestServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one")
		var k kept
		m := w.join(&k, client.Options{})
		defer m.Close()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		next := k.last().Epochs[1]
		w.kill("one")
		synctest.Wait()
		time.Sleep(10 * time.Second)
		must(w.ch.Rotate(t.Context(), "meanwhile"))(t) // to the epoch that the member holds
		if number, secret := w.active(); number != next.Epoch || !bytes.Equal(secret, next.Secret) {
			t.Fatal("the member does not hold the next epoch")
		}
		if lost := m.Lost(); lost.IsZero() {
			t.Fatal("the member has not noticed")
		}
		time.Sleep(50 * time.Second)
		w.start("one")
		time.Sleep(10 * time.Second)
		w.current(&k)
		if !m.Lost().IsZero() || m.Err() != nil {
			t.Fatalf("lost since %v, %v", m.Lost(), m.Err())
		}
	})
}

// TestRefusals: what is refused for good ends Join, and a card that is over is fetched
// anew once.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("one")
		var k kept
		opts := func(card func(context.Context) (string, error)) client.Options {
			return client.Options{Servers: []string{"https://none", "https://one"}, Channel: "stage", UID: "1", Keep: k.keep, Transport: w.tr, Card: card}
		}
		old := must(w.card("1", 0))(t)
		other := must(w.card("2", 0))(t)
		time.Sleep(6 * time.Minute)
		_, err := client.Join(t.Context(), opts(func(context.Context) (string, error) { return old, nil }))
		if client.Reason(err) != "entry-over" || !strings.Contains(err.Error(), "fetch a new key") {
			t.Fatalf("an old card: %v", err)
		}
		_, err = client.Join(t.Context(), opts(func(context.Context) (string, error) { return other, nil }))
		if client.Reason(err) == "" {
			t.Fatalf("another's card: %v", err)
		}
		n := 0
		m, err := client.Join(t.Context(), opts(func(context.Context) (string, error) {
			if n++; n < 3 { // the first time is for the server that is not there
				return old, nil
			}
			return w.card("1", 0)
		}))
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		for _, o := range []client.Options{{}, {Servers: []string{"http://one"}, Channel: "c", UID: "1"}, {Servers: []string{"https://one"}, Channel: "c", UID: "1"}} {
			if _, err := client.Join(t.Context(), o); err == nil {
				t.Errorf("%+v works", o)
			}
		}
	})
}

// TestPutOutAndRenewed: a member goes on with a new card, and is told why when it ends.
func TestPutOutAndRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.start("one")
		var k kept
		m := w.join(&k, client.Options{Card: func(context.Context) (string, error) { return w.card("1", time.Minute) }})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if m.Err() != nil || h.srv.Members() != 1 {
			t.Fatalf("not renewed: %v", m.Err())
		}
		if err := h.gate.Revoke(channelkey.Revocation{User: "1", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		<-m.Done()
		if client.Reason(m.Err()) != "revoked" {
			t.Fatalf("ended with %v", m.Err())
		}
		m.Close()
	})
}

func decode(t testing.TB, b []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		t.Error(err)
	}
}
