package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// TestNoSilentRing: Create and Open do not take one thing for another.
func TestNoSilentRing(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	_, err := keyring.Open(ctx, m.Again(), testOptions)
	wantErr(t, err, keyring.ErrNoRing)
	if _, err = keyring.Create(ctx, m.Again(), keyring.Options{}); err == nil {
		t.Error("a ring that nothing opens")
	}
	r := newRing(t, m.Again())
	must(r.Create(ctx, "c", keyring.ChannelOptions{}))(t)
	_, err = keyring.Create(ctx, m.Again(), testOptions)
	wantErr(t, err, keyring.ErrRingExists)

	// The header is lost, the channels are there.
	e := must(m.Get(ctx, "ring"))(t)
	if err := m.Delete(ctx, "ring", e.Rev); err != nil {
		t.Fatal(err)
	}
	_, err = keyring.Open(ctx, m.Again(), testOptions)
	wantErr(t, err, keyring.ErrDamaged)
	_, err = keyring.Create(ctx, m.Again(), testOptions)
	wantErr(t, err, keyring.ErrDamaged)

	// Another ring's header does not open these channels.
	foreign := keyringtest.NewMemory()
	newRing(t, foreign.Again())
	must(m.CAS(ctx, "ring", must(foreign.Get(ctx, "ring"))(t).Value, 0))(t)
	other := must(keyring.Open(ctx, m.Again(), testOptions))(t)
	_, err = other.Channels(ctx)
	wantErr(t, err, keyring.ErrDamaged)
}

// TestMovedRecord puts one channel's record in another's place.
func TestMovedRecord(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	r := newRing(t, m.Again())
	must(r.Create(ctx, "a", keyring.ChannelOptions{}))(t)
	must(r.Create(ctx, "b", keyring.ChannelOptions{}))(t)
	all, _, err := m.List(ctx, "c/")
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	must(m.CAS(ctx, all[0].Key, all[1].Value, all[0].Rev))(t)
	fresh := reopen(t, m)
	_, errA := fresh.Channel(ctx, "a")
	_, errB := fresh.Channel(ctx, "b")
	if (errA == nil) == (errB == nil) {
		t.Fatal(errA, errB)
	}
	wantErr(t, errors.Join(errA, errB), keyring.ErrDamaged)
}

// TestRollback puts an older record back: a ring that saw the newer one notices.
func TestRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m, ring, ch := stage(t, keyring.ChannelOptions{})
		all, _, err := m.List(ctx, "c/")
		if err != nil {
			t.Fatal(err)
		}
		old := all[0]
		s := sender(t, ch)
		must(ch.Rotate(ctx, ""))(t)
		synctest.Wait()
		e := must(m.Get(ctx, old.Key))(t)
		rev := must(m.CAS(ctx, old.Key, old.Value, e.Rev))(t)
		synctest.Wait()
		_, err = ring.Channel(ctx, "stage")
		wantErr(t, err, keyring.ErrRollback)
		_, err = ch.Rotate(ctx, "")
		wantErr(t, err, keyring.ErrRollback)
		if s.Origin().Epoch != 2 {
			t.Error("a Sender followed the record back")
		}
		if err := m.Delete(ctx, old.Key, rev); err != nil {
			t.Fatal(err)
		}
		_, err = ring.Channel(ctx, "stage")
		wantErr(t, err, keyring.ErrRollback)
		_, err = ring.Create(ctx, "stage", keyring.ChannelOptions{})
		wantErr(t, err, keyring.ErrRollback)
	})
}

func TestLockedAndRekey(t *testing.T) {
	ctx := t.Context()
	m := keyringtest.NewMemory()
	dir := t.TempDir()
	file := must(keyring.CreateKeyFile(filepath.Join(dir, "a")))(t)
	other := must(keyring.CreateKeyFile(filepath.Join(dir, "b")))(t)
	phrase := must(keyring.Passphrase([]byte("correct horse")))(t)
	r := must(keyring.Create(ctx, m.Again(), keyring.Options{KEKs: []keyring.KEK{file}}))(t)
	defer r.Close()
	must(r.Create(ctx, "c", keyring.ChannelOptions{}))(t)
	open := func(keks ...keyring.KEK) error {
		r, err := keyring.Open(ctx, m.Again(), keyring.Options{KEKs: keks})
		if err == nil {
			_, err = r.Channel(ctx, "c")
			r.Close()
		}
		return err
	}
	kinds := func(err error) string {
		var locked *keyring.LockedError
		if !errors.As(err, &locked) || !errors.Is(err, keyring.ErrLocked) {
			t.Fatalf("%v is no LockedError", err)
		}
		return fmt.Sprint(locked.Kinds, locked.Tried)
	}
	if err := open(file); err != nil {
		t.Fatal(err)
	}
	if got := kinds(open(other)); got != "[age] true" {
		t.Error(got)
	}
	if got := kinds(open()); got != "[age] false" {
		t.Error(got)
	}
	if got := kinds(open(phrase)); got != "[age] false" {
		t.Error(got)
	}
	if err := r.Rekey(ctx, phrase, other); err != nil {
		t.Fatal(err)
	}
	if got := kinds(open(file)); got != "[argon2id age] true" {
		t.Error(got)
	}
	if err := errors.Join(open(phrase), open(other)); err != nil {
		t.Error(err)
	}
	wrong := must(keyring.Passphrase([]byte("correct horsE")))(t)
	if got := kinds(open(wrong)); got != "[argon2id age] true" {
		t.Error(got)
	}
}

func TestKeyFileModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	must(keyring.CreateKeyFile(path))(t)
	if info := must(os.Stat(path))(t); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	before := must(os.ReadFile(path))(t)
	_, err := keyring.CreateKeyFile(path)
	wantErr(t, err, os.ErrExist)
	if after := must(os.ReadFile(path))(t); !bytes.Equal(before, after) {
		t.Error("overwritten")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.KeyFile(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key file that others read: %v", err)
	}
	for name, content := range map[string]string{
		"empty": "", "none": "# nothing\n", "noise": "AGE-SECRET-KEY-1QQQ\n", "long": strings.Repeat("#", 70000),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := keyring.KeyFile(path)
		if !errors.Is(err, keyring.ErrDamaged) && !errors.Is(err, keyring.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "QQQ") {
			t.Errorf("%s: the error shows the file: %v", name, err)
		}
	}
	if _, err := keyring.KeyFile(t.TempDir()); err == nil {
		t.Error("a directory")
	}
	_, err = keyring.KeyFile(path + "x")
	wantErr(t, err, os.ErrNotExist)
}

// TestNothingShows looks for names and secrets in the file of a ring.
func TestNothingShows(t *testing.T) {
	dir := t.TempDir()
	r := boltRing(t, dir)
	ch := must(r.Create(t.Context(), "a very telling name", keyring.ChannelOptions{}))(t)
	must(ch.Rotate(t.Context(), "a telling reason"))(t)
	r.Close()
	file := must(os.ReadFile(filepath.Join(dir, boltstore.RingFile)))(t)
	for _, word := range []string{"telling", "reason"} {
		if bytes.Contains(file, []byte(word)) {
			t.Errorf("%q shows", word)
		}
	}
	if info := must(os.Stat(filepath.Join(dir, boltstore.RingFile)))(t); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func ExampleRing() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "ring")
	defer os.RemoveAll(dir)

	ring, err := boltstore.CreateRing(ctx, dir, boltstore.RingOptions{}) // or OpenRing
	if err != nil {
		panic(err)
	}
	defer ring.Close()
	channel, err := ring.Create(ctx, "stage", keyring.ChannelOptions{}) // or ring.Channel
	if err != nil {
		panic(err)
	}
	sender, err := channel.Sender(ctx, 7, keyring.SenderOptions{})
	if err != nil {
		panic(err)
	}
	receiver, err := channel.Receiver(ctx, keyring.ReceiverOptions{})
	if err != nil {
		panic(err)
	}
	sealed, _ := sender.Seal(nil, []byte("a frame"), nil)
	frame, from, err := receiver.OpenFrom(nil, sealed, nil)
	fmt.Printf("%s, from sender %d in epoch %d, %v\n", frame, from.Sender, from.Epoch, err)
	// Output: a frame, from sender 7 in epoch 1, <nil>
}
