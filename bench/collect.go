package bench

import "math"

// collect makes rows of what was measured.
func (r *Report) collect(jobs []*job) {
	std := map[workload]*job{}
	one := map[string]*job{}
	for _, j := range jobs {
		if j.failed == nil && j.pair.Name == Reference {
			std[j.workload()] = j
		}
		if j.failed == nil && j.op == SealParallel && j.cores == 1 {
			one[j.pair.Name] = j
		}
	}
	for _, j := range jobs {
		if j.failed != nil {
			r.Skipped = append(r.Skipped, Skipped{Suite: j.pair.Name, Op: j.op, Reason: j.failed.Error()})
			continue
		}
		row := j.result()
		if ref := std[j.workload()]; ref != nil && j.op != KeySetup && j.op != Rotate {
			row.VsStd = rounded(ratio(ref.ns, j.ns))
		}
		if first := one[j.pair.Name]; j.op == SealParallel && first != nil {
			row.Scaling = rounded(ratio(first.ns, j.ns))
		}
		if row.Noisy {
			r.Noisy++
		}
		r.Results = append(r.Results, row)
	}
}

// workload is what rows are compared at. A batch is compared with single frames: the
// reference has no batches.
type workload struct {
	op      Op
	size    int
	profile string
	cores   int
}

func (j *job) workload() workload {
	w := workload{op: j.op, size: j.size, cores: j.cores}
	switch j.op {
	case SealBatch:
		w.op = Seal
	case OpenBatch, OpenForged:
		w.op = Open
	}
	if j.profile != nil {
		w.profile = j.profile.Name
	}
	return w
}

func (j *job) result() Result {
	f := summarize(j.ns)
	row := Result{
		Suite: j.pair.Name, Op: j.op, Size: j.size, NS: rounded(f.median), Allocs: int(j.allocs), Bytes: int(j.bytes),
		Batch: j.batch, Cores: j.cores, Low: rounded(f.low), High: rounded(f.high), Overhead: rounded(j.overhead),
		CPU: rounded(median(j.cpu)), Noise: math.Round(max(f.noise, j.waited())*1e4) / 1e4,
	}
	row.Noisy = row.Noise > NoisyAbove
	for _, ns := range j.ns {
		row.Samples = append(row.Samples, rounded(ns))
	}
	if f.median > 0 && j.size > 0 && j.op != KeySetup && j.op != Rotate {
		row.MBs = rounded(float64(j.size) / f.median * 1e3)
		row.CPUs = rounded(median(j.cpu) / float64(j.size))
	}
	if j.hist != nil && j.hist.TotalCount() > 0 {
		row.P50 = float64(j.hist.ValueAtQuantile(50))
		row.P99 = float64(j.hist.ValueAtQuantile(99))
		row.P999 = float64(j.hist.ValueAtQuantile(99.9))
		row.Latency = percentiles(j.hist)
	}
	if p := j.profile; p != nil {
		row.Profile = p.Name
		row.CoreShare = f.median * p.FPS / 1e9
		row.StreamsPerCore = math.Floor(1 / row.CoreShare)
		row.OverheadPercent = rounded(100 * j.overhead * 8 * p.FPS / p.BitRate())
	}
	return row
}

// rounded leaves four significant digits, and all of what lies before the point.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	digits := max(0, 3-int(math.Floor(math.Log10(math.Abs(v)))))
	scale := math.Pow(10, float64(digits))
	return math.Round(v*scale) / scale
}
