package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// service is a command of the demo that runs on its own.
type service struct {
	ended chan int
	stop  context.CancelFunc
}

// start runs a command until it says each of these words, and returns what follows them
// in their lines.
func (d *demo) start(words []string, args ...string) (*service, []string, error) {
	shown := make([]string, len(args))
	for i, a := range args {
		shown[i] = strings.TrimPrefix(a, "./")
	}
	fmt.Fprintf(d.out, "   $ chanseal %s &\n", strings.Join(shown, " "))
	for i, a := range args {
		if name, ok := strings.CutPrefix(a, "./"); ok {
			args[i] = d.path(name)
		}
	}
	ctx, cancel := context.WithCancel(d.ctx)
	says, said := io.Pipe()
	p := &program{stdin: strings.NewReader(""), stdout: said, stderr: said, custom: d.p.custom, home: d.path("ring")}
	s := &service{ended: make(chan int, 1), stop: cancel}
	go func() { s.ended <- p.run(ctx, args); said.Close() }()
	found := make(chan []string, 1)
	go func() {
		defer close(found)
		rest := make([]string, 0, len(words))
		for lines := bufio.NewScanner(says); lines.Scan(); {
			if len(rest) == len(words) {
				continue // it goes on talking, and is to be read
			}
			if _, after, ok := strings.Cut(lines.Text(), words[len(rest)]); ok {
				if rest = append(rest, strings.TrimSpace(after)); len(rest) == len(words) {
					found <- rest
				}
			}
		}
	}()
	rest, ok := <-found
	if !ok {
		cancel()
		return nil, nil, fmt.Errorf("exit status %d, and it said nothing of what was waited for", <-s.ended)
	}
	return s, rest, nil
}

// wait ends the command, or waits until it ends by itself.
func (s *service) wait(stop bool) int {
	if stop {
		s.stop()
	}
	code := <-s.ended
	s.stop()
	return code
}

// keyServer has a member's ring filled over HTTPS, and the member put out.
func (d *demo) keyServer() (err error) {
	if code, _, errs := d.command("channel", "policy", "stage", "--activate-delay", "0s"); code != exitDone {
		return errors.New(errs)
	}
	server, rest, err := d.start([]string{"serving at ", "fingerprint is ", "administration at "},
		"serve", "--app-certificate-file", "./app.json", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() {
		if code := server.wait(true); err == nil {
			err = wantExit(code, exitDone)
		}
	}()
	address, pin, admin := rest[0], rest[1], rest[2]
	code, card, errs := d.command("token", "mint", "--app-certificate-file", "./app.json", "--channel", "stage", "--uid", "123", "--expires", "1h")
	if code != exitDone {
		return errors.New(errs)
	}
	if err := os.WriteFile(d.path("card"), []byte(card), 0o600); err != nil {
		return err
	}
	member, _, err := d.start([]string{"joined "}, "channel", "join", "stage", "--ring", "./member", "--server", address, "--pin", pin, "--uid", "123", "--card-file", "./card")
	if err != nil {
		return err
	}
	left := false
	defer func() {
		if !left {
			member.wait(true)
		}
	}()
	open := func(name string) int {
		code, _, _ := d.command("open", "--ring", "./member", "--channel", "stage", "--force", "-o", "./member.webm", name)
		return code
	}
	if code, _, errs := d.command("seal", "--channel", "stage", "--force", "-o", "./live.sealed.mkv", "./talk.webm"); code != exitDone {
		return errors.New(errs)
	}
	if err := wantExit(open("./live.sealed.mkv"), exitDone); err != nil {
		return fmt.Errorf("the member does not open what is sealed now: %w", err)
	}
	d.sayf("a ring that was empty opens what is sealed now; its secrets came wrapped to a key of its own")

	for _, args := range [][]string{{"serve", "admin", "person", "add", "oscar", "--role", "operator"}, {"serve", "admin", "person", "token", "oscar", "-o", "./oscar.token"}} {
		if code, _, errs := d.command(args...); code != exitDone {
			return errors.New(errs)
		}
	}
	if err := d.show(exitDone, "serve", "admin", "revoke", "--uid", "123", "--for", "1h", "--server", admin, "--pin", pin, "--token-file", "./oscar.token"); err != nil {
		return err
	}
	left = true
	if err := wantExit(member.wait(false), exitAuth); err != nil {
		return fmt.Errorf("the member was not put out: %w", err)
	}
	// The next epoch is made at once; another process notices within a second.
	for try := 0; ; try++ {
		code, _, errs := d.command("seal", "--channel", "stage", "--force", "-o", "./after.sealed.mkv", "./talk.webm")
		if code != exitDone {
			return errors.New(errs)
		}
		if open("./after.sealed.mkv") == exitAuth {
			break
		}
		if try == 20 {
			return errors.New("the member who was put out opens what was sealed afterwards")
		}
	}
	if err := wantExit(open("./live.sealed.mkv"), exitDone); err != nil {
		return fmt.Errorf("the member lost what was theirs: %w", err)
	}
	d.sayf("put out: what is sealed afterwards does not open for them, what was theirs still does")
	return d.show(exitDone, "audit", "show", "--channel", "stage", "--uid", "123", "./ring/audit.log")
}
