package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options says what to measure. Its zero value is what chanseal bench does.
type Options struct {
	Pairs    []Pair        // nil: Defaults
	Sizes    []int         // bytes; nil: DefaultSizes
	Profiles []Profile     // beside the sizes
	Ops      []Op          // nil: all
	Batch    int           // frames in a batch; 0: 16
	Work     []Work        // beside the pairs
	Cores    []int         // for seal-parallel; nil: 1, 2, 4, … and all
	Time     time.Duration // for all of it; 0: DefaultTime
	Rounds   int           // at most; 0: 9; below 6 there is no confidence interval
	// Check runs the conformance kit on every pair first, and measures also those
	// that fail, as failed. Without it only custom pairs are examined, and those
	// that fail are not measured.
	Check bool
	// Progress is called now and then, from the measuring goroutine.
	Progress func(done, total int, what string)
}

// Work is anything else that is to be measured in the same run, such as making and
// verifying channel keys. Its rows have Size 0.
type Work struct {
	Name string
	Op   Op           // a name of its own, none of Ops
	Do   func() error // once
}

// DefaultTime is how long Measure takes by default. Where rows are many and slow it
// can be exceeded: no window is shorter than one block of frames.
const DefaultTime = 35 * time.Second

const (
	defaultRounds = 9
	defaultBatch  = 16
	maxRounds     = 1000
	maxFrameSize  = 32 << 20
	// smallSize is what batches, hostile input and cores are measured up to: beyond,
	// the cipher's own time hides what they add.
	smallSize = 1200
	// latencyShare of a window goes to latencies.
	latencyShare = 0.2
	minWindow    = 2 * time.Millisecond
	leastRounds  = 6 // for a confidence interval of 95 %
)

// job is one row to be measured.
type job struct {
	pair    *Pair
	op      Op
	size    int // mean, in bytes
	sizes   []int
	profile *Profile
	work    func() error
	batch   int
	cores   int

	ns, cpu       []float64
	wall          time.Duration // of all windows and all cores
	used          time.Duration // CPU time in them
	hist          *hdrhistogram.Histogram
	allocs, bytes uint64
	overhead      float64
	failed        error
}

// Measure measures. It sets GOMAXPROCS while it runs, so nothing else should. What
// cannot be measured is in Report.Skipped; an error is about the options or ctx.
func Measure(ctx context.Context, o Options) (*Report, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	begun := time.Now()
	r := &Report{Machine: thisMachine(), Started: begun.UTC().Truncate(time.Second), Rounds: o.Rounds}
	pairs := r.vouch(ctx, &o)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	jobs := o.plan(pairs)
	for _, w := range o.Work {
		jobs = append(jobs, &job{pair: &Pair{Name: w.Name}, op: w.Op, work: w.Do, cores: 1})
	}
	if len(jobs) == 0 && len(r.Skipped) == 0 {
		return nil, errors.New("bench: nothing to measure")
	}
	longest, whole := 0, 0
	for _, j := range jobs {
		sum := 0
		for _, n := range j.sizes {
			longest, sum = max(longest, n), sum+n
		}
		whole = max(whole, sum+len(j.sizes)*256)
	}
	left := max(o.Time-time.Since(begun), o.Time/4)
	if err := run(ctx, jobs, newArena(max(longest, page), whole), o.Rounds, left, r.Machine.ClockNS, o.Progress); err != nil {
		return nil, err
	}
	for i := range o.Profiles {
		p := &o.Profiles[i]
		r.Profiles = append(r.Profiles, ProfileReport{p.Name, p.Source, p.FPS, p.BitRate(), len(p.Sizes)})
	}
	r.collect(jobs)
	r.Seconds = math.Round(time.Since(begun).Seconds()*10) / 10
	return r, nil
}

func (o *Options) complete() error {
	if o.Pairs == nil {
		o.Pairs = Defaults()
	}
	if o.Sizes == nil {
		o.Sizes = DefaultSizes
	}
	if o.Ops == nil {
		o.Ops = Ops
	}
	if o.Batch == 0 {
		o.Batch = defaultBatch
	}
	if o.Time == 0 {
		o.Time = DefaultTime
	}
	if o.Rounds == 0 {
		o.Rounds = defaultRounds
	}
	if o.Cores == nil {
		for n := 1; n < runtime.NumCPU(); n *= 2 {
			o.Cores = append(o.Cores, n)
		}
		o.Cores = append(o.Cores, runtime.NumCPU())
	}
	for _, n := range o.Sizes {
		if n < 1 || n > maxFrameSize {
			return fmt.Errorf("bench: frames of %d bytes, want 1 to %d", n, maxFrameSize)
		}
	}
	for _, n := range o.Cores {
		if n < 1 || n > runtime.NumCPU() {
			return fmt.Errorf("bench: %d cores, this machine has %d", n, runtime.NumCPU())
		}
	}
	for _, op := range o.Ops {
		if !slices.Contains(Ops, op) {
			return fmt.Errorf("bench: no operation %q, known are %v", op, Ops)
		}
	}
	switch {
	case o.Rounds < 1 || o.Rounds > maxRounds:
		return fmt.Errorf("bench: %d rounds, want 1 to %d", o.Rounds, maxRounds)
	case o.Batch < 1 || o.Batch > blockFrames:
		return fmt.Errorf("bench: batches of %d frames, want 1 to %d", o.Batch, blockFrames)
	case o.Time < 0:
		return fmt.Errorf("bench: a time of %v", o.Time)
	}
	names := map[string]bool{}
	for _, p := range o.Pairs {
		if p.Name == "" || names[p.Name] || p.Fresh == nil && p.Window == nil {
			return fmt.Errorf("bench: pair %q: its name is missing or taken, or it has neither Fresh nor Window", p.Name)
		}
		names[p.Name] = true
	}
	for _, p := range o.Profiles {
		if len(p.Sizes) == 0 || p.FPS <= 0 {
			return fmt.Errorf("bench: profile %q has no frames or no rate", p.Name)
		}
	}
	return nil
}

// plan lists what to measure.
func (o *Options) plan(pairs []*Pair) (jobs []*job) {
	for _, p := range pairs {
		for _, op := range o.Ops {
			switch {
			case op == KeySetup && p.Window == nil && p.Name != "noop", op == Rotate && p.suite != nil:
				jobs = append(jobs, &job{pair: p, op: op, cores: 1})
				continue
			case op == KeySetup || op == Rotate:
				continue
			}
			for _, size := range o.Sizes {
				jobs = append(jobs, o.fixed(p, op, size)...)
			}
			if op != Seal && op != Open || p.Window != nil {
				continue
			}
			for i := range o.Profiles {
				f := &o.Profiles[i]
				sum, fits := 0, true
				for _, n := range f.Sizes {
					sum += n
					fits = fits && n > 0 && n%max(p.Multiple, 1) == 0
				}
				if !fits {
					continue
				}
				sizes := f.Sizes
				if len(sizes) == 1 {
					sizes = block(sizes[0])
				}
				jobs = append(jobs, &job{pair: p, op: op, size: sum / len(f.Sizes), sizes: sizes, profile: f, cores: 1})
			}
		}
	}
	return jobs
}

// fixed is the rows of an operation at one size.
func (o *Options) fixed(p *Pair, op Op, size int) []*job {
	if size%max(p.Multiple, 1) != 0 {
		return nil
	}
	j := &job{pair: p, op: op, size: size, sizes: block(size), cores: 1}
	small := size <= smallSize || len(o.Sizes) == 1
	switch op {
	case Seal, Open:
		return []*job{j}
	case SealBatch, OpenBatch:
		if p.suite != nil && small {
			j.batch = o.Batch
			return []*job{j}
		}
	case OpenForged, OpenReplayed:
		promised := op == OpenForged && p.Promises.Authenticates || op == OpenReplayed && p.Promises.ReplaySafe
		if p.Window == nil && !p.Plain && small && promised {
			return []*job{j}
		}
	case SealParallel:
		if p.Window != nil || p.Name == "noop" || size != smallSize && len(o.Sizes) > 1 {
			return nil
		}
		var jobs []*job
		for _, n := range o.Cores {
			c := *j
			c.cores = n
			jobs = append(jobs, &c)
		}
		return jobs
	}
	return nil
}

// run measures all rows, round by round.
func run(ctx context.Context, jobs []*job, a *arena, rounds int, budget time.Duration, clockNS float64, progress func(int, int, string)) error {
	if len(jobs) == 0 {
		return nil
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	begun := time.Now()
	for round := range rounds {
		// Where blocks are longer than windows the rounds that follow get less, and
		// in the end fewer of them.
		spent := time.Since(begun)
		if round >= leastRounds && spent > budget*5/4 {
			break
		}
		window := max((budget-spent)/time.Duration((rounds-round)*len(jobs)), minWindow)
		a.place(round)
		runtime.GC() // what the round before left is not this round's
		for i, j := range jobs {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(round*len(jobs)+i, rounds*len(jobs), j.pair.Name)
			}
			if j.failed == nil {
				j.failed = j.window(a, window, round, time.Duration(clockNS))
			}
		}
	}
	if progress != nil {
		progress(rounds*len(jobs), rounds*len(jobs), "")
	}
	return nil
}

// window measures the row once.
func (j *job) window(a *arena, d time.Duration, round int, clockCost time.Duration) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("bench: %s panicked: %v", j.pair.Name, r)
		}
	}()
	if j.pair.Window != nil {
		frames, ns, err := j.pair.Window(j.op, j.size, d.Seconds())
		if err != nil || frames == 0 {
			return errors.Join(err, errNothing(frames))
		}
		j.ns = append(j.ns, ns/float64(frames))
		return nil
	}
	if round == 0 {
		if err := j.shorten(a); err != nil {
			return err
		}
	}
	s, err := j.session(a)
	if err != nil {
		return err
	}
	if round == 0 {
		if err := j.once(s); err != nil {
			return err
		}
	}
	if j.op == SealParallel {
		return j.parallel(d)
	}
	m := meter{origin: time.Now()}
	if err := s.step(&m); err != nil { // warm-up
		return err
	}
	cpuBegun := cpuTime()
	m = meter{origin: time.Now()}
	timed := d
	if s.each != nil {
		timed -= time.Duration(latencyShare * float64(d))
	}
	for done := false; !done; done = time.Since(m.origin) >= timed {
		if err := s.step(&m); err != nil {
			return err
		}
	}
	j.add(&m)
	j.wall += time.Since(m.origin)
	j.used += cpuTime() - cpuBegun
	if s.each == nil {
		return nil
	}
	if j.hist == nil {
		j.hist = newHistogram()
	}
	c := &clock{h: j.hist, origin: time.Now(), cost: clockCost}
	for done := false; !done; done = time.Since(m.origin) >= d {
		if err := s.each(c); err != nil {
			return err
		}
	}
	return nil
}

func errNothing(frames int) error {
	if frames == 0 {
		return errors.New("bench: not supported")
	}
	return nil
}

// blockTime bounds how long a block of a slow cipher takes to seal.
const blockTime = 2 * time.Millisecond

// shorten takes frames out of a block that would take too long. A stream with frames of
// many sizes stays as it is: it is measured as a whole.
func (j *job) shorten(a *arena) error {
	if len(j.sizes) == 0 || slices.Min(j.sizes) != slices.Max(j.sizes) {
		return nil
	}
	seal, _, err := j.pair.Fresh()
	if err != nil {
		return err
	}
	n := 0
	for begun := time.Now(); n < len(j.sizes) && (n < 4 || time.Since(begun) < blockTime); n++ {
		if _, err := seal.Seal(a.dst, a.source[:j.sizes[n]], a.aad); err != nil {
			return err
		}
	}
	j.sizes = j.sizes[:n]
	return nil
}

// once takes what does not change from window to window: allocations and overhead.
func (j *job) once(s *session) error {
	var m meter
	if err := s.step(&m); err != nil { // fills pools
		return err
	}
	m = meter{memory: true}
	if err := s.step(&m); err != nil {
		return err
	}
	if m.frames > 0 {
		j.allocs, j.bytes = m.allocs/uint64(m.frames), m.size/uint64(m.frames)
	}
	if j.op == KeySetup || j.op == Rotate || j.work != nil {
		return nil
	}
	// With a pair of its own: a plain opener must see all that its sealer sealed.
	seal, _, err := j.pair.Fresh()
	if err != nil {
		return err
	}
	grown := 0
	for _, f := range s.frames {
		sealed, err := seal.Seal(s.arena.dst, f, s.arena.aad)
		if err != nil {
			return err
		}
		grown += len(sealed) - len(f)
	}
	j.overhead = float64(grown) / float64(len(s.frames))
	return nil
}

// add takes the figures of a window.
func (j *job) add(m *meter) {
	frames := float64(m.frames)
	j.ns = append(j.ns, m.perFrame())
	j.cpu = append(j.cpu, float64(m.cpu.Nanoseconds())/frames)
}

// waited is the part of the windows in which the process, which was never idle, had no
// CPU: also between blocks, where the system likes to take it away.
func (j *job) waited() float64 {
	if !hasCPUTime || j.wall <= 0 {
		return 0
	}
	return max(0, 1-float64(j.used)/float64(j.wall))
}

// parallel measures on several cores at once, each with keys and memory of its own.
// The time of a window is that of all cores together: from the first that begins to the
// last that ends.
func (j *job) parallel(d time.Duration) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(j.cores))
	sessions := make([]*session, j.cores)
	for i := range sessions {
		var err error
		if sessions[i], err = j.session(newArena(max(j.size, page), 0)); err != nil {
			return err
		}
		if err := sessions[i].step(&meter{count: true}); err != nil {
			return err
		}
	}
	var (
		wg     sync.WaitGroup
		meters = make([]meter, j.cores)
		errs   = make([]error, j.cores)
	)
	cpuBegun, origin := cpuTime(), time.Now()
	for i, s := range sessions {
		wg.Go(func() {
			meters[i].count = true
			for done := false; !done && errs[i] == nil; done = time.Since(origin) >= d {
				errs[i] = s.step(&meters[i])
			}
		})
	}
	wg.Wait()
	all := meter{busy: time.Since(origin), cpu: cpuTime() - cpuBegun}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, m := range meters {
		all.frames += m.frames
	}
	j.add(&all)
	j.wall += all.busy * time.Duration(j.cores)
	j.used += all.cpu
	return nil
}
