package etcdstore_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
)

// clearKEK wraps nothing: the header is short.
type clearKEK struct{}

func (clearKEK) Kind() string                          { return "test" }
func (clearKEK) Wrap(root, _ []byte) ([]byte, error)   { return bytes.Clone(root), nil }
func (clearKEK) Unwrap(body, _ []byte) ([]byte, error) { return bytes.Clone(body), nil }

var clearOptions = keyring.Options{KEKs: []keyring.KEK{clearKEK{}}}

// newRing makes a ring in an empty store.
func newRing(t testing.TB, o etcdstore.Options) *keyring.Ring {
	t.Helper()
	r, err := keyring.Create(t.Context(), open(t, o), clearOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func channel(t testing.TB, r *keyring.Ring, name string, rotations int) *keyring.Channel {
	t.Helper()
	ch, err := r.Create(t.Context(), name, keyring.ChannelOptions{})
	for range rotations {
		if err == nil {
			_, err = ch.Rotate(t.Context(), "a telling reason")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// raw returns everything below the prefix, as etcd has it.
func raw(t testing.TB, c *clientv3.Client, o etcdstore.Options) map[string]string {
	t.Helper()
	resp, err := c.Get(t.Context(), o.Prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range resp.Kvs {
		out[string(kv.Key)] = string(kv.Value)
	}
	return out
}

func put(t testing.TB, c *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// look opens the ring anew and returns the fingerprints of all epochs.
func look(ctx context.Context, s *etcdstore.Store) (map[string]string, error) {
	r, err := keyring.Open(ctx, unclosed{s}, clearOptions)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	all, err := r.Channels(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, info := range all {
		for _, e := range info.Epochs {
			out[info.Name+" "+string(rune('0'+e.Number))] = e.Fingerprint
		}
	}
	return out, nil
}

// unclosed keeps a store open when a ring that is on it is closed.
type unclosed struct{ *etcdstore.Store }

func (unclosed) Close() error { return nil }

// TestEveryByteFlipped alters each byte of each value: the ring is refused, or the byte
// is of the mark, which says nothing.
func TestEveryByteFlipped(t *testing.T) {
	o := options(t)
	r, c := newRing(t, o), bare(t, o)
	channel(t, r, "a", 1)
	channel(t, r, "b", 0)
	s := open(t, o)
	want, err := look(t.Context(), s)
	if err != nil || len(want) != 3 {
		t.Fatal(want, err)
	}
	for key, value := range raw(t, c, o) {
		if !strings.HasPrefix(key, o.Prefix+"/kv/") {
			continue
		}
		for i := range value {
			b := []byte(value)
			b[i] ^= 1 << (i % 8)
			put(t, c, key, string(b))
			got, err := look(t.Context(), s)
			switch mark := i < 16; {
			case mark && (err != nil || !maps.Equal(got, want)):
				t.Fatalf("%s, byte %d, of the mark: %v", key, i, err)
			case !mark && !errors.Is(err, keyring.ErrDamaged) && !errors.Is(err, keyring.ErrVersion) && !errors.Is(err, keyring.ErrLocked):
				t.Fatalf("%s, byte %d: %v, %v", key, i, got, err)
			}
		}
		for _, n := range []int{0, 1, 15, 16, 17, len(value) - 1} {
			put(t, c, key, value[:n])
			if got, err := look(t.Context(), s); err == nil {
				t.Fatalf("%s cut to %d bytes: %v", key, n, got)
			}
		}
		put(t, c, key, value)
	}
}

// TestMovedInEtcd swaps the records of two channels, and puts old ones back.
func TestMovedInEtcd(t *testing.T) {
	ctx := t.Context()
	o := options(t)
	r, c := newRing(t, o), bare(t, o)
	a := channel(t, r, "a", 0)
	channel(t, r, "b", 0)
	s := open(t, o)
	before := raw(t, c, o)
	var keys []string
	for key := range before {
		if strings.Contains(key, "/kv/c/") {
			keys = append(keys, key)
		}
	}
	put(t, c, keys[0], before[keys[1]])
	put(t, c, keys[1], before[keys[0]])
	if _, err := look(ctx, s); !errors.Is(err, keyring.ErrDamaged) {
		t.Errorf("swapped: %v", err)
	}
	put(t, c, keys[0], before[keys[0]])
	put(t, c, keys[1], before[keys[1]])

	// The store goes back: a ring that saw the newer record refuses the older one; one
	// that is opened then cannot know.
	if _, err := a.Rotate(ctx, ""); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		put(t, c, key, before[key])
	}
	if _, err := a.Show(ctx); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("put back: %v", err)
	}
	if _, err := a.Rotate(ctx, ""); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("rotate after that: %v", err)
	}
	if _, err := look(ctx, s); err != nil {
		t.Errorf("opened after that: %v", err)
	}
	for _, key := range keys {
		if _, err := c.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Show(ctx); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("removed: %v", err)
	}
}

// TestRolledBackUnderMembers: a cluster that was restored to an older state makes epochs
// with numbers that members have seen: they refuse them.
func TestRolledBackUnderMembers(t *testing.T) {
	ctx := t.Context()
	o := options(t)
	r, c := newRing(t, o), bare(t, o)
	ch := channel(t, r, "stage", 1)
	before := raw(t, c, o)
	member, err := keyring.Create(ctx, open(t, options(t)), clearOptions)
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	serial := uint64(0)
	hand := func(ch *keyring.Channel) error {
		t.Helper()
		feed, err := ch.Feed(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Close()
		now, err := feed.Current()
		if err != nil {
			t.Fatal(err)
		}
		defer now.Wipe()
		serial++
		a := keyring.Acceptance{Keeper: []byte("etcd"), Serial: serial, Grace: 10 * time.Second}
		for _, k := range now.Keys {
			a.Epochs = append(a.Epochs, keyring.Given{Number: k.Number, State: k.State, Kind: k.Kind, Suite: k.Suite, Created: k.Created, Secret: k.Secret()})
		}
		_, err = member.Accept(ctx, "stage", a)
		return err
	}
	if err := hand(ch); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Rotate(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if err := hand(ch); err != nil { // epoch 3
		t.Fatal(err)
	}
	for key, value := range before {
		put(t, c, key, value)
	}
	back, err := keyring.Open(ctx, open(t, o), clearOptions)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	again, err := back.Channel(ctx, "stage")
	if err != nil {
		t.Fatal(err)
	}
	if err := hand(again); !errors.Is(err, keyring.ErrOlder) {
		t.Errorf("epoch 2 after 3: %v", err)
	}
	if _, err := again.Rotate(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if err := hand(again); !errors.Is(err, keyring.ErrOtherSecret) {
		t.Errorf("another epoch 3: %v", err)
	}
	if _, err := again.Rotate(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if err := hand(again); err != nil {
		t.Errorf("epoch 4: %v", err)
	}
}

// TestNothingShowsInEtcd looks for names, reasons and secrets in what etcd answers and in
// its files.
func TestNothingShowsInEtcd(t *testing.T) {
	ctx := t.Context()
	cl, o := start(t, etcdtest.Config{Members: 1})
	dir := t.TempDir()
	kek, err := keyring.CreateKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	r, err := keyring.Create(ctx, s, keyring.Options{KEKs: []keyring.KEK{kek}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ch := channel(t, r, "a very telling name", 2)
	sender, err := ch.Sender(ctx, 0x7177, keyring.SenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	feed, err := ch.Feed(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	now, err := feed.Current()
	if err != nil {
		t.Fatal(err)
	}
	identity, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	secret := string(identity[bytes.Index(identity, []byte("AGE-SECRET-KEY-")):])
	words := []string{"telling", "reason", strings.TrimSpace(secret), secret[20:40]}
	for _, k := range now.Keys {
		b := k.Secret()
		words = append(words, string(b), string(b[:8]))
	}
	control := false // what is searched does hold the ring
	search := func(where string, text []byte) {
		control = control || bytes.Contains(text, []byte("chanseal ring"))
		for _, w := range words {
			if bytes.Contains(text, []byte(w)) {
				t.Errorf("%s shows %q", where, w)
			}
		}
	}
	for key, value := range raw(t, bare(t, o), o) {
		search(key, []byte(key))
		search(key, []byte(value))
	}
	if !control {
		t.Error("the dump does not hold the ring's header")
	}
	control = false
	err = filepath.WalkDir(cl.Files(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		search(path, text)
		return err
	})
	if err != nil || !control {
		t.Errorf("the files hold the ring's header: %v, %v", control, err)
	}
}
