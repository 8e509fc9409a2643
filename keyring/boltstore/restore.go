package boltstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chanseal/chanseal/keyring"
)

// RestoreRing makes a ring in dir from a backup; see [keyring.Restore]. What opens it
// has to be there: the key file in dir, or other KEKs. A ring that is there is not
// overwritten: keyring.ErrRingExists. The file gets its name when it is complete: if the
// program is killed before, there is no ring.
func RestoreRing(ctx context.Context, dir string, backup io.Reader, o RingOptions, ro keyring.RestoreOptions) (*keyring.Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("boltstore: make the ring's directory: %w", err)
	}
	db := filepath.Join(dir, RingFile)
	if _, err := os.Lstat(db); err == nil {
		return nil, fmt.Errorf("boltstore: %s: %w", db, keyring.ErrRingExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	keks, err := o.keks(dir)
	if err != nil {
		return nil, err
	}
	tmp := db + "." + rand.Text() + ".restoring"
	defer os.Remove(tmp)
	s, err := Create(tmp, Options{Exclusive: true})
	if err != nil {
		return nil, err
	}
	r, err := keyring.Restore(ctx, s, backup, keyring.Options{KEKs: keks, Suites: o.Suites}, ro)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	// Whoever restores a ring means to go back: what was seen here is forgotten.
	if err := os.Remove(filepath.Join(dir, SeenFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	if err := publish(tmp, db); err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return openRing(ctx, db, keks, o)
}
