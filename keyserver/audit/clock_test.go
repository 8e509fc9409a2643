package audit

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestClock: entries stand in the order of their times, though the clock is set; where a
// record is opened with a clock that is behind it, an entry says so.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var by time.Duration
		wall = func() time.Time { return time.Now().Round(0).Add(by) }
		defer func() { wall = nil }()
		path := filepath.Join(t.TempDir(), "audit.log")
		open := func() *Log {
			l, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		add := func(l *Log) {
			t.Helper()
			if err := l.Append(Entry{Event: "enter"}, Entry{Event: "hand-out"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		l := open()
		add(l)
		for _, by = range []time.Duration{-10 * time.Minute, 10 * time.Minute, -2 * time.Hour, 24 * time.Hour, 0} {
			add(l)
		}
		l.Close()
		l = open() // with the right clock, a day behind
		if d := l.Behind(); d != 24*time.Hour-time.Second {
			t.Errorf("behind by %v", d)
		}
		add(l)
		l.Close()
		time.Sleep(time.Minute)
		by = -time.Minute - time.Second/2
		l = open() // a trifle behind
		if d := l.Behind(); d != 0 {
			t.Errorf("behind by %v", d)
		}
		add(l)
		l.Close()
		var last Entry
		back := 0
		if _, err := VerifyFile(path, func(e Entry) error {
			if e.Time.Before(last.Time) {
				if back++; e.Event != "clock" || e.Reason != "23h59m59s behind the entry before" {
					t.Errorf("%v after %v: %+v", e.Time, last.Time, e)
				}
			}
			last = e
			return nil
		}); err != nil || back != 1 {
			t.Errorf("%v; %d times back", err, back)
		}
	})
}
