package bench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"testing"
	"time"
)

// Run measures a pair of one's own as benchmarks that are named
// op=seal/suite=NAME/size=N and op=open/…, with the latencies p50-ns and p99-ns beside
// the mean. The conformance kit examines the pair first and fails the benchmark if
// the pair does.
func Run(b *testing.B, p Pair) {
	b.Helper()
	if p.Fresh == nil {
		b.Fatal("bench: a pair without Fresh")
	}
	if p.custom() {
		for _, f := range examine(&p) {
			b.Errorf("%s fails the conformance kit: %s", p.Name, f)
		}
		if b.Failed() {
			return
		}
	}
	for _, op := range []Op{Seal, Open} {
		for _, size := range DefaultSizes {
			if size%max(p.Multiple, 1) != 0 {
				continue
			}
			b.Run(fmt.Sprintf("op=%s/suite=%s/size=%d", op, p.Name, size), func(b *testing.B) { p.run(b, op, size) })
		}
	}
}

// run is one benchmark.
func (p *Pair) run(b *testing.B, op Op, size int) {
	j := &job{pair: p, op: op, size: size, sizes: block(size), cores: 1}
	a := newArena(max(size, page), 2*blockMemory+len(j.sizes)*(size+256))
	if err := j.shorten(a); err != nil {
		b.Fatal(err)
	}
	s, err := j.session(a)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	dst, aad := s.arena.dst, s.arena.aad
	if op == Seal {
		for b.Loop() {
			if _, err := s.seal.Seal(dst, s.frames[0], aad); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		var out []byte
		at := len(s.sealed)
		for b.Loop() {
			if at == len(s.sealed) {
				b.StopTimer()
				if err := s.ahead(); err != nil {
					b.Fatal(err)
				}
				at = 0
				b.StartTimer()
			}
			if out, err = s.open.Open(dst, s.sealed[at], aad); err != nil {
				b.Fatal(err)
			}
			at++
		}
		if !bytes.Equal(out, s.frames[0]) {
			b.Fatal(errWrong)
		}
	}
	if s, err = j.session(s.arena); err != nil {
		b.Fatal(err)
	}
	c := &clock{h: newHistogram(), origin: time.Now(), cost: clockCost()}
	for range 20 {
		if err := s.each(c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(c.h.ValueAtQuantile(50)), "p50-ns")
	b.ReportMetric(float64(c.h.ValueAtQuantile(99)), "p99-ns")
}

// Main is a whole program: it measures the pairs beside the reference and prints a
// table, or what the flags -json, -csv, -markdown and -html FILE say. It returns the
// exit status: 1 if a pair fails the conformance kit, which runs first.
//
//	func main() { os.Exit(bench.Main(bench.Pair{Name: "mine", Fresh: fresh})) }
func Main(pairs ...Pair) int {
	return mainProgram(os.Args[1:], os.Stdout, os.Stderr, pairs)
}

func mainProgram(args []string, stdout, stderr io.Writer, pairs []Pair) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	asJSON := flags.Bool("json", false, "print JSON")
	asCSV := flags.Bool("csv", false, "print CSV")
	asMarkdown := flags.Bool("markdown", false, "print Markdown")
	html := flags.String("html", "", "also write a page with plots to `FILE`")
	long := flags.Duration("time", DefaultTime, "measure for about this `LONG`")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := Measure(ctx, Options{Pairs: append([]Pair{Noop(), StdGCM()}, pairs...), Profiles: Profiles(), Time: *long, Check: true})
	if err == nil {
		switch {
		case *asJSON:
			err = r.WriteJSON(stdout)
		case *asCSV:
			err = r.WriteCSV(stdout)
		case *asMarkdown:
			err = r.WriteMarkdown(stdout)
		default:
			err = r.WriteText(stdout)
		}
	}
	if err == nil && *html != "" {
		var b bytes.Buffer
		if err = r.WriteHTML(&b); err == nil {
			err = os.WriteFile(*html, b.Bytes(), 0o666)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if len(r.Failed()) > 0 {
		return 1
	}
	return 0
}
