package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/cipher/ciphertest"
)

// maxVectors bounds a vector file in bytes.
const maxVectors = 64 << 20

// vectorKinds are the kinds of vector files, by their top-level "kind".
var vectorKinds = map[string]func(data []byte) (vectorReport, error){
	ciphertest.KindSFrame:          runSFrame,
	channelkey.KindVectors:         runChannelKeys,
	channelkey.KindNegativeVectors: runChannelKeys,
}

// vectorReport is the outcome of a vector file.
type vectorReport struct {
	File     string          `json:"file"`
	Kind     string          `json:"kind"`
	Arrays   []vectorArray   `json:"arrays"`
	Failures []vectorFailure `json:"failures"`
}

type vectorArray struct {
	Array   string `json:"array"`
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"`
	// Channel keys: how many entries need no Legacy switch, and how many need the
	// switch of that name (an entry may need several).
	Strict   *int           `json:"strict,omitempty"`
	Switches map[string]int `json:"switches,omitempty"`
}

type vectorFailure struct {
	Array  string `json:"array"`
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

func runSFrame(data []byte) (vectorReport, error) {
	got, err := ciphertest.RunVectors(data, rtpVectors)
	if err != nil {
		return vectorReport{}, err
	}
	out := vectorReport{Arrays: []vectorArray{}, Failures: []vectorFailure{}}
	for _, a := range got.Arrays {
		out.Arrays = append(out.Arrays, vectorArray{Array: a.Array, Passed: a.Passed, Failed: a.Failed, Skipped: a.Skipped})
	}
	for _, f := range got.Failures {
		out.Failures = append(out.Failures, vectorFailure{f.Array, f.Index, f.Reason})
	}
	return out, nil
}

func runChannelKeys(data []byte) (vectorReport, error) {
	got, err := channelkey.RunVectors(data)
	if err != nil {
		return vectorReport{}, err
	}
	out := vectorReport{Arrays: []vectorArray{}, Failures: []vectorFailure{}}
	for _, a := range got.Arrays {
		row := vectorArray{Array: a.Name, Passed: a.Passed, Failed: a.Failed, Skipped: a.Skipped}
		if got.Kind == channelkey.KindVectors {
			row.Strict, row.Switches = &a.Strict, a.Switches
		}
		out.Arrays = append(out.Arrays, row)
		for _, f := range a.Failures {
			out.Failures = append(out.Failures, vectorFailure{a.Name, f.Index, f.ID + ": " + message(f.Err)})
		}
	}
	return out, nil
}

func (p *program) conformanceCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "conformance FILE…",
		GroupID: groupProgram,
		Short:   "run test vectors",
		Long: `Run files of test vectors against this program: ` + strings.Join(slices.Sorted(maps.Keys(vectorKinds)), ", ") + `.

What a file holds is said by its top-level "kind". An unknown kind, and an array
that nobody would check, is an error. The exit status is 1 if a vector failed.

Valid channel keys run with the Legacy switches that they need, which are counted;
channelkey-negative runs in strict mode: a key may rightly pass in the first and be
refused in the second.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(c, "%s: FILE is missing", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var all vectorTotals
			for _, path := range args {
				in, err := p.openInput(c.Context(), path)
				if err != nil {
					return err
				}
				report, err := runVectors(in)
				in.Close()
				if err != nil {
					return err
				}
				all.add(report)
				if !asJSON {
					if err := p.printVectors(report); err != nil {
						return err
					}
				}
			}
			if err := p.printTotals(&all, asJSON); err != nil {
				return err
			}
			if all.Failed > 0 {
				return fmt.Errorf("%s failed", count(all.Failed, "vector"))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runVectors(in *input) (vectorReport, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxVectors+1))
	if err != nil {
		return vectorReport{}, fileError(in.name, err)
	}
	if len(data) > maxVectors {
		return vectorReport{}, fmt.Errorf("%s: longer than %d bytes", in.name, maxVectors)
	}
	var top struct {
		Kind *string `json:"kind"`
	}
	if err := json.Unmarshal(data, &top); err != nil {
		return vectorReport{}, foreignVectors(in.name, fmt.Errorf("not a vector file: %w", err))
	}
	if top.Kind == nil {
		return vectorReport{}, foreignVectors(in.name, errors.New(`not a vector file: it has no "kind"`))
	}
	run := vectorKinds[*top.Kind]
	if run == nil {
		return vectorReport{}, foreignVectors(in.name, fmt.Errorf("unknown kind of vectors %q", *top.Kind))
	}
	report, err := run(data)
	if err != nil {
		return report, foreignVectors(in.name, err)
	}
	report.File, report.Kind = in.name, *top.Kind
	return report, nil
}

func foreignVectors(name string, err error) error {
	return &failure{err: &named{name, message(err), err}, code: exitUsage}
}

// vectorTotals is what conformance prints as JSON.
type vectorTotals struct {
	Files   []vectorReport `json:"files"`
	Passed  int            `json:"passed"`
	Failed  int            `json:"failed"`
	Skipped int            `json:"skipped"`
}

func (t *vectorTotals) add(r vectorReport) {
	t.Files = append(t.Files, r)
	for _, a := range r.Arrays {
		t.Passed += a.Passed
		t.Failed += a.Failed
		t.Skipped += a.Skipped
	}
}

func (p *program) printVectors(r vectorReport) error {
	t := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(p.stdout, "%s: %s\n", printable(r.File), r.Kind)
	for _, a := range r.Arrays {
		fmt.Fprintf(t, "  %s\t%s\n", a.Array, counts(a.Passed, a.Failed, a.Skipped))
		if a.Strict != nil {
			fmt.Fprintf(t, "    strict\t%d\n", *a.Strict)
			for _, name := range legacyNames() {
				fmt.Fprintf(t, "    needs %s\t%d\n", name, a.Switches[name])
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Failures {
		fmt.Fprintf(p.stdout, "  FAILED %s[%d]: %s\n", f.Array, f.Index, printable(f.Reason))
	}
	return nil
}

func (p *program) printTotals(all *vectorTotals, asJSON bool) error {
	if asJSON {
		return writeJSON(p.stdout, all)
	}
	_, err := fmt.Fprintln(p.stdout, counts(all.Passed, all.Failed, all.Skipped))
	return err
}

func counts(passed, failed, skipped int) string {
	s := fmt.Sprintf("%d passed, %d failed", passed, failed)
	if skipped > 0 {
		s += fmt.Sprintf(", %d skipped", skipped)
	}
	return s
}
