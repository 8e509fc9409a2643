package program

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestRingKilled kills the program while it renews a ring's root key, backs it up and
// restores it: the ring opens after each, and what is a backup is a whole one.
func TestRingKilled(t *testing.T) {
	rounds := 4
	if os.Getenv("CHANSEAL_LONG") != "" {
		rounds = 100
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "chanseal") // as testscript calls it
	if err := os.Symlink(exe, bin); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	run := func(kill time.Duration, args ...string) (string, error) {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "CHANSEAL_RING="+path("ring"), "HOME="+dir, "XDG_CONFIG_HOME="+dir)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if kill > 0 {
			time.AfterFunc(kill, func() { cmd.Process.Kill() })
		}
		err := cmd.Wait()
		return errs.String(), err
	}
	must := func(args ...string) {
		t.Helper()
		if errs, err := run(0, args...); err != nil {
			t.Fatalf("%v: %v: %s", args, err, errs)
		}
	}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		must("channel", "create", name)
	}
	must("ring", "backup", path("first"))
	took := time.Now()
	must("ring", "rekey", "--reseal")
	whole := time.Since(took)
	interrupted := 0
	for range rounds {
		if _, err := run(1+rand.N(whole), "ring", "rekey", "--reseal"); err != nil {
			interrupted++
		}
		must("channel", "show", "f")
		must("channel", "rotate", "b")

		if _, err := run(1+rand.N(whole), "ring", "backup", "--force", path("backup")); err != nil {
			interrupted++
		}
		run(0, "ring", "rekey", "--resume")

		to := path(filepath.Join("restored", time.Now().Format("150405.000000")))
		if _, err := run(1+rand.N(whole), "--ring", to, "--key-file", path("ring/ring.key"), "ring", "restore", path("first")); err != nil {
			interrupted++
			if _, err := os.Stat(filepath.Join(to, "ring.db")); err != nil { // it can be done again
				must("--ring", to, "--key-file", path("ring/ring.key"), "ring", "restore", path("first"))
			}
		}
		must("--ring", to, "--key-file", path("ring/ring.key"), "channel", "show", "f")
	}
	if _, err := os.Stat(path("backup")); err == nil {
		must("--ring", path("last"), "--key-file", path("ring/ring.key"), "ring", "restore", path("backup"))
	}
	t.Logf("%d of %d runs were killed", interrupted, 3*rounds)
}
