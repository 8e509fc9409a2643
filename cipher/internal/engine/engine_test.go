package engine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		can     tier
		godebug string
		fips    bool
		want    tier
	}{
		{avx512VAES, "", false, avx512VAES},
		{avx512VAES, "http2client=0,gctrace=1", false, avx512VAES},
		{avx512VAES, "cpu.avx512f=off", false, avx2VAES},
		{avx512VAES, "cpu.avx512=off", false, avx2VAES},
		{avx512VAES, "gctrace=1, cpu.avx512vbmi=off", false, avx2VAES},
		{avx2VAES, "cpu.avx512f=off", false, avx2VAES},
		{generic, "cpu.avx512f=off", false, generic},
		{avx512VAES, "cpu.vaes=off", false, generic},
		{avx512VAES, "cpu.aes=off", false, generic},
		{avx512VAES, "cpu.avx2=off", false, generic},
		{avx512VAES, "cpu.all=off", false, generic},
		{avx512VAES, "cpu.avx512f=off,cpu.all=off", false, generic},
		{avx512VAES, "cpu.sse3=off,aes=off,cpu.aes=on", false, avx512VAES},
		{avx512VAES, "", true, generic},
	} {
		if got := choose(c.can, c.godebug, c.fips); got != c.want {
			t.Errorf("choose(%v, %q, %v) = %v, want %v", c.can, c.godebug, c.fips, got, c.want)
		}
	}
}

// TestTierTold runs this test program again with kernels switched off.
func TestTierTold(t *testing.T) {
	if os.Getenv("CHANSEAL_PRINT_TIER") != "" {
		os.Stdout.WriteString("tier=" + Tier() + "\n")
		return
	}
	for _, c := range []struct {
		godebug string
		most    tier
	}{{"", avx512VAES}, {"cpu.avx512f=off", avx2VAES}, {"cpu.all=off", generic}, {"fips140=on", generic}} {
		if c.godebug == "fips140=on" && pureGo {
			continue // the standard library has no FIPS mode under this tag
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestTierTold$")
		cmd.Env = append(os.Environ(), "CHANSEAL_PRINT_TIER=1", "GODEBUG="+c.godebug)
		out, err := cmd.CombinedOutput()
		want := min(cpuTier(), c.most)
		if err != nil || !bytes.Contains(out, []byte("tier="+want.String()+"\n")) {
			t.Errorf("GODEBUG=%s: %v, want %v, got %s", c.godebug, err, want, out)
		}
	}
}

// TestGenerated writes the assembly anew and compares.
func TestGenerated(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to run the generator with")
	}
	dir := t.TempDir()
	cmd := exec.Command(goTool, "run", "../../_asm", "-out", dir)
	cmd.Env = append(os.Environ(), "GOOS=", "GOARCH=", "GOFLAGS=", "GODEBUG=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*.s"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob("*.s")
	if err != nil {
		t.Fatal(err)
	}
	if len(made) == 0 || len(made) != len(kept) {
		t.Fatalf("the generator writes %d files, %d are here", len(made), len(kept))
	}
	for _, path := range made {
		name := filepath.Base(path)
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from what cipher/_asm writes (%v); run: go run ./cipher/_asm", name, err)
		}
	}
}
