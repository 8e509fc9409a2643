package etcdstore

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chanseal/chanseal/keyring"
)

// member is a member of the cluster, with a client of its own: which member a
// request goes to is up to us, and after one that does not answer comes the next.
// (etcd's client would go round all of them, those that do not answer included.)
type member struct {
	s        *Store
	endpoint string
	mu       sync.Mutex
	client   *clientv3.Client // nil before the first request
}

// connect returns the member's client. The first time it logs in, for at most the
// time that an attempt has.
func (m *member) connect(limit time.Duration) (*clientv3.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.s.done.Err() != nil {
		return nil, keyring.ErrClosed
	}
	if m.client != nil {
		return m.client, nil
	}
	scheme := "http://"
	if m.s.o.TLS != nil {
		scheme = "https://"
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{scheme + m.endpoint}, TLS: m.s.o.TLS, Username: m.s.o.User, Password: m.s.o.Password,
		DialTimeout:          limit,
		DialKeepAliveTime:    10 * time.Second, // the least that gRPC allows
		DialKeepAliveTimeout: 3 * time.Second,
		DialOptions:          m.dialOptions(),
		Context:              m.s.done,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		return nil, err
	}
	m.client = c
	return c, nil
}

// dialOptions sets what etcd's client leaves to gRPC. A request fails at once where
// no connection can be made, with the reason, which is kept: to try again is up to
// us. And a member that comes back is found after a second or two, not after two
// minutes.
func (m *member) dialOptions() []grpc.DialOption {
	pace := backoff.DefaultConfig
	pace.BaseDelay, pace.MaxDelay = 100*time.Millisecond, 2*time.Second
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pace, MinConnectTimeout: m.s.o.Timeout / longTry}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
			if status.Code(err) == codes.Unavailable {
				why := reason(err)
				m.s.why.Store(&why)
			}
			return err
		}),
	}
}

func (m *member) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == nil {
		return nil
	}
	return m.client.Close()
}
