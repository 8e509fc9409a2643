package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chanseal/chanseal/cipher/ciphertest"
	"github.com/chanseal/chanseal/cmd/program"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"customcipher": main,
		"chanseal":     func() { os.Exit(program.Main()) },
	})
}

// The examiner that the built-in suites have to pass, too.
func TestCiphers(t *testing.T) {
	// Where x/crypto has no assembly for it, this AEAD allocates.
	t.Run("xchacha", func(t *testing.T) { ciphertest.TestSuite(t, xchacha(), ciphertest.MayAllocate) })
	t.Run("secretbox", func(t *testing.T) { ciphertest.TestSuite(t, secretBox()) })
}

func TestScript(t *testing.T) {
	clips, err := filepath.Abs("../../testdata/media")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("CLIPS", clips)
			env.Setenv("CHANSEAL_RING", filepath.Join(env.WorkDir, "ring"))
			return nil
		},
	})
}
