package etcdregistry_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
	"github.com/chanseal/chanseal/proxy"
	"github.com/chanseal/chanseal/proxy/etcdregistry"
)

var shared = sync.OnceValues(func() (*etcdtest.Cluster, error) { return etcdtest.Start(etcdtest.Config{}) })

func TestMain(m *testing.M) {
	code := m.Run()
	if cl, err := shared(); err == nil {
		cl.Close()
	}
	os.Exit(code)
}

func registry(t *testing.T) *etcdregistry.Registry {
	t.Helper()
	cl, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	r, err := etcdregistry.New(etcdregistry.Options{Endpoints: cl.Endpoints(), Prefix: "/" + t.Name(), TTL: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs a registry and returns what it finds, and what ends it and waits.
func run(t *testing.T, r *etcdregistry.Registry, address string) (found <-chan []string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c, done := make(chan []string, 1000), make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, address, func(list []string) { c <- list }, func(err error) { t.Log(err) })
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return c, stop
}

func await(t *testing.T, found <-chan []string, want ...string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case got := <-found:
			if slices.Equal(got, want) {
				return
			}
		case <-late:
			t.Fatalf("never found %v", want)
		}
	}
}

// TestRegistry: relays see each other come, go, and those that died without a word.
func TestRegistry(t *testing.T) {
	r := registry(t)
	found, _ := run(t, r, "192.0.2.1:4000")
	await(t, found, "192.0.2.1:4000")
	_, stop := run(t, r, "[2001:db8::2]:4000")
	await(t, found, "192.0.2.1:4000", "[2001:db8::2]:4000")
	stop()
	await(t, found, "192.0.2.1:4000")

	// One that dies leaves a lease that nobody keeps alive.
	cl, _ := shared()
	c, err := clientv3.New(clientv3.Config{Endpoints: cl.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lease, err := c.Grant(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"192.0.2.3:4000", "no address", "192.0.2.4:4000/path"} {
		if _, err := c.Put(t.Context(), "/TestRegistry/relays/"+a, "", clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, found, "192.0.2.1:4000", "192.0.2.3:4000")
	await(t, found, "192.0.2.1:4000")

	// The lease of this one is lost, as in a long cut: it announces itself again.
	all, err := c.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all.Leases {
		c.Revoke(t.Context(), l.ID)
	}
	await(t, found, "192.0.2.1:4000")
}

// TestRelays: two relays that know nothing of each other but the registry are both named by
// discovery; one that is killed is not; and an entry of somebody without the secret never.
func TestRelays(t *testing.T) {
	app, secret := channelkey.NewApp(), []byte(strings.Repeat("s", 32))
	loopback := netip.MustParseAddr("127.0.0.1")
	start := func(region string, secret []byte) (*proxy.Server, string) {
		t.Helper()
		srv, err := proxy.Start(t.Context(), proxy.Config{Apps: []channelkey.App{app}, Addresses: []netip.Addr{loopback}, RelayAddress4: loopback,
			Media: []string{"127.0.0.1"}, Region: region, Secret: secret, Registry: registry(t), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Listen: proxy.ListenPorts{Control: []proxy.Ports{{}}, Edge: []proxy.Ports{{}}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Close() })
		for _, l := range srv.Listening() {
			if l.Service == "control" {
				return srv, l.Address.String()
			}
		}
		t.Fatal("no control port")
		return nil, ""
	}
	found, _ := run(t, registry(t), "") // looks on
	_, stranger := start("stranger", []byte(strings.Repeat("x", 32)))
	await(t, found, stranger)
	_, control := start("here", secret)
	second, _ := start("there", secret)

	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		t.Fatal(err)
	}
	card, err := issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "room", User: "5", Issued: uint32(time.Now().Unix()), Random: channelkey.NewRandom()})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	regions := func() (list []string) {
		t.Helper()
		req, _ := http.NewRequest("GET", "https://"+control+"/v1/proxy?channel=room&uid=5&region=there", nil)
		req.Header.Set("Authorization", "Bearer "+card)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var d proxy.Discovery
		if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
			t.Fatal(err)
		}
		for _, r := range d.Relays {
			list = append(list, r.Region)
		}
		return list
	}
	eventually := func(want ...string) {
		t.Helper()
		tick, late := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
		defer tick.Stop()
		for {
			got := regions()
			if slices.Contains(got, "stranger") {
				t.Fatalf("a relay without the secret is named: %v", got)
			}
			if slices.Equal(got, want) {
				return
			}
			select {
			case <-late:
				t.Fatalf("discovery names %v, want %v", got, want)
			case <-tick.C:
			}
		}
	}
	eventually("there", "here")
	second.Close()
	eventually("here")
}

// TestOptions: what says nothing is refused, and no password is printed.
func TestOptions(t *testing.T) {
	for name, o := range map[string]etcdregistry.Options{"no endpoints": {}, "half a second": {Endpoints: []string{"h:1"}, TTL: 2500 * time.Millisecond}, "too short": {Endpoints: []string{"h:1"}, TTL: time.Second}} {
		if _, err := etcdregistry.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "o", etcdregistry.Options{Endpoints: []string{"h:1"}, Password: "hidden"})
	if strings.Contains(b.String(), "hidden") {
		t.Error("a password is printed")
	}
}
