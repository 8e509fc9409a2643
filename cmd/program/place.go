package program

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"filippo.io/age/plugin"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/keyring/etcdstore"
)

const (
	passwordVariable = "CHANSEAL_RING_PASSWORD"
	keyFileVariable  = "CHANSEAL_KEY_FILE"
)

// inEtcd reports whether a ring's place is a cluster, and not a directory.
func inEtcd(place string) bool { return strings.HasPrefix(place, etcdstore.Scheme) }

// keyFilePath is the key file that --key-file or the environment name; "" is none.
func (p *program) keyFilePath() string {
	if p.keyFile != "" {
		return p.keyFile
	}
	return os.Getenv(keyFileVariable)
}

// etcdKeyFile is the key file of rings in etcd if none is named: they have no
// directory of their own.
func etcdKeyFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", hinted(fmt.Errorf("there is no place for a key file: %w", err), "say where it is: --key-file FILE")
	}
	return filepath.Join(dir, "chanseal", "etcd.key"), nil
}

// etcdSeenFile is where it is remembered what was seen of rings in etcd.
func etcdSeenFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "chanseal", "etcd.seen")
}

// etcdWitness remembers it, if there is a place to; a cluster that was put back to an
// older state is noticed then.
func etcdWitness() *keyring.Witness {
	path := etcdSeenFile()
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return nil
	}
	w, err := keyring.OpenWitness(path)
	if err != nil {
		return nil
	}
	return w
}

// namedKEKs are those that flags and environment name.
func (p *program) namedKEKs() (keks []keyring.KEK, err error) {
	if p.passphraseFile != "" {
		if keks, err = p.passphraseKEK(); err != nil {
			return nil, err
		}
	}
	if path := p.keyFilePath(); path != "" {
		k, err := p.openKeyFile(path)
		if err != nil {
			return nil, err
		}
		keks = append(keks, k)
	}
	return keks, nil
}

// openKeyFile reads a key file. An age plugin may ask on the terminal.
func (p *program) openKeyFile(path string) (keyring.KEK, error) {
	k, err := keyring.KeyFileUI(path, plugin.NewTerminalUI(p.notef, p.notef))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hinted(&reworded{fmt.Sprintf("there is no key file %s", path), err}, "it was made with the ring: bring it here, or say where it is: --key-file FILE")
	}
	return k, err
}

// defaultKEKs is the key file of a ring at a place; none if there is none.
func (p *program) defaultKEKs(place string) ([]keyring.KEK, error) {
	path := filepath.Join(place, boltstore.KeyFile)
	if inEtcd(place) {
		var err error
		if path, err = etcdKeyFile(); err != nil {
			return nil, nil // no place, no file
		}
	}
	k, err := p.openKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return []keyring.KEK{k}, nil
}

// ringAt opens the ring at a place.
func (p *program) ringAt(ctx context.Context, place string, keks []keyring.KEK) (*keyring.Ring, error) {
	if len(keks) == 0 {
		var err error
		if keks, err = p.defaultKEKs(place); err != nil {
			return nil, err
		}
	}
	if !inEtcd(place) {
		return boltstore.OpenRing(ctx, place, boltstore.RingOptions{KEKs: keks, Suites: p.custom})
	}
	store, err := openEtcd(ctx, place)
	if err != nil {
		return nil, err
	}
	r, err := keyring.Open(ctx, store, keyring.Options{KEKs: keks, Suites: p.custom, Witness: etcdWitness()})
	if err != nil {
		store.Close()
		return nil, err
	}
	return r, nil
}

func openEtcd(ctx context.Context, place string) (*etcdstore.Store, error) {
	o, err := etcdstore.ParseURL(place, os.Getenv(passwordVariable))
	if err != nil {
		return nil, &failure{err: err, code: exitUsage, hints: []string{"such as etcd://host1,host2,host3/prod?ca=ca.pem&user=me&password-file=FILE"}}
	}
	return etcdstore.Open(ctx, o)
}

// createRingAt makes a ring, and a key file if no KEK is given. It returns what
// opens it, for the user.
func (p *program) createRingAt(ctx context.Context, place string, keks []keyring.KEK) (*keyring.Ring, string, error) {
	opens := "its passphrase opens every channel"
	if path := p.keyFilePath(); path != "" {
		k, err := makeKeyFile(path)
		if err != nil {
			return nil, "", err
		}
		if len(keks) > 0 {
			opens = "its passphrase, or the key file " + path + ", opens every channel"
		} else {
			opens = "whoever has the key file " + path + " can open every channel"
		}
		keks = append(keks, k)
	}
	if len(keks) > 0 {
		r, err := p.createWith(ctx, place, keks)
		return r, opens, err
	}
	if !inEtcd(place) {
		r, err := p.createWith(ctx, place, nil)
		return r, "whoever has this directory, with the key file " + boltstore.KeyFile + " in it, can open every channel", err
	}
	path, err := etcdKeyFile()
	if err != nil {
		return nil, "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", fmt.Errorf("make the key file's directory: %w", err)
	}
	k, err := makeKeyFile(path)
	if err != nil {
		return nil, "", err
	}
	r, err := p.createWith(ctx, place, []keyring.KEK{k})
	return r, "whoever has the key file " + path + " can open every channel: other machines need a copy of it", err
}

func (p *program) createWith(ctx context.Context, place string, keks []keyring.KEK) (*keyring.Ring, error) {
	if !inEtcd(place) {
		return boltstore.CreateRing(ctx, place, boltstore.RingOptions{KEKs: keks, Suites: p.custom})
	}
	store, err := openEtcd(ctx, place)
	if err != nil {
		return nil, err
	}
	r, err := keyring.Create(ctx, store, keyring.Options{KEKs: keks, Suites: p.custom})
	if err != nil {
		store.Close()
		return nil, err
	}
	return r, nil
}

// makeKeyFile returns the key file at path, which it makes if there is none. It
// appears under its name complete and on stable storage, or not at all.
func makeKeyFile(path string) (keyring.KEK, error) {
	if k, err := keyring.KeyFile(path); !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	tmp := path + "." + rand.Text() + ".tmp"
	defer os.Remove(tmp)
	if _, err := keyring.CreateKeyFile(tmp); err != nil {
		return nil, err
	}
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) { // or another program was faster
		return nil, fmt.Errorf("make a key file: %w", err)
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make a key file: %w", err)
	}
	return keyring.KeyFile(path)
}

// syncDirectory makes the entries of a directory durable.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" { // directories cannot be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
