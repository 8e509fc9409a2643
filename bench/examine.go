package bench

import (
	"fmt"
	"runtime"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
)

// examine runs the conformance kit and returns what failed.
func examine(p *Pair) []string {
	var failures []string
	root := &recorder{all: &failures}
	root.protect(func() {
		if p.suite != nil {
			ciphertest.TestSuite(root, p.suite, p.exempt()...)
			return
		}
		ciphertest.TestPair(root, func() (cipher.Sealer, cipher.Opener) {
			s, o, err := p.Fresh()
			if err != nil {
				root.Fatalf("making a key: %v", err)
			}
			return s, o
		}, p.exempt()...)
	})
	return failures
}

// recorder is a test without a test: it notes the first failure of each check.
type recorder struct {
	name   string
	failed bool
	all    *[]string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	if !r.failed {
		text := fmt.Sprintf(format, args...)
		if r.name != "" {
			text = r.name + ": " + text
		}
		*r.all = append(*r.all, text)
	}
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Run(name string, f func(*recorder)) bool {
	sub := &recorder{name: name, all: r.all}
	sub.protect(func() { f(sub) })
	return !sub.failed
}

// protect runs a check in a goroutine of its own, which Fatalf ends.
func (r *recorder) protect(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v", p)
			}
		}()
		f()
	}()
	<-done
}
