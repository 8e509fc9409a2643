// Package clock tells the time of day to whoever lets people in and puts them out by it.
//
// A wall clock may be set. Forward counts at once: what ends meanwhile has ended. Back does
// not count: what was over would be good again, and what is to end would last. From then on
// the time that was goes on, by the monotonic clock, until the wall clock has caught up, or
// the process is started anew.
package clock

import (
	"sync/atomic"
	"time"
)

// Clock is a wall clock that is never taken to go back. It is safe for concurrent use.
type Clock struct {
	wall  func() time.Time
	start time.Time    // with its monotonic reading
	first time.Time    // what the wall clock said then
	ahead atomic.Int64 // nanoseconds that the wall clock went forward beside the monotonic one, at most
}

// New returns a clock that goes by wall; nil stands for the system's clock.
func New(wall func() time.Time) *Clock {
	c := &Clock{wall: wall, start: time.Now()}
	c.first = c.read(c.start)
	return c
}

// read is what the wall clock says, without a monotonic reading.
func (c *Clock) read(now time.Time) time.Time {
	if c.wall != nil {
		now = c.wall()
	}
	return now.Round(0)
}

// look returns the time, and what the wall clock says.
func (c *Clock) look() (now, wall time.Time) {
	at := time.Now()
	passed := at.Sub(c.start)
	wall = c.read(at)
	ahead := int64(wall.Sub(c.first) - passed)
	for {
		most := c.ahead.Load()
		if ahead <= most {
			ahead = most
			break
		}
		if c.ahead.CompareAndSwap(most, ahead) {
			break
		}
	}
	return c.first.Add(passed + time.Duration(ahead)), wall
}

// Now returns the time. It has no monotonic reading.
func (c *Clock) Now() time.Time {
	now, _ := c.look()
	return now
}

// Behind returns by how much the wall clock was set back, of which Now takes no notice.
func (c *Clock) Behind() time.Duration {
	now, wall := c.look()
	return now.Sub(wall)
}
