package keyring

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestWitnessFull: more channels than it has room for. It forgets some, and is never
// wrong; two handles on one file see each other's.
func TestWitnessFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	var w [2]*Witness
	for i := range w {
		var err error
		if w[i], err = OpenWitness(path); err != nil {
			t.Fatal(err)
		}
		defer w[i].Close()
	}
	const channels = 100_000
	id := []byte("ring")
	for i := range channels {
		w[i%2].note(id, fmt.Sprint(i), uint64(i)+5)
		w[1-i%2].note(id, fmt.Sprint(i), uint64(i)+4)
	}
	known := 0
	for i := range channels {
		switch n := w[i%3%2].epoch(id, fmt.Sprint(i)); n {
		case uint64(i) + 5:
			known++
		case 0:
		default:
			t.Fatalf("channel %d was at epoch %d", i, n)
		}
	}
	if known < witnessSets*witnessWays*9/10 || known == channels {
		t.Errorf("%d of %d known", known, channels)
	}
	if w[0].epoch([]byte("another"), "7") != 0 {
		t.Error("of another ring")
	}
	var none *Witness
	none.note(id, "7", 1)
	if none.epoch(id, "7") != 0 || none.Close() != nil {
		t.Error("of none")
	}
}
