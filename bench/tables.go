package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Table is a part of a report as people read it. The first column names a row.
type Table struct {
	Title  string
	Note   string
	Header []string
	Rows   [][]string
}

// Tables is the report for people: on a terminal, in Markdown and in HTML alike.
func (r *Report) Tables() []Table {
	all := []Table{r.modes()}
	for _, t := range []struct {
		op          Op
		title, note string
	}{
		{Seal, "Sealing", "one core"},
		{Open, "Opening", "one core"},
		{SealBatch, "Sealing in batches", "one core; x: against single frames of the reference"},
		{OpenBatch, "Opening in batches", "one core; x: against single frames of the reference"},
		{OpenForged, "Refusing forged frames", "wrong tag, one core; x: against opening good frames with the reference"},
		{OpenReplayed, "Refusing replayed frames", "one core"},
	} {
		all = append(all, r.speeds(t.op, t.title, t.note))
	}
	all = append(all, r.latencies(), r.streams(Seal, "Streams, sealing"), r.streams(Open, "Streams, opening"), r.bandwidth(), r.scaling(), r.keys(), r.work(), r.skipped())
	return slices.DeleteFunc(all, func(t Table) bool { return len(t.Rows) == 0 })
}

// Headline says what was measured on.
func (r *Report) Headline() []string {
	m := r.Machine
	revision := m.Revision
	if len(revision) > 12 {
		revision = revision[:12]
	}
	if m.Modified {
		revision += " with changes"
	}
	lines := []string{
		fmt.Sprintf("%s, %s, %s/%s", m.CPU, plural(m.Cores, "core"), m.OS, m.Arch),
		fmt.Sprintf("AES engine: %s (CPU: %s)", m.Tier, strings.Join(m.Features, " ")),
		fmt.Sprintf("%s, chanseal %s, revision %s", m.Go, m.Version, revision),
		fmt.Sprintf("%s UTC, %.1f s, medians of %s, intervals of 95 %%, GOMAXPROCS %d", r.Started.Format("2006-01-02 15:04"), r.Seconds, plural(r.Rounds, "round"), m.GOMAXPROCS),
	}
	if r.Noisy > 0 {
		lines = append(lines, fmt.Sprintf("%d of %d rows are noisy: repeat on a machine that has nothing else to do", r.Noisy, len(r.Results)))
	}
	for _, name := range r.Failed() {
		lines = append(lines, name+" FAILED the conformance check: its figures are those of a broken cipher")
	}
	return lines
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (r *Report) modes() Table {
	t := Table{Title: "Modes", Note: "what each promises; no mode hides the length of frames",
		Header: []string{"mode", "authenticates", "replay-safe", "hides length", "overhead", "opened before by", "conformance"}}
	for _, m := range r.Modes {
		auth := yesNo(m.Authenticates)
		if m.By != "" {
			auth += " (" + m.By + ")"
		}
		check := m.Check
		switch {
		case check == checkFailed:
			check = "FAILED: " + strings.Join(m.Failures, "; ")
			if len(check) > 90 {
				check = check[:90] + "…"
			}
		case check == "":
			check = "-"
		}
		t.Rows = append(t.Rows, []string{m.Suite, auth, yesNo(m.ReplaySafe), yesNo(m.HidesLength), fmt.Sprintf("%d B", m.Overhead), dash(m.Verified), check})
	}
	return t
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// label is a mode's name, which says so if the mode failed its check.
func (r *Report) label(suite string) string {
	if slices.Contains(r.Failed(), suite) {
		return suite + " (FAILED)"
	}
	return suite
}

// rows selects results, in the order of the report.
func (r *Report) rows(op Op, match func(*Result) bool) (out []*Result) {
	for i := range r.Results {
		if x := &r.Results[i]; x.Op == op && (match == nil || match(x)) {
			out = append(out, x)
		}
	}
	return out
}

func fixedSize(x *Result) bool { return x.Profile == "" }

// noisy is what stands in place of a figure that is none.
func noisy(x *Result) string { return fmt.Sprintf("noisy: ±%.0f %%", 100*x.Noise) }

// figureOf is a time, unless it is noisy.
func figureOf(x *Result) string {
	if x.Noisy {
		return noisy(x)
	}
	return nanos(x.NS)
}

// nanos writes nanoseconds with three digits and a unit.
func nanos(ns float64) string {
	switch {
	case ns < 1e4:
		return short(ns) + " ns"
	case ns < 1e7:
		return short(ns/1e3) + " µs"
	}
	return short(ns/1e6) + " ms"
}

// short leaves three digits.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

func bytesOf(n int) string {
	s := strconv.Itoa(n)
	if len(s) > 3 {
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s + " B"
}

// speeds is a line a suite and two columns a size.
func (r *Report) speeds(op Op, title, note string) Table {
	t := Table{Title: title, Note: note, Header: []string{"suite"}}
	rows := r.rows(op, fixedSize)
	var sizes []int
	var suites []string
	at := map[string]map[int]*Result{}
	for _, x := range rows {
		if !slices.Contains(sizes, x.Size) {
			sizes = append(sizes, x.Size)
		}
		if at[x.Suite] == nil {
			at[x.Suite] = map[int]*Result{}
			suites = append(suites, x.Suite)
		}
		at[x.Suite][x.Size] = x
	}
	slices.Sort(sizes)
	hasX := slices.ContainsFunc(rows, func(x *Result) bool { return x.VsStd > 0 })
	for _, n := range sizes {
		t.Header = append(t.Header, bytesOf(n))
		if hasX {
			t.Header = append(t.Header, "x")
		}
		if op != OpenReplayed { // nothing is worked on
			t.Header = append(t.Header, "MB/s")
		}
	}
	t.Header = append(t.Header, "±", "allocs")
	for _, s := range suites {
		line := []string{r.label(s)}
		allocs, noise := 0, 0.0
		for _, n := range sizes {
			x := at[s][n]
			time, times, speed := "-", "-", "-"
			if x != nil {
				time = figureOf(x)
				allocs, noise = max(allocs, x.Allocs), max(noise, x.Noise)
			}
			if x != nil && !x.Noisy {
				times, speed = short(x.VsStd), strconv.FormatFloat(x.MBs, 'f', 0, 64)
			}
			line = append(line, time)
			if hasX {
				line = append(line, times)
			}
			if op != OpenReplayed {
				line = append(line, speed)
			}
		}
		t.Rows = append(t.Rows, append(line, fmt.Sprintf("%.0f %%", 100*noise), strconv.Itoa(allocs)))
	}
	return t
}

func (r *Report) latencies() Table {
	t := Table{Title: "Latency of single frames", Note: "the clock is read after every frame, and its own cost subtracted",
		Header: []string{"suite", "frame", "seal p50", "p99", "p99.9", "open p50", "p99", "p99.9"}}
	size := r.latencySize()
	for _, x := range r.rows(Seal, func(x *Result) bool { return fixedSize(x) && x.Size == size && x.P50 > 0 }) {
		line := []string{r.label(x.Suite), bytesOf(size), nanos(x.P50), nanos(x.P99), nanos(x.P999), "-", "-", "-"}
		if o := r.Find(x.Suite, Open, size); o != nil {
			line = append(line[:5], nanos(o.P50), nanos(o.P99), nanos(o.P999))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

// latencySize is the size whose latencies are shown: a packet's, or what is nearest.
func (r *Report) latencySize() int {
	best := 0
	for _, x := range r.rows(Seal, fixedSize) {
		if best == 0 || abs(x.Size-smallSize) < abs(best-smallSize) {
			best = x.Size
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }

// streams is a line a suite and two columns a profile.
func (r *Report) streams(op Op, title string) Table {
	t := Table{Title: title, Note: "share of one core that one stream takes, and how many streams keep one core busy", Header: []string{"suite"}}
	for _, p := range r.Profiles {
		t.Header = append(t.Header, p.Name, "streams/core")
	}
	r.perProfile(op, &t, func(x *Result) []string {
		switch {
		case x == nil:
			return []string{"-", "-"}
		case x.Noisy:
			return []string{noisy(x), "-"}
		}
		return []string{share(x.CoreShare), strconv.FormatFloat(x.StreamsPerCore, 'f', 0, 64)}
	})
	return t
}

// bandwidth is what sealing adds to streams.
func (r *Report) bandwidth() Table {
	t := Table{Title: "What sealing adds", Note: "bytes a frame, header and tag, and percent of the stream's bit rate", Header: []string{"suite"}}
	for _, p := range r.Profiles {
		t.Header = append(t.Header, p.Name+", "+rateOf(p.BitRate), "percent")
	}
	r.perProfile(Seal, &t, func(x *Result) []string {
		if x == nil {
			return []string{"-", "-"}
		}
		return []string{fmt.Sprintf("%.3g B", x.Overhead), fmt.Sprintf("%.2g %%", x.OverheadPercent)}
	})
	return t
}

func (r *Report) perProfile(op Op, t *Table, cells func(*Result) []string) {
	for _, m := range r.Modes {
		line, any := []string{r.label(m.Suite)}, false
		for _, p := range r.Profiles {
			var found *Result
			for _, x := range r.rows(op, func(x *Result) bool { return x.Profile == p.Name && x.Suite == m.Suite }) {
				found, any = x, true
			}
			line = append(line, cells(found)...)
		}
		if any {
			t.Rows = append(t.Rows, line)
		}
	}
}

// share is a part of a core.
func share(v float64) string { return fmt.Sprintf("%.2g %%", 100*v) }

func rateOf(bits float64) string {
	if bits < 1e6 {
		return fmt.Sprintf("%.3g kbit/s", bits/1e3)
	}
	return fmt.Sprintf("%.3g Mbit/s", bits/1e6)
}

func (r *Report) scaling() Table {
	t := Table{Title: "Several cores", Note: "sealing, each core with a key of its own; MB/s of all together; x: against one core",
		Header: []string{"suite", "frame", "cores", "MB/s", "x", "±"}}
	for _, x := range r.rows(SealParallel, nil) {
		speed, times := strconv.FormatFloat(x.MBs, 'f', 0, 64), short(x.Scaling)
		if x.Noisy {
			speed, times = noisy(x), "-"
		}
		t.Rows = append(t.Rows, []string{r.label(x.Suite), bytesOf(x.Size), strconv.Itoa(x.Cores), speed, times, fmt.Sprintf("%.0f %%", 100*x.Noise)})
	}
	return t
}

func (r *Report) keys() Table {
	t := Table{Title: "Keys", Note: "setup: both halves of a key; rotation: a new key, its first frame there and back, the old key retired",
		Header: []string{"suite", "setup", "allocs", "bytes", "rotation", "allocs", "bytes"}}
	for _, x := range r.rows(KeySetup, nil) {
		line := []string{r.label(x.Suite), figureOf(x), strconv.Itoa(x.Allocs), strconv.Itoa(x.Bytes), "-", "-", "-"}
		for _, y := range r.rows(Rotate, func(y *Result) bool { return y.Suite == x.Suite }) {
			line = append(line[:4], figureOf(y), strconv.Itoa(y.Allocs), strconv.Itoa(y.Bytes))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

// work is what is none of the operations on frames.
func (r *Report) work() Table {
	t := Table{Title: "Beside frames", Header: []string{"what", "operation", "time", "a second", "±", "allocs", "bytes"}}
	for i := range r.Results {
		x := &r.Results[i]
		if slices.Contains(Ops, x.Op) {
			continue
		}
		rate := "-"
		if !x.Noisy && x.NS > 0 {
			rate = short(1e9/x.NS/1e3) + " k"
		}
		t.Rows = append(t.Rows, []string{x.Suite, string(x.Op), figureOf(x), rate, fmt.Sprintf("%.0f %%", 100*x.Noise), strconv.Itoa(x.Allocs), strconv.Itoa(x.Bytes)})
	}
	return t
}

func (r *Report) skipped() Table {
	t := Table{Title: "Not measured", Header: []string{"suite", "operation", "why"}}
	seen := map[string]bool{}
	for _, s := range r.Skipped {
		if key := s.Suite + string(s.Op) + s.Reason; !seen[key] {
			seen[key] = true
			t.Rows = append(t.Rows, []string{s.Suite, dash(string(s.Op)), s.Reason})
		}
	}
	return t
}
