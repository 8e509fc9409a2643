package keyring

import "time"

// limiter lets at most len(when) failures happen in any second. It keeps the
// moment of each of the last ones.
type limiter struct {
	when []time.Time
	next int // index of the oldest
}

func newLimiter(n int) limiter { return limiter{when: make([]time.Time, n)} }

// allow reports whether n more failures would keep the limit.
func (l *limiter) allow(now time.Time, n int) bool {
	if n > len(l.when) {
		return false
	}
	newest := l.when[(l.next+n-1)%len(l.when)] // of the n oldest, that must be a second ago
	return newest.IsZero() || now.Sub(newest) >= time.Second
}

// fail counts a failure.
func (l *limiter) fail(now time.Time) {
	l.when[l.next] = now
	l.next = (l.next + 1) % len(l.when)
}
