package etcdstore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
)

// authority signs certificates into a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sign writes a certificate and its key.
func (a *authority) sign(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, name+".pem", "CERTIFICATE", der), a.write(t, name+".key", "PRIVATE KEY", raw)
}

// TestLogin: certificates of both ends are checked, and a user reaches the keys of
// the ring and no other.
func TestLogin(t *testing.T) {
	ca, other := newAuthority(t, "good"), newAuthority(t, "other")
	cert, key := ca.sign(t, "server")
	mine, mineKey := ca.sign(t, "me")
	foreign, foreignKey := other.sign(t, "me")
	caFile, otherFile := filepath.Join(ca.dir, "ca.pem"), filepath.Join(other.dir, "ca.pem")
	cl, err := etcdtest.Start(etcdtest.Config{CertFile: cert, KeyFile: key, ClientCAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	users(t, cl.Endpoints(), caFile, mine, mineKey)
	at := "etcd://" + cl.Endpoints()[0]
	certs := "?ca=" + caFile + "&cert=" + mine + "&key=" + mineKey
	// Only who waits in vain is to wait briefly: checking a password takes etcd a while.
	try := func(url, password string, unreachable bool) error {
		timeout := "&timeout=1m"
		if unreachable {
			timeout = "&timeout=1s"
		}
		o, err := etcdstore.ParseURL(url+timeout, password)
		if err != nil {
			return err
		}
		s, err := etcdstore.Open(t.Context(), o)
		if err != nil {
			return err
		}
		defer s.Close()
		if _, err := s.CAS(t.Context(), "k", []byte("v"), 0); err != nil && !errors.Is(err, keyring.ErrConflict) {
			return err
		}
		return nil
	}
	if err := try(at+"/ring"+certs+"&user=ring", "hunter2", false); err != nil {
		t.Error(err)
	}
	var tried sync.WaitGroup
	for name, c := range map[string]struct {
		url, password string
		want          error
		say           string
	}{
		"wrong password":     {at + "/ring" + certs + "&user=ring", "hunter3", etcdstore.ErrRefused, "authentication failed"},
		"another prefix":     {at + "/rin" + certs + "&user=ring", "hunter2", etcdstore.ErrRefused, "permission denied"},
		"prefix of a prefix": {at + "/ring2" + certs + "&user=ring", "hunter2", etcdstore.ErrRefused, "permission denied"},
		"no user":            {at + "/ring?ca=" + caFile + "&cert=" + mine + "&key=" + mineKey, "", etcdstore.ErrRefused, ""},
		"foreign server":     {at + "/ring?ca=" + otherFile + "&cert=" + mine + "&key=" + mineKey, "", keyring.ErrUnreachable, "certificate"},
		"foreign client":     {at + "/ring?ca=" + caFile + "&cert=" + foreign + "&key=" + foreignKey, "", keyring.ErrUnreachable, ""},
		"no client":          {at + "/ring?ca=" + caFile, "", keyring.ErrUnreachable, ""},
		"no TLS":             {at + "/ring?tls=off", "", keyring.ErrUnreachable, ""},
	} {
		tried.Go(func() {
			err := try(c.url, c.password, c.want == keyring.ErrUnreachable)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.say)
			} else if strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s: the error shows the password: %v", name, err)
			}
		})
	}
	tried.Wait()
}

// users makes a root user, and one that may use /ring/ only, and turns etcd's
// authentication on.
func users(t *testing.T, endpoints []string, ca, cert, key string) {
	t.Helper()
	pool := x509.NewCertPool()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(text)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"https://" + endpoints[0]}, TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(c.UserAdd(ctx, "root", "root's"))
	do(c.UserGrantRole(ctx, "root", "root"))
	do(c.RoleAdd(ctx, "ring"))
	do(c.RoleGrantPermission(ctx, "ring", "/ring/", clientv3.GetPrefixRangeEnd("/ring/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	do(c.UserAdd(ctx, "ring", "hunter2"))
	do(c.UserGrantRole(ctx, "ring", "ring"))
	do(c.AuthEnable(ctx))
}

// TestUnreachable: the error says where it looked.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = etcdstore.Open(t.Context(), etcdstore.Options{Endpoints: []string{addr}, Timeout: time.Second})
	if !errors.Is(err, keyring.ErrUnreachable) || !strings.Contains(err.Error(), "endpoints "+addr) || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = etcdstore.Open(ctx, etcdstore.Options{Endpoints: []string{addr}}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
