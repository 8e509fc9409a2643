package boltgate

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/internal/raceflag"
)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func load(t testing.TB, s *Store) map[string]time.Time {
	t.Helper()
	all := map[string]time.Time{}
	if err := s.Load(func(key []byte, until time.Time) error { all[string(key)] = until; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func record(t testing.TB, s *Store, key string, until time.Time) {
	t.Helper()
	if err := s.Put([]byte(key), until); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate")
	s := open(t, path)
	hour := time.Now().Add(time.Hour).Truncate(time.Second)
	record(t, s, "a", hour)
	record(t, s, "b", hour)
	record(t, s, "b", hour.Add(time.Hour))
	record(t, s, "c", hour)
	record(t, s, "c", time.Now().Add(-time.Hour)) // removed
	record(t, s, "d", time.Now().Add(-time.Hour)) // never there
	s.Close()
	if err := s.Put([]byte("x"), hour); err == nil {
		t.Error("a closed store takes records")
	}

	s = open(t, path)
	all := load(t, s)
	if len(all) != 2 || !all["a"].Equal(hour) || !all["b"].Equal(hour.Add(time.Hour)) {
		t.Errorf("after a restart: %v", all)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	stop := errors.New("stop")
	if err := s.Load(func([]byte, time.Time) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of yield is lost: %v", err)
	}
}

// TestSweep: what is over leaves the file while other records come in.
func TestSweep(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "gate"))
	now := time.Now()
	if err := s.db.Update(func(tx *bolt.Tx) error {
		past := now.Add(-time.Hour)
		for i := range 500 {
			if err := put0(tx, fmt.Sprint("old", i), past); err != nil {
				return err
			}
		}
		return put0(tx, "new", now.Add(time.Hour))
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		record(t, s, fmt.Sprint("more", i), now.Add(time.Hour))
	}
	err := s.db.View(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketRecords, bucketUntil} {
			if n := tx.Bucket(b).Stats().KeyN; n != 11 {
				t.Errorf("%s holds %d records, want 11", b, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// put0 writes a record whatever its time.
func put0(tx *bolt.Tx, key string, until time.Time) error {
	end := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	if err := tx.Bucket(bucketRecords).Put([]byte(key), end); err != nil {
		return err
	}
	return tx.Bucket(bucketUntil).Put(append(end, key...), nil)
}

func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("this is no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("keyring")); return err }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	later := filepath.Join(dir, "later")
	s := open(t, later)
	if err := s.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyFormat, []byte("chanseal gate 2"))
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, path := range []string{text, other, later, dir, filepath.Join(dir, "no", "such")} {
		before, _ := os.ReadFile(path)
		if s, err := Open(path); err == nil {
			s.Close()
			t.Errorf("%s opens", path)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was written to", path)
		}
	}
}

// TestDamage flips bytes and cuts: Open and Load give an error or records, and do
// not fall over.
func TestDamage(t *testing.T) {
	if raceflag.Enabled {
		t.Skip("-race checks bbolt's pointers and ends the program instead of letting it panic")
	}
	path := filepath.Join(t.TempDir(), "gate")
	s := open(t, path)
	for i := range 100 {
		record(t, s, fmt.Sprint("key", i%40), time.Now().Add(time.Hour))
	}
	s.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	failed := 0
	for n := range 300 {
		// Each its own file: after a panic bbolt still holds the lock.
		path := fmt.Sprint(path, n)
		bad := bytes.Clone(good)
		for range 1 + rnd.IntN(20) {
			// Headers and first entries of the pages, where it hurts.
			bad[rnd.IntN(len(bad)/4096)*4096+rnd.IntN(128)] ^= byte(1 + rnd.IntN(255))
		}
		if rnd.IntN(4) == 0 {
			bad = bad[:rnd.IntN(len(bad))]
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err == nil {
			err = s.Load(func([]byte, time.Time) error { return nil })
			s.Close()
		}
		if err != nil {
			failed++
		}
	}
	if failed < 50 {
		t.Errorf("only %d damaged files were noticed", failed)
	}
}

// TestGate runs a Gate on the store over a restart.
func TestGate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate")
	app := channelkey.NewApp()
	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	card := func() string {
		token, err := issuer.Mint(channelkey.Card{Format: channelkey.V007,
			Issued: uint32(time.Now().Unix()), Expires: 3600, Random: channelkey.NewRandom(),
			Services: []channelkey.Grant007{{Channel: "ABC", User: channelkey.UID(1),
				Privileges: []channelkey.PrivilegeLife{{Privilege: channelkey.JoinChannel}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	claims := channelkey.Claims{Channel: "ABC", User: channelkey.UID(1)}
	first, second := card(), card()

	s := open(t, path)
	g, err := channelkey.NewGate(channelkey.GateConfig{Verifier: verifier, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Enter(first, claims)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Renew(p, second); err != nil {
		t.Fatal(err)
	}
	if err := g.Revoke(channelkey.Revocation{Channel: "hall", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	g.Close()
	s.Close()
	if data, _ := os.ReadFile(path); bytes.Contains(data, []byte(first[:40])) || bytes.Contains(data, app.Primary.Reveal()) {
		t.Error("the file holds a key's signature or the certificate")
	}

	g, err = channelkey.NewGate(channelkey.GateConfig{Verifier: verifier, Store: open(t, path)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Enter(first, claims); !errors.Is(err, channelkey.Replayed) {
		t.Errorf("the replaced card: %v", err)
	}
	if _, err := g.Enter(second, claims); err != nil {
		t.Errorf("the new card: %v", err)
	}
	if len(g.Revocations()) != 1 {
		t.Error("the revocation is gone")
	}
}

// TestKill kills a process that writes records, over and over: every record that it
// told of is there afterwards. CHANSEAL_LONG=1 does it a hundred times.
func TestKill(t *testing.T) {
	rounds := 4
	if os.Getenv("CHANSEAL_LONG") != "" {
		rounds = 100
	}
	if lost := kill(t, rounds, "durable"); lost != 0 {
		t.Errorf("%d records were told of and are lost", lost)
	}
}

// TestKillFinds does the same with a writer that tells of a record before it is
// written.
func TestKillFinds(t *testing.T) {
	if kill(t, 4, "early") == 0 {
		t.Error("a store that tells too early passes")
	}
}

// kill runs a writer, kills it after some records, and counts the lost ones.
func kill(t *testing.T, rounds int, mode string) (lost int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gate")
	told := map[string]bool{}
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWriter$")
		cmd.Env = append(os.Environ(), "BOLTGATE_WRITER="+mode, "BOLTGATE_FILE="+path, fmt.Sprint("BOLTGATE_ROUND=", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 5+round%7 && lines.Scan(); {
			if key, ok := strings.CutPrefix(lines.Text(), "put "); ok {
				told[key] = true
				n++
			}
		}
		cmd.Process.Kill()
		for lines.Scan() { // what it told of before it died
			if key, ok := strings.CutPrefix(lines.Text(), "put "); ok {
				told[key] = true
			}
		}
		cmd.Wait()
	}
	if len(told) < rounds {
		t.Fatalf("the writer told of %d records only", len(told))
	}
	s := open(t, path)
	there := load(t, s)
	for key := range told {
		if _, ok := there[key]; !ok {
			lost++
		}
	}
	return lost
}

// TestWriter is the process that kill starts.
func TestWriter(t *testing.T) {
	mode := os.Getenv("BOLTGATE_WRITER")
	if mode == "" {
		t.Skip("runs inside TestKill")
	}
	s := open(t, os.Getenv("BOLTGATE_FILE"))
	for n := 0; ; n++ {
		key := fmt.Sprintf("%s-%d", os.Getenv("BOLTGATE_ROUND"), n)
		if mode == "early" {
			fmt.Println("put " + key)
		}
		record(t, s, key, time.Now().Add(time.Hour))
		if mode != "early" {
			fmt.Println("put " + key)
		}
	}
}
