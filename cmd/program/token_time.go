package program

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// momentValue is a flag that holds a moment: unix seconds, RFC 3339, "now", or a time
// span from another moment on (before it, with a minus).
type momentValue struct {
	given bool
	span  bool
	at    time.Time     // not a span
	from  time.Duration // a span
}

var _ pflag.Value = (*momentValue)(nil)

func (v *momentValue) String() string {
	switch {
	case !v.given:
		return ""
	case v.span:
		return v.from.String()
	}
	return strconv.FormatInt(v.at.Unix(), 10)
}

func (*momentValue) Type() string { return "TIME" }

func (v *momentValue) Set(s string) error {
	m, err := parseMoment(s)
	if err == nil {
		*v = m
	}
	return err
}

func parseMoment(s string) (momentValue, error) {
	if s == "now" {
		return momentValue{given: true, span: true}, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		if n > math.MaxUint32 {
			return momentValue{}, errors.New("unix seconds end at 4294967295 in a token; this looks like milliseconds")
		}
		return momentValue{given: true, at: time.Unix(int64(n), 0)}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		if t.Unix() < 0 || t.Unix() > math.MaxUint32 {
			return momentValue{}, errors.New("a token holds times from 1970 to 2106")
		}
		return momentValue{given: true, at: t}, nil
	}
	text, minus := strings.CutPrefix(s, "-")
	if !minus {
		text = strings.TrimPrefix(s, "+")
	}
	d, err := parseDuration(text)
	if err != nil || text == "" {
		return momentValue{}, errors.New("want unix seconds, a time such as 2026-01-31T12:00:00Z, or a span such as 90s, 12h or 30d")
	}
	if minus {
		d = -d
	}
	return momentValue{given: true, span: true, from: d}, nil
}

// when returns the moment in whole seconds, spans counted from base.
func (v *momentValue) when(base time.Time) (uint32, error) {
	t := v.at
	switch {
	case !v.given:
		t = base
	case v.span:
		t = base.Add(v.from)
	}
	if t.Unix() < 0 || t.Unix() > math.MaxUint32 {
		return 0, &failure{err: fmt.Errorf("a token cannot hold the time %s, only times from 1970 to 2106", t.UTC().Format(time.RFC3339)), code: exitUsage}
	}
	return uint32(t.Unix()), nil
}

// clock shows moments to a person.
type clock struct{ now time.Time }

// show writes a moment in UTC and local time, and how far off it is.
func (c clock) show(unix int64) string {
	t := time.Unix(unix, 0)
	utc, local := t.UTC(), t.Local()
	text := utc.Format("2006-01-02 15:04:05 UTC")
	if _, offset := local.Zone(); offset == 0 {
		text += " (local time is the same)"
	} else if utc.YearDay() == local.YearDay() {
		text += local.Format(" (15:04:05 -07:00 local)")
	} else {
		text += local.Format(" (2006-01-02 15:04:05 -07:00 local)")
	}
	return text + ", " + c.distance(t)
}

// distance writes how far off a moment is.
func (c clock) distance(t time.Time) string {
	switch d := t.Sub(c.now); {
	case d > 0:
		return "in " + spanText(d.Round(time.Second))
	case d > -time.Second:
		return "now"
	default:
		return spanText(-d.Round(time.Second)) + " ago"
	}
}

// spanText writes a time span in its two largest units.
func spanText(d time.Duration) string {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	two := func(a time.Duration, one string, b time.Duration, other string) string {
		text := count(int64(d/a), one)
		if rest := d % a / b; rest > 0 {
			text += " " + count(int64(rest), other)
		}
		return text
	}
	switch {
	case d >= year:
		return two(year, "year", day, "day")
	case d >= day:
		return two(day, "day", time.Hour, "hour")
	case d >= time.Hour:
		return two(time.Hour, "hour", time.Minute, "minute")
	case d >= time.Minute:
		return two(time.Minute, "minute", time.Second, "second")
	}
	return count(int64(d/time.Second), "second")
}
