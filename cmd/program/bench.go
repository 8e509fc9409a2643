package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/bench"
)

// benchFlags are those of bench.
type benchFlags struct {
	suites, ops, profiles, sizes, cores []string
	traces                              []string
	batch, rounds                       int
	time                                durationValue
	check                               bool

	asJSON, asCSV bool
	format        string
	out           string
	html, png     string
	force         bool

	against   string
	tolerance float64
}

// The formats of a report.
var benchFormats = map[string]func(*bench.Report, io.Writer) error{
	"text":      (*bench.Report).WriteText,
	"json":      (*bench.Report).WriteJSON,
	"csv":       (*bench.Report).WriteCSV,
	"benchstat": (*bench.Report).WriteBenchstat,
	"markdown":  (*bench.Report).WriteMarkdown,
}

const benchFormatNames = "text, json, csv, benchstat or markdown"

func (p *program) benchCommand() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:     "bench",
		GroupID: groupProgram,
		Short:   "measure what sealing and opening cost",
		Long: `Measure what sealing and opening cost on this machine: every suite, those of your
own too, beside the standard library's AES-128-GCM (the 1.00 of column x), other
libraries, and a row that does nothing (noop: the harness's own cost).

Each row is measured in ` + "`--rounds`" + ` windows that take turns with those of all other
rows. A figure is their median. Where the windows differ too much, or the CPU was
busy with something else, it says "noisy" and how much, and gives no figure.

No mode is timed before another implementation opened its frames. Suites of your
own are examined by the conformance kit first; with --check all suites are, and one
that fails is measured all the same and shown as failed. The exit status is then 1.

Rows of --against are compared with significance (Mann-Whitney, 5 %): the exit
status is 1 if one became slower by more than --tolerance.`,
		Example: `  chanseal bench
  chanseal bench --suite aes-128-gcm --size 96,1200 --time 10s
  chanseal bench --trace talk.webm --profile none    the sizes and order of its frames
  chanseal bench --html report.html                  with plots, needs no network
  chanseal bench --json > old.json
  chanseal bench --against old.json --tolerance 5    in CI`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error { return p.bench(c, &f) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.suites, "suite", nil, "only `SUITES`, comma-separated or repeated, and what they are compared with (default all)")
	flags.StringSliceVar(&f.sizes, "size", nil, "frames of `BYTES` (default 96,1200,16384,100000)")
	flags.StringSliceVar(&f.ops, "op", nil, "only `OPERATIONS`: "+joinOps()+" (default all)")
	flags.StringSliceVar(&f.profiles, "profile", nil, "streams: "+profileNames()+", all or none (default all)")
	flags.StringSliceVar(&f.traces, "trace", nil, "also a stream with the frames of `FILE`")
	flags.IntVar(&f.batch, "batch", 16, "`FRAMES` in a batch")
	flags.StringSliceVar(&f.cores, "cores", nil, "`NUMBERS` of cores for seal-parallel (default 1,2,4,… and all)")
	flags.Var(&f.time, "time", "measure for about this long (default 35s)")
	flags.IntVar(&f.rounds, "rounds", 9, "`NUMBER` of windows a row; below 6 there are no confidence intervals")
	flags.BoolVar(&f.check, "check", false, "run the conformance kit on every suite first")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	flags.BoolVar(&f.asCSV, "csv", false, "print CSV")
	flags.StringVar(&f.format, "format", "text", "print `FORMAT`: "+benchFormatNames)
	flags.StringVarP(&f.out, "output", "o", "-", "write it to `FILE` instead of stdout")
	flags.StringVar(&f.html, "html", "", "also write a report with plots to `FILE`, which needs no network to view")
	flags.StringVar(&f.png, "png", "", "also write the plots to `PREFIX`-throughput.png and so on")
	flags.BoolVar(&f.force, "force", false, "overwrite files")
	flags.StringVar(&f.against, "against", "", "compare with the JSON report in `FILE`")
	flags.Float64Var(&f.tolerance, "tolerance", 10, "slower by so many `PERCENT` is a regression")
	c.RegisterFlagCompletionFunc("suite", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		for _, pair := range bench.Defaults(p.custom...) {
			names = append(names, pair.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

func joinOps() string {
	var names []string
	for _, op := range bench.Ops {
		names = append(names, string(op))
	}
	return strings.Join(names, ", ")
}

func profileNames() string {
	var names []string
	for _, f := range bench.Profiles() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// bench measures and reports.
func (p *program) bench(c *cobra.Command, f *benchFlags) error {
	o, err := p.benchOptions(c, f)
	if err != nil {
		return err
	}
	write, err := f.writer(c)
	if err != nil {
		return err
	}
	targets, err := p.benchTargets(c, f)
	if err != nil {
		return err
	}
	var old *bench.Report
	if f.against != "" {
		if old, err = p.readReport(c.Context(), f.against); err != nil {
			return err
		}
	}
	done := p.benchProgress(&o)
	report, err := bench.Measure(c.Context(), o)
	done()
	if err != nil {
		return err
	}
	if err := p.writeBench(c.Context(), f, targets, report, write); err != nil {
		return err
	}
	return p.judge(f, old, report)
}

func (f *benchFlags) writer(c *cobra.Command) (func(*bench.Report, io.Writer) error, error) {
	format := f.format
	for name, set := range map[string]bool{"json": f.asJSON, "csv": f.asCSV} {
		if set && (c.Flags().Changed("format") && format != name || f.asJSON && f.asCSV) {
			return nil, usagef(c, "one format at a time: --json, --csv or --format")
		}
		if set {
			format = name
		}
	}
	write, ok := benchFormats[strings.ToLower(format)]
	if !ok {
		return nil, usagef(c, "unknown format %q, known are %s", format, benchFormatNames)
	}
	return write, nil
}

func (p *program) benchOptions(c *cobra.Command, f *benchFlags) (o bench.Options, err error) {
	o = bench.Options{Batch: f.batch, Rounds: f.rounds, Time: f.time.d, Check: f.check}
	switch {
	case f.rounds < 1:
		return o, usagef(c, "--rounds %d: want 1 or more", f.rounds)
	case f.batch < 1:
		return o, usagef(c, "--batch %d: want 1 or more", f.batch)
	case f.tolerance < 0:
		return o, usagef(c, "--tolerance %g: want 0 or more", f.tolerance)
	}
	if o.Pairs, err = p.benchPairs(c, f.suites); err != nil {
		return o, err
	}
	if o.Sizes, err = numbers(c, "size", f.sizes); err != nil {
		return o, err
	}
	if o.Cores, err = numbers(c, "cores", f.cores); err != nil {
		return o, err
	}
	for _, name := range f.ops {
		op := bench.Op(strings.ToLower(name))
		if !slices.Contains(bench.Ops, op) {
			return o, usagef(c, "--op %s: known are %s", name, joinOps())
		}
		o.Ops = append(o.Ops, op)
	}
	if len(f.profiles) == 0 {
		f.profiles = []string{"all"}
	}
	for _, name := range f.profiles {
		switch strings.ToLower(name) {
		case "all":
			o.Profiles = append(o.Profiles, bench.Profiles()...)
		case "none":
		default:
			profile, err := bench.FindProfile(strings.ToLower(name))
			if err != nil {
				return o, usagef(c, "%s", message(err))
			}
			o.Profiles = append(o.Profiles, profile)
		}
	}
	for _, path := range f.traces {
		in, err := p.openInput(c.Context(), path)
		if err != nil {
			return o, err
		}
		profile, err := bench.Trace(in.name, in)
		in.Close()
		if err != nil {
			return o, fileError(in.name, err)
		}
		o.Profiles = append(o.Profiles, profile)
	}
	return o, nil
}

// benchPairs finds what to measure. The reference and the row that does nothing are
// always there.
func (p *program) benchPairs(c *cobra.Command, names []string) ([]bench.Pair, error) {
	all := bench.Defaults(p.custom...)
	if len(names) == 0 {
		return all, nil
	}
	want := map[string]bool{"noop": true, bench.Reference: true}
	for _, name := range names {
		if slices.ContainsFunc(all, func(b bench.Pair) bool { return strings.EqualFold(b.Name, name) }) {
			want[strings.ToLower(name)] = true
			continue
		}
		v := suiteValue{custom: p.custom}
		if err := v.Set(name); err != nil {
			return nil, usagef(c, "--suite %s: %v", name, err)
		}
		want[strings.ToLower(v.suite.Name())] = true
	}
	return slices.DeleteFunc(all, func(b bench.Pair) bool { return !want[strings.ToLower(b.Name)] }), nil
}

// numbers reads a flag that holds whole numbers above 0.
func numbers(c *cobra.Command, flag string, texts []string) (out []int, err error) {
	for _, s := range texts {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 {
			return nil, usagef(c, "--%s %s: want a whole number above 0", flag, s)
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// benchProgress shows a bar on a terminal while measuring.
func (p *program) benchProgress(o *bench.Options) (done func()) {
	if p.quiet || !isTerminal(p.stderr) {
		return func() {}
	}
	var bar *progressbar.ProgressBar
	last := time.Time{}
	o.Progress = func(n, total int, what string) {
		// Drawing costs time on the very core that measures.
		if n < total && time.Since(last) < 200*time.Millisecond || total == 0 {
			return
		}
		last = time.Now()
		if bar == nil {
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(p.stderr), progressbar.OptionSetWidth(30),
				progressbar.OptionSetDescription("measuring"), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
		}
		bar.Set(n)
	}
	return func() {
		if bar != nil {
			bar.Clear()
		}
	}
}

// benchTarget is a file to be written.
type benchTarget struct {
	target *target
	write  func(*bench.Report, io.Writer) error
}

// benchTargets checks the files to be written, before a minute is spent on measuring.
func (p *program) benchTargets(c *cobra.Command, f *benchFlags) (all []benchTarget, err error) {
	add := func(path string, write func(*bench.Report, io.Writer) error) {
		if err != nil {
			return
		}
		var t *target
		if t, err = p.newTarget(path, f.force, &input{}); err == nil {
			all = append(all, benchTarget{t, write})
		}
	}
	if f.out != "-" {
		write, e := f.writer(c)
		if e != nil {
			return nil, e
		}
		add(f.out, write)
	}
	if f.html != "" {
		add(f.html, (*bench.Report).WriteHTML)
	}
	if f.png != "" {
		for _, name := range bench.PlotNames() {
			add(f.png+"-"+name+".png", func(r *bench.Report, w io.Writer) error { return r.WritePNG(w, name) })
		}
	}
	return all, err
}

func (p *program) writeBench(ctx context.Context, f *benchFlags, targets []benchTarget, r *bench.Report, write func(*bench.Report, io.Writer) error) error {
	if f.out == "-" {
		if err := write(r, p.stdout); err != nil {
			return err
		}
	}
	for _, t := range targets {
		var b bytes.Buffer
		if err := t.write(r, &b); err != nil {
			if errors.Is(err, bench.ErrNoPlot) {
				continue // a plot of rows that were not asked for
			}
			return err
		}
		out, err := p.create(t.target)
		if err != nil {
			return err
		}
		if _, err = out.Write(b.Bytes()); err == nil {
			err = out.commit(ctx)
		}
		out.discard()
		if err != nil {
			return err
		}
		p.notef("wrote %s", t.target.path)
	}
	return nil
}

func (p *program) readReport(ctx context.Context, path string) (*bench.Report, error) {
	in, err := p.openInput(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	r, err := bench.ReadReport(in)
	if err != nil {
		return nil, &failure{err: &named{in.name, message(err), err}, code: exitUsage, hints: []string{"make one: chanseal bench --json > " + quoteArg(path)}}
	}
	return r, nil
}

// judge says what became slower, and which ciphers are broken.
func (p *program) judge(f *benchFlags, old, r *bench.Report) error {
	if old != nil {
		c := bench.Compare(old, r, f.tolerance/100)
		var out io.Writer = p.stderr
		if f.out == "-" && !f.asJSON && !f.asCSV && f.format == "text" {
			out = p.stdout
		}
		if err := c.WriteText(out); err != nil {
			return err
		}
		if n := len(c.Regressions()); n > 0 {
			return hinted(fmt.Errorf("%s slower than in %s by more than %g %%", count(n, "row"), f.against, f.tolerance),
				"the reports differ by more than the code if the machines do: measure the old code again on this one")
		}
	}
	if failed := r.Failed(); len(failed) > 0 {
		return fmt.Errorf("failed the conformance check: %s", strings.Join(failed, ", "))
	}
	return nil
}
