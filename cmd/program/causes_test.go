package program

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestCauses: what the system refuses comes with what to do; a hint of a command's own
// stands alone.
func TestCauses(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its errors have other numbers")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	media := listenAt(t, "127.0.0.1:0")
	port := media.LocalAddr().String()
	dir := t.TempDir()
	app := filepath.Join(dir, "app.json")
	run := func(args ...string) string {
		var said strings.Builder
		p := &program{stdin: strings.NewReader(""), stdout: &said, stderr: &said, home: filepath.Join(dir, "ring")}
		p.run(t.Context(), args)
		return said.String()
	}
	run("token", "app", "create", "-o", app)
	run("channel", "create", "ABC")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"serve", "--app-certificate-file", app, "--dev", "--listen", taken.Addr().String()}, []string{"--listen " + taken.Addr().String(), "hint: another process has this port"}},
		{[]string{"serve", "--app-certificate-file", app, "--dev", "--listen", "127.0.0.1:0", "--admin-listen", taken.Addr().String()}, []string{"--admin-listen ", "hint: another process has this port"}},
		{[]string{"gateway", "seal", "--channel", "ABC", "--listen", port, "--to", "127.0.0.1:9"}, []string{"listen on " + port, "hint: another process has this port"}},
		{[]string{"gateway", "record", "--listen", port, "-o", filepath.Join(dir, "r.rtpdump")}, []string{"listen on " + port, "hint: another process has this port"}},
		{[]string{"gateway", "open", "--channel", "ABC", "--listen", "192.0.2.1:5004", "--to", "127.0.0.1:9"}, []string{"192.0.2.1", "hint: this machine has no such address"}},
	} {
		said := run(c.args...)
		for _, want := range c.want {
			if !strings.Contains(said, want) {
				t.Errorf("chanseal %s: %q is not in:\n%s", strings.Join(c.args, " "), want, said)
			}
		}
	}
	var said strings.Builder
	p := &program{stderr: &said}
	p.report(fmt.Errorf("write x: %w", syscall.ENOSPC))
	p.report(hinted(fmt.Errorf("write y: %w", syscall.ENOSPC), "its own"))
	p.report(errors.New("z"))
	const want = "chanseal: error: write x: no space left on device\nchanseal: hint: the disk is full: make room there, or write to another one\n" +
		"chanseal: error: write y: no space left on device\nchanseal: hint: its own\nchanseal: error: z\n"
	if said.String() != want {
		t.Errorf("%q", said.String())
	}
}
