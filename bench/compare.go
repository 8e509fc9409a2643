package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"
)

// Verdict is what became of a row.
type Verdict string

// The verdicts.
const (
	Slower    Verdict = "slower"    // significantly, and beyond the tolerance
	Faster    Verdict = "faster"    // significantly, and beyond the tolerance
	Same      Verdict = "same"      // no significant difference beyond the tolerance
	NotJudged Verdict = "noisy"     // windows differ too much, and the difference lies within their intervals
	Missing   Verdict = "missing"   // the new report does not have the row
	Failed    Verdict = "not valid" // the mode failed its check in the new report
)

// Change is a row in two reports.
type Change struct {
	Suite    string
	Op       Op
	Size     int
	Profile  string
	Batch    int
	Cores    int
	Old, New float64 // nanoseconds
	Delta    float64 // New/Old - 1
	P        float64 // how likely so large a difference is by chance (Mann-Whitney)
	Verdict  Verdict
}

// Comparison is two reports side by side.
type Comparison struct {
	Tolerance float64 // as part of the old time
	Machines  []string
	Changes   []Change
}

type rowKey struct {
	suite   string
	op      Op
	size    int
	profile string
	batch   int
	cores   int
}

func (x *Result) key() rowKey { return rowKey{x.Suite, x.Op, x.Size, x.Profile, x.Batch, x.Cores} }

// Compare compares two reports row by row. A row is slower if its windows are, with a
// significance of 5 % that many rows share (Holm's correction), and their median by
// more than the tolerance (0.1: a tenth). Of rows whose windows
// differ too much that is said only where the difference exceeds the intervals of both. Rows that only the new report has do not
// count; rows that were not asked for this time do not either, unless their mode and
// operation were.
func Compare(old, new *Report, tolerance float64) *Comparison {
	c := &Comparison{Tolerance: tolerance, Machines: differences(old.Machine, new.Machine)}
	rows := map[rowKey]*Result{}
	measured := map[[2]string]bool{}
	for i := range new.Results {
		rows[new.Results[i].key()] = &new.Results[i]
		measured[[2]string{new.Results[i].Suite, string(new.Results[i].Op)}] = true
	}
	failed := new.Failed()
	for i := range old.Results {
		a := &old.Results[i]
		change := Change{Suite: a.Suite, Op: a.Op, Size: a.Size, Profile: a.Profile, Batch: a.Batch, Cores: a.Cores, Old: a.NS, P: 1}
		b := rows[a.key()]
		switch {
		case b == nil && slices.ContainsFunc(new.Skipped, func(s Skipped) bool { return s.Suite == a.Suite && (s.Op == "" || s.Op == a.Op) }):
			change.Verdict = Missing
		case b == nil:
			continue
		default:
			change.New, change.Delta = b.NS, b.NS/a.NS-1
			change.P = difference(a.Samples, b.Samples)
			change.Verdict = Same
			// Waiting for the CPU alone, with windows that agree, does not hide a change.
			if x, y := summarize(a.Samples).noise, summarize(b.Samples).noise; math.Abs(change.Delta) <= x+y && max(x, y) > NoisyAbove {
				change.Verdict = NotJudged
			}
			if slices.Contains(failed, a.Suite) {
				change.Verdict = Failed
			}
		}
		c.Changes = append(c.Changes, change)
	}
	c.decide()
	return c
}

// difference is the p-value of two rows' windows.
func difference(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 1
	}
	x := benchmath.NewSample(slices.Clone(a), &benchmath.DefaultThresholds)
	y := benchmath.NewSample(slices.Clone(b), &benchmath.DefaultThresholds)
	return benchmath.AssumeNothing.Compare(x, y).P
}

// decide applies Holm's correction to the rows that exceed the tolerance.
func (c *Comparison) decide() {
	var beyond []*Change
	for i := range c.Changes {
		x := &c.Changes[i]
		// A tenth faster is 1/1.1 of the time.
		if x.Verdict == Same && (x.Delta > c.Tolerance || 1/(1+x.Delta)-1 > c.Tolerance) {
			beyond = append(beyond, x)
		}
	}
	slices.SortFunc(beyond, func(a, b *Change) int {
		switch {
		case a.P < b.P:
			return -1
		case a.P > b.P:
			return 1
		}
		return 0
	})
	for i, x := range beyond {
		if x.P >= benchmath.DefaultThresholds.CompareAlpha/float64(len(beyond)-i) {
			break
		}
		x.Verdict = Faster
		if x.Delta > 0 {
			x.Verdict = Slower
		}
	}
}

// Regressions are the rows that became slower, vanished, or became invalid.
func (c *Comparison) Regressions() (out []Change) {
	for _, x := range c.Changes {
		if x.Verdict == Slower || x.Verdict == Missing || x.Verdict == Failed {
			out = append(out, x)
		}
	}
	return out
}

// differences says what makes two reports hard to compare.
func differences(a, b Machine) (out []string) {
	for _, d := range []struct{ what, old, new string }{
		{"CPU", a.CPU, b.CPU}, {"AES", a.Tier, b.Tier}, {"Go", a.Go, b.Go}, {"system", a.OS + "/" + a.Arch, b.OS + "/" + b.Arch}, {"GODEBUG", a.GODEBUG, b.GODEBUG},
	} {
		if d.old != d.new {
			out = append(out, fmt.Sprintf("%s: %q then, %q now", d.what, d.old, d.new))
		}
	}
	return out
}

// WriteText writes the rows that differ, and how many do not.
func (c *Comparison) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, d := range c.Machines {
		fmt.Fprintf(&b, "not the same machine: %s\n", d)
	}
	t := Table{Title: "Against the old report", Note: fmt.Sprintf("beyond %g %%, significance 5 %%", 100*c.Tolerance), Header: []string{"suite", "operation", "at", "old", "new", "change", "p", "verdict"}}
	count := map[Verdict]int{}
	for _, x := range c.Changes {
		count[x.Verdict]++
		if x.Verdict == Same || x.Verdict == NotJudged {
			continue
		}
		at := bytesOf(x.Size)
		switch {
		case x.Profile != "":
			at = x.Profile
		case x.Op == SealParallel:
			at += fmt.Sprintf(", %s", plural(x.Cores, "core"))
		}
		new, delta := "-", "-"
		if x.New > 0 {
			new, delta = nanos(x.New), fmt.Sprintf("%+.1f %%", 100*x.Delta)
		}
		t.Rows = append(t.Rows, []string{x.Suite, string(x.Op), at, nanos(x.Old), new, delta, fmt.Sprintf("%.4f", x.P), string(x.Verdict)})
	}
	if len(t.Rows) > 0 {
		t.text(&b)
	}
	fmt.Fprintf(&b, "\n%d rows compared: %d slower, %d faster, %d the same, %d too noisy to judge", len(c.Changes), count[Slower], count[Faster], count[Same], count[NotJudged])
	if n := count[Missing]; n > 0 {
		fmt.Fprintf(&b, ", %d missing", n)
	}
	if n := count[Failed]; n > 0 {
		fmt.Fprintf(&b, ", %d of broken ciphers", n)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
