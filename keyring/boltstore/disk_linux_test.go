package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

// The test binary is also the process whose power is cut.
const childEnv = "CHANSEAL_BOLTSTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(bigEnv); dir != "" {
		if err := childBig(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if args := strings.Split(os.Getenv(childEnv), "\n"); len(args) == 2 {
		if err := childWrite(args[0], args[1] == "nosync"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// mount mounts something for the test, or skips it.
func mount(t testing.TB, args ...string) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir, err := os.MkdirTemp("", "chanseal-mount-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("mount %q: %v: %s", args, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// TestFullDisk fills a small disk while a ring is used: a typed error, and
// whatever was acknowledged is there.
func TestFullDisk(t *testing.T) {
	dir := mount(t, "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs")
	r := createRing(t, dir, "c")
	ch, err := r.Channel(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	last, err := ch.Rotate(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 1 << 16; n > 0; { // to the last byte
		if _, err := filler.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	full := false
	for range 20000 {
		info, err := ch.Rotate(t.Context(), strings.Repeat("r", keyring.MaxReason))
		if err != nil {
			wantErr(t, err, syscall.ENOSPC)
			full = true
			break
		}
		last = info
	}
	if !full {
		t.Fatal("the disk never was full")
	}
	_, err = ch.Sender(t.Context(), 1, keyring.SenderOptions{})
	if err != nil {
		wantErr(t, err, syscall.ENOSPC)
	}
	check := func(want uint64) {
		t.Helper()
		fresh, err := boltstore.OpenRing(t.Context(), dir, plain)
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		ch, err := fresh.Channel(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		info, err := ch.Show(t.Context())
		if err != nil || info.Epoch != want {
			t.Fatalf("epoch %d of %d, %v", info.Epoch, want, err)
		}
	}
	check(last.Epoch)
	filler.Close()
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if last, err = ch.Rotate(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	check(last.Epoch)

	// A ring that finds no room is not left behind half made.
	other := filepath.Join(dir, "other")
	filler, err = os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for n := 1 << 16; n > 0; {
		if _, err := filler.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	if _, err := boltstore.CreateRing(t.Context(), other, plain); err == nil {
		t.Error("a ring on a full disk")
	} else {
		wantErr(t, err, syscall.ENOSPC)
	}
	if _, err := boltstore.OpenRing(t.Context(), other, plain); !errors.Is(err, keyring.ErrNoRing) {
		t.Errorf("after that: %v", err)
	}
}

// TestReadOnly reads a ring that cannot be written.
func TestReadOnly(t *testing.T) {
	dir := mount(t, "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs")
	createRing(t, dir, "c").Close()
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Skipf("remount: %v: %s", err, out)
	}
	before, err := os.ReadFile(filepath.Join(dir, boltstore.RingFile))
	if err != nil {
		t.Fatal(err)
	}
	r, err := boltstore.OpenRing(t.Context(), dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ch, err := r.Channel(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Rotate(t.Context(), ""); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Rotate: %v", err)
	}
	if _, err := ch.Sender(t.Context(), 1, keyring.SenderOptions{}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Sender: %v", err)
	}
	if _, err := boltstore.CreateRing(t.Context(), filepath.Join(dir, "new"), plain); !errors.Is(err, syscall.EROFS) {
		t.Errorf("CreateRing: %v", err)
	}
	rec, err := ch.Receiver(t.Context(), keyring.ReceiverOptions{})
	if err != nil {
		t.Errorf("Receiver: %v", err)
	} else {
		rec.Close()
	}
	after, err := os.ReadFile(filepath.Join(dir, boltstore.RingFile))
	if err != nil || string(before) != string(after) {
		t.Error("the file changed")
	}
}

// TestNotPermitted: a file that this user may not write, or not read.
func TestNotPermitted(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may do everything")
	}
	dir := t.TempDir()
	r := createRing(t, dir, "c")
	path := filepath.Join(dir, boltstore.RingFile)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	_, err := r.Create(t.Context(), "d", keyring.ChannelOptions{})
	wantErr(t, err, fs.ErrPermission)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err = r.Channel(t.Context(), "c")
	wantErr(t, err, fs.ErrPermission)
}

// childWrite writes records without end, and says so after each.
func childWrite(path string, noSync bool) error {
	open := func() (*boltstore.Store, error) { return boltstore.Open(path, boltstore.Options{}) }
	if noSync {
		open = func() (*boltstore.Store, error) { return boltstore.OpenNoSync(path) }
	}
	s, err := open()
	if err != nil {
		return err
	}
	ctx := context.Background()
	for i := 0; ; i++ {
		if _, err := s.CAS(ctx, fmt.Sprint("k/", i), []byte(strings.Repeat("v", 300)), 0); err != nil {
			return err
		}
		if err := s.Take(ctx, "set", fmt.Sprint(i)); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// powerCut writes on a file system in an image, copies the image while the
// writer stands still, which is what a disk holds when the power goes, and
// counts what is lost in the copy.
func powerCut(t *testing.T, mode string) (acked, lost int) {
	images := memoryDir(t)
	image := filepath.Join(images, "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	dir := mount(t, "-o", "loop", image)
	path := newStore(t, dir)
	if d, err := os.Open(dir); err != nil || d.Sync() != nil || d.Close() != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+path+"\n"+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan int)
	enough := make(chan struct{})
	go func() {
		n := 0
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if n++; n == 40 {
				close(enough)
			}
		}
		ended <- n
	}()
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Error("the writer does not get on")
	}
	// What was acknowledged before it stands still counts; a line that is
	// written but not read yet is read after the kill.
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	for !status.Stopped() {
		if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	acked = <-ended
	cmd.Wait()
	after := filepath.Join(images, "after")
	if err := os.WriteFile(after, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := boltstore.Open(filepath.Join(mount(t, "-o", "loop", after), boltstore.RingFile), boltstore.Options{})
	if err != nil {
		if mode == "nosync" {
			return acked, acked
		}
		t.Fatal(err)
	}
	defer s.Close()
	for i := range acked {
		_, err := s.Get(t.Context(), fmt.Sprint("k/", i))
		taken := s.Take(t.Context(), "set", fmt.Sprint(i))
		if err != nil || !errors.Is(taken, keyring.ErrTaken) {
			lost++
		}
	}
	return acked, lost
}

// TestPowerCut: what was acknowledged outlives a power cut; without the syncs,
// as a control, it does not.
func TestPowerCut(t *testing.T) {
	rounds := 1
	if *long {
		rounds = 20
	}
	for range rounds {
		acked, lost := powerCut(t, "sync")
		t.Logf("%d acknowledged, %d lost", acked, lost)
		if lost > 0 || acked == 0 {
			t.Fail()
		}
	}
	acked, lost := powerCut(t, "nosync")
	t.Logf("negative control, without syncs: %d acknowledged, %d lost", acked, lost)
	if lost == 0 {
		t.Error("the test does not notice a store that does not sync")
	}
}
