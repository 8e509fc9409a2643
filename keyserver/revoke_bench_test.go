package keyserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
	"github.com/chanseal/chanseal/keyserver/api"
)

// peerVariable names the store of a server process that shares it with others: a directory
// with a ring, or etcd's endpoints.
const peerVariable = "CHANSEAL_PEER_SERVER"

const peerPrefix = "/bench/keyserver"

// openPeerRing opens the ring of a store. Its root key lies in the open: it is a benchmark's.
func openPeerRing(ctx context.Context, store string, open func(context.Context, keyring.Store, keyring.Options) (*keyring.Ring, error)) (*keyring.Ring, error) {
	if filepath.IsAbs(store) {
		path := filepath.Join(store, "ring.db")
		s, err := boltstore.Open(path, boltstore.Options{})
		if errors.Is(err, keyring.ErrNoRing) {
			s, err = boltstore.Create(path, boltstore.Options{})
		}
		if err != nil {
			return nil, err
		}
		return open(ctx, s, keyring.Options{KEKs: []keyring.KEK{plainKEK{}}})
	}
	s, err := etcdstore.Open(ctx, etcdstore.Options{Endpoints: strings.Split(store, ","), Prefix: peerPrefix})
	if err != nil {
		return nil, err
	}
	return open(ctx, s, keyring.Options{KEKs: []keyring.KEK{plainKEK{}}})
}

// peerServer serves until its input ends. A line revokes the user that it names.
func peerServer(store string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ring, err := openPeerRing(ctx, store, keyring.Open)
	if err != nil {
		return err
	}
	defer ring.Close()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	gate, err := serveRing(ctx, ring, dir, 0)
	if err != nil {
		return err
	}
	var revoking sync.WaitGroup
	defer revoking.Wait()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		user := channelkey.User(in.Text())
		revoking.Go(func() {
			if err := gate.Revoke(channelkey.Revocation{User: user, Until: time.Now().Add(time.Hour)}); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	return nil
}

// peer is such a process.
type peer struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	base string
}

func startPeer(b *testing.B, store string) *peer {
	b.Helper()
	p := &peer{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), peerVariable+"="+store)
	p.cmd.Stderr = os.Stderr
	p.in = must(p.cmd.StdinPipe())(b)
	out := must(p.cmd.StdoutPipe())(b)
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.stop)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		b.Fatal("the server does not start")
	}
	p.base = "https://" + lines.Text() + "/v1/channels/stage"
	return p
}

func (p *peer) stop() { p.in.Close(); p.cmd.Wait() }
func (p *peer) kill() { p.cmd.Process.Kill(); p.cmd.Wait() }

func (p *peer) revoke(uid int) { fmt.Fprintln(p.in, uid) }

// guest is a member at one of them, and what their stream says.
type guest struct {
	api.Membership
	out  chan time.Time // when the stream said that they are put out
	mu   sync.Mutex
	news chan struct{}
	last api.Keys
}

func (p *peer) enter(b *testing.B, client *http.Client, uid int) *guest {
	b.Helper()
	issuer := must(channelkey.NewIssuer(loadApp, channelkey.Legacy{}))(b)
	card := must(issuer.Mint(channelkey.Publisher("stage", channelkey.UID(uint32(uid)), time.Now(), time.Hour)))(b)
	do := func(method, path, bearer, body string) *http.Response {
		req := must(http.NewRequestWithContext(b.Context(), method, p.base+path, strings.NewReader(body)))(b)
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("Content-Type", "application/json")
		return must(client.Do(req))(b)
	}
	resp := do("POST", "/members", card, fmt.Sprintf(`{"uid":"%d"}`, uid))
	body := must(io.ReadAll(resp.Body))(b)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b.Fatalf("%s: %s", resp.Status, body)
	}
	g := &guest{out: make(chan time.Time, 1), news: make(chan struct{}, 1)}
	if err := json.Unmarshal(body, &g.Membership); err != nil {
		b.Fatal(err)
	}
	g.last = g.Keys
	stream := do("GET", "/watch", g.Token.Reveal(), "")
	events := make(chan event, 100)
	go func() { readEvents(stream.Body, events); close(events); stream.Body.Close() }()
	go func() {
		for e := range events {
			switch e.name {
			case "put-out":
				g.out <- time.Now()
			case "keys":
				var k api.Keys
				if json.Unmarshal([]byte(e.data), &k) != nil {
					continue
				}
				g.mu.Lock()
				g.last = k
				g.mu.Unlock()
				select {
				case g.news <- struct{}{}:
				default:
				}
			}
		}
	}()
	return g
}

// top is the newest epoch that a member holds a secret of.
func (g *guest) top() (n uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.last.Epochs {
		if len(e.Secret) > 0 {
			n = max(n, e.Epoch)
		}
	}
	return n
}

func report(b *testing.B, what string, took []time.Duration) {
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "ms-"+what+"p50")
	b.ReportMetric(ms(took[len(took)*99/100]), "ms-"+what+"p99")
	b.ReportMetric(ms(took[len(took)-1]), "ms-"+what+"max")
	b.ReportMetric(0, "ns/op")
	if worst := took[len(took)-1]; worst > time.Second {
		b.Errorf("the slowest %srevocation took %v, the median %v", what, worst, took[len(took)/2])
	}
}

// BenchmarkRevoke measures from a revocation at one server until the member at another one
// is told to be out, each server a process: one after another, and many at once.
func BenchmarkRevoke(b *testing.B) {
	for _, c := range []struct {
		store   string
		servers int
	}{{"etcd", 3}, {"bolt", 1}} {
		b.Run(fmt.Sprintf("store=%s/servers=%d", c.store, c.servers), func(b *testing.B) {
			store := peerStore(b, c.store)
			var peers []*peer
			for range c.servers {
				peers = append(peers, startPeer(b, store))
			}
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 1000}
			b.Cleanup(tr.CloseIdleConnections)
			client := &http.Client{Transport: tr}
			const alone, crowd = 100, 100
			var all []*guest
			for uid := range alone + crowd {
				all = append(all, peers[uid%c.servers].enter(b, client, uid+1))
			}
			var singly, together []time.Duration
			for b.Loop() {
				for uid := range alone {
					time.Sleep(20 * time.Millisecond)
					began := time.Now()
					peers[(uid+1)%c.servers].revoke(uid + 1)
					singly = append(singly, (<-all[uid].out).Sub(began))
				}
				time.Sleep(time.Second)
				began := time.Now()
				for uid := alone; uid < alone+crowd; uid++ {
					peers[(uid+1)%c.servers].revoke(uid + 1)
				}
				for uid := alone; uid < alone+crowd; uid++ {
					together = append(together, (<-all[uid].out).Sub(began))
				}
			}
			report(b, "alone-", singly)
			report(b, "crowd-", together)
		})
	}
}

// BenchmarkRevokeAtKilledServer kills the server that a member is at, revokes them at another
// one at once, and measures until those who stay hold an epoch that the member does not.
func BenchmarkRevokeAtKilledServer(b *testing.B) {
	for _, kind := range []string{"etcd", "bolt"} {
		b.Run("store="+kind, func(b *testing.B) {
			store := peerStore(b, kind)
			lives := startPeer(b, store)
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			b.Cleanup(tr.CloseIdleConnections)
			client := &http.Client{Transport: tr}
			stays := lives.enter(b, client, 1000)
			var took []time.Duration
			for b.Loop() {
				for uid := 1; uid <= 5; uid++ {
					dies := startPeer(b, store)
					g := dies.enter(b, client, uid)
					time.Sleep(1500 * time.Millisecond) // the next epoch is staged, and the member has it
					dies.kill()
					began := time.Now()
					lives.revoke(uid)
					had := g.top()
					for stays.top() <= had {
						<-stays.news
					}
					took = append(took, time.Since(began))
					req := must(http.NewRequestWithContext(b.Context(), "POST", lives.base+"/members", strings.NewReader("{}")))(b)
					req.Header.Set("Authorization", "Bearer "+g.Resume.Reveal())
					req.Header.Set("Content-Type", "application/json")
					resp := must(client.Do(req))(b)
					body := must(io.ReadAll(resp.Body))(b)
					resp.Body.Close()
					if resp.StatusCode < 400 {
						b.Errorf("who is revoked comes back: %s", body)
					}
				}
			}
			report(b, "", took)
		})
	}
}

// peerStore makes a store with a ring and the channel, and returns its name.
func peerStore(b *testing.B, kind string) (store string) {
	b.Helper()
	if store = b.TempDir(); kind == "etcd" {
		cl, err := etcdtest.Start(etcdtest.Config{Members: 3, Slow: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { cl.Close() })
		store = strings.Join(cl.Endpoints(), ",")
	}
	ring := must(openPeerRing(b.Context(), store, keyring.Create))(b)
	defer ring.Close()
	// A second of delay: an epoch that is about to begin is not taken back, and each round
	// of a benchmark is to find none.
	must(ring.Create(b.Context(), "stage", keyring.ChannelOptions{Policy: keyring.Policy{Delay: time.Second}}))(b)
	return store
}
