package program

import (
	"context"

	"os"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cmd/program/onecall"
)

// callOptions are those of a call in a test: commands run here, and processes of their
// own are this test's binary, which is the program under that name.
func callOptions(t *testing.T) onecall.Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	clip, err := onecall.ReadClip(strings.NewReader(demoClip))
	if err != nil {
		t.Fatal(err)
	}
	return onecall.Options{Dir: t.TempDir(), Run: (&program{}).callCommand, Self: []string{self, "chanseal"}, Clip: clip}
}

func callContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestOneCall: one call through everything.
func TestOneCall(t *testing.T) {
	t.Parallel()
	o := callOptions(t)
	o.Say = func(format string, args ...any) { t.Logf(format, args...) }
	o.Show = func(args []string, background bool) { t.Log("$ chanseal " + strings.Join(args, " ")) }
	r, err := onecall.Make(callContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Epochs < 3 {
		t.Error("no rotation")
	}
}
