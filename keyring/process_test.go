package keyring_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

var (
	long  = flag.Bool("long", os.Getenv("CHANSEAL_LONG") != "", "run the long forms of the tests")
	kills = flag.Int("kills", 0, "how often TestKilled kills a process (default 8; 1,000 in the long form)")
)

// The test binary is also the processes of these tests: childEnv says which.
const childEnv = "CHANSEAL_KEYRING_TEST_CHILD"

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		ctx := context.Background()
		args := strings.Split(child, "\n")
		var err error
		switch args[0] {
		case "work":
			err = childWork(ctx, args[1], args[2], args[3] == "early")
		case "seal":
			err = childSeal(ctx, args[1])
		case "open":
			err = childOpen(ctx, args[1])
		case "rotate":
			err = childRotate(ctx, args[1])
		case "reseal":
			err = childReseal(ctx, args[1])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child prepares a process of this binary.
func child(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	exe := must(os.Executable())(t)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(args, "\n"))
	cmd.Stderr = os.Stderr
	return cmd
}

var boltOptions = boltstore.RingOptions{KEKs: testOptions.KEKs}

// boltRing makes a ring on disk.
func boltRing(t testing.TB, dir string) *keyring.Ring {
	t.Helper()
	r := must(boltstore.CreateRing(t.Context(), dir, boltOptions))(t)
	t.Cleanup(func() { r.Close() })
	return r
}

// few draws instances from so few that they repeat: what keeps Senders apart
// then is only what the store recorded.
const few = 48

// childWork rotates a channel and makes Senders, without end, and says so after
// each was acknowledged.
func childWork(ctx context.Context, dir, name string, early bool) error {
	s, err := boltstore.Open(filepath.Join(dir, boltstore.RingFile), boltstore.Options{})
	if err != nil {
		return err
	}
	var store keyring.Store = s
	if early {
		store = &ackEarly{Store: s, kv: map[string]keyring.Entry{}, taken: map[string]bool{}}
	}
	ring, err := keyring.Open(ctx, store, testOptions)
	if err != nil {
		return err
	}
	keyring.SetDraw(ring, func() uint64 { return rand.Uint64N(few) })
	ch, err := ring.Channel(ctx, name)
	if err != nil {
		return err
	}
	for {
		if rand.N(3) == 0 {
			info, err := ch.Rotate(ctx, "")
			if err != nil {
				return err
			}
			fmt.Println("epoch", info.Epoch, info.Fingerprint)
		}
		sender, err := ch.Sender(ctx, 1, keyring.SenderOptions{})
		if errors.Is(err, keyring.ErrConflict) {
			continue // all taken
		}
		if err != nil {
			return err
		}
		o := sender.Origin()
		fmt.Println("instance", o.Epoch, o.Instance)
		sender.Close()
	}
}

// ackEarly is the negative control: a store that says done and writes later.
type ackEarly struct {
	keyring.Store
	mu    sync.Mutex
	order sync.Mutex
	kv    map[string]keyring.Entry
	taken map[string]bool
}

func (s *ackEarly) Get(ctx context.Context, key string) (keyring.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.kv[key]; ok {
		return e, nil
	}
	return s.Store.Get(ctx, key)
}

func (s *ackEarly) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kv[key] = keyring.Entry{Key: key, Value: value, Rev: rev + 1}
	go s.later(func() {
		if e, err := s.Store.Get(ctx, key); err == nil {
			s.Store.CAS(ctx, key, value, e.Rev)
		}
	})
	return rev + 1, nil
}

func (s *ackEarly) Take(ctx context.Context, set, member string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[set+member] {
		return keyring.ErrTaken
	}
	s.taken[set+member] = true
	go s.later(func() { s.Store.Take(ctx, set, member) })
	return nil
}

func (s *ackEarly) later(write func()) {
	time.Sleep(5 * time.Millisecond)
	s.order.Lock()
	defer s.order.Unlock()
	write()
}

// killed runs childWork, kills it at random moments, and counts what was
// acknowledged, what of it was lost, and instances that came twice.
func killed(t *testing.T, rounds int, mode string) (acked, lost, twice int) {
	ctx := t.Context()
	dir := t.TempDir()
	ring := boltRing(t, dir)
	var ch *keyring.Channel
	var name string
	epochs := map[string]string{}
	instances := map[string]bool{}
	for round := range rounds {
		if round%100 == 0 {
			name = fmt.Sprint("channel ", round)
			ch = must(ring.Create(ctx, name, keyring.ChannelOptions{}))(t)
			clear(epochs)
			clear(instances)
		}
		cmd := child(t, "work", dir, name, mode)
		out := must(cmd.StdoutPipe())(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		left := 1 + rand.N(12)
		for lines.Scan() {
			if left--; left == 0 { // somewhere in what it does next
				time.AfterFunc(rand.N(10*time.Millisecond), func() { cmd.Process.Kill() })
			}
			acked++
			word := strings.Fields(lines.Text())
			if word[0] == "epoch" {
				epochs[word[1]] = word[2]
			} else if key := word[1] + " " + word[2]; instances[key] {
				twice++
			} else {
				instances[key] = true
			}
		}
		cmd.Wait()
		info, err := ch.Show(ctx)
		if mode == "early" && errors.Is(err, keyring.ErrRollback) {
			lost++
			continue
		}
		if err != nil {
			t.Fatalf("after kill %d: %v", round+1, err)
		}
		found := map[string]string{}
		for _, e := range info.Epochs {
			found[fmt.Sprint(e.Number)] = e.Fingerprint
		}
		for n, fingerprint := range epochs {
			if found[n] != fingerprint {
				lost++
				delete(epochs, n)
			}
		}
	}
	return acked, lost, twice
}

// TestKilled kills a process that rotates and makes Senders: no epoch that was
// acknowledged is lost, no instance comes twice.
func TestKilled(t *testing.T) {
	rounds := *kills
	switch {
	case rounds == 0 && *long:
		rounds = 1000
	case rounds == 0:
		rounds = 8
	}
	acked, lost, twice := killed(t, rounds, "durable")
	t.Logf("%d kills: %d acknowledged, %d lost, %d instances twice", rounds, acked, lost, twice)
	if acked < rounds || lost > 0 || twice > 0 {
		t.Fail()
	}
	lost, twice = 0, 0
	for try := 0; try < 10 && lost+twice == 0; try++ { // a kill does not always hit the moment that matters
		acked, lost, twice = killed(t, max(5, rounds/10), "early")
	}
	t.Logf("negative control, acknowledged before it is written: %d acknowledged, %d lost, %d instances twice", acked, lost, twice)
	if lost+twice == 0 {
		t.Error("the test does not notice a store that acknowledges too early")
	}
}

// frameAAD binds the frames of TestProcesses.
var frameAAD = []byte("processes")

// childSeal seals a frame a millisecond, until its input ends, and prints how
// many it sealed and under how many KIDs.
func childSeal(ctx context.Context, dir string) error {
	ring, err := boltstore.OpenRing(ctx, dir, boltOptions)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := ring.Channel(ctx, "live")
	if err != nil {
		return err
	}
	sender, err := ch.Sender(ctx, 3, keyring.SenderOptions{})
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(stop) }()
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	tick := time.NewTicker(time.Millisecond)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		sealed, err := sender.Seal(nil, fmt.Append(nil, "frame ", n), frameAAD)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%x\n", sealed)
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// childOpen opens the frames on its input, and prints what became of them.
func childOpen(ctx context.Context, dir string) error {
	ring, err := boltstore.OpenRing(ctx, dir, boltOptions)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := ring.Channel(ctx, "live")
	if err != nil {
		return err
	}
	receiver, err := ch.Receiver(ctx, keyring.ReceiverOptions{})
	if err != nil {
		return err
	}
	opened, lost := 0, 0
	epochs := map[uint64]bool{}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var sealed []byte
		if _, err := fmt.Sscanf(in.Text(), "%x", &sealed); err != nil {
			return err
		}
		frame, from, err := receiver.OpenFrom(nil, sealed, frameAAD)
		if err != nil || string(frame) != fmt.Sprint("frame ", opened+lost) {
			lost++
			fmt.Fprintf(os.Stderr, "frame %d: %q, %v\n", opened+lost, frame, err)
			continue
		}
		opened++
		epochs[from.Epoch] = true
	}
	fmt.Println(opened, lost, len(epochs))
	return in.Err()
}

func childRotate(ctx context.Context, dir string) error {
	ring, err := boltstore.OpenRing(ctx, dir, boltOptions)
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := ring.Channel(ctx, "live")
	if err != nil {
		return err
	}
	for range 100 {
		if _, err := ch.Rotate(ctx, ""); err != nil {
			return err
		}
		time.Sleep(rand.N(40 * time.Millisecond)) // as an operator or a timer would
	}
	return nil
}

// TestProcesses has a process seal, another open, and a third rotate the channel
// 100 times: no frame is lost.
func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	ring := boltRing(t, dir)
	must(ring.Create(t.Context(), "live", keyring.ChannelOptions{}))(t)
	seal, open, rotate := child(t, "seal", dir), child(t, "open", dir), child(t, "rotate", dir)
	stop := must(seal.StdinPipe())(t)
	open.Stdin = must(seal.StdoutPipe())(t)
	var result strings.Builder
	open.Stdout = &result
	for _, cmd := range []*exec.Cmd{seal, open} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
	}
	if err := rotate.Run(); err != nil {
		t.Fatal(err)
	}
	stop.Close()
	if err := errors.Join(open.Wait(), seal.Wait()); err != nil {
		t.Fatal(err)
	}
	var opened, lost, epochs int
	if _, err := fmt.Sscan(result.String(), &opened, &lost, &epochs); err != nil {
		t.Fatalf("%q: %v", result.String(), err)
	}
	t.Logf("%d frames opened, %d lost, of %d epochs", opened, lost, epochs)
	if lost > 0 || opened < 100 || epochs < 5 {
		t.Fail()
	}
}

// TestCopiedRing copies a ring's file and makes 1,000 Senders on each copy: no
// KID in common.
func TestCopiedRing(t *testing.T) {
	n := 100
	if *long {
		n = 1000
	}
	dirs := []string{t.TempDir(), t.TempDir()}
	r := boltRing(t, dirs[0])
	must(r.Create(t.Context(), "copied", keyring.ChannelOptions{}))(t)
	r.Close()
	file := must(os.ReadFile(filepath.Join(dirs[0], boltstore.RingFile)))(t)
	if err := os.WriteFile(filepath.Join(dirs[1], boltstore.RingFile), file, 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[keyring.Origin]bool{}
	for _, dir := range dirs {
		o := boltOptions
		o.Exclusive = true
		r := must(boltstore.OpenRing(t.Context(), dir, o))(t)
		ch := must(r.Channel(t.Context(), "copied"))(t)
		for range n {
			s := must(ch.Sender(t.Context(), 1, keyring.SenderOptions{}))(t)
			if seen[s.Origin()] {
				t.Fatalf("%+v twice", s.Origin())
			}
			seen[s.Origin()] = true
			if keyring.ParseKID(s.Origin().KID()) != s.Origin() {
				t.Fatalf("%+v becomes %+v", s.Origin(), keyring.ParseKID(s.Origin().KID()))
			}
			s.Close()
		}
		r.Close()
	}
}
