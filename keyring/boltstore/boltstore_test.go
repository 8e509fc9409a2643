package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/keyring/keyringtest"
)

// newStore makes an empty store's file in dir and returns its path.
func newStore(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, boltstore.RingFile)
	s, err := boltstore.Create(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStore(t *testing.T) {
	keyringtest.TestStore(t, func(t testing.TB) keyringtest.Opener {
		path := newStore(t, t.TempDir())
		return func() (keyring.Store, error) { return boltstore.Open(path, boltstore.Options{}) }
	})
}

// TestStoreLazily: the promises hold for a file whose pages are looked at as they are read.
func TestStoreLazily(t *testing.T) {
	keyringtest.TestStore(t, func(t testing.TB) keyringtest.Opener {
		path := newStore(t, t.TempDir())
		return func() (keyring.Store, error) { return boltstore.OpenLazily(path, boltstore.Options{}) }
	})
}
