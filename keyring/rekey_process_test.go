package keyring_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chanseal/chanseal/keyring/boltstore"
)

// childReseal reseals a ring again and again, and says when it begins.
func childReseal(ctx context.Context, dir string) error {
	ring, err := boltstore.OpenRing(ctx, dir, boltOptions)
	if err != nil {
		return err
	}
	for {
		fmt.Println("begin")
		if err := ring.Reseal(ctx, boltOptions.KEKs, nil); err != nil {
			return err
		}
	}
}

// TestResealKilled kills a process that reseals a ring on disk, at random moments: the
// ring opens, everything is there, and a process after it does the rest.
func TestResealKilled(t *testing.T) {
	rounds := 6
	if *long {
		rounds = 200
	}
	ctx, dir := t.Context(), t.TempDir()
	ring := boltRing(t, dir)
	fill(t, ring, 8)
	before := epochsOf(t, ring)
	ring.Close()
	left := 0
	for round := range rounds {
		cmd := child(t, "reseal", dir)
		out := must(cmd.StdoutPipe())(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := rand.N(3); n >= 0 && lines.Scan(); n-- {
		}
		time.AfterFunc(rand.N(15*time.Millisecond), func() { cmd.Process.Kill() })
		for lines.Scan() {
		}
		cmd.Wait()
		r := must(boltstore.OpenRing(ctx, dir, boltOptions))(t)
		if r.Resealing() {
			left++
		}
		if got := epochsOf(t, r); !maps.Equal(got, before) {
			t.Fatalf("after kill %d: %d epochs of %d", round+1, len(got), len(before))
		}
		if round%2 == 0 {
			if err := r.FinishReseal(ctx, nil); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
	}
	t.Logf("%d kills, %d of them in the middle", rounds, left)
}
