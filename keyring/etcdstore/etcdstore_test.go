package etcdstore_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// shared is the cluster of three that the tests which break nothing share.
var shared = sync.OnceValues(func() (*etcdtest.Cluster, error) {
	return etcdtest.Start(etcdtest.Config{Members: 3})
})

func TestMain(m *testing.M) {
	code := m.Run()
	if cl, err := shared(); err == nil {
		cl.Close()
	}
	os.Exit(code)
}

var prefixes atomic.Int64

// options are those of an empty store of its own on the shared cluster.
func options(t testing.TB) etcdstore.Options {
	t.Helper()
	cl, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return etcdstore.Options{Endpoints: cl.Endpoints(), Prefix: fmt.Sprintf("/test/%d", prefixes.Add(1)), Timeout: 20 * time.Second}
}

func open(t testing.TB, o etcdstore.Options) *etcdstore.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := etcdstore.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	keyringtest.TestStore(t, func(t testing.TB) keyringtest.Opener {
		o := options(t)
		return func() (keyring.Store, error) { return etcdstore.Open(context.Background(), o) }
	})
}
