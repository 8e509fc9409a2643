package program

import (
	"os"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b[number(ts, args[2])] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

var fingerprintLine = regexp.MustCompile(`(?m)^fingerprint +([0-9a-f-]{39})$`)

func cmdSamePrint(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2)
	a, b := fingerprintLine.FindStringSubmatch(ts.ReadFile(args[0])), fingerprintLine.FindStringSubmatch(ts.ReadFile(args[1]))
	if a == nil || b == nil || a[1] != b[1] {
		ts.Fatalf("%q is not %q", a, b)
	}
}
