// Package etcdtest runs etcd clusters inside a test, on loopback, and breaks them.
//
// Everything a member says and hears goes through relays of this package: between
// any two members, and between clients and a member, a connection can be stalled,
// as by a cut cable, or broken, as by a process that was killed.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Config of [Start]; the zero value is one member without TLS.
type Config struct {
	Members int // 0 is 1
	// TLS is what clients connect by: files in PEM. The members among
	// themselves use none.
	CertFile, KeyFile, ClientCAFile string
	// Slow uses etcd's own times (a heartbeat of 100 ms, an election after 1 s)
	// and syncs to disk, as figures need it. Otherwise elections take a fifth.
	Slow bool
}

// Clients stands for them in [Cluster.Cut] and [Cluster.Heal].
const Clients = -1

// ready is how long a cluster may take to answer.
const ready = 60 * time.Second

// Cluster is a running cluster.
type Cluster struct {
	c       Config
	dir     string
	net     *network
	members []*member
}

type member struct {
	peer, client *relay
	mu           sync.Mutex
	etcd         *embed.Etcd // nil while it is down
}

// Start starts a cluster and waits until it has a leader. Close ends it.
func Start(c Config) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "etcdtest")
	if err != nil {
		return nil, err
	}
	cl := &Cluster{c: c, dir: dir, net: newNetwork()}
	for i := range max(c.Members, 1) {
		m := &member{}
		cl.members = append(cl.members, m)
		if m.peer, err = cl.net.listen(i, true); err == nil {
			m.client, err = cl.net.listen(i, false)
		}
		if err != nil {
			return nil, errors.Join(err, cl.Close())
		}
	}
	for i := range cl.members {
		if err := cl.start(i); err != nil {
			return nil, errors.Join(err, cl.Close())
		}
	}
	for i := range cl.members {
		if err := cl.wait(i); err != nil {
			return nil, errors.Join(err, cl.Close())
		}
	}
	return cl, nil
}

func (cl *Cluster) start(i int) error {
	m := cl.members[i]
	cfg := embed.NewConfig()
	cfg.Name = name(i)
	cfg.Dir = filepath.Join(cl.dir, cfg.Name)
	scheme := "http"
	if cl.c.CertFile != "" {
		scheme = "https"
		cfg.ClientTLSInfo = transport.TLSInfo{
			CertFile: cl.c.CertFile, KeyFile: cl.c.KeyFile, TrustedCAFile: cl.c.ClientCAFile, ClientCertAuth: cl.c.ClientCAFile != "",
		}
	}
	cfg.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls = []url.URL{{Scheme: scheme, Host: "127.0.0.1:0"}}
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: m.peer.addr()}}
	cfg.AdvertiseClientUrls = []url.URL{{Scheme: scheme, Host: m.client.addr()}}
	var all []string
	for j, other := range cl.members {
		all = append(all, name(j)+"=http://"+other.peer.addr())
	}
	cfg.InitialCluster = strings.Join(all, ",")
	cfg.InitialClusterToken = filepath.Base(cl.dir)
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.EnableGRPCGateway = false
	if !cl.c.Slow {
		cfg.TickMs, cfg.ElectionMs = 20, 200
		cfg.UnsafeNoFsync = true
	}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("etcdtest: start %s: %w", name(i), err)
	}
	cl.net.name(i, e.Server.MemberID().String())
	m.peer.lead(e.Peers[0].Addr().String())
	m.client.lead(e.Clients[0].Addr().String())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.etcd = e
	return nil
}

func name(i int) string { return fmt.Sprint("member", i) }

// wait waits until a member has joined and knows a leader.
func (cl *Cluster) wait(i int) error {
	e := cl.etcd(i)
	select {
	case <-e.Server.ReadyNotify():
		return nil
	case err := <-e.Err():
		return fmt.Errorf("etcdtest: %s: %w", name(i), err)
	case <-time.After(ready):
		return fmt.Errorf("etcdtest: %s is not ready after %v", name(i), ready)
	}
}

func (cl *Cluster) etcd(i int) *embed.Etcd {
	m := cl.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.etcd
}

// Endpoints are the addresses for clients, each HOST:PORT.
func (cl *Cluster) Endpoints() []string {
	var out []string
	for _, m := range cl.members {
		out = append(out, m.client.addr())
	}
	return out
}

// Leader returns the index of the member that most members which run follow; -1 if
// none does.
func (cl *Cluster) Leader() int {
	votes := map[string]int{}
	for i := range cl.members {
		if e := cl.etcd(i); e != nil {
			votes[e.Server.Leader().String()]++
		}
	}
	for i := range cl.members {
		if e := cl.etcd(i); e != nil && votes[e.Server.MemberID().String()] > len(cl.members)/2 {
			return i
		}
	}
	return -1
}

// AwaitLeader waits until a majority follows a member other than not.
func (cl *Cluster) AwaitLeader(ctx context.Context, not int) (int, error) {
	for {
		if i := cl.Leader(); i >= 0 && i != not {
			return i, nil
		}
		select {
		case <-ctx.Done():
			return -1, fmt.Errorf("etcdtest: no leader: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Kill takes a member away at once: its connections break and nobody is told, as
// when a process is killed. Only then, unheard, it closes its files.
func (cl *Cluster) Kill(i int) {
	for j := -1; j < len(cl.members); j++ {
		cl.net.set(i, j, broken)
		cl.net.set(j, i, broken)
	}
	m := cl.members[i]
	m.mu.Lock()
	e := m.etcd
	m.etcd = nil
	m.mu.Unlock()
	if e != nil {
		stop(e)
	}
}

// stop ends a member without its handing over to another first.
func stop(e *embed.Etcd) {
	e.Server.HardStop()
	e.Close()
}

// Restart starts a member again that was killed, with the data that it had.
func (cl *Cluster) Restart(i int) error {
	for j := -1; j < len(cl.members); j++ {
		cl.net.set(i, j, up)
		cl.net.set(j, i, up)
	}
	if err := cl.start(i); err != nil {
		return err
	}
	return cl.wait(i)
}

// Cut stalls everything between two sides, of which one may be [Clients].
func (cl *Cluster) Cut(a, b int) { cl.net.set(a, b, stalled); cl.net.set(b, a, stalled) }

// Heal undoes Cut. What was stalled breaks.
func (cl *Cluster) Heal(a, b int) { cl.net.set(a, b, up); cl.net.set(b, a, up) }

// Isolate cuts a member off from the other members.
func (cl *Cluster) Isolate(i int) { cl.others(i, cl.Cut) }

// Rejoin undoes Isolate.
func (cl *Cluster) Rejoin(i int) { cl.others(i, cl.Heal) }

func (cl *Cluster) others(i int, do func(a, b int)) {
	for j := range cl.members {
		if j != i {
			do(i, j)
		}
	}
}

// Files are the directories of the members' data, to be searched.
func (cl *Cluster) Files() string { return cl.dir }

// Close ends the cluster and removes its files.
func (cl *Cluster) Close() error {
	cl.net.close()
	var wg sync.WaitGroup
	for i := range cl.members {
		if e := cl.etcd(i); e != nil {
			wg.Go(func() { stop(e) })
		}
	}
	wg.Wait()
	return os.RemoveAll(cl.dir)
}
