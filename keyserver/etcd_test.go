package keyserver_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// TestServersOnEtcd: two servers on one etcd cluster, over TLS. A membership moves from
// one to the other; a rotation and a revocation at one reach the member at the other; when
// a member of the cluster dies in between, they still do.
func TestServersOnEtcd(t *testing.T) {
	cl, err := etcdtest.Start(etcdtest.Config{Members: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	app := channelkey.App{ID: appID, Primary: channelkey.NewCertificate([]byte("5cfd2fd1755d40ecb72977518be15d3b"))}
	issuer := must(channelkey.NewIssuer(app, channelkey.Legacy{}))(t)
	verifier := must(channelkey.NewVerifier(app, channelkey.Policy{}))(t)
	options := etcdstore.Options{Endpoints: cl.Endpoints(), Prefix: "/test/keyserver"}
	ringOptions := keyring.Options{KEKs: []keyring.KEK{plainKEK{}}}
	first := must(keyring.Create(ctx, must(etcdstore.Open(ctx, options))(t), ringOptions))(t)
	ch := must(first.Create(ctx, "stage", keyring.ChannelOptions{Policy: keyring.Policy{Delay: keyring.AtOnce}}))(t)
	defer first.Close()
	var gates []*channelkey.Gate
	var bases []string
	for range 2 {
		ring := must(keyring.Open(ctx, must(etcdstore.Open(ctx, options))(t), ringOptions))(t)
		store := must(keyserver.GateStore(ring))(t)
		gate := must(channelkey.NewGate(channelkey.GateConfig{Verifier: verifier, Store: store}))(t)
		record := must(audit.Open(filepath.Join(t.TempDir(), "audit.log")))(t)
		srv := must(keyserver.New(keyserver.Config{Ring: ring, Gate: gate, Audit: record, Shared: true}))(t)
		cert := must(keyserver.SelfSigned("127.0.0.1"))(t)
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		serving, stop := context.WithCancel(ctx)
		served := make(chan error, 1)
		go func() { served <- srv.Serve(serving, l, &tls.Config{Certificates: []tls.Certificate{cert}}) }()
		t.Cleanup(func() {
			stop()
			<-served
			srv.Close()
			gate.Close()
			record.Close()
			ring.Close()
		})
		gates = append(gates, gate)
		bases = append(bases, "https://"+l.Addr().String()+"/v1/channels/stage")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	do := func(method, url, bearer, body string) *http.Response {
		t.Helper()
		req := must(http.NewRequestWithContext(ctx, method, url, strings.NewReader(body)))(t)
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("Content-Type", "application/json")
		return must(client.Do(req))(t)
	}
	enter := func(base, bearer, body string) (m api.Membership) {
		t.Helper()
		resp := do("POST", base+"/members", bearer, body)
		defer resp.Body.Close()
		b := must(io.ReadAll(resp.Body))(t)
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s", resp.Status, b)
		}
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	card := must(issuer.Mint(channelkey.Publisher("stage", "1", time.Now(), time.Hour)))(t)
	at := enter(bases[0], card, `{"uid":"1"}`)
	moved := enter(bases[1], at.Resume.Reveal(), `{}`)
	if moved.Member != at.Member || moved.Sender != at.Sender {
		t.Fatalf("%s with number %d came as %s with %d", at.Member, at.Sender, moved.Member, moved.Sender)
	}
	stream := do("GET", bases[1]+"/watch", moved.Token.Reveal(), "")
	defer stream.Body.Close()
	events := make(chan event, 100)
	go func() { readEvents(stream.Body, events); close(events) }()
	until := func(what func(e event) bool) {
		t.Helper()
		for {
			select {
			case e, ok := <-events:
				if !ok {
					t.Fatal("the stream ended")
				}
				if what(e) {
					return
				}
			case <-ctx.Done():
				t.Fatal("nothing comes")
			}
		}
	}
	reaches := func(epoch uint64) {
		t.Helper()
		until(func(e event) bool {
			return e.name == "keys" && decode[api.Keys](t, []byte(e.data)).Epochs[0].Epoch >= epoch
		})
	}
	reaches(moved.Keys.Epochs[0].Epoch)
	cl.Kill(0)
	info := must(ch.Revoke(ctx, "operator"))(t)
	reaches(info.Epoch)
	if err := gates[0].Revoke(channelkey.Revocation{User: "1", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	until(func(e event) bool {
		return e.name == "put-out" && decode[api.Problem](t, []byte(e.data)).Reason == "revoked"
	})
}
