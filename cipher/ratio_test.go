package cipher_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/internal/raceflag"
)

// TestNoCliff has every suite with a counterpart in the standard library do what
// [BenchmarkAgainstStd] has it do, and fails if ours takes five times as long: nothing
// but a fault of a kernel on the present CPU costs so much. SHA's legacy SSE code
// behind dirty upper halves, for one, made suite 1 a hundred times slower on Intel's
// CPUs, where AMD's had been twice as fast as the standard library. A ratio of two
// windows side by side and such a margin bear any load, but as time is what it
// measures, it runs only with CHANSEAL_LONG=1.
func TestNoCliff(t *testing.T) {
	if os.Getenv("CHANSEAL_LONG") == "" || raceflag.Enabled {
		t.Skip("measures time; CHANSEAL_LONG=1 runs it, but not under the race detector")
	}
	const most, windows = 5, 15
	for _, s := range cipher.Suites() {
		if s.ID() > 8 {
			continue
		}
		for _, size := range []int{32, 96, 1200, 16384} {
			for _, batch := range []int{1, 8} {
				skipUnavailable(t, s)
				for op, c := range map[string]contest{"seal": newSealDuel(t, s, size, batch), "open": newOpenDuel(t, s, size, batch)} {
					t.Run(fmt.Sprintf("op=%s/suite=%s/size=%d/batch=%d", op, s.Name(), size, batch), func(t *testing.T) {
						var ours, std []float64
						for range windows {
							o, s := c.pair()
							ours, std = append(ours, o), append(std, s)
						}
						if o, s := median(ours), median(std); o > most*s {
							t.Errorf("%.0f ns a frame, %.0f times the standard library's %.0f", o, o/s, s)
						}
					})
				}
			}
		}
	}
}
