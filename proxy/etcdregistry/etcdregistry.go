// Package etcdregistry lets relays of the cloud proxy on several machines know each other
// by an etcd cluster: each puts its address there under a lease, so that the entry of one
// that is gone goes by itself, and watches those of the others.
//
//	reg, err := etcdregistry.New(etcdregistry.Options{Endpoints: []string{"10.0.0.1:2379", …}})
//	srv, err := proxy.Start(ctx, proxy.Config{Registry: reg, Announce: "10.0.1.7:4000", Secret: shared, …})
//
// There are addresses in etcd and nothing else. Whoever can write there cannot pose as a
// relay: each proves with every answer that it has the secret that all of them share.
package etcdregistry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/chanseal/chanseal/proxy"
)

// Options say where the cluster is.
type Options struct {
	// Endpoints are members of the cluster, each HOST:PORT.
	Endpoints []string
	// Prefix begins every key; "" is "/chanseal/". "relays/" follows.
	Prefix string
	// TLS of the connections; nil is none.
	TLS *tls.Config
	// User and Password log in.
	User, Password string
	// TTL is how long the entry of a relay that is gone stays; 0 is 10 seconds. In
	// whole seconds, 2 at least.
	TTL time.Duration
}

// Format prints no password.
func (o Options) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "etcd://%s%s", strings.Join(o.Endpoints, ","), o.Prefix)
}

const (
	defaultTTL = 10 * time.Second
	minTTL     = 2 * time.Second
	maxRelays  = 1000 // entries that are looked at
	maxAddress = 270  // bytes: a host name and a port
	maxBackoff = 5 * time.Second
	askTime    = 5 * time.Second // of one request
)

// Registry is a proxy.Registry in etcd.
type Registry struct{ o Options }

var _ proxy.Registry = (*Registry)(nil)

// New checks options. It connects to nothing yet.
func New(o Options) (*Registry, error) {
	if len(o.Endpoints) == 0 {
		return nil, errors.New("proxy/etcdregistry: no endpoint, give one as host:2379")
	}
	if o.TTL == 0 {
		o.TTL = defaultTTL
	}
	if o.TTL < minTTL || o.TTL%time.Second != 0 {
		return nil, fmt.Errorf("proxy/etcdregistry: a TTL of %s, want whole seconds, %s at least", o.TTL, minTTL)
	}
	if o.Prefix == "" {
		o.Prefix = "/chanseal/"
	}
	if !strings.HasSuffix(o.Prefix, "/") {
		o.Prefix += "/"
	}
	return &Registry{o}, nil
}

// Run announces an address, if it is not empty, and tells found of all that are there,
// at first and after each change, until ctx ends. What goes wrong with etcd is told to
// failed and tried again; the relays found last stay known meanwhile.
func (r *Registry) Run(ctx context.Context, address string, found func(addresses []string), failed func(error)) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, maxBackoff) {
		began := time.Now()
		err := r.run(ctx, address, found)
		if ctx.Err() != nil {
			return
		}
		failed(err)
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// run does it until something fails.
func (r *Registry) run(ctx context.Context, address string, found func([]string)) error {
	c, err := clientv3.New(clientv3.Config{Endpoints: r.o.Endpoints, TLS: r.o.TLS, Username: r.o.User, Password: r.o.Password,
		DialTimeout: askTime, DialKeepAliveTime: askTime, DialKeepAliveTimeout: askTime, Logger: zap.NewNop(), Context: ctx})
	if err != nil {
		return fmt.Errorf("proxy/etcdregistry: %w", err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := r.o.Prefix + "relays/"
	var alive <-chan *clientv3.LeaseKeepAliveResponse
	if address != "" {
		ask, stop := context.WithTimeout(ctx, askTime)
		lease, err := c.Grant(ask, int64(r.o.TTL/time.Second))
		if err == nil {
			// Gone at once when this ends, whoever looks.
			defer func() {
				ask, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer stop()
				c.Revoke(ask, lease.ID)
			}()
			_, err = c.Put(ask, prefix+address, "", clientv3.WithLease(lease.ID))
		}
		stop()
		if err == nil {
			alive, err = c.KeepAlive(ctx, lease.ID)
		}
		if err != nil {
			return fmt.Errorf("proxy/etcdregistry: this relay is not announced: %w", err)
		}
	}
	ask, stop := context.WithTimeout(ctx, askTime)
	list, err := c.Get(ask, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(maxRelays))
	stop()
	if err != nil {
		return fmt.Errorf("proxy/etcdregistry: relays are not listed: %w", err)
	}
	known := map[string]bool{}
	tell := func() {
		addresses := make([]string, 0, len(known))
		for a := range known {
			addresses = append(addresses, a)
		}
		slices.Sort(addresses)
		found(addresses)
	}
	for _, kv := range list.Kvs {
		if a := strings.TrimPrefix(string(kv.Key), prefix); isAddress(a) {
			known[a] = true
		}
	}
	tell()
	changes := c.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(list.Header.Revision+1))
	for {
		select {
		case _, ok := <-alive: // nil where nothing is announced: waits for ever
			if !ok {
				return errors.New("proxy/etcdregistry: the lease of this relay is lost")
			}
		case w, ok := <-changes:
			if !ok {
				return errors.New("proxy/etcdregistry: the watch has ended")
			}
			if err := w.Err(); err != nil {
				return fmt.Errorf("proxy/etcdregistry: the watch has ended: %w", err)
			}
			for _, e := range w.Events {
				a := strings.TrimPrefix(string(e.Kv.Key), prefix)
				switch {
				case e.Type == mvccpb.Event_DELETE:
					delete(known, a)
				case isAddress(a) && len(known) < maxRelays:
					known[a] = true
				}
			}
			tell()
		}
	}
}

// isAddress reports whether a key is of an address.
func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && host != "" && port != "" && len(s) <= maxAddress && !strings.ContainsAny(s, "/?#@ ")
}
