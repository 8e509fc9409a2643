// Command peers measures chanseal beside other libraries, all in one run, and writes
// what it saw: results/DATE-CPU.json, plots, and RESULTS.md.
//
//	cd bench/peers && go run .
//
// Libraries in C (OpenSSL, libsrtp2) are measured where a compiler and their headers
// are there, and skipped with a message otherwise.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/chanseal/chanseal/bench"
)

func main() {
	long := flag.Duration("time", 150*time.Second, "measure for about this `LONG`")
	out := flag.String("o", "..", "write RESULTS.md and results/ into `DIR`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *long, 15, *out); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, long time.Duration, rounds int, out string) error {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	note := func(s string) { fmt.Fprintln(os.Stderr, "peers:", s) }
	inC, end := cPeers(dir, note)
	defer end()
	work, err := tokens()
	if err != nil {
		return err
	}
	pairs := append(append(bench.Defaults(), goPeers()...), inC...)
	last := time.Now()
	r, err := bench.Measure(ctx, bench.Options{Pairs: pairs, Profiles: bench.Profiles(), Work: work, Time: long, Rounds: rounds, Progress: func(done, total int, what string) {
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			note(fmt.Sprintf("%d of %d windows", done, total))
		}
	}})
	if err != nil {
		return err
	}
	if r.Machine.Revision == "unknown" {
		r.Machine.Revision, r.Machine.Modified = revision()
	}
	return write(r, out)
}

// revision asks git, where go run does not say.
func revision() (string, bool) {
	head, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		return "unknown", false
	}
	changes, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output()
	return strings.TrimSpace(string(head)), err != nil || len(bytes.TrimSpace(changes)) > 0
}

// write writes results/NAME.json, the plots beside it, and RESULTS.md, which shows the
// newest results.
func write(r *bench.Report, out string) error {
	if err := os.MkdirAll(filepath.Join(out, "results"), 0o777); err != nil {
		return err
	}
	name := "results/" + r.Started.Format("2006-01-02") + "-" + fileName(r.Machine.CPU)
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, name+".json"), b.Bytes(), 0o666); err != nil {
		return err
	}
	var page bytes.Buffer
	fmt.Fprintf(&page, `# Results

What sealing and opening cost beside other libraries, all measured in one run, row by row in turn. Figures: [%s.json](%s.json).
To repeat this on your machine, which writes this file anew:

    cd bench/peers && go run .

x: times as fast as the standard library's AES-128-GCM at the same work. A row whose windows differ by more than 10 %% gives no figure.
Sealing and opening of our suites is the whole frame: counter, header, cipher, tag, replay window. So it is for pion-srtp and libsrtp2; the rows std, xcrypto,
openssl are bare ciphers. sio, tink and age are used as their documentation says: a message, stream or file for each frame.

`, name, name)
	for _, plot := range bench.PlotNames() {
		var picture bytes.Buffer
		if err := r.WritePNG(&picture, plot); err != nil {
			os.Remove(filepath.Join(out, name+"-"+plot+".png"))
			continue // no row for it
		}
		if err := os.WriteFile(filepath.Join(out, name+"-"+plot+".png"), picture.Bytes(), 0o666); err != nil {
			return err
		}
		fmt.Fprintf(&page, "![%s](%s-%s.png)\n\n", plot, name, plot)
	}
	if err := r.WriteMarkdown(&page); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "RESULTS.md"), page.Bytes(), 0o666); err != nil {
		return err
	}
	fmt.Printf("%s and RESULTS.md: %d rows, %d noisy\n", name+".json", len(r.Results), r.Noisy)
	return nil
}

// fileName makes one of a CPU's name.
func fileName(cpu string) string {
	cpu = strings.NewReplacer("(R)", "", "(TM)", "", "(r)", "", "(tm)", "").Replace(cpu)
	parts := strings.FieldsFunc(strings.ToLower(cpu), func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') })
	return strings.Join(parts, "-")
}
