package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Report is what was measured. Its JSON is a stable format: fields are added, never
// changed.
type Report struct {
	Machine  Machine         `json:"machine"`
	Started  time.Time       `json:"started"`
	Seconds  float64         `json:"seconds"` // that measuring took
	Rounds   int             `json:"rounds"`
	Noisy    int             `json:"noisy"` // rows that are
	Modes    []Mode          `json:"modes"`
	Profiles []ProfileReport `json:"profiles,omitempty"`
	Results  []Result        `json:"results"`
	Skipped  []Skipped       `json:"skipped,omitempty"`
}

// Mode says what a mode promises, and who vouches for it.
type Mode struct {
	Suite string `json:"suite"`
	Promises
	// Verified is who opened the mode's frames before it was timed, or "" if nobody
	// did.
	Verified string `json:"verified"`
	// Check is the conformance kit's verdict: "passed", "failed", or "" where it was
	// not asked.
	Check    string   `json:"check,omitempty"`
	Failures []string `json:"failures,omitempty"`
}

// ProfileReport describes a profile that was measured.
type ProfileReport struct {
	Name    string  `json:"name"`
	Source  string  `json:"source"`
	FPS     float64 `json:"fps"`
	BitRate float64 `json:"bit_rate"` // bit/s
	Frames  int     `json:"frames"`
}

// Result is one row. Times are nanoseconds a frame (a key for key-setup and rotate).
type Result struct {
	Suite   string  `json:"suite"`
	Op      Op      `json:"op"`
	Size    int     `json:"size"` // bytes; of a profile the mean
	NS      float64 `json:"ns"`   // median of the windows
	MBs     float64 `json:"mb_s"` // 10^6 bytes of frames a second, all cores together
	Allocs  int     `json:"allocs"`
	Bytes   int     `json:"alloc_bytes"`
	Profile string  `json:"profile,omitempty"`
	Batch   int     `json:"batch,omitempty"`
	Cores   int     `json:"cores"`

	Low   float64 `json:"ns_low"` // confidence interval of 95 %
	High  float64 `json:"ns_high"`
	Noise float64 `json:"noise"` // its half as part of ns, or the time waited for the CPU
	Noisy bool    `json:"noisy"` // do not quote ns

	P50  float64 `json:"p50_ns,omitempty"` // latencies, frame by frame
	P99  float64 `json:"p99_ns,omitempty"`
	P999 float64 `json:"p999_ns,omitempty"`

	CPU      float64 `json:"cpu_ns"`         // CPU time of the whole process, the collector's too
	CPUs     float64 `json:"cpu_s_per_gb"`   // CPU seconds for 10^9 bytes of frames
	Overhead float64 `json:"overhead_bytes"` // that a frame grows by

	// Of profiles.
	OverheadPercent float64 `json:"overhead_percent,omitempty"` // of the bit rate
	CoreShare       float64 `json:"core_share,omitempty"`       // of one core, for one stream
	StreamsPerCore  float64 `json:"streams_per_core,omitempty"`

	Scaling float64 `json:"scaling,omitempty"` // seal-parallel: throughput by that on one core
	VsStd   float64 `json:"vs_std,omitempty"`  // times as fast as the reference at the same work

	Samples []float64  `json:"samples_ns"`        // one a round
	Latency []Quantile `json:"latency,omitempty"` // the distribution
}

// Quantile is a point of a latency distribution: that percentage of frames took at most
// so long.
type Quantile struct {
	Percent float64 `json:"percent"`
	NS      float64 `json:"ns"`
}

// Skipped is a row that could not be measured.
type Skipped struct {
	Suite  string `json:"suite"`
	Op     Op     `json:"op,omitempty"`
	Reason string `json:"reason"`
}

// Failed are the modes that the conformance kit refused.
func (r *Report) Failed() (names []string) {
	for _, m := range r.Modes {
		if m.Check == checkFailed {
			names = append(names, m.Suite)
		}
	}
	return names
}

// Find finds a row of a fixed size.
func (r *Report) Find(suite string, op Op, size int) *Result {
	for i := range r.Results {
		if x := &r.Results[i]; x.Suite == suite && x.Op == op && x.Size == size && x.Profile == "" && x.Cores <= 1 {
			return x
		}
	}
	return nil
}

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// maxReport bounds a report that is read, in bytes.
const maxReport = 64 << 20

// ReadReport reads what WriteJSON wrote.
func ReadReport(r io.Reader) (*Report, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxReport {
		return nil, fmt.Errorf("bench: a report of more than %d bytes", maxReport)
	}
	var out Report
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("bench: not a report: %w", err)
	}
	if len(out.Results) == 0 || out.Machine.Go == "" {
		return nil, fmt.Errorf("bench: not a report: it has no results or no machine")
	}
	return &out, nil
}
