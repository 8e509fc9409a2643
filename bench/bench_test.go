package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/csv"
	"encoding/json"
	"errors"
	"image/png"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/perf/benchfmt"

	"github.com/chanseal/chanseal/cipher"
)

// quick is a plan of a second.
func quick(pairs ...Pair) Options {
	return Options{Pairs: pairs, Sizes: []int{96, 1200}, Profiles: Profiles()[:2], Time: 600 * time.Millisecond, Rounds: 6}
}

func measure(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Measure(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	r := measure(t, quick(StdGCM(), Suite(cipher.AES128GCM()), DARE()))
	for _, s := range r.Skipped {
		t.Errorf("skipped: %+v", s)
	}
	for _, op := range Ops {
		size := 96
		switch op {
		case KeySetup, Rotate:
			size = 0
		case SealParallel:
			size = 1200
		}
		x := r.Find("aes-128-gcm", op, size)
		if x == nil {
			t.Errorf("no row for %s", op)
			continue
		}
		if !(x.NS > 0) || !(x.Low <= x.NS && x.NS <= x.High) || len(x.Samples) != 6 || x.Cores != 1 {
			t.Errorf("%s: %+v", op, x)
		}
	}
	for _, x := range r.Results {
		if x.Profile != "" && (x.CoreShare <= 0 || x.StreamsPerCore < 1 || math.Abs(x.CoreShare*(x.StreamsPerCore+0.5)-1) > 0.5) {
			t.Errorf("%s %s: share %g, %g streams a core", x.Suite, x.Profile, x.CoreShare, x.StreamsPerCore)
		}
		if (x.Op == Seal || x.Op == Open) && (x.P50 <= 0 || x.P50 > x.P99 || x.P99 > x.P999) {
			t.Errorf("%s %s %d: latencies %g %g %g", x.Suite, x.Op, x.Size, x.P50, x.P99, x.P999)
		}
	}
	if x := r.Find(Reference, Seal, 1200); x.VsStd != 1 {
		t.Errorf("the reference is %g times as fast as itself", x.VsStd)
	}
	if x := r.Find("aes-128-gcm", Seal, 1200); x.Overhead < 17 || x.Overhead > 21 || x.Bytes != 0 {
		t.Errorf("overhead %g bytes, %d bytes allocated", x.Overhead, x.Bytes)
	}
	if x := r.Find("sio-dare20-aes-256-gcm", Seal, 1200); x.Allocs < 1 || x.Overhead != 32 {
		t.Errorf("sio: %d allocations, %g bytes of overhead", x.Allocs, x.Overhead)
	}

	t.Run("json", func(t *testing.T) {
		var b bytes.Buffer
		if err := r.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		var raw struct {
			Machine map[string]any   `json:"machine"`
			Results []map[string]any `json:"results"`
		}
		if err := json.Unmarshal(b.Bytes(), &raw); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"suite", "op", "size", "ns", "mb_s", "allocs"} {
			if _, ok := raw.Results[0][key]; !ok {
				t.Errorf("no %q", key)
			}
		}
		back, err := ReadReport(&b)
		if err != nil || len(back.Results) != len(r.Results) {
			t.Errorf("read back: %v", err)
		}
		for _, bad := range []string{"", "{}", "[]", `{"results":[]}`, "x"} {
			if _, err := ReadReport(strings.NewReader(bad)); err == nil {
				t.Errorf("%q is taken for a report", bad)
			}
		}
	})
	t.Run("csv", func(t *testing.T) {
		var b bytes.Buffer
		r.WriteCSV(&b)
		lines, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(lines) != len(r.Results)+1 {
			t.Errorf("%d lines of %d rows: %v", len(lines), len(r.Results), err)
		}
	})
	t.Run("benchstat", func(t *testing.T) {
		var b bytes.Buffer
		r.WriteBenchstat(&b)
		n := 0
		for in := benchfmt.NewReader(&b, "report"); in.Scan(); {
			if _, ok := in.Result().(*benchfmt.Result); !ok {
				t.Fatalf("benchstat does not read %v", in.Result())
			}
			n++
		}
		if n != 6*len(r.Results) {
			t.Errorf("benchstat reads %d windows of %d rows", n, len(r.Results))
		}
	})
	t.Run("html", func(t *testing.T) {
		var b bytes.Buffer
		if err := r.WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		for _, want := range []string{"<svg viewBox", "var(--c0)", "prefers-color-scheme: dark", "aes-128-gcm", r.Machine.Go} {
			if !strings.Contains(page, want) {
				t.Errorf("no %q", want)
			}
		}
		// What needs the network: anything that is loaded, or runs.
		page = strings.NewReplacer(`xmlns="http://www.w3.org/2000/svg"`, "", `xmlns:xlink="http://www.w3.org/1999/xlink"`, "").Replace(page)
		for _, bad := range []string{"<script", "<link", "src=", "url(", "@import", "http://", "https://"} {
			if strings.Contains(page, bad) {
				t.Errorf("the page has %q in it", bad)
			}
		}
	})
	t.Run("png", func(t *testing.T) {
		// Latencies are always drawn; other plots only where rows are not noisy.
		var b bytes.Buffer
		if err := r.WritePNG(&b, "latency"); err != nil {
			t.Fatal(err)
		}
		if picture, err := png.Decode(&b); err != nil || picture.Bounds().Dx() < 1000 {
			t.Errorf("%v, %v", picture.Bounds(), err)
		}
		if err := (&Report{}).WritePNG(&b, "latency"); !errors.Is(err, ErrNoPlot) {
			t.Errorf("a plot of nothing: %v", err)
		}
		if err := r.WritePNG(&b, "x"); err == nil {
			t.Error("a plot that there is not")
		}
	})
	t.Run("text", func(t *testing.T) {
		for name, write := range map[string]func(*bytes.Buffer) error{
			"text":     func(b *bytes.Buffer) error { return r.WriteText(b) },
			"markdown": func(b *bytes.Buffer) error { return r.WriteMarkdown(b) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"aes-128-gcm", "opus-voice", "720p30", r.Machine.Go, "crypto/cipher"} {
				if !strings.Contains(b.String(), want) {
					t.Errorf("%s: no %q", name, want)
				}
			}
		}
	})
}

// A noisy row has no figure in a table.
func TestNoisyRowsHaveNoFigure(t *testing.T) {
	j := &job{pair: &Pair{Name: "x"}, op: Seal, size: 1200, cores: 1, ns: []float64{100, 101, 99, 150, 151, 149, 100, 150, 120}}
	r := &Report{}
	r.collect([]*job{j})
	if r.Noisy != 1 || !r.Results[0].Noisy {
		t.Fatalf("windows from 99 to 151: %+v", r.Results[0])
	}
	text := strings.Join(r.speeds(Seal, "", "").Rows[0], " ")
	if !strings.Contains(text, "noisy: ±") || strings.Contains(text, "120 ns") {
		t.Errorf("the table says %q", text)
	}
	calm := &job{pair: &Pair{Name: "x"}, op: Seal, size: 1200, cores: 1, ns: []float64{100, 101, 99, 100, 101, 99, 100, 102, 180}}
	r = &Report{}
	if r.collect([]*job{calm}); r.Noisy != 0 || r.Results[0].NS != 100 {
		t.Errorf("one bad window of nine: %+v", r.Results[0])
	}
	// The windows agree, but the process had the CPU half of the time.
	calm.wall, calm.used = 2*time.Second, time.Second
	r = &Report{}
	if r.collect([]*job{calm}); r.Noisy != 1 {
		t.Error("half of the time without a CPU passes for quiet")
	}
}

// Every built-in suite is opened by another implementation, which notices when a suite
// is not what it says.
func TestVerify(t *testing.T) {
	for _, s := range cipher.Suites() {
		by, err := verifySuite(s, DefaultSizes)
		if err != nil || by != byStd && by != byXCrypto {
			t.Errorf("%s: %q, %v", s.Name(), by, err)
		}
	}
	for id, x := range independents {
		s, err := cipher.ByID(id)
		if err != nil {
			t.Fatal(err)
		}
		broken := x
		broken.hash = sha512.New
		if s.BaseKeySize() == sha512.Size {
			broken.hash = sha256.New
		}
		independents[id] = broken
		if _, err := verifySuite(s, []int{96}); err == nil {
			t.Errorf("%s: opened under a key that it does not have", s.Name())
		}
		independents[id] = x
	}
	custom, err := cipher.NewSuite(cipher.Spec{ID: 0xF100, Name: "mine", KeySize: 32, Overhead: 16, New: chacha20poly1305.New})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifySuite(custom, nil); err == nil {
		t.Error("somebody else opened a custom suite")
	}
}

// forgiving is an AEAD with a planted fault: it opens what was not sealed.
type forgiving struct{ cipher.AEAD }

func (f forgiving) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	out, err := f.AEAD.Open(dst, nonce, sealed, aad)
	if err != nil {
		return append(dst, sealed[:len(sealed)-f.Overhead()]...), nil
	}
	return out, nil
}

func faulty(t *testing.T) Pair {
	t.Helper()
	s, err := cipher.NewSuite(cipher.Spec{ID: 0xF101, Name: "forgiving", KeySize: 32, Overhead: 16, New: func(key []byte) (cipher.AEAD, error) {
		a, err := chacha20poly1305.New(key)
		return forgiving{a}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return Suite(s)
}

// A cipher that fails the kit is not measured; with Check it is, and called failed.
func TestFaultyCipher(t *testing.T) {
	o := quick(StdGCM(), faulty(t))
	o.Ops = []Op{Seal}
	o.Profiles = nil
	r := measure(t, o)
	if r.Find("forgiving", Seal, 96) != nil || len(r.Failed()) != 1 || len(r.Skipped) != 1 {
		t.Errorf("not examined: %+v %+v", r.Modes, r.Skipped)
	}
	o.Check = true
	r = measure(t, o)
	if r.Find("forgiving", Seal, 96) == nil || len(r.Failed()) != 1 {
		t.Errorf("with Check: %+v %+v", r.Modes, r.Skipped)
	}
	var b bytes.Buffer
	r.WriteText(&b)
	if !strings.Contains(b.String(), "forgiving (FAILED)") || !strings.Contains(strings.Join(r.Modes[1].Failures, " "), "Tamper") {
		t.Errorf("the report does not say so:\n%s", b.String())
	}
	if c := Compare(r, r, 0.1); len(c.Regressions()) != 2 {
		t.Errorf("a broken cipher is no regression: %+v", c.Changes)
	}
}

// synthetic is a report of one row, with windows about ns.
func synthetic(ns, spread float64) *Report {
	r := &Report{Machine: Machine{Go: "go"}}
	j := &job{pair: &Pair{Name: "x"}, op: Seal, size: 1200, cores: 1}
	for i := range 9 {
		j.ns = append(j.ns, ns*(1+spread*(float64(i*5%9)-4)/4))
	}
	r.collect([]*job{j})
	return r
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new *Report
		want     Verdict
	}{
		{"20 percent", synthetic(100, 0.02), synthetic(120, 0.02), Slower},
		{"1 percent", synthetic(100, 0.02), synthetic(101, 0.02), Same},
		{"1 percent, certain", synthetic(100, 0.001), synthetic(101, 0.001), Same},
		{"20 percent less", synthetic(100, 0.02), synthetic(80, 0.02), Faster},
		{"20 percent, lost in noise", synthetic(100, 0.4), synthetic(120, 0.4), NotJudged},
		{"twice, in spite of noise", synthetic(100, 0.3), synthetic(250, 0.3), Slower},
	} {
		got := Compare(c.old, c.new, 0.1)
		if len(got.Changes) != 1 || got.Changes[0].Verdict != c.want {
			t.Errorf("%s: %+v", c.name, got.Changes)
		}
		if (len(got.Regressions()) > 0) != (c.want == Slower) {
			t.Errorf("%s: regressions %v", c.name, got.Regressions())
		}
	}
	gone := &Report{Skipped: []Skipped{{Suite: "x", Reason: "broken"}}}
	if got := Compare(synthetic(100, 0.01), gone, 0.1); len(got.Regressions()) != 1 {
		t.Errorf("a row that can no longer be measured: %+v", got.Changes)
	}
}

func TestTrace(t *testing.T) {
	f, err := os.Open("../testdata/media/demo.webm")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := Trace("demo.webm", f)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Sizes) < 100 || p.FPS < 10 || p.FPS > 200 || p.BitRate() < 1e4 {
		t.Errorf("%d frames, %g a second, %g bit/s", len(p.Sizes), p.FPS, p.BitRate())
	}
	if _, err := Trace("x", strings.NewReader("no recording")); err == nil {
		t.Error("anything is a recording")
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Sizes: []int{0}}, {Sizes: []int{-1}}, {Rounds: -1}, {Batch: -1}, {Ops: []Op{"x"}}, {Cores: []int{0}}, {Cores: []int{1 << 20}},
		{Time: -1}, {Pairs: []Pair{{}}}, {Pairs: []Pair{Noop(), Noop()}}, {Profiles: []Profile{{Name: "x"}}},
	} {
		if _, err := Measure(context.Background(), o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Measure(ctx, quick(Noop())); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// A pair that stops working says so and takes nobody with it.
func TestBrokenPair(t *testing.T) {
	bad := Pair{Name: "bad", Plain: true, Fresh: func() (cipher.Sealer, cipher.Opener, error) { return broken{}, broken{}, nil }}
	r := measure(t, Options{Pairs: []Pair{Noop(), bad}, Sizes: []int{96}, Ops: []Op{Seal}, Time: 50 * time.Millisecond})
	if len(r.Skipped) != 1 || r.Skipped[0].Suite != "bad" || r.Find("noop", Seal, 96) == nil {
		t.Errorf("%+v", r.Skipped)
	}
}

type broken struct{ noop }

func (broken) Open(dst, _, _ []byte) ([]byte, error) { return dst, nil }

// A pair of one's own, measured by a program and by go test.
func TestMainProgram(t *testing.T) {
	var out, errs strings.Builder
	if code := mainProgram([]string{"-csv", "-time", "200ms"}, &out, &errs, []Pair{Suite(cipher.ChaCha20Poly1305())}); code != 0 {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
	if !strings.Contains(out.String(), "\nchacha20-poly1305,seal,1200,") {
		t.Errorf("printed %.300s", out.String())
	}
	if code := mainProgram([]string{"-time", "200ms"}, &out, &errs, []Pair{faulty(t)}); code != 1 {
		t.Errorf("exit status %d for a cipher with a fault", code)
	}
	if code := mainProgram([]string{"-what"}, &out, &errs, nil); code != 2 {
		t.Errorf("exit status %d for an unknown flag", code)
	}
}

// As go test -bench: one cipher by Run.
func BenchmarkRun(b *testing.B) { Run(b, Suite(cipher.AES128GCM())) }

func BenchmarkRunStd(b *testing.B) { Run(b, StdGCM()) }
