package program

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// writeJSON prints one object.
func writeJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// notef tells the user something on stderr, unless it is to be quiet.
func (p *program) notef(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.stderr, "chanseal: %s\n", printable(fmt.Sprintf(format, args...)))
	}
}

// grouped writes a number with commas: 1,234,567.
func grouped[T int64 | uint64 | int](n T) string {
	s := strconv.FormatUint(uint64(n), 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// count writes a number of things.
func count[T int64 | uint64 | int](n T, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return grouped(n) + " " + thing + "s"
}

// percent is part of whole in percent; 0 of nothing.
func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// each divides a number of bytes among frames; 0 among none.
func each(bytes, frames uint64) float64 {
	if frames == 0 {
		return 0
	}
	return float64(bytes) / float64(frames)
}

// rate is bytes a second, for people.
func rate(bytes uint64, d time.Duration) string {
	if d <= 0 {
		return "at once"
	}
	return fmt.Sprintf("%.1f MB/s", float64(bytes)/1e6/d.Seconds())
}

// quoteArg writes an argument so that a shell reads it as it is.
func quoteArg(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./,:+@%=", r)
	}
	if s != "" && !strings.HasPrefix(s, "-") && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// withExtension replaces a path's extension.
func withExtension(path, ext string) string {
	return strings.TrimSuffix(path, filepath.Ext(path)) + ext
}
