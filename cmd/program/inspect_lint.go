package program

import (
	"fmt"

	"github.com/chanseal/chanseal/media"
)

// lintJSON is what inspect --lint prints.
type lintJSON struct {
	File     string        `json:"file"`
	Findings []lintFinding `json:"findings"`
	// NotLookedAt are tracks of codecs of which nothing is known.
	NotLookedAt []lintTrack `json:"not_looked_at,omitempty"`
}

type lintTrack struct {
	Track uint64 `json:"track"`
	Codec string `json:"codec"`
}

type lintFinding struct {
	Track uint64 `json:"track"`
	Frame int    `json:"frame"` // -1: the whole track
	What  string `json:"what"`
	Why   string `json:"why"`
	Do    string `json:"do"`
}

func (p *program) lint(in *input, asJSON bool) error {
	r, err := media.NewReader(in)
	if err != nil {
		return fileError(in.name, err)
	}
	if notSealed(in.name, r.Info()) != nil {
		return &failure{err: fmt.Errorf("%s: is sealed: what is inside does not show", in.name), code: exitUsage, hints: []string{"lint the recording before it is sealed"}}
	}
	found, err := media.Lint(r)
	if err != nil {
		return fileError(in.name, err)
	}
	out := lintJSON{File: in.name, Findings: []lintFinding{}}
	for _, f := range found {
		out.Findings = append(out.Findings, lintFinding{f.Track, f.Frame, f.What, f.Why, f.Do})
	}
	for _, t := range r.Info().Tracks {
		if t.Type == media.TrackVideo && !media.LintCovers(t.CodecID) {
			out.NotLookedAt = append(out.NotLookedAt, lintTrack{t.Number, t.CodecID})
		}
	}
	if asJSON {
		err = writeJSON(p.stdout, out)
	} else {
		for _, f := range out.Findings {
			where := fmt.Sprintf("track %d", f.Track)
			if f.Frame >= 0 {
				where += fmt.Sprintf(", frame %d", f.Frame)
			}
			fmt.Fprintf(p.stdout, "%s: %s\n  why: %s\n  do:  %s\n", where, f.What, f.Why, f.Do)
		}
		for _, t := range out.NotLookedAt {
			fmt.Fprintf(p.stdout, "track %d: %s is not looked at: nothing is known of what breaks it\n", t.Track, t.Codec)
		}
		if len(out.Findings) == 0 && len(out.NotLookedAt) < len(r.Info().Tracks) {
			_, err = fmt.Fprintln(p.stdout, "nothing found")
		}
	}
	if err != nil {
		return err
	}
	if n := len(out.Findings); n > 0 {
		return &failure{err: fmt.Errorf("%s: %s", in.name, count(n, "finding")), code: exitFailed,
			hints: []string{"what packetizers change does not matter where packets are sealed one by one, as \"chanseal gateway\" does"}}
	}
	return nil
}
