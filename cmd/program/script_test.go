package program

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chanseal/chanseal/keyring/etcdstore/etcdtest"
	"github.com/chanseal/chanseal/media"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"chanseal":          func() { os.Exit(Main()) },
		"age-plugin-letter": func() { os.Exit(letterPlugin()) },
	})
}

// TestScript runs the scripts of testdata/script. $CLIPS and $VECTORS are the
// directories of the clips and vectors, and these are the commands that testscript does
// not have itself:
//
//	exits N ARGS…               chanseal ARGS… exits with N
//	strict SHAPE                stdout is one JSON object of this shape and nothing else
//	equal A B                   two recordings have the same tracks and frames
//	operate HOW IN OTHER OUT    puts a sealed file together wrongly (surgery_test.go)
//	cut IN OUT N|N%             keeps the beginning of a file
//	flipbits CHANNEL IN N       each of N flipped bits makes open refuse IN
//	cuts CHANNEL IN N           so does each of N places where it is cut
//	times N ARGS…               chanseal ARGS… succeeds N times
//	capture VAR REGEXP FILE     sets $VAR to the first group's match in FILE
//	nofile PATTERN              no file matches, hidden or not
//	notgiven VAR ARGS…          $VAR is the --remove that takes away the keys that ARGS do not give
//	letter FILE [NAME]          an identity of the age plugin "letter", or NAME, and its recipient in $LETTER
//	flip IN OUT AT              flips a bit of byte AT
//	sameprint A B               two outputs of channel show have the same fingerprint
//	etcd                        $ETCD is the URL of a ring in a cluster of three, $DOWN of one that does not run
func TestScript(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cluster := sync.OnceValues(func() (*etcdtest.Cluster, error) {
		cl, err := etcdtest.Start(etcdtest.Config{Members: 3})
		if err == nil {
			t.Cleanup(func() { cl.Close() })
		}
		return cl, err
	})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("CLIPS", filepath.Join(root, "testdata", "media"))
			env.Setenv("VECTORS", filepath.Join(root, "testdata", "vectors"))
			env.Setenv("CHANSEAL_RING", filepath.Join(env.WorkDir, "ring"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "purego": // the runtime refuses FIPS mode in such a build
				return purego, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "strict": cmdStrict, "equal": cmdEqual, "operate": cmdOperate, "cut": cmdCut,
			"flipbits": cmdFlipBits, "cuts": cmdCuts, "times": cmdTimes, "nofile": cmdNoFile,
			"capture": cmdCapture, "letter": cmdLetter, "notgiven": cmdNotGiven,
			"flip": cmdFlip, "sameprint": cmdSamePrint,
			"etcd": func(ts *testscript.TestScript, neg bool, args []string) {
				want(ts, neg, args, 0)
				cl, err := cluster()
				ts.Check(err)
				ts.Setenv("ETCD", "etcd://"+strings.Join(cl.Endpoints(), ",")+"/"+crand.Text())
				ts.Setenv("DOWN", "etcd://127.0.0.1:1/p?timeout=1s")
			},
		},
	})
}

func want(ts *testscript.TestScript, neg bool, args []string, n int) {
	if neg || len(args) < n {
		ts.Fatalf("wrong use: see TestScript")
	}
}

func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3)
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile(args[2]))
	if m == nil {
		ts.Fatalf("no match for %q in %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[len(m)-1])
}

func number(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1)
	code := 0
	if err := ts.Exec("chanseal", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != number(ts, args[0]) {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
	if code != 0 && !strings.Contains(ts.ReadFile("stderr"), "chanseal: error: ") {
		ts.Fatalf("no error was printed")
	}
}

// inProcess runs a command line without a process of its own, for loops.
func inProcess(ts *testscript.TestScript, args ...string) (code int, stderr string) {
	var errs bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &errs, home: ts.Getenv("CHANSEAL_RING")}
	code = p.run(context.Background(), args)
	return code, errs.String()
}

func cmdTimes(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2)
	for range number(ts, args[0]) {
		if code, stderr := inProcess(ts, args[1:]...); code != exitDone {
			ts.Fatalf("exit status %d: %s", code, stderr)
		}
	}
}

func cmdNoFile(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1)
	for _, pattern := range args {
		found, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if len(found) > 0 {
			ts.Fatalf("there is %v", found)
		}
	}
}

// The shapes that cmdStrict knows: what is relied on from outside, spelled out.
var shapes = map[string]func() any{
	"channel": func() any { return new(channelShape) },
	"list": func() any {
		return new(struct {
			Channels []channelShape `json:"channels"`
		})
	},
	"inspect":     func() any { return new(inspectJSON) },
	"version":     func() any { return new(versionJSON) },
	"conformance": func() any { return new(vectorTotals) },
	"token":       func() any { return new(tokenJSON) },
	"verdict": func() any {
		return new(struct {
			Accepted *bool  `json:"accepted"`
			Format   string `json:"format"`
			grantJSON
			refusalJSON
		})
	},
	"refusal":  func() any { return new(refusalJSON) },
	"ring":     func() any { return new(ringJSON) },
	"identity": func() any { return new(identityJSON) },
	"export":   func() any { return new(exportJSON) },
	"given": func() any { // a channel that somebody else keeps
		return new(struct {
			channelShape
			Keeper  string `json:"keeper"`
			Senders string `json:"senders"`
		})
	},
}

type channelShape struct {
	Channel     *string `json:"channel"`
	Epoch       *uint64 `json:"epoch"`
	Suite       *string `json:"suite"`
	Fingerprint *string `json:"fingerprint"`
	Epochs      []struct {
		Epoch   *uint64 `json:"epoch"`
		State   *string `json:"state"`
		Created *string `json:"created"`
	} `json:"epochs"`
}

func cmdStrict(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1)
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	d.DisallowUnknownFields()
	v := shapes[args[0]]()
	ts.Check(d.Decode(v))
	if d.More() {
		ts.Fatalf("more than one value")
	}
	if c, ok := v.(*channelShape); ok && (c.Channel == nil || c.Epoch == nil || c.Suite == nil || c.Fingerprint == nil || c.Epochs == nil) {
		ts.Fatalf("a field is missing")
	}
}

// contents is all that matters of a recording.
type contents struct {
	info     media.Info
	frames   []media.Item
	elements [][]byte // other than the container makes anew
}

func readRecording(path string) (*contents, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := media.NewReader(f)
	if err != nil {
		return nil, err
	}
	out := &contents{info: *r.Info()}
	for {
		var item media.Item
		switch err := r.Next(&item); {
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, err
		}
		item.Data = bytes.Clone(item.Data)
		item.References = slices.Clone(item.References)
		if item.Kind == media.KindFrame {
			item.Flags &^= media.FlagCluster
			out.frames = append(out.frames, item)
		} else {
			out.elements = append(out.elements, item.Data)
		}
	}
}

func cmdEqual(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("wrong use: see TestScript")
	}
	a, err := readRecording(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := readRecording(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(a.frames) == 0 {
		ts.Fatalf("no frames to compare")
	}
	a.info.Duration, b.info.Duration = 0, 0 // of a live recording it is added
	same := reflect.DeepEqual(a.info, b.info) && reflect.DeepEqual(a.frames, b.frames)
	if same == neg {
		ts.Fatalf("equal: %v (%d and %d frames)", same, len(a.frames), len(b.frames))
	}
}

func cmdOperate(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 4)
	out, err := operate(args[0], []byte(ts.ReadFile(args[1])), []byte(ts.ReadFile(args[2])))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), out, 0o666))
}

func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3)
	data := ts.ReadFile(args[0])
	share, percent := strings.CutSuffix(args[2], "%")
	n := number(ts, share)
	if percent {
		n = len(data) * n / 100
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(data[:n]), 0o666))
}

// refusesAll wants open to refuse every variant of a file, and to leave nothing.
func refusesAll(ts *testscript.TestScript, channel string, n int, vary func() (data []byte, what string)) {
	in, out := ts.MkAbs("varied.sealed.mkv"), ts.MkAbs("varied.out")
	for range n {
		data, what := vary()
		ts.Check(os.WriteFile(in, data, 0o666))
		code, stderr := inProcess(ts, "open", "--channel", channel, "-o", out, in)
		if code != exitAuth && code != exitUsage { // 2: no longer anything like a sealed file
			ts.Fatalf("%s: exit status %d: %s", what, code, stderr)
		}
		if code == exitUsage && !strings.Contains(what, "begins") {
			ts.Fatalf("%s: not taken for a sealed file: %s", what, stderr)
		}
		if left, _ := filepath.Glob(ts.MkAbs("*varied.out*")); len(left) > 0 {
			ts.Fatalf("%s: left %v", what, left)
		}
	}
	os.Remove(in)
}

func cmdFlipBits(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3)
	file := []byte(ts.ReadFile(args[1]))
	seed := rand.Uint64()
	ts.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	refusesAll(ts, args[0], number(ts, args[2]), func() ([]byte, string) {
		at, bit := rnd.IntN(len(file)), rnd.IntN(8)
		if rnd.IntN(4) == 0 {
			at = rnd.IntN(1024) // where the structure is dense
		}
		what := fmt.Sprintf("bit %d of byte %d", bit, at)
		if at < 1024 {
			what += ", where the file begins"
		}
		changed := slices.Clone(file)
		changed[at] ^= 1 << bit
		return changed, what
	})
}

func cmdCuts(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3)
	file := []byte(ts.ReadFile(args[1]))
	seed := rand.Uint64()
	ts.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	refusesAll(ts, args[0], number(ts, args[2]), func() ([]byte, string) {
		n := rnd.IntN(len(file))
		what := fmt.Sprintf("cut to %d bytes", n)
		if n < 1024 {
			what += ", where the file begins"
		}
		return file[:n], what
	})
}
