package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

func wantErr(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Fatalf("error %v, want %v", err, w)
		}
	}
}

func names(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestCreateRing(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "new[", "ring")
	_, err := boltstore.OpenRing(ctx, dir, boltstore.RingOptions{})
	wantErr(t, err, keyring.ErrNoRing)
	r, err := boltstore.CreateRing(ctx, dir, boltstore.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(ctx, "c", keyring.ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if got := names(t, dir); got != "ring.db ring.key ring.seen" {
		t.Errorf("files: %s", got)
	}
	for _, name := range []string{"", "ring.db", "ring.key", "ring.seen"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	_, err = boltstore.CreateRing(ctx, dir, boltstore.RingOptions{})
	wantErr(t, err, keyring.ErrRingExists)
	open := func() error {
		r, err := boltstore.OpenRing(ctx, dir, boltstore.RingOptions{})
		if err == nil {
			_, err = r.Channel(ctx, "c")
			r.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	// The ring is lost, the key is there: not a fresh start.
	db, key := filepath.Join(dir, "ring.db"), filepath.Join(dir, "ring.key")
	if err := os.Rename(db, db+".away"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, open(), keyring.ErrNoRing)
	_, err = boltstore.CreateRing(ctx, dir, boltstore.RingOptions{})
	wantErr(t, err, keyring.ErrDamaged)
	// The key is lost, the ring is there.
	if err := errors.Join(os.Rename(db+".away", db), os.Rename(key, key+".away")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, open(), keyring.ErrLocked)
	_, err = boltstore.CreateRing(ctx, dir, boltstore.RingOptions{})
	wantErr(t, err, keyring.ErrRingExists)
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
}

// TestCreateRingKilled leaves the files of a CreateRing that was killed at each
// of its steps.
func TestCreateRingKilled(t *testing.T) {
	ctx := t.Context()
	made := t.TempDir()
	r, err := boltstore.CreateRing(ctx, made, boltstore.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id := r.ID()
	r.Close()
	db, err := os.ReadFile(filepath.Join(made, "ring.db"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(made, "ring.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		same  bool // the ring that was begun is the one that is found
	}{
		"before the key has its name":   {map[string][]byte{"ring.key.1.tmp": key, "ring.db.1.tmp": db}, false},
		"while the key is written":      {map[string][]byte{"ring.key.1.tmp": key[:20]}, false},
		"before the ring has its name":  {map[string][]byte{"ring.key": key, "ring.key.1.tmp": key, "ring.db.1.tmp": db}, true},
		"the same, after another crash": {map[string][]byte{"ring.key": key, "ring.db.0.tmp": db[:5000], "ring.db.1.tmp": db, "ring.key.0.tmp": nil}, true},
		"before the rest is removed":    {map[string][]byte{"ring.key": key, "ring.db": db, "ring.db.1.tmp": db}, true},
	} {
		for _, create := range []bool{true, false} {
			dir := t.TempDir()
			for file, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var r *keyring.Ring
			var err error
			if create {
				r, err = boltstore.CreateRing(ctx, dir, boltstore.RingOptions{})
				if c.same {
					wantErr(t, err, keyring.ErrRingExists)
					r, err = boltstore.OpenRing(ctx, dir, boltstore.RingOptions{})
				}
			} else {
				r, err = boltstore.OpenRing(ctx, dir, boltstore.RingOptions{})
				if !c.same {
					wantErr(t, err, keyring.ErrNoRing)
					continue
				}
			}
			if err != nil {
				t.Fatalf("%s, create %v: %v", name, create, err)
			}
			if (r.ID() == id) != c.same {
				t.Errorf("%s, create %v: another ring", name, create)
			}
			r.Close()
		}
	}
}

// TestCreateRingRace: of many that make a ring at once, one does.
func TestCreateRingRace(t *testing.T) {
	dir := t.TempDir()
	const n = 6
	ids := make(chan string, n)
	for range n {
		go func() {
			r, err := boltstore.CreateRing(context.Background(), dir, boltstore.RingOptions{})
			if err != nil {
				if !errors.Is(err, keyring.ErrRingExists) && !errors.Is(err, keyring.ErrDamaged) {
					t.Error(err)
				}
				ids <- ""
				return
			}
			ids <- r.ID()
			r.Close()
		}()
	}
	won := ""
	for range n {
		if id := <-ids; id != "" {
			if won != "" {
				t.Error("two rings were made")
			}
			won = id
		}
	}
	r, err := boltstore.OpenRing(t.Context(), dir, boltstore.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.ID() != won {
		t.Errorf("ring %s, made was %s", r.ID(), won)
	}
}

func TestBusy(t *testing.T) {
	path := newStore(t, t.TempDir())
	a, err := boltstore.Open(path, boltstore.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := boltstore.Open(newStore(t, t.TempDir()), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	boltstore.SetBusy(b, 20*time.Millisecond)
	boltstore.SetPath(b, path)
	_, err = b.Get(t.Context(), "a")
	wantErr(t, err, keyring.ErrBusy)
	if !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
	_, err = b.CAS(t.Context(), "a", nil, 0)
	wantErr(t, err, keyring.ErrBusy)
	boltstore.SetBusy(b, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := b.Get(ctx, "a"); done <- err }()
	cancel()
	wantErr(t, <-done, context.Canceled)
	go func() { _, err := b.Get(t.Context(), "a"); done <- err }()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, <-done, keyring.ErrNotFound)
}

// TestExclusive runs on one handle that stays open.
func TestExclusive(t *testing.T) {
	s, err := boltstore.Open(newStore(t, t.TempDir()), boltstore.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Create(t.Context(), s, keyring.Options{KEKs: plain.KEKs})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	ch, err := ring.Create(t.Context(), "c", keyring.ChannelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := ch.Rotate(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ch.Forget(t.Context(), 2); err != nil { // and scrubs
		t.Fatal(err)
	}
	info, err := ch.Show(t.Context())
	if err != nil || info.Epoch != 6 || info.Epochs[1].State != keyring.Forgotten {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestCompacted: a watch from before the deletions that are kept.
func TestCompacted(t *testing.T) {
	s, err := boltstore.Open(newStore(t, memoryDir(t)), boltstore.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 1030 {
		rev, err := s.CAS(t.Context(), "p/a", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), "p/a", rev); err != nil {
			t.Fatal(err)
		}
	}
	ended := false
	for _, err := range s.Watch(t.Context(), "p/", 1) {
		wantErr(t, err, keyring.ErrCompacted)
		ended = true
	}
	if !ended {
		t.Error("the watch said nothing")
	}
	rev, err := s.CAS(t.Context(), "p/b", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for ev, err := range s.Watch(t.Context(), "p/", rev-1) {
		if err != nil || ev.Key != "p/b" {
			t.Errorf("%+v, %v", ev, err)
		}
		break
	}
}

// TestScrub forgets an epoch and looks for what its record looked like before.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	r := createRing(t, dir, "c")
	ch, err := r.Channel(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, boltstore.RingFile)
	old := map[string]bool{} // pieces of every record there was
	remember := func() {
		s, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		all, _, err := s.List(t.Context(), "c/")
		if err != nil {
			t.Fatal(err)
		}
		for i := 9; i+16 <= len(all[0].Value); i += 16 {
			old[string(all[0].Value[i:i+16])] = true
		}
	}
	traces := func() (n int) {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for piece := range old {
			n += strings.Count(string(file), piece)
		}
		return n
	}
	remember()
	for range 6 {
		if _, err := ch.Rotate(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		remember()
	}
	if traces() == 0 {
		t.Fatal("the test finds nothing where something must be")
	}
	if _, err := ch.Forget(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := traces(); n != 0 {
		t.Errorf("%d pieces of old records are left in the file", n)
	}
	info, err := ch.Show(t.Context())
	if err != nil || info.Epoch != 7 || info.Floor != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestRestoreRing: a backup makes a ring in a directory that holds its key file, and
// nothing that is there is overwritten.
func TestRestoreRing(t *testing.T) {
	ctx := t.Context()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new")
	r, err := boltstore.CreateRing(ctx, from, boltstore.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Create(ctx, "stage", keyring.ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := r.Backup(ctx, &file); err != nil {
		t.Fatal(err)
	}
	restore := func(dir string) error {
		r, err := boltstore.RestoreRing(ctx, dir, bytes.NewReader(file.Bytes()), boltstore.RingOptions{}, keyring.RestoreOptions{})
		if err == nil {
			_, err = r.Channel(ctx, "stage")
			r.Close()
		}
		return err
	}
	if err := restore(from); !errors.Is(err, keyring.ErrRingExists) {
		t.Error(err)
	}
	if err := restore(to); !errors.Is(err, keyring.ErrLocked) {
		t.Error(err)
	}
	key, err := os.ReadFile(filepath.Join(from, boltstore.KeyFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, boltstore.KeyFile), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := restore(to); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(to); len(files) != 3 {
		t.Errorf("files %v", files)
	}
}

// TestPutBack puts an older copy of a ring's file in its place: whoever saw the newer one
// refuses it, after a restart, too; a ring that is restored begins anew.
func TestPutBack(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	r := createRing(t, dir, "a")
	path := filepath.Join(dir, boltstore.RingFile)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if err := r.Backup(ctx, &backup); err != nil {
		t.Fatal(err)
	}
	ch, err := r.Channel(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Rotate(ctx, ""); err != nil {
		t.Fatal(err)
	}
	r.Close()
	use := func() error {
		r, err := boltstore.OpenRing(ctx, dir, plain)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.Channel(ctx, "a")
		return err
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := use(); !errors.Is(err, keyring.ErrRollback) {
		t.Fatalf("an older file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	restored, err := boltstore.RestoreRing(ctx, dir, &backup, plain, keyring.RestoreOptions{Skip: -1})
	if err != nil {
		t.Fatal(err)
	}
	restored.Close()
	if err := use(); err != nil {
		t.Fatalf("restored: %v", err)
	}
}
