package bench

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// NoisyAbove is the width of a confidence interval to either side, as part of the
// median, above which a figure is called noisy. The same bound holds for the part of
// a window in which the process waited for the CPU.
const NoisyAbove = 0.10

// confidence of the intervals.
const confidence = 0.95

// figure is a median with its confidence interval.
type figure struct {
	median, low, high float64
	noise             float64 // half the interval's width at its wider side, as part of the median
}

// summarize assumes no distribution (order statistics). Below 6 samples there is no
// interval of 95 %: then the spread stands for it.
func summarize(samples []float64) figure {
	if len(samples) == 0 {
		return figure{}
	}
	s := benchmath.NewSample(slices.Clone(samples), &benchmath.DefaultThresholds)
	sum := benchmath.AssumeNothing.Summary(s, confidence)
	f := figure{median: sum.Center, low: sum.Lo, high: sum.Hi}
	if math.IsInf(f.low, 0) || math.IsInf(f.high, 0) || math.IsNaN(f.low) || math.IsNaN(f.high) {
		f.low, f.high = s.Values[0], s.Values[len(s.Values)-1]
	}
	if f.median > 0 {
		f.noise = max(f.high/f.median-1, 1-f.low/f.median)
	}
	return f
}

// median of a few values.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// ratio is how many times a takes as long as b, window by window of the same rounds
// where there are as many: what slowed down a whole round falls out.
func ratio(a, b []float64) float64 {
	if len(a) != len(b) {
		if m := median(b); m > 0 {
			return median(a) / m
		}
		return 0
	}
	r := make([]float64, 0, len(a))
	for i := range a {
		if b[i] > 0 {
			r = append(r, a[i]/b[i])
		}
	}
	return median(r)
}
