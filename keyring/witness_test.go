package keyring_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestWitness: what a member saw before it was restarted, a store that went back does not
// make it unsee. The control, without a witness, follows.
func TestWitness(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "seen")
	m := keyringtest.NewMemory()
	must(newRing(t, m.Again()).Create(ctx, "stage", keyring.ChannelOptions{}))(t)
	all, _, err := m.List(ctx, "c/")
	if err != nil {
		t.Fatal(err)
	}
	old := all[0]
	open := func(witnessed bool) *keyring.Ring {
		o := testOptions
		if witnessed {
			o.Witness = must(keyring.OpenWitness(path))(t)
		}
		r := must(keyring.Open(ctx, m.Again(), o))(t)
		t.Cleanup(func() { r.Close() })
		return r
	}
	put := func(value []byte) {
		e := must(m.Get(ctx, old.Key))(t)
		must(m.CAS(ctx, old.Key, value, e.Rev))(t)
	}
	must(must(open(true).Channel(ctx, "stage"))(t).Rotate(ctx, ""))(t)
	newer := must(m.Get(ctx, old.Key))(t).Value
	must(open(true).Channel(ctx, "stage"))(t)
	must(must(reopen(t, m).Channel(ctx, "stage"))(t).Rotate(ctx, ""))(t) // by somebody else
	must(open(true).Channel(ctx, "stage"))(t)

	for _, back := range [][]byte{old.Value, newer} {
		put(back)
		_, err = open(true).Channel(ctx, "stage")
		wantErr(t, err, keyring.ErrRollback)
		must(open(false).Channel(ctx, "stage"))(t)
	}
	if err := m.Delete(ctx, old.Key, must(m.Get(ctx, old.Key))(t).Rev); err != nil {
		t.Fatal(err)
	}
	_, err = open(true).Channel(ctx, "stage")
	wantErr(t, err, keyring.ErrRollback)
	_, err = open(true).Create(ctx, "stage", keyring.ChannelOptions{})
	wantErr(t, err, keyring.ErrRollback)
	_, err = open(false).Channel(ctx, "stage")
	wantErr(t, err, keyring.ErrNoChannel)

	// Another ring, and another channel, are others.
	other := must(keyring.Create(ctx, keyringtest.NewMemory(), keyring.Options{KEKs: testOptions.KEKs, Witness: must(keyring.OpenWitness(path))(t)}))(t)
	defer other.Close()
	must(other.Create(ctx, "stage", keyring.ChannelOptions{}))(t)
	must(open(true).Create(ctx, "stage 2", keyring.ChannelOptions{}))(t)

	// It shows no name, and whatever becomes of the file keeps nobody out.
	b := must(os.ReadFile(path))(t)
	if bytes.Contains(b, []byte("stage")) {
		t.Error("the witness shows a name")
	}
	for range 20 {
		altered := bytes.Clone(b)
		for i, v := range altered {
			if v != 0 {
				altered[i] ^= byte(rand.Uint32())
			}
		}
		if err := os.WriteFile(path, altered[:rand.IntN(len(altered))], 0o600); err != nil {
			t.Fatal(err)
		}
		must(open(true).Channel(ctx, "stage 2"))(t)
	}
	if _, err := keyring.OpenWitness(t.TempDir()); err == nil {
		t.Error("a directory")
	}
}

// lateStore has something happen between a read and its answer.
type lateStore struct {
	keyring.Store
	meanwhile func()
}

func (s *lateStore) Get(ctx context.Context, key string) (keyring.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	if f := s.meanwhile; f != nil {
		s.meanwhile = nil
		f()
	}
	return e, err
}

// TestWitnessMeanwhile: a channel that another process rotates while it is read did not go
// back.
func TestWitnessMeanwhile(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "seen")
	m := keyringtest.NewMemory()
	must(newRing(t, m.Again()).Create(ctx, "stage", keyring.ChannelOptions{}))(t)
	open := func(s keyring.Store) *keyring.Ring {
		o := testOptions
		o.Witness = must(keyring.OpenWitness(path))(t)
		r := must(keyring.Open(ctx, s, o))(t)
		t.Cleanup(func() { r.Close() })
		return r
	}
	other := must(open(m.Again()).Channel(ctx, "stage"))(t)
	late := &lateStore{Store: m.Again()}
	here := open(late)
	late.meanwhile = func() { must(other.Rotate(ctx, ""))(t) }
	ch := must(here.Channel(ctx, "stage"))(t)
	late.meanwhile = func() { must(other.Rotate(ctx, ""))(t) }
	must(ch.Show(ctx))(t)
	if late.meanwhile != nil {
		t.Error("nothing was read: this shows nothing")
	}
}
