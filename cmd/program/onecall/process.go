package onecall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Command is a command of the program, to be run in this process.
type Command struct {
	Args   []string
	Ring   string // the ring's directory
	Stdout io.Writer
	Stderr io.Writer
	Wall   *Wall // what its gateway's packets have to pass; nil for none
}

// words keeps what a process says, and tells when it has said something.
type words struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed, and made anew, with each addition
}

func newWords() *words { return &words{more: make(chan struct{})} }

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.more)
	w.more = make(chan struct{})
	return w.b.Write(p)
}

func (w *words) read() (string, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String(), w.more
}

func (w *words) String() string { s, _ := w.read(); return s }

// after returns what follows a text on its line.
func after(said, text string) (string, bool) {
	_, rest, ok := strings.Cut(said, text)
	line, _, whole := strings.Cut(rest, "\n")
	return strings.TrimSpace(line), ok && whole
}

// Process is a command that runs on its own.
type Process struct {
	name string
	said *words
	pid  int // of a process of its own; 0 for one that runs in this
	stop func()
	done chan struct{}
	code int // valid when done is closed
}

// Said returns all that it has said so far.
func (p *Process) Said() string { return p.said.String() }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends it, and returns its exit status.
func (p *Process) Stop() int {
	p.stop()
	<-p.done
	return p.code
}

// Wait waits for its end by itself.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s does not end: %w", p.name, context.Cause(ctx))
	}
}

// Says waits until it says a text, and returns what follows on that line.
func (p *Process) Says(ctx context.Context, text string) (string, error) {
	for {
		said, more := p.said.read()
		if rest, ok := after(said, text); ok {
			return rest, nil
		}
		select {
		case <-more:
		case <-p.done:
			if said, ok := after(p.Said(), text); ok {
				return said, nil
			}
			return "", p.failed()
		case <-ctx.Done():
			return "", fmt.Errorf("%s: does not say %q: %w\n%s", p.name, text, context.Cause(ctx), p.Said())
		}
	}
}

func (p *Process) failed() error { return commandError(p.name, p.code, p.Said()) }

// commandError is a command that did not end as it should, with what it said: its error
// and its hints.
func commandError(name string, code int, said string) error {
	return &CommandError{Name: name, Code: code, Said: strings.TrimSpace(said)}
}

// CommandError is a command that did not do what it should.
type CommandError struct {
	Name string // such as "gateway seal"
	Code int    // the exit status
	Said string // with the lines "chanseal: error: …" and "chanseal: hint: …"
}

func (e *CommandError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "chanseal %s: exit status %d", e.Name, e.Code)
	for line := range strings.Lines(e.Said) {
		if _, rest, ok := strings.Cut(line, ": error: "); ok {
			fmt.Fprintf(&b, ": %s", strings.TrimSpace(rest))
		} else if _, rest, ok := strings.Cut(line, ": hint: "); ok {
			fmt.Fprintf(&b, " (hint: %s)", strings.TrimSpace(rest))
		}
	}
	return b.String()
}

// commandName is what a command line begins with.
func commandName(args []string) string {
	n := 0
	for n < len(args) && n < 3 && !strings.ContainsFunc(args[n], func(r rune) bool { return r < 'a' || r > 'z' }) {
		n++
	}
	return strings.Join(args[:n], " ")
}

// run runs a command to its end in this process, and returns what it printed.
func (w *World) run(ctx context.Context, ring string, args ...string) (string, error) {
	var out bytes.Buffer
	said := newWords()
	w.keep(commandName(args), said)
	if code := w.o.Run(ctx, Command{Args: args, Ring: ring, Stdout: &out, Stderr: said}); code != 0 {
		return out.String(), commandError(commandName(args), code, said.String())
	}
	return out.String(), nil
}

// start runs a command in this process until it is stopped.
func (w *World) start(ctx context.Context, ring string, wall *Wall, args ...string) *Process {
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{name: commandName(args), said: newWords(), stop: cancel, done: make(chan struct{})}
	w.keep(p.name, p.said)
	go func() {
		defer cancel()
		p.code = w.o.Run(ctx, Command{Args: args, Ring: ring, Stdout: p.said, Stderr: p.said, Wall: wall})
		close(p.done)
	}()
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	return p
}

// spawn runs a command in a process of its own until it is stopped.
func (w *World) spawn(ctx context.Context, args ...string) (*Process, error) {
	if len(w.o.Self) == 0 {
		return nil, errors.New("onecall: Options.Self does not say how to run the program")
	}
	cmd := exec.CommandContext(ctx, w.o.Self[0])
	cmd.Args = append(append([]string(nil), w.o.Self[1:]...), args...)
	cmd.Env = append(os.Environ(), w.o.Env...)
	cmd.WaitDelay = 5 * time.Second
	interrupt := func() error {
		if runtime.GOOS == "windows" {
			return cmd.Process.Kill()
		}
		return cmd.Process.Signal(os.Interrupt)
	}
	cmd.Cancel = interrupt
	p := &Process{name: commandName(args), said: newWords(), done: make(chan struct{})}
	w.keep(p.name, p.said)
	cmd.Stdout, cmd.Stderr = p.said, p.said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	p.pid = cmd.Process.Pid
	p.stop = func() { _ = interrupt() }
	go func() {
		_ = cmd.Wait()
		p.code = cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	return p, nil
}

// Kill ends a process of its own at once, as a crash does.
func (p *Process) Kill() error {
	if p.pid == 0 {
		return fmt.Errorf("%s runs in this process", p.name)
	}
	proc, err := os.FindProcess(p.pid)
	if err == nil {
		err = proc.Kill()
	}
	<-p.done
	return err
}
