package bench

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/chanseal/chanseal/cipher"
)

// arena is the memory that all rows share, so that none is measured on better memory
// than another, and the collector has nothing to do between them.
type arena struct {
	memory []byte
	length int    // of the source
	source []byte // random
	out    []byte // what is sealed ahead
	dst    []byte
	aad    []byte
}

// apart: source and destination lie half a page apart, counted within pages. At
// the same place in two pages a CPU takes the store of one frame and the load of the
// next for one and the same, and a fast cipher seems a third slower than it is.
const (
	page  = 4096
	apart = page/2 + 128
)

func newArena(longest, block int) *arena {
	source := (max(block, longest) + page - 1) / page * page
	a := &arena{memory: make([]byte, source+3*page+2*longest+1024), length: source, out: make([]byte, 0, block), aad: random(aadSize)}
	rand.Read(a.memory)
	a.place(0)
	return a
}

// place lays source and destination anew for a round, both elsewhere within their
// pages: what a cipher gains or loses by the place where its own memory happens to
// lie is then no property of the whole run.
func (a *arena) place(round int) {
	shift := round * 832 % page // 13 cache lines: all places of a page in 64 rounds
	a.source = a.memory[shift : shift+a.length]
	begin := a.length + page + apart + shift
	a.dst = a.memory[begin:begin]
}

// blockMemory bounds in bytes what is sealed ahead of opening: it fits into the second
// level cache of any CPU that this is likely to run on.
const (
	blockMemory = 256 << 10
	blockFrames = 2048
)

// block is the sizes of the frames that are sealed ahead at a time.
func block(size int) []int {
	n := max(4, min(blockFrames, blockMemory/max(size, 1)))
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// meter adds up what the timed parts of a window cost.
type meter struct {
	frames int
	busy   time.Duration
	cpu    time.Duration
	waited time.Duration // for the CPU, or for other threads of the process

	// Parts that the process did not wait in. Only they make the figure, as long as
	// there are enough of them.
	calmFrames int
	calm       time.Duration

	count        bool // only frames
	memory       bool // allocations instead of time
	allocs, size uint64
	mem          runtime.MemStats

	origin   time.Time
	begun    time.Duration
	cpuBegun time.Duration
}

func (m *meter) start() {
	if m.count {
		return
	}
	if m.memory {
		runtime.ReadMemStats(&m.mem)
		m.allocs -= m.mem.Mallocs
		m.size -= m.mem.TotalAlloc
		return
	}
	m.cpuBegun = cpuTime()
	m.begun = time.Since(m.origin)
}

func (m *meter) stop(frames int) {
	m.frames += frames
	if m.count {
		return
	}
	if m.memory {
		runtime.ReadMemStats(&m.mem)
		m.allocs += m.mem.Mallocs
		m.size += m.mem.TotalAlloc
		return
	}
	busy := time.Since(m.origin) - m.begun
	cpu := cpuTime() - m.cpuBegun
	m.busy += busy
	m.cpu += cpu
	wait := max(0, busy-cpu)
	m.waited += wait
	if wait <= max(interruption, busy/50) {
		m.calmFrames += frames
		m.calm += busy
	}
}

// interruption is the shortest time away from the CPU that counts: what is below may be
// how the system rounds CPU time.
const interruption = 4 * time.Microsecond

// perFrame is the time of a frame in nanoseconds. Work that was interrupted by other
// processes is left out, if at least a quarter was not: it says nothing of the cipher.
// The collector's work stays in, being the process's own.
func (m *meter) perFrame() float64 {
	if hasCPUTime && m.calmFrames >= m.frames/4 && m.calmFrames > 0 {
		return float64(m.calm.Nanoseconds()) / float64(m.calmFrames)
	}
	return float64(m.busy.Nanoseconds()) / float64(m.frames)
}

// session is a row at work: one window.
type session struct {
	arena  *arena
	sizes  []int    // of the frames of a block
	frames [][]byte // the frames of a block
	parts  [][2]int // of the block: what lies between two readings of the clock
	seal   cipher.Sealer
	open   cipher.Opener
	suite  *cipher.Suite
	sealed [][]byte
	batch  []cipher.Frame
	step   func(*meter) error // one block
	each   func(*clock) error // one block, frame by frame; nil: no latencies
}

// errWrong: an operation did not do what it is measured for.
var errWrong = errors.New("bench: a frame that was opened differs from what was sealed")

func (j *job) session(a *arena) (*session, error) {
	s := &session{arena: a, sizes: j.sizes, suite: j.pair.suite}
	if j.work != nil {
		s.step = workStep(j.work)
		return s, nil
	}
	if j.op == KeySetup || j.op == Rotate {
		s.step = s.keySetup(j)
		return s, nil
	}
	var err error
	if s.seal, s.open, err = j.pair.Fresh(); err != nil {
		return nil, err
	}
	s.cut(j)
	switch j.op {
	case Seal, SealParallel:
		s.step, s.each = s.sealStep, s.sealEach
	case Open:
		s.layout()
		s.step, s.each = s.openStep, s.openEach
	case SealBatch:
		s.layout()
		s.step = s.batchStep(j.batch, false)
	case OpenBatch:
		s.layout()
		s.step = s.batchStep(j.batch, true)
	case OpenForged, OpenReplayed:
		s.layout()
		if err := s.hostile(j.op); err != nil {
			return nil, err
		}
		s.step = s.hostileStep(j.op)
	default:
		return nil, fmt.Errorf("bench: unknown operation %q", j.op)
	}
	return s, nil
}

// cut lays the frames of a block: of a fixed size one and the same, of a stream each
// for itself. It divides long blocks into parts, so that an interruption spoils less.
func (s *session) cut(j *job) {
	at := 0
	s.frames = make([][]byte, len(s.sizes))
	for i, n := range s.sizes {
		if j.profile == nil || at+n > len(s.arena.source) {
			at = 0
		}
		s.frames[i] = s.arena.source[at : at+n]
		at += n
	}
	begun, sum := 0, 0
	for i, n := range s.sizes {
		if sum += n; sum >= blockMemory || i == len(s.sizes)-1 {
			s.parts = append(s.parts, [2]int{begun, i + 1})
			begun, sum = i+1, 0
		}
	}
}

// layout gives each frame of a block its place for being sealed ahead.
func (s *session) layout() {
	at, spare := 0, s.seal.Overhead()+64
	need := 0
	for _, n := range s.sizes {
		need += n + spare
	}
	if cap(s.arena.out) < need {
		s.arena.out = make([]byte, 0, need)
	}
	s.sealed = make([][]byte, len(s.sizes))
	for i, n := range s.sizes {
		s.sealed[i] = s.arena.out[at : at : at+n+spare]
		at += n + spare
	}
}

// ahead seals a block to be opened.
func (s *session) ahead() (err error) {
	for i, f := range s.frames {
		if s.sealed[i], err = s.seal.Seal(s.sealed[i][:0], f, s.arena.aad); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) sealStep(m *meter) (err error) {
	dst, aad := s.arena.dst, s.arena.aad
	for _, part := range s.parts {
		m.start()
		for _, f := range s.frames[part[0]:part[1]] {
			if _, err = s.seal.Seal(dst, f, aad); err != nil {
				return err
			}
		}
		m.stop(part[1] - part[0])
	}
	return nil
}

func (s *session) openStep(m *meter) error {
	if err := s.ahead(); err != nil {
		return err
	}
	dst, aad := s.arena.dst, s.arena.aad
	var out []byte
	var err error
	for _, part := range s.parts {
		m.start()
		for _, f := range s.sealed[part[0]:part[1]] {
			if out, err = s.open.Open(dst, f, aad); err != nil {
				return err
			}
		}
		m.stop(part[1] - part[0])
	}
	if !bytes.Equal(out, s.frames[len(s.frames)-1]) {
		return errWrong
	}
	return nil
}

// batchStep seals or opens a block in batches.
func (s *session) batchStep(size int, opening bool) func(*meter) error {
	sealKey, openKey := s.seal.(*cipher.SealKey), s.open.(*cipher.OpenKey)
	// Everything is cut out of one buffer in order, as SealBatch and OpenBatch like it.
	spare, need := s.seal.Overhead()+64, page
	for _, n := range s.sizes {
		need += 2 * (n + spare)
	}
	memory := make([]byte, need)
	aad := memory[:copy(memory, s.arena.aad):aadSize]
	at := page / 2
	cut := func(n int) []byte {
		at += n
		return memory[at-n : at-n : at]
	}
	dsts := make([][]byte, len(s.sizes))
	for i, n := range s.sizes {
		s.frames[i] = append(cut(n+spare), s.frames[i]...)
		s.sealed[i] = s.frames[i][:0]
		if opening {
			s.frames[i] = s.arena.source[:n]
		}
	}
	for i, n := range s.sizes {
		dsts[i] = cut(n + spare)
	}
	s.batch = make([]cipher.Frame, len(s.frames))
	return func(m *meter) error {
		if opening {
			if err := s.ahead(); err != nil {
				return err
			}
		}
		for i := range s.batch {
			s.batch[i] = cipher.Frame{Dst: dsts[i][:0], Src: s.frames[i], AAD: aad}
			if opening {
				s.batch[i].Src = s.sealed[i]
			}
		}
		failed := 0
		m.start()
		for at := 0; at < len(s.batch); at += size {
			part := s.batch[at:min(at+size, len(s.batch))]
			if opening {
				failed += openKey.OpenBatch(part)
			} else {
				failed += sealKey.SealBatch(part)
			}
		}
		m.stop(len(s.batch))
		if failed != 0 {
			return fmt.Errorf("bench: %d frames of a batch failed", failed)
		}
		if last := len(s.batch) - 1; opening && !bytes.Equal(s.batch[last].Dst, s.frames[last]) {
			return errWrong
		}
		return nil
	}
}

// hostile makes a block of frames that must not open.
func (s *session) hostile(op Op) error {
	if err := s.ahead(); err != nil {
		return err
	}
	for _, f := range s.sealed {
		if op == OpenForged {
			f[len(f)-1] ^= 1
		} else if _, err := s.open.Open(s.arena.dst, f, s.arena.aad); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) hostileStep(op Op) func(*meter) error {
	return func(m *meter) error {
		refused := 0
		m.start()
		for _, f := range s.sealed {
			if _, err := s.open.Open(s.arena.dst, f, s.arena.aad); err != nil {
				refused++
			}
		}
		m.stop(len(s.sealed))
		if refused != len(s.sealed) {
			return fmt.Errorf("bench: %s: %d of %d frames opened that must not", op, len(s.sealed)-refused, len(s.sealed))
		}
		return nil
	}
}

const keysPerBlock = 16

func workStep(do func() error) func(*meter) error {
	return func(m *meter) error {
		m.start()
		for range keysPerBlock {
			if err := do(); err != nil {
				return err
			}
		}
		m.stop(keysPerBlock)
		return nil
	}
}

// keySetup makes keys, or moves a stream from key to key.
func (s *session) keySetup(j *job) func(*meter) error {
	if j.op == KeySetup {
		return func(m *meter) error {
			m.start()
			for range keysPerBlock {
				if _, _, err := j.pair.Fresh(); err != nil {
					return err
				}
			}
			m.stop(keysPerBlock)
			return nil
		}
	}
	frame, sealed := s.arena.source[:96], make([]byte, 0, 256)
	var oldSeal *cipher.SealKey
	var oldOpen *cipher.OpenKey
	return func(m *meter) error {
		m.start()
		for range keysPerBlock {
			seal, open, err := suiteKeys(s.suite)
			if err != nil {
				return err
			}
			if sealed, err = seal.Seal(sealed[:0], frame, s.arena.aad); err != nil {
				return err
			}
			if _, err = open.Open(s.arena.dst, sealed, s.arena.aad); err != nil {
				return err
			}
			if oldSeal != nil {
				oldSeal.Retire()
				oldOpen.Retire()
			}
			oldSeal, oldOpen = seal, open
		}
		m.stop(keysPerBlock)
		return nil
	}
}

// clock takes latencies: the time from one reading to the next, less what a reading
// costs.
type clock struct {
	h      *hdrhistogram.Histogram
	origin time.Time
	cost   time.Duration
}

func (c *clock) now() time.Duration { return time.Since(c.origin) }

func (c *clock) record(d time.Duration) {
	c.h.RecordValue(min(max(int64(d-c.cost), 1), longestLatency))
}

// Latencies are kept from 1 ns to 10 s, to 1 %.
const longestLatency = int64(10 * time.Second)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longestLatency, 2) }

// clockCost is the time between two readings of the clock.
func clockCost() time.Duration {
	h := hdrhistogram.New(1, longestLatency, 3)
	origin := time.Now()
	for range 20000 {
		a := time.Since(origin)
		b := time.Since(origin)
		h.RecordValue(max(int64(b-a), 1))
	}
	return time.Duration(h.ValueAtQuantile(50))
}

func (s *session) sealEach(c *clock) (err error) {
	dst, aad := s.arena.dst, s.arena.aad
	for _, f := range s.frames {
		begun := c.now()
		_, err = s.seal.Seal(dst, f, aad)
		c.record(c.now() - begun)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) openEach(c *clock) error {
	if err := s.ahead(); err != nil {
		return err
	}
	dst, aad := s.arena.dst, s.arena.aad
	for _, f := range s.sealed {
		begun := c.now()
		_, err := s.open.Open(dst, f, aad)
		c.record(c.now() - begun)
		if err != nil {
			return err
		}
	}
	return nil
}

// percentiles are what a plot of the distribution needs.
func percentiles(h *hdrhistogram.Histogram) (q []Quantile) {
	for _, p := range []float64{1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99} {
		q = append(q, Quantile{p, float64(h.ValueAtQuantile(p))})
	}
	return q
}
