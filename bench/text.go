package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// WriteText writes tables for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.Headline() {
		b.WriteString(line + "\n")
	}
	for _, t := range r.Tables() {
		t.text(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text aligns the first column to the left and the others to the right.
func (t *Table) text(b *strings.Builder) {
	width := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	b.WriteString("\n" + t.Title)
	if t.Note != "" {
		b.WriteString(" (" + t.Note + ")")
	}
	b.WriteString("\n")
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 || t.words(i) {
				line.WriteString("  " + cell + pad)
			} else {
				line.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// words reports whether a column holds words, not figures.
func (t *Table) words(column int) bool {
	for _, row := range t.Rows {
		if c := row[column]; c != "-" && !strings.ContainsAny(c[:1], "0123456789") && !strings.HasPrefix(c, "noisy") {
			return true
		}
	}
	return false
}

// WriteMarkdown writes tables for a README.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.Headline() {
		b.WriteString("- " + line + "\n")
	}
	for _, t := range r.Tables() {
		fmt.Fprintf(&b, "\n## %s\n\n", t.Title)
		if t.Note != "" {
			fmt.Fprintf(&b, "%s.\n\n", strings.ToUpper(t.Note[:1])+t.Note[1:])
		}
		escape := strings.NewReplacer("|", "\\|", "\n", " ")
		line := func(cells []string) {
			for _, c := range cells {
				b.WriteString("| " + escape.Replace(c) + " ")
			}
			b.WriteString("|\n")
		}
		line(t.Header)
		for i := range t.Header {
			if i == 0 || t.words(i) {
				b.WriteString("|---")
			} else {
				b.WriteString("|--:")
			}
		}
		b.WriteString("|\n")
		for _, row := range t.Rows {
			line(row)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteCSV writes a line a row, with the names of the JSON fields.
func (r *Report) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"suite", "op", "size", "profile", "batch", "cores", "ns", "ns_low", "ns_high", "noise", "noisy", "mb_s", "vs_std", "allocs", "alloc_bytes",
		"p50_ns", "p99_ns", "p999_ns", "cpu_ns", "cpu_s_per_gb", "overhead_bytes", "overhead_percent", "core_share", "streams_per_core", "scaling", "check"})
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	checks := map[string]string{}
	for _, m := range r.Modes {
		checks[m.Suite] = m.Check
	}
	for _, x := range r.Results {
		c.Write([]string{x.Suite, string(x.Op), strconv.Itoa(x.Size), x.Profile, strconv.Itoa(x.Batch), strconv.Itoa(x.Cores), number(x.NS), number(x.Low), number(x.High),
			number(x.Noise), strconv.FormatBool(x.Noisy), number(x.MBs), number(x.VsStd), strconv.Itoa(x.Allocs), strconv.Itoa(x.Bytes), number(x.P50), number(x.P99), number(x.P999),
			number(x.CPU), number(x.CPUs), number(x.Overhead), number(x.OverheadPercent), number(x.CoreShare), number(x.StreamsPerCore), number(x.Scaling), checks[x.Suite]})
	}
	c.Flush()
	return c.Error()
}

// WriteBenchstat writes lines for golang.org/x/perf/cmd/benchstat, one a window.
func (r *Report) WriteBenchstat(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/chanseal/chanseal/bench\ncpu: %s\n", r.Machine.OS, r.Machine.Arch, r.Machine.CPU)
	for _, x := range r.Results {
		name := fmt.Sprintf("BenchmarkChanseal/op=%s/suite=%s/size=%d", x.Op, x.Suite, x.Size)
		if x.Profile != "" {
			name += "/profile=" + x.Profile
		}
		if x.Batch > 0 {
			name += fmt.Sprintf("/batch=%d", x.Batch)
		}
		if x.Op == SealParallel {
			name += fmt.Sprintf("/cores=%d", x.Cores)
		}
		name = strings.ReplaceAll(name, " ", "_")
		for _, ns := range x.Samples {
			fmt.Fprintf(&b, "%s 1 %g ns/op", name, ns)
			if x.MBs > 0 && ns > 0 {
				fmt.Fprintf(&b, " %.2f MB/s", float64(x.Size)/ns*1e3)
			}
			fmt.Fprintf(&b, " %d B/op %d allocs/op\n", x.Bytes, x.Allocs)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
