package program

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new terminal: what a program has, and what its
// user sees and types.
func openTerminal(t *testing.T) (tty, user *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty, user
}

// shown collects what a terminal shows until its program's end is closed.
func shown(user *os.File) func(tty *os.File) string {
	got := make(chan string)
	go func() {
		var b bytes.Buffer
		io.Copy(&b, user) // ends with EIO
		got <- b.String()
	}()
	return func(tty *os.File) string {
		tty.Close()
		return <-got
	}
}

// Media does not go to a terminal, in either direction.
func TestBinaryOnTerminal(t *testing.T) {
	p := testProgram(t)
	tty, _ := openTerminal(t)
	var errs bytes.Buffer
	p.stderr = &errs
	p.stdout = tty
	if code := p.run(t.Context(), []string{"seal", "--channel", "stage", "-o", "-", clipPath("vp8.ivf")}); code != exitUsage {
		t.Errorf("exit status %d: %s", code, &errs)
	}
	p.stdin = tty
	if code := p.run(t.Context(), []string{"open", "--channel", "stage", "-"}); code != exitUsage {
		t.Errorf("exit status %d: %s", code, &errs)
	}
	if got := errs.String(); !strings.Contains(got, "error: stdout is a terminal") || !strings.Contains(got, "error: stdin is a terminal") {
		t.Errorf("stderr: %s", got)
	}
}

// A whole channel is forgotten on a terminal only if its name is typed.
func TestForgetAsks(t *testing.T) {
	p := testProgram(t)
	for _, test := range []struct {
		typed string
		args  []string
		want  int
	}{
		{"yes\n", nil, exitFailed},
		{"\n", nil, exitFailed},
		{"stage\n", nil, exitDone},
		{"", []string{"--yes"}, exitDone},
	} {
		tty, user := openTerminal(t)
		screen := shown(user)
		if _, err := io.WriteString(user, test.typed); err != nil {
			t.Fatal(err)
		}
		p.stdin, p.stderr = tty, tty
		code := p.run(t.Context(), append([]string{"channel", "forget", "stage"}, test.args...))
		got := screen(tty)
		if code != test.want {
			t.Errorf("%q: exit status %d, want %d: %s", test.typed, code, test.want, got)
		}
		if asked := strings.Contains(got, "type stage to go on"); asked != (test.args == nil) {
			t.Errorf("%q: asked: %v", test.typed, asked)
		}
	}
}

// The progress bar is for terminals, and not with -q.
func TestProgress(t *testing.T) {
	for _, test := range []struct {
		name            string
		terminal, quiet bool
		want            bool
	}{{"terminal", true, false, true}, {"quiet", true, true, false}, {"pipe", false, false, false}} {
		tty, user := openTerminal(t)
		screen := shown(user)
		var errs bytes.Buffer
		p := &program{stderr: &errs, quiet: test.quiet}
		if test.terminal {
			p.stderr = tty
		}
		path := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := p.openInput(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		g := p.progress(in, "sealing")
		g.begun = g.begun.Add(-progressAfter) // as if a moment had passed
		if n, err := io.Copy(io.Discard, g); n != 1<<20 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		g.done()
		in.Close()
		if got := screen(tty) + errs.String(); strings.Contains(got, "sealing") != test.want {
			t.Errorf("%s: shown: %q", test.name, got)
		}
	}
}
