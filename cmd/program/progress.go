package program

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows on a terminal how far the reading of a file is. What takes less than
// a moment shows nothing.
type progress struct {
	io.Reader
	p     *program
	what  string
	size  int64 // -1: not known
	begun time.Time
	read  int64
	bar   *progressbar.ProgressBar
}

const progressAfter = 400 * time.Millisecond

func (p *program) progress(in *input, what string) *progress {
	return &progress{Reader: in, p: p, what: what, size: in.size(), begun: time.Now()}
}

// Read reads on and shows it.
func (g *progress) Read(b []byte) (int, error) {
	n, err := g.Reader.Read(b)
	g.read += int64(n)
	switch {
	case g.p.quiet || !isTerminal(g.p.stderr) || time.Since(g.begun) < progressAfter:
		return n, err
	case g.bar == nil:
		g.bar = progressbar.NewOptions64(g.size,
			progressbar.OptionSetWriter(g.p.stderr),
			progressbar.OptionSetDescription(printable(g.what)),
			progressbar.OptionSetWidth(30),
			progressbar.OptionShowBytes(true),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionSetPredictTime(g.size > 0),
		)
	}
	g.bar.Set64(g.read)
	return n, err
}

// done takes the bar away.
func (g *progress) done() {
	if g.bar != nil {
		g.bar.Clear()
		g.bar = nil
	}
}
