package boltstore_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

var long = flag.Bool("long", os.Getenv("CHANSEAL_LONG") != "", "run the long forms of the tests")

// plainKEK wraps nothing: for tests that are not about wrapping.
type plainKEK struct{}

func (plainKEK) Kind() string                         { return "test" }
func (plainKEK) Wrap(root, id []byte) ([]byte, error) { return append([]byte(nil), root...), nil }
func (plainKEK) Unwrap(wrapped, id []byte) ([]byte, error) {
	return append([]byte(nil), wrapped...), nil
}

var plain = boltstore.RingOptions{KEKs: []keyring.KEK{plainKEK{}}}

// memoryDir is a directory in memory, where there is one: for tests of what does
// not depend on the disk.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "chanseal-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func createRing(t testing.TB, dir string, channels ...string) *keyring.Ring {
	t.Helper()
	r, err := boltstore.CreateRing(t.Context(), dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	for _, name := range channels {
		if _, err := r.Create(t.Context(), name, keyring.ChannelOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// typed reports whether an error is one that a caller can branch on.
func typed(err error) bool {
	for _, want := range []error{keyring.ErrDamaged, keyring.ErrLocked, keyring.ErrVersion, keyring.ErrNoRing, keyring.ErrTooLarge} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// secrets describes all that a ring holds, by its fingerprints, and uses it: it
// rotates, makes a Sender, and reads again.
func secrets(ctx context.Context, dir string, write bool) (string, error) {
	r, err := boltstore.OpenRing(ctx, dir, plain)
	if err != nil {
		return "", err
	}
	defer r.Close()
	all, err := r.Channels(ctx)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, c := range all {
		for _, e := range c.Epochs {
			fmt.Fprintln(&out, c.Name, e.Number, e.State, e.Fingerprint, e.Created.UnixNano())
		}
	}
	if write {
		for _, c := range all {
			ch, err := r.Channel(ctx, c.Name)
			if err != nil {
				return "", err
			}
			if _, err := ch.Stage(ctx, ""); err != nil {
				return "", err
			}
		}
	}
	return out.String(), nil
}

// secretsLazily is secrets of a store whose pages are looked at as they are read.
func secretsLazily(ctx context.Context, dir string, write bool) (string, error) {
	s, err := boltstore.OpenLazily(filepath.Join(dir, boltstore.RingFile), boltstore.Options{})
	if err != nil {
		return "", err
	}
	r, err := keyring.Open(ctx, s, keyring.Options{KEKs: plain.KEKs})
	if err != nil {
		s.Close()
		return "", err
	}
	defer r.Close()
	var out strings.Builder
	for _, name := range []string{"a", "b"} {
		ch, err := r.Channel(ctx, name)
		if err != nil {
			return "", err
		}
		info, err := ch.Show(ctx)
		if err != nil {
			return "", err
		}
		for _, e := range info.Epochs {
			fmt.Fprintln(&out, info.Name, e.Number, e.State, e.Fingerprint, e.Created.UnixNano())
		}
	}
	for _, name := range []string{"a", "b"} {
		ch, err := r.Channel(ctx, name)
		if err == nil && write {
			_, err = ch.Stage(ctx, "")
		}
		if err != nil {
			return "", err
		}
	}
	if _, err := r.Channel(ctx, "c"); !errors.Is(err, keyring.ErrNoChannel) {
		return "", fmt.Errorf("a channel that is not there: %w", err)
	}
	return out.String(), nil
}

// TestEveryByteFlipped changes each byte of a small ring's file in several ways.
// What comes of it is a typed error or the same secrets, never others, and never
// a ring that seems empty.
func TestEveryByteFlipped(t *testing.T) {
	t.Run("looked at", func(t *testing.T) { everyByteFlipped(t, secrets) })
	t.Run("looked at lazily", func(t *testing.T) { everyByteFlipped(t, secretsLazily) })
}

func everyByteFlipped(t *testing.T, secrets func(context.Context, string, bool) (string, error)) {
	dir := memoryDir(t)
	r := createRing(t, dir, "a", "b")
	ch, err := r.Channel(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := ch.Rotate(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ch.Sender(t.Context(), 1, keyring.SenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	r.Close()
	path := filepath.Join(dir, boltstore.RingFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// State depends on the clock (retiring becomes archived): the others do not.
	want, err := secrets(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	want = strings.ReplaceAll(want, "archived", "retiring")

	patterns := []byte{0x01, 0x80, 0xFF}
	if !*long {
		patterns = patterns[2:]
	}
	refused, same := 0, 0
	for _, pattern := range patterns {
		for at := range whole {
			// The short form takes every byte of the heads of pages, and some
			// of the others: most are record ciphertext, or not in use.
			if !*long && at%4096 >= 80 && at%61 != 0 {
				continue
			}
			altered := append([]byte(nil), whole...)
			altered[at] ^= pattern
			if err := os.WriteFile(path, altered, 0o600); err != nil {
				t.Fatal(err)
			}
			os.Remove(filepath.Join(dir, boltstore.SeenFile)) // the file goes back: that is not what is tested
			got, err := secrets(t.Context(), dir, true)
			switch {
			case err != nil && !typed(err):
				t.Fatalf("byte %d ^ %#x: error %v", at, pattern, err)
			case err != nil:
				refused++
				after, err := os.ReadFile(path)
				if err != nil || string(after) != string(altered) {
					t.Fatalf("byte %d ^ %#x: the file was refused and written to, %v", at, pattern, err)
				}
			case strings.ReplaceAll(got, "archived", "retiring") != want:
				t.Fatalf("byte %d ^ %#x: the ring holds\n%swant\n%s", at, pattern, got, want)
			default:
				same++
				again, err := secrets(t.Context(), dir, false)
				if err != nil || !strings.Contains(again, "staged") {
					t.Fatalf("byte %d ^ %#x: after a change: %v", at, pattern, err)
				}
			}
		}
	}
	t.Logf("%d bytes: refused %d, unharmed %d", len(whole), refused, same)
	if refused == 0 || same == 0 {
		t.Error("the test does not reach both outcomes")
	}
}

// TestTruncated cuts the file everywhere.
func TestTruncated(t *testing.T) {
	dir := memoryDir(t)
	createRing(t, dir, "a").Close()
	path := filepath.Join(dir, boltstore.RingFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if n%509 != 0 && n < len(whole)-8 {
			continue
		}
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		// Also where only pages are missing that hold nothing.
		if _, err := secrets(t.Context(), dir, false); !errors.Is(err, keyring.ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if _, err := boltstore.CreateRing(t.Context(), dir, plain); !errors.Is(err, keyring.ErrRingExists) {
			t.Fatalf("cut to %d bytes: CreateRing: %v", n, err)
		}
		if after, err := os.ReadFile(path); err != nil || len(after) != n {
			t.Fatalf("cut to %d bytes: the file now has %d, %v", n, len(after), err)
		}
	}
}

// TestBigTreeFlipped flips bytes of a store with several levels of pages, where
// pages lead to pages.
func TestBigTreeFlipped(t *testing.T) {
	t.Run("looked at", func(t *testing.T) { bigTreeFlipped(t, boltstore.Open) })
	t.Run("looked at lazily", func(t *testing.T) { bigTreeFlipped(t, boltstore.OpenLazily) })
}

func bigTreeFlipped(t *testing.T, open func(string, boltstore.Options) (*boltstore.Store, error)) {
	path := newStore(t, memoryDir(t))
	s, err := boltstore.Open(path, boltstore.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	const records = 120
	value := make([]byte, 700)
	for i := range records {
		if _, err := s.CAS(t.Context(), fmt.Sprint("key/", i), value, 0); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	step := 997
	if *long {
		step = 11 // of every page hundreds of bytes, and every bit of a byte; all would take most of an hour
	}
	refused := 0
	for at := 0; at < len(whole); at += step {
		altered := append([]byte(nil), whole...)
		altered[at] ^= byte(1 << (at % 8))
		if err := os.WriteFile(path, altered, 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := func() (int, error) {
			s, err := open(path, boltstore.Options{})
			if err != nil {
				return 0, err
			}
			defer s.Close()
			for i := range records {
				e, err := s.Get(t.Context(), fmt.Sprint("key/", i))
				if err != nil {
					return i, err
				}
				if string(e.Value) != string(value) {
					return i, errors.New("another value")
				}
				if !*long {
					break
				}
			}
			all, _, err := s.List(t.Context(), "")
			return len(all), err
		}()
		if err != nil && !errors.Is(err, keyring.ErrDamaged) {
			t.Fatalf("byte %d: after %d records: %v", at, found, err)
		}
		if err == nil && found != records {
			t.Fatalf("byte %d: %d records", at, found)
		}
		if err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no flip was refused")
	}
}
