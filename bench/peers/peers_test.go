package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/bench"
)

// Every peer works, and the command writes what it promises.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := run(context.Background(), time.Second, 1, dir); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "results", "*.json"))
	if len(files) != 1 {
		t.Fatalf("%d files of results", len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := bench.ReadReport(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Skipped {
		t.Errorf("%s %s: %s", s.Suite, s.Op, s.Reason)
	}
	for _, name := range []string{"pion-srtp-aes-128-gcm", "pion-srtp-aes-cm-sha1-80", "tink-aes-128-gcm", "tink-streaming-gcm-4k", "age-x25519-file"} {
		for _, op := range []bench.Op{bench.Seal, bench.Open} {
			if r.Find(name, op, 1200) == nil {
				t.Errorf("no row for %s %s", name, op)
			}
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil || !strings.Contains(string(page), "golang-jwt-hs256") {
		t.Errorf("RESULTS.md: %v", err)
	}
}

// Without a compiler the libraries in C are skipped, with a word why.
func TestNoCompiler(t *testing.T) {
	t.Setenv("CC", filepath.Join(t.TempDir(), "no-cc"))
	said := ""
	pairs, stop := cPeers(t.TempDir(), func(s string) { said += s })
	defer stop()
	if len(pairs) != 0 || !strings.Contains(said, "skipped") {
		t.Errorf("%d pairs, %q", len(pairs), said)
	}
}
