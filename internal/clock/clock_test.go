package clock_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/internal/clock"
)

// TestClock: forward counts, back does not, and the time that was goes on.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set time.Duration
		wall := func() time.Time { return time.Now().Round(0).Add(set) }
		c := clock.New(wall)
		first := c.Now()
		check := func(what string, since, behind time.Duration) {
			t.Helper()
			if d := c.Now().Sub(first); d != since {
				t.Errorf("%s: %v after the beginning, want %v", what, d, since)
			}
			if d := c.Behind(); d != behind {
				t.Errorf("%s: %v behind, want %v", what, d, behind)
			}
		}
		check("at first", 0, 0)
		time.Sleep(time.Minute)
		check("after a minute", time.Minute, 0)
		set = -2 * time.Hour
		check("set back", time.Minute, 2*time.Hour)
		time.Sleep(time.Minute)
		check("a minute later", 2*time.Minute, 2*time.Hour)
		set = 0
		check("set right again", 2*time.Minute, 0)
		set = 24 * time.Hour
		check("set forward", 24*time.Hour+2*time.Minute, 0)
		time.Sleep(time.Second)
		set = 10 * time.Minute
		check("and back again", 24*time.Hour+2*time.Minute+time.Second, 24*time.Hour-10*time.Minute)
	})
}

// TestClockRace: of many readers none sees time go back.
func TestClockRace(t *testing.T) {
	c := clock.New(nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			last := c.Now()
			for range 10_000 {
				now := c.Now()
				if now.Before(last) {
					t.Errorf("%v, then %v", last, now)
					return
				}
				last = now
			}
		})
	}
	wg.Wait()
}
