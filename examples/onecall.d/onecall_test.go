package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chanseal/chanseal/recording"

	// The script builds it: when it changes, results of these tests are no longer good.
	_ "github.com/chanseal/chanseal/cmd/program"
)

// TestMain makes the test the script's tool, where it is asked to be.
func TestMain(m *testing.M) {
	if os.Getenv("ONECALL_TOOL") != "" {
		main()
		return
	}
	code := m.Run()
	if programs != "" {
		os.RemoveAll(programs)
	}
	os.Exit(code)
}

// runScript runs the script and wants this exit status.
func runScript(t *testing.T, status int, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	out := runScriptIn(t, dir, status, args...)
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("it leaves %v", files)
	}
	return out
}

// runScriptIn has it make its directory in dir.
func runScriptIn(t *testing.T, dir string, status int, args ...string) string {
	t.Helper()
	bash := findBash(t)
	cmd := exec.CommandContext(t.Context(), bash, append([]string{"../onecall"}, args...)...)
	// The settings are somebody's for other work.
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "CHANSEAL_GATEWAY_MTU=nonsense", "CHANSEAL_SERVE_LISTEN=nonsense", "CHANSEAL_JOIN_SERVER=nonsense")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != status {
		t.Fatalf("onecall %s: %v, want status %d\n%s", strings.Join(args, " "), err, status, out)
	}
	nothingLeft(t, dir, cmd.Process.Pid)
	return string(out)
}

// nothingLeft looks for what the script has left of itself: processes (by the directory in
// their environment) and network namespaces (by the script's number).
func nothingLeft(t *testing.T, dir string, pid int) {
	t.Helper()
	processes, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range processes {
		if env, _ := os.ReadFile(name); bytes.Contains(env, []byte("TMPDIR="+dir+"\x00")) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
			t.Errorf("it leaves a process: %q", line)
		}
	}
	if names, _ := filepath.Glob(fmt.Sprintf("/run/netns/onecall-%d-*", pid)); len(names) > 0 {
		t.Errorf("it leaves %v", names)
	}
}

func findBash(t *testing.T) string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not here")
	}
	if version, _ := exec.Command(bash, "-c", "echo $BASH_VERSINFO").Output(); len(bytes.TrimSpace(version)) < 1 || string(version) < "5" && len(bytes.TrimSpace(version)) == 1 {
		t.Skipf("bash %s is too old", version)
	}
	// What bash and go build read the go command does not know of: it would give an old result for other scripts.
	for _, pattern := range []string{"../onecall", "*.sh", "*.go", "../customcipher/*.go", "../../cmd/chanseal/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal("there is no ", pattern)
		}
		for _, name := range names {
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bash
}

// built makes the programs that the script else builds for itself at each call, once for all tests.
func built(t *testing.T) string {
	t.Helper()
	dir, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var buildOnce = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "onecall-test"); err != nil {
		return "", err
	}
	programs = dir
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/chanseal", "./examples/customcipher", "./examples/onecall.d")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
})

// programs is the directory that buildOnce made, to be removed.
var programs string

// TestOneCall: the call through everything, with processes of its own, on this machine's
// loopback. The long form, with firewall and namespaces where root allows them, has all
// steps. No secret is an argument of a program, which everybody on a machine may see.
func TestOneCall(t *testing.T) {
	args := []string{"--short", "--loopback"}
	steps := "all 8 steps hold"
	if os.Getenv("CHANSEAL_LONG") != "" {
		args, steps = nil, "all 10 steps hold"
	}
	arguments, dir := filepath.Join(t.TempDir(), "arguments"), t.TempDir()
	out := runScriptIn(t, dir, 0, append(args, "--keep", "--bin", noted(t, arguments))...)
	for _, want := range []string{steps, "7 generations", "frame for frame", "none was lost", "those that were sent, and no other", "opens nothing of it", "none of it"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q\n%s", want, out)
		}
	}
	kept, _ := filepath.Glob(filepath.Join(dir, "*", "patterns"))
	if len(kept) != 1 {
		t.Fatalf("%v is kept of what was searched for", kept)
	}
	all, err := readNeedles(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(arguments)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chanseal token verify ", "calltool search ", "sed -n "} {
		if !bytes.Contains(said, []byte("/"+name)) {
			t.Errorf("the arguments of %s are not noted", name)
		}
	}
	h := newHaystack(all)
	if h.look(said, 0); len(h.found) > 0 {
		t.Errorf("arguments of programs hold %v", h.found)
	}
}

// noted makes the programs, each with a script in front of it that notes its arguments in a file, and such scripts
// for programs of the system's, which the script finds first.
func noted(t *testing.T, arguments string) (dir string) {
	bash, bin, dir, system := findBash(t), built(t), t.TempDir(), t.TempDir()
	write := func(name, program string) {
		text := fmt.Sprintf("#!%s\nprintf '%%s\\n' \"$0 $*\" >>'%s'\nexec '%s' \"$@\"\n", bash, arguments, program)
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"chanseal", "customcipher", "onecall.d"} {
		write(filepath.Join(dir, name), filepath.Join(bin, name))
	}
	for _, name := range []string{"awk", "cat", "cmp", "cut", "grep", "head", "sed", "sort", "tail", "wc"} {
		if program, err := exec.LookPath(name); err == nil {
			write(filepath.Join(system, name), program)
		}
	}
	t.Setenv("PATH", system+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir
}

// TestFaults: a fault is told with its step and a remedy, and what survives it goes on.
func TestFaults(t *testing.T) {
	if os.Getenv("CHANSEAL_LONG") == "" {
		t.Skip("CHANSEAL_LONG is not set")
	}
	bin := built(t)
	for _, f := range []struct {
		name   string
		status int
		want   []string
	}{
		{"wrong-card", 1, []string{"members enter with their cards", "other-channel", "remedy: "}},
		{"wrong-certificate", 1, []string{"members enter with their cards", "wrong-certificate", "compare the certificates", "remedy: "}},
		{"clock-10-minutes", 1, []string{"members enter with their cards", "entry-over", "not-yet-valid", "set the clocks", "remedy: "}},
		{"proxy-killed", 1, []string{"the call: ", "of 120 frames arrived", "cloud proxy", "remedy: start it again; give gateways two relays"}},
		{"key-server-killed", 0, []string{"does not answer", "is it running", "the key server is lost", "started again", "all 120 frames arrived"}},
		{"etcd-killed", 0, []string{"the ring is unreachable", "do the cluster's members run", "takes writes", "all 120 frames arrived"}},
		{"loss-5", 1, []string{"the call: ", "lost packets", "remedy: chanseal proxy check"}},
		{"port-taken", 1, []string{"the call: ", "address already in use", "remedy: another process has this port"}},
		{"disk-full", 1, []string{"the call: ", "no space left", "remedy: the disk is full"}},
		{"ring-locked", 1, []string{"the call: ", "held by another process", "remedy: another program holds it"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			out := runScript(t, f.status, "--short", "--bin", bin, "--break", f.name)
			for _, want := range f.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q\n%s", want, out)
				}
			}
		})
	}
}

// TestUsage: what is wrong on the command line is said before anything begins.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--break", "everything"}, {"--calls", "0"}, {"--clip", "nowhere.mkv"}, {"--bin", "."}, {"--what"}, {"--break"}} {
		if out := runScript(t, 2, args...); !strings.Contains(out, "try examples/onecall --help") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if out := runScript(t, 0, "--help"); !strings.Contains(out, "key-server-killed") {
		t.Error(out)
	}
}

// TestClipRefused: what is no recording is refused at once, with what to do, which is not to make a recording of
// it.
func TestClipRefused(t *testing.T) {
	bin, dir := built(t), t.TempDir()
	for name, text := range map[string]string{"text.txt": "some text that is no recording\n", "empty.webm": ""} {
		clip := filepath.Join(dir, name)
		if err := os.WriteFile(clip, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out := runScript(t, 1, "--short", "--loopback", "--bin", bin, "--clip", clip)
		for _, want := range []string{"onecall: step 1, ", name + " cannot be sent ", "onecall: remedy: "} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q\n%s", want, out)
			}
		}
		if strings.Contains(out, "\n2. ") || strings.Contains(out, "ffmpeg -i ") {
			t.Errorf("it goes on, or has the clip encoded\n%s", out)
		}
	}
}

// TestRemedy: with what is told of a recording that has no form in RTP it goes on.
func TestRemedy(t *testing.T) {
	if os.Getenv("CHANSEAL_LONG") == "" {
		t.Skip("CHANSEAL_LONG is not set")
	}
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not here")
	}
	bash, bin, dir := findBash(t), built(t), t.TempDir()
	clip := filepath.Join(dir, "some clip.mkv")
	if out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=duration=3", "-c:v", "ffv1", "-pix_fmt", "yuv422p10le", clip).CombinedOutput(); err != nil {
		t.Skipf("this ffmpeg has no such encoder: %s", out)
	}
	for _, refused := range []string{clip, "onecall_test.go"} {
		out := runScript(t, 1, "--short", "--loopback", "--bin", bin, "--clip", refused)
		_, command, _ := strings.Cut(out, "onecall: remedy: ")
		_, command, _ = strings.Cut(command, ": ffmpeg ")
		command, again, _ := strings.Cut(command, " && ")
		if !strings.HasPrefix(again, "examples/onecall --clip clip.mkv\n") {
			t.Fatalf("no remedy\n%s", out)
		}
		made := t.TempDir()
		cmd := exec.Command(bash, "-c", "ffmpeg -nostdin -v error "+command)
		cmd.Dir = made
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("ffmpeg %s: %v\n%s", command, err, out)
			continue
		}
		runScript(t, 0, "--short", "--loopback", "--bin", bin, "--clip", filepath.Join(made, "clip.mkv"))
	}
}

// TestRecordedSame: a recording out of which a packet is missing, or another one comes, is noticed.
func TestRecordedSame(t *testing.T) {
	bash := findBash(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	packet := func(n byte) []byte { return append([]byte{0x80, 96, 0, n, 0, 0, 0, 0, 0, 0, 0, 1}, "text"...) }
	for name, kept := range map[string][]byte{"": {3, 1, 2}, "one is missing": {1, 3}, "one is another": {1, 2, 4}, "one came twice": {1, 2, 3, 3}, "nothing": nil} {
		dir := t.TempDir()
		var sent bytes.Buffer
		for n := range byte(3) {
			fmt.Fprintf(&sent, "%x\n", sha256.Sum256(packet(n+1)))
		}
		if err := os.WriteFile(filepath.Join(dir, "packets-in-1"), sent.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		w, err := recording.NewWriter(&file, time.Now(), netip.MustParseAddrPort("127.0.0.1:5004"))
		if err == nil {
			err = w.Write([]byte{0x80, 200, 0, 1, 0, 0, 0, 1}, true, time.Now())
		}
		for _, n := range kept {
			if err == nil {
				err = w.Write(packet(n), false, time.Now())
			}
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "opened-1.rtpdump"), file.Bytes(), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), bash, "-c", `set -uo pipefail; . ./lib.sh && . ./call.sh && ffmpeg=true || exit 9; recorded_same -1`)
		cmd.Env = append(os.Environ(), "ONECALL_TOOL=1", "tool="+self, "tmp="+dir)
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status > 1 || (status == 0) != (name == "") || len(out) > 0 {
			t.Errorf("%q: status %d, %s", name, status, out)
		}
	}
}

// TestBegunAnew: what a process said is kept when another one of its name begins, which is waited for by itself.
func TestBegunAnew(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), findBash(t), "-c", `set -uo pipefail; . ./lib.sh || exit 9
		for word in first second third; do
			begin name sh -c "sleep 0.1; echo running $word"
			until_says name running remedy
			grep -q "$word" "$tmp/name.log" || exit 8
			end name
		done
		cat "$tmp"/*.log | sort`)
	cmd.Env = append(os.Environ(), "tmp="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "running first\nrunning second\nrunning third\n" {
		t.Errorf("%s, %v", out, err)
	}
}

// TestNow: the time is in milliseconds, whatever stands in front of the fraction.
func TestNow(t *testing.T) {
	bash := findBash(t)
	for _, at := range []string{"1764264329.405823", "1764264329,405823"} {
		out, err := exec.CommandContext(t.Context(), bash, "-c", `. ./lib.sh && unset EPOCHREALTIME && EPOCHREALTIME=$1 && now`, "bash", at).CombinedOutput()
		if err != nil || string(out) != "1764264329405" {
			t.Errorf("%s: %s, %v", at, out, err)
		}
	}
}

// TestLockFile: a file that the script locks is locked from then on, and free again when the script has ended.
func TestLockFile(t *testing.T) {
	bash := findBash(t)
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("flock is not here")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bash, "-c", `set -uo pipefail
		. ./lib.sh && . ./call.sh && tmp=$(mktemp -d) || exit 9
		namespaces=false keep=
		trap leave EXIT
		lock_file "$file"
		! flock -n "$file" true`)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "file="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := exec.Command("flock", "-n", file, "true").Run(); err != nil {
		t.Error("the file is still held: ", err)
	}
	nothingLeft(t, dir, cmd.Process.Pid)
}

// TestSearch: what is hidden in a file or in this process is found, as it is, in
// hexadecimal and in base64, also across the pieces in which it is read; what is not
// there is not.
func TestSearch(t *testing.T) {
	dir := t.TempDir()
	secret := []byte("0123456789abcdef\x00\xff secret")
	patterns := filepath.Join(dir, "patterns")
	line := []byte("secret of a test\t3031323334353637383961626364656600ff20736563726574\n")
	if err := os.WriteFile(patterns, line, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := readNeedles(patterns)
	if err != nil || !bytes.Equal(all[0].data, secret) {
		t.Fatal(err, all)
	}
	noise := bytes.Repeat([]byte("0123456789abcdee"), 300_000)
	for _, n := range all {
		for _, at := range []int{0, 4<<20 - 8, 4<<20 - len(n.data), len(noise) - len(n.data)} {
			hay := slices.Clone(noise)
			copy(hay[at:], n.data)
			h := newHaystack(all)
			if total, err := h.read(bytes.NewReader(hay)); err != nil || total != int64(len(hay)) || h.found["secret of a test"] != 1 {
				t.Errorf("%q at %d: %v, found %v", n.data, at, err, h.found)
			}
		}
	}
	for before := range 3 {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			h := newHaystack(all)
			h.look([]byte(e.EncodeToString(slices.Concat(noise[:99+before], secret, noise[:50]))), 0)
			if h.found["secret of a test"] == 0 {
				t.Errorf("it is not found in base64 behind %d bytes", 99+before)
			}
		}
	}
	h := newHaystack(all)
	if _, err := h.read(bytes.NewReader(noise)); err != nil || len(h.found) != 0 {
		t.Errorf("%v, found %v in noise", err, h.found)
	}
	if _, err := os.Stat("/proc/self/mem"); err == nil {
		kept := bytes.Clone(secret)
		h := newHaystack(all)
		if _, err := h.process(os.Getpid()); err != nil || h.found["secret of a test"] == 0 {
			t.Errorf("own memory: %v, found %v", err, h.found)
		}
		kept[0]++ // lives until here
	}
}

// TestPlanted: whatever lies in a log, in a capture or in a recording, the script's search
// of its directory finds it, and says what and where. Without it, it finds nothing; and the
// application's own packets, which are in clear, are not looked at.
func TestPlanted(t *testing.T) {
	bash := findBash(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const secret = "\x00\x01a secret of an epoch\xff"
	frame := []byte(strings.Repeat("a frame, of which only some bytes are looked for; ", 100))
	for i := range frame {
		frame[i] ^= byte(i / 50) // no two pieces are equal
	}
	look := func(t *testing.T, name string, planted []byte) (status int, said string) {
		// The directory's name looks like one of a file that is left out.
		dir := filepath.Join(t.TempDir(), "end-to-end-1.log")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write := func(name string, b []byte) {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("frame", frame)
		for _, f := range plantedFiles {
			write(f, bytes.Repeat([]byte("sealed "), 1000))
		}
		write("plain.captured", frame)
		write("end-1.log", frame)
		if name != "" {
			write(name, slices.Concat(bytes.Repeat([]byte{7}, 1001), planted, bytes.Repeat([]byte("8"), 99)))
		}
		cmd := exec.CommandContext(t.Context(), bash, "-c", `set -uo pipefail
			. ./lib.sh && . ./steps_more.sh || exit 9
			{ printf 'secret 1\t%s\n' "$secret"; "$tool" patterns "$tmp/frame"; } >"$tmp/patterns" || exit 8
			step "who saw what" && search_files`)
		cmd.Env = append(os.Environ(), "ONECALL_TOOL=1", "tool="+self, "tmp="+dir, "secret="+hex.EncodeToString([]byte(secret)))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if status, said := look(t, "", nil); status != 0 || !strings.Contains(said, "ok    8 logs, captures and recordings, the audit record: none of it") {
		t.Errorf("without anything planted: status %d\n%s", status, said)
	}
	both := slices.Concat([]byte(secret), frame[300:420])
	forms := [][]byte{both, []byte(hex.EncodeToString(both)), []byte(base64.StdEncoding.EncodeToString(both))}
	for i, name := range plantedFiles {
		status, said := look(t, name, forms[i%len(forms)])
		if status != 1 || !strings.Contains(said, "who saw what: a secret or a plain frame lies open") {
			t.Errorf("%s: status %d\n%s", name, status, said)
		}
		for _, what := range []string{"secret 1", "plaintext at 336"} {
			if !strings.Contains(said, what+" in "+name) {
				t.Errorf("it does not say that %s is in %s\n%s", what, name, said)
			}
		}
	}
}

// plantedFiles are of each kind that the script looks at.
var plantedFiles = []string{"audit.log", "proxy.log", "record-1.log", "firewall.captured", "cloud.captured", "media-1.captured", "call-1.sealed.rtpdump"}
