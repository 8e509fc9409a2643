package client

import (
	"context"
	"errors"
	"time"
)

// How a way that is gone is noticed. The far end is asked every second in which nothing
// came from it, thoroughly every five and where its machine says that nobody is there; two
// questions without an answer within a second are the end.
const (
	askEvery   = time.Second
	askedTwice = 2
	promptly   = 300 * time.Millisecond // for an answer when its machine says that nobody is there
)

var errSilent = errors.New("proxy/client: the relay does not answer")

// watch asks whether the far end is still there, until the path is dead.
func (p *path) watch(every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	last := time.Now()
	for missed := 0; ; {
		wait, thoroughly := every, time.Since(last) >= 5*every
		select {
		case <-p.dead:
			return
		case <-p.refused:
			wait, thoroughly = min(every, promptly), true
		case now := <-t.C:
			if !thoroughly && missed == 0 && now.Sub(time.Unix(0, p.heard.Load())) < every {
				continue
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		err := p.ask(ctx, thoroughly)
		cancel()
		if err == nil {
			missed = 0
			if thoroughly {
				last = time.Now()
			}
			continue
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errSilent
			if missed++; missed < askedTwice {
				if wait < every {
					p.nobody()
				}
				continue
			}
		}
		p.fail(err)
		return
	}
}
