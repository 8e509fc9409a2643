package bench

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// What depends on the machine, and wants it to be quiet: CHANSEAL_LONG=1.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("CHANSEAL_LONG") == "" {
		t.Skip("needs a quiet machine: CHANSEAL_LONG=1")
	}
}

// again is an AEAD that seals every n-th frame twice: 1/n slower.
type again struct {
	cipher.AEAD
	n, i int
}

func (a *again) Seal(dst, nonce, frame, aad []byte) []byte {
	if a.i++; a.n > 0 && a.i%a.n == 0 {
		a.AEAD.Seal(dst, nonce, frame, aad)
	}
	return a.AEAD.Seal(dst, nonce, frame, aad)
}

func slower(n int) Pair {
	return AEAD("planted", func() (cipher.AEAD, error) {
		block, err := aes.NewCipher(random(16))
		if err != nil {
			return nil, err
		}
		g, err := stdcipher.NewGCM(block)
		return &again{AEAD: g, n: n}, err
	})
}

// A regression of 20 % that was planted is found, one of 1 % is not.
func TestPlantedRegression(t *testing.T) {
	long(t)
	o := Options{Ops: []Op{Seal}, Time: 8 * time.Second, Rounds: 15}
	run := func(n int) *Report {
		o.Pairs = []Pair{slower(n)}
		return measure(t, o)
	}
	old := run(0)
	for _, c := range []struct {
		n         int
		tolerance float64
		want      Verdict
	}{{5, 0.10, Slower}, {100, 0.10, Same}, {100, 0.05, Same}} {
		got := Compare(old, run(c.n), c.tolerance)
		for _, x := range got.Changes {
			t.Logf("1/%d slower, tolerance %g, %d bytes: %.1f to %.1f ns, %+.1f %%, p %.4f: %s", c.n, c.tolerance, x.Size, x.Old, x.New, 100*x.Delta, x.P, x.Verdict)
			if x.Verdict != c.want {
				t.Errorf("%d bytes, 1/%d slower, tolerance %g: %s, want %s", x.Size, c.n, c.tolerance, x.Verdict, c.want)
			}
		}
		if len(got.Changes) != len(DefaultSizes) {
			t.Errorf("%d rows compared", len(got.Changes))
		}
	}
}

// Under load from other processes rows are called noisy; without it they are not.
func TestNoiseUnderLoad(t *testing.T) {
	if os.Getenv("BENCH_TEST_SPIN") != "" {
		for begun := time.Now(); time.Since(begun) < time.Minute; {
		}
		return
	}
	long(t)
	o := Options{Pairs: []Pair{StdGCM(), XChaCha()}, Ops: []Op{Seal, Open}, Time: 5 * time.Second}
	calm := measure(t, o)
	for range 3 * runtime.NumCPU() {
		spin := exec.Command(os.Args[0], "-test.run=^TestNoiseUnderLoad$")
		spin.Env = append(os.Environ(), "BENCH_TEST_SPIN=1")
		if err := spin.Start(); err != nil {
			t.Fatal(err)
		}
		defer spin.Wait()
		defer spin.Process.Kill()
	}
	loaded := measure(t, o)
	t.Logf("calm: %d of %d rows noisy; under load: %d of %d", calm.Noisy, len(calm.Results), loaded.Noisy, len(loaded.Results))
	for i := range loaded.Results {
		a, b := calm.Results[i], loaded.Results[i]
		t.Logf("%s %s %d: %.1f ±%.1f %% then %.1f ±%.1f %% %v", a.Suite, a.Op, a.Size, a.NS, 100*a.Noise, b.NS, 100*b.Noise, b.Noisy)
	}
	if calm.Noisy > len(calm.Results)/4 {
		t.Errorf("%d of %d rows are noisy without load", calm.Noisy, len(calm.Results))
	}
	if loaded.Noisy < len(loaded.Results)*3/4 {
		t.Errorf("%d of %d rows are noisy under load", loaded.Noisy, len(loaded.Results))
	}
}
