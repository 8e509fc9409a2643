package main

import (
	"bufio"
	"embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/chanseal/chanseal/bench"
)

//go:embed harness
var harness embed.FS

// cPeers builds the harnesses of libraries in C, where a compiler and the libraries
// are there, and starts one process for each row. What is missing is said to note.
func cPeers(dir string, note func(string)) (pairs []bench.Pair, stop func()) {
	var running []*process
	stop = func() {
		for _, p := range running {
			p.stop()
		}
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		note("skipped OpenSSL and libsrtp2: no C compiler (apt-get install gcc libc6-dev)")
		return nil, stop
	}
	for _, h := range []struct {
		source, library, packages string
		modes                     []string
		promises                  bench.Promises
	}{
		{"evp.c", "-lcrypto", "libssl-dev", []string{"aes-128-gcm", "aes-256-gcm", "chacha20-poly1305"}, bench.Promises{Authenticates: true, Additional: true, Overhead: 16}},
		{"srtp.c", "-lsrtp2", "libsrtp2-dev", []string{"aes-128-gcm", "aes-cm-sha1-80"}, bench.Promises{Authenticates: true, ReplaySafe: true, Additional: true, Overhead: 16}},
	} {
		program, err := build(cc, dir, h.source, h.library)
		if err != nil {
			note(fmt.Sprintf("skipped %s: it does not build (apt-get install %s): %v", h.source, h.packages, err))
			continue
		}
		for _, mode := range h.modes {
			p, err := start(program, mode)
			if err != nil {
				note(fmt.Sprintf("skipped %s %s: %v", h.source, mode, err))
				continue
			}
			running = append(running, p)
			pairs = append(pairs, bench.Pair{Name: p.name, Promises: h.promises, Window: p.window})
		}
	}
	return pairs, stop
}

func build(cc, dir, source, library string) (string, error) {
	code, err := harness.ReadFile("harness/" + source)
	if err != nil {
		return "", err
	}
	common, err := harness.ReadFile("harness/harness.h")
	if err != nil {
		return "", err
	}
	for name, data := range map[string][]byte{source: code, "harness.h": common} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return "", err
		}
	}
	out := filepath.Join(dir, strings.TrimSuffix(source, ".c"))
	text, err := exec.Command(cc, "-O2", "-Wall", "-o", out, filepath.Join(dir, source), library).CombinedOutput()
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		return "", fmt.Errorf("%w: %s", err, first)
	}
	return out, nil
}

// process is a harness at work: it is asked for one window at a time, in lines.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// start starts a harness, which first says its name, with the library's version.
func start(program, mode string) (*process, error) {
	p := &process{cmd: exec.Command(program, mode)}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	name, err := p.out.ReadString('\n')
	if p.name = strings.TrimSpace(name); err != nil || p.name == "" {
		p.stop()
		return nil, fmt.Errorf("the harness does not know the mode, or does not run: %v", err)
	}
	return p, nil
}

func (p *process) window(op bench.Op, size int, seconds float64) (frames int, ns float64, err error) {
	if op != bench.Seal && op != bench.Open {
		return 0, 0, nil
	}
	if _, err := fmt.Fprintf(p.in, "%s %d %g\n", op, size, seconds); err != nil {
		return 0, 0, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("%s: the harness ended: %w", p.name, err)
	}
	if _, err := fmt.Sscan(line, &frames, &ns); err != nil {
		return 0, 0, fmt.Errorf("%s: the harness says %q", p.name, line)
	}
	return frames, ns, nil
}

// stop ends the harness, which does so by itself when there is nothing more to read.
func (p *process) stop() {
	p.in.Close()
	p.cmd.Wait()
}
