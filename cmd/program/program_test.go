package program

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/media"
)

// testProgram is a program with a ring of its own that holds the channel "stage".
func testProgram(t *testing.T) *program {
	t.Helper()
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, home: filepath.Join(t.TempDir(), "ring")}
	if code := p.run(t.Context(), []string{"channel", "create", "stage"}); code != exitDone {
		t.Fatalf("channel create: exit status %d", code)
	}
	return p
}

func clipPath(name string) string { return filepath.Join("..", "..", "testdata", "media", name) }

// stalling gives its data and then waits for ever; it tells when it begins to.
type stalling struct {
	data    []byte
	stalled chan struct{}
}

func (s *stalling) Read(b []byte) (int, error) {
	if len(s.data) == 0 {
		close(s.stalled)
		select {}
	}
	n := copy(b, s.data)
	s.data = s.data[n:]
	return n, nil
}

// An interrupted command leaves nothing, although it was waiting for input.
func TestInterrupt(t *testing.T) {
	clip, err := os.ReadFile(clipPath("vp8-opus.webm"))
	if err != nil {
		t.Fatal(err)
	}
	p := testProgram(t)
	in := &stalling{data: clip[:len(clip)/2], stalled: make(chan struct{})}
	var errs bytes.Buffer
	p.stdin, p.stderr = in, &errs
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		done <- p.run(ctx, []string{"seal", "--channel", "stage", "-o", filepath.Join(dir, "out.mkv"), "-"})
	}()
	<-in.stalled
	cancel()
	if code := <-done; code != exitFailed {
		t.Errorf("exit status %d, want %d", code, exitFailed)
	}
	if got := errs.String(); got != "chanseal: error: interrupted\n" {
		t.Errorf("stderr: %q", got)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The same by a signal, to a process that certainly has begun: it wrote something.
func TestSignal(t *testing.T) {
	p := testProgram(t)
	sealed := filepath.Join(t.TempDir(), "sealed.mkv")
	if code := p.run(t.Context(), []string{"seal", "--channel", "stage", "-o", sealed, clipPath("vp8-opus.webm")}); code != exitDone {
		t.Fatalf("seal: exit status %d", code)
	}
	file, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chanseal", "--ring", p.home, "open", "--channel", "stage", "-")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := stdin.Write(file[:len(file)/2]); err != nil { // and no more
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 20000)); err != nil {
		t.Fatalf("%v: frames did not go out before the input's end: %s", err, &errs)
	}
	go io.Copy(io.Discard, stdout)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("%v, want exit status %d", err, exitFailed)
	}
	if !strings.Contains(errs.String(), "error: interrupted") {
		t.Errorf("stderr: %q", errs.String())
	}
}

// A file that appears after newTarget looked is not overwritten either.
func TestCommitOverwritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	for _, rename := range []struct {
		name string
		do   func(from, to string) error
	}{{"renameNew", renameNew}, {"control", os.Rename}} {
		from := path + ".from"
		for name, text := range map[string]string{path: "theirs", from: "ours"} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := rename.do(from, path)
		got, _ := os.ReadFile(path)
		kept := errors.Is(err, os.ErrExist) && string(got) == "theirs"
		if want := rename.name != "control"; kept != want {
			t.Errorf("%s: kept the file: %v, want %v (%v, %q)", rename.name, kept, want, err, got)
		}
	}

	p := testProgram(t)
	os.Remove(path)
	dst, err := p.newTarget(path, false, &input{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.create(dst)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(out, "ours")
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = out.commit(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exists already") || len(hints(err)) == 0 {
		t.Errorf("commit: %v", err)
	}
	out.discard()
	if got, _ := os.ReadFile(path); string(got) != "theirs" {
		t.Errorf("the file holds %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".out*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// --force does not make a file readable by more people than it was.
func TestForceKeepsMode(t *testing.T) {
	p := testProgram(t)
	path := filepath.Join(t.TempDir(), "out.mkv")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := p.run(t.Context(), []string{"seal", "--channel", "stage", "--force", "-o", path, clipPath("vp8.ivf")}); code != exitDone {
		t.Fatalf("exit status %d", code)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestCustomCiphersAreChecked(t *testing.T) {
	suite := func(id cipher.SuiteID, name string) Cipher {
		s, err := cipher.NewHook(cipher.Hook{ID: id, Name: name, KeySize: 16, Inside: cipher.AES128GCM(),
			New: func(cipher.KeyID, []byte) (cipher.Sealer, cipher.Opener, error) { return plain{}, plain{}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, test := range []struct {
		name   string
		custom []Cipher
		want   int
	}{
		{"two", []Cipher{suite(0xF100, "a"), suite(0xF101, "b")}, exitDone},
		{"nil", []Cipher{nil}, exitFailed},
		{"same name", []Cipher{suite(0xF100, "a"), suite(0xF101, "A")}, exitFailed},
		{"same number", []Cipher{suite(0xF100, "a"), suite(0xF100, "b")}, exitFailed},
	} {
		p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, custom: test.custom}
		if code := p.run(t.Context(), []string{"version"}); code != test.want {
			t.Errorf("%s: exit status %d, want %d", test.name, code, test.want)
		}
	}
}

// plain is a cipher that does nothing, for tests that seal nothing.
type plain struct{}

func (plain) Overhead() int                              { return 0 }
func (plain) Seal(dst, frame, _ []byte) ([]byte, error)  { return append(dst, frame...), nil }
func (plain) Open(dst, sealed, _ []byte) ([]byte, error) { return append(dst, sealed...), nil }
func TestDurations(t *testing.T) {
	for _, test := range []struct {
		in   string
		want time.Duration // -1: refused
	}{
		{"90s", 90 * time.Second}, {"1h30m", 90 * time.Minute}, {"30d", 720 * time.Hour}, {"2w", 336 * time.Hour}, {"0s", 0},
		{"", -1}, {"5", -1}, {"-5s", -1}, {"-5d", -1}, {"d", -1}, {"1.5d", -1}, {"4000000000d", -1}, {"tomorrow", -1},
	} {
		var v durationValue
		if err := v.Set(test.in); (err != nil) != (test.want < 0) || err == nil && v.d != test.want {
			t.Errorf("%q: %v, %v", test.in, v.d, err)
		}
	}
}

func TestReadLine(t *testing.T) {
	for _, test := range []struct{ in, want, rest string }{
		{"word\nmore", "word", "more"}, {"word\r\n", "word", ""}, {"word", "word", ""}, {"\n", "", ""}, {"", "", ""}, {"a b \n", "a b ", ""},
	} {
		r, buf := strings.NewReader(test.in), make([]byte, 16)
		n, err := readLine(r, buf)
		rest, _ := io.ReadAll(r)
		if err != nil || string(buf[:n]) != test.want || string(rest) != test.rest {
			t.Errorf("%q: %q, %v, and %q left", test.in, buf[:n], err, rest)
		}
	}
}

// Every extension asks for one container at most, and every container for its own.
func TestExtensions(t *testing.T) {
	seen := map[string]bool{}
	for format, all := range extensions {
		for _, ext := range all {
			if seen[ext] || slices.Contains(foreignExtensions, ext) {
				t.Errorf("%s is there twice", ext)
			}
			seen[ext] = true
			if got, err := containerFor("x"+strings.ToUpper(ext), format); err != nil || got != format {
				t.Errorf("%s of %v: %v, %v", ext, format, got, err)
			}
			got, err := containerFor("x"+ext, media.FormatIVF)
			switch {
			case format == media.FormatIVF:
			case format == media.FormatMatroska && (err != nil || got != format),
				format != media.FormatMatroska && exitCode(err) != exitUsage:
				t.Errorf("%s of an IVF recording: %v, %v", ext, got, err)
			}
		}
	}
}

// What cannot be put into Matroska can still be written as it is.
func TestNotConvertible(t *testing.T) {
	p := &program{}
	cause := &media.UnsupportedError{What: "H.264 coded in fields, as Matroska,", Hint: "ffmpeg -i IN OUT.mkv"}
	err := p.writeError(&input{name: "a.sealed.mkv"}, &output{path: "a b.mkv"}, &media.Info{Format: media.FormatH264}, cause)
	if got := err.Error(); exitCode(err) != exitUsage || got != "a.sealed.mkv: H.264 coded in fields, as Matroska, is not supported" {
		t.Errorf("exit status %d: %s", exitCode(err), got)
	}
	want := "write it in its own container: -o 'a b.h264'; then ffmpeg -i 'a b.h264' 'a b.mkv'"
	if got := hints(err); len(got) != 1 || got[0] != want {
		t.Errorf("hints %q, want %q", got, want)
	}
}

func TestMessages(t *testing.T) {
	for in, want := range map[string]string{
		"keyring: no such channel":                        "no such channel",
		"boltstore: /a/b: keyring: the ring is damaged":   "/a/b: the ring is damaged",
		"sealedfile: cipher: frame authentication failed": "frame authentication failed",
		"one\ntwo": "one; two",
		"the media: x is kept where no package name stands": "the media: x is kept where no package name stands",
	} {
		if got := message(errors.New(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := printable("a\x1b[2Jb\u202ec\n"); got != `a\u001b[2Jb\u202ec\u000a` {
		t.Errorf("printable: %q", got)
	}
	for in, want := range map[string]string{"a.webm": "a.webm", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "-x": "'-x'", "$(x)": "'$(x)'"} {
		if got := quoteArg(in); got != want {
			t.Errorf("quoteArg(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestExitStatus: a hint round an error does not change the exit status in it.
func TestExitStatus(t *testing.T) {
	p := &program{}
	_, err := p.suiteByID(0xF123, "nobody's")
	if got := exitCode(hinted(&named{"x.mkv", err.Error(), err})); got != exitUsage {
		t.Errorf("a suite that is not here: %d", got)
	}
	_, err = p.suiteByID(0xF123, "aes-128-gcm")
	if got := exitCode(hinted(&named{"x.mkv", err.Error(), err}, "a hint")); got != exitAuth {
		t.Errorf("a suite with another's number: %d", got)
	}
}
