package rtpseal

import (
	"context"
	"errors"
	"net"
	"time"
)

// drainAtMost bounds how long packets that have arrived are still passed on when the
// context has ended, and drainIdle how long the portable path waits for the next of them.
const (
	drainAtMost = 500 * time.Millisecond
	drainIdle   = 5 * time.Millisecond
	drainErrors = 1024 // of single packets, or of a socket that is of no use any more
)

// wake ends the reads of links when the context does, and closes the channel behind that,
// unless it is stopped before. What hangs on a link for longer than is drained ends, too.
func wake(ctx context.Context, links ...*link) (woken chan struct{}, stop func() bool) {
	woken = make(chan struct{})
	stop = context.AfterFunc(ctx, func() {
		defer close(woken)
		for _, l := range links {
			if l != nil && l.pc.SetReadDeadline(time.Unix(1, 0)) != nil {
				l.pc.Close()
			}
		}
		time.AfterFunc(2*drainAtMost, func() {
			for _, l := range links {
				if l != nil {
					l.pc.Close()
				}
			}
		})
	})
	return woken, stop
}

// pump reads until the socket is closed, or the context ends: then what has arrived is
// read to its end. Other errors are of single packets, and pass.
func pump(ctx context.Context, woken <-chan struct{}, l *link, f func(*batch)) {
	for {
		err := l.read(f)
		switch {
		case ctx.Err() != nil:
			<-woken // or it would end the reads that follow
			l.drain(f)
			return
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return
		default:
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// drain reads what has arrived. On the portable path nothing tells that there is no more
// but that nothing comes.
func (l *link) drain(f func(*batch)) {
	until := time.Now().Add(drainAtMost)
	l.sys.drain()
	failed := 0
	for now := time.Now(); now.Before(until) && failed < drainErrors; now = time.Now() {
		deadline := until
		if !l.ok {
			deadline = now.Add(drainIdle)
		}
		if l.pc.SetReadDeadline(deadline) != nil {
			return
		}
		var none interface{ Timeout() bool } // so is EAGAIN
		switch err := l.read(f); {
		case err == nil:
		case errors.Is(err, net.ErrClosed) || errors.As(err, &none) && none.Timeout():
			return
		default:
			failed++
		}
	}
}
