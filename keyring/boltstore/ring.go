package boltstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
)

// The files of a ring's directory.
const (
	RingFile = "ring.db"   // the store
	KeyFile  = "ring.key"  // an age identity that opens it, unless other KEKs do
	SeenFile = "ring.seen" // the witness, so that an older RingFile is noticed that is put back
)

// RingOptions of [CreateRing] and [OpenRing]; the zero value is a good choice.
type RingOptions struct {
	// KEKs open the ring. Without any it is the key file in its directory,
	// which CreateRing makes.
	KEKs []keyring.KEK
	// Suites are the custom suites of the ring's channels.
	Suites []*cipher.Suite
	// Exclusive keeps every other process out until the ring is closed.
	Exclusive bool
}

// OpenRing opens the ring in dir. It makes none: keyring.ErrNoRing.
func OpenRing(ctx context.Context, dir string, o RingOptions) (*keyring.Ring, error) {
	keks, err := o.keks(dir)
	if err != nil {
		return nil, err
	}
	if err := finish(ctx, dir, keks); err != nil {
		return nil, err
	}
	return openRing(ctx, filepath.Join(dir, RingFile), keks, o)
}

func openRing(ctx context.Context, path string, keks []keyring.KEK, o RingOptions) (*keyring.Ring, error) {
	s, err := Open(path, Options{Exclusive: o.Exclusive})
	if err != nil {
		return nil, err
	}
	// While CreateRing's file has another name, there is nothing to remember.
	var witness *keyring.Witness
	if filepath.Base(path) == RingFile {
		if witness, err = keyring.OpenWitness(filepath.Join(filepath.Dir(path), SeenFile)); err != nil {
			s.Close()
			return nil, err
		}
	}
	r, err := keyring.Open(ctx, s, keyring.Options{KEKs: keks, Suites: o.Suites, Witness: witness})
	if err != nil {
		witness.Close()
		s.Close()
		if errors.Is(err, keyring.ErrNoRing) { // a file without a header is no fresh start
			err = s.wrap(keyring.ErrDamaged)
		}
		return nil, err
	}
	return r, nil
}

// keks returns the KEKs to open a ring with, none if there is no key file.
func (o *RingOptions) keks(dir string) ([]keyring.KEK, error) {
	if len(o.KEKs) > 0 {
		return o.KEKs, nil
	}
	k, err := keyring.KeyFile(filepath.Join(dir, KeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return []keyring.KEK{k}, nil
}

// CreateRing makes a ring in dir, and dir itself, mode 0700. Nothing that exists
// is overwritten: keyring.ErrRingExists. A key file whose ring is missing is
// refused, too (keyring.ErrDamaged): the ring was lost, not never made.
//
// Both files are written under other names, synced, and then linked to their
// own, the key file first: if the program is killed in between, the next call
// finishes the work.
func CreateRing(ctx context.Context, dir string, o RingOptions) (*keyring.Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("boltstore: make the ring's directory: %w", err)
	}
	db, keyPath := filepath.Join(dir, RingFile), filepath.Join(dir, KeyFile)
	keks, err := o.keks(dir)
	if err != nil {
		return nil, err
	}
	if err := finish(ctx, dir, keks); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(db); err == nil {
		return nil, fmt.Errorf("boltstore: %s: %w", db, keyring.ErrRingExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	ownKey := len(o.KEKs) == 0
	if ownKey && len(keks) > 0 {
		return nil, fmt.Errorf("boltstore: %s is there, but its ring %s is gone: restore it, or move the key file away: %w", keyPath, RingFile, keyring.ErrDamaged)
	}

	var suffix [8]byte
	rand.Read(suffix[:])
	tmp := hex.EncodeToString(suffix[:]) + ".tmp"
	tmpDB, tmpKey := db+"."+tmp, keyPath+"."+tmp
	defer os.Remove(tmpDB)
	if ownKey {
		defer os.Remove(tmpKey)
		k, err := keyring.CreateKeyFile(tmpKey)
		if err != nil {
			return nil, err
		}
		keks = []keyring.KEK{k}
	}
	s, err := Create(tmpDB, Options{})
	if err != nil {
		return nil, err
	}
	r, err := keyring.Create(ctx, s, keyring.Options{KEKs: keks, Suites: o.Suites})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil { // the finisher needs to find the file
		return nil, err
	}
	if ownKey {
		if err := publish(tmpKey, keyPath); err != nil {
			return nil, err
		}
	}
	if err := publish(tmpDB, db); err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return openRing(ctx, db, keks, o)
}

// publish gives a file its name, unless something has it.
func publish(tmp, path string) error {
	err := os.Link(tmp, path)
	if errors.Is(err, fs.ErrExist) {
		a, errA := os.Stat(tmp)
		if b, errB := os.Stat(path); errA == nil && errB == nil && os.SameFile(a, b) {
			return nil // somebody finished it for us
		}
		return fmt.Errorf("boltstore: %s: %w", path, keyring.ErrRingExists)
	}
	if err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	return nil
}

// finish completes a CreateRing that was killed after it published the key
// file: of the files that it may have left, the ring is the one the key opens.
func finish(ctx context.Context, dir string, keks []keyring.KEK) error {
	db := filepath.Join(dir, RingFile)
	if _, err := os.Lstat(db); err == nil || len(keks) == 0 || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(dir, KeyFile)); err != nil {
		return nil
	}
	left, err := filepath.Glob(globEscape(db) + ".*.tmp")
	if err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	for _, path := range left {
		r, err := openRing(ctx, path, keks, RingOptions{})
		if err != nil {
			continue
		}
		if err := r.Close(); err != nil {
			return err
		}
		if err := publish(path, db); err != nil && !errors.Is(err, keyring.ErrRingExists) {
			return err
		}
		os.Remove(path)
		return syncDir(dir)
	}
	return nil
}

// globEscape makes a path match only itself.
func globEscape(path string) string {
	if runtime.GOOS == "windows" { // there, Glob has no escape
		return path
	}
	var out []byte
	for i := range len(path) {
		if c := path[i]; c == '*' || c == '?' || c == '[' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // directories cannot be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("boltstore: sync %s: %w", dir, err)
	}
	return nil
}
