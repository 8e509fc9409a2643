package onecall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// inFlight is how many packets are on their way at most before the media network has
// them; the gap between such rows keeps a pass of a clip within the time of its epochs.
const (
	inFlight = 16
	rowGap   = 2 * time.Millisecond
	giveUp   = 15 * time.Second
)

// Pass sends the clip once, and waits until what the media network passed on has arrived.
func (c *Call) Pass(ctx context.Context) error {
	packets, err := c.source.next()
	if err != nil {
		return err
	}
	if err := c.transmit(ctx, packets); err != nil {
		return err
	}
	return c.arrive(ctx)
}

// PassAnyway sends the clip once through a network that loses packets, and goes on sending
// until all that was passed on has arrived: what came before its key was announced waits
// for an announcement, of which some are lost.
func (c *Call) PassAnyway(ctx context.Context) error {
	for range 50 {
		packets, err := c.source.next()
		if err != nil {
			return err
		}
		if err := c.transmit(ctx, packets); err != nil {
			return err
		}
		next := time.After(300 * time.Millisecond)
		for again := true; again; {
			missing, _ := c.missing()
			if missing == 0 {
				return nil
			}
			select {
			case <-c.out.more:
			case <-next:
				again = false
			case <-ctx.Done():
				return c.stuck(context.Cause(ctx).Error())
			}
		}
	}
	missing, of := c.missing()
	return c.stuck(fmt.Sprintf("%d of %d packets did not arrive at the receiver", missing, of))
}

func (c *Call) transmit(ctx context.Context, packets []Packet) error {
	before, _, _ := c.Net.counts()
	for len(packets) > 0 {
		row := packets[:min(inFlight, len(packets))]
		packets = packets[len(row):]
		for _, p := range row {
			if _, err := c.in.WriteToUDP(p.Data, c.to); err != nil {
				return fmt.Errorf("send to the gateway: %w", err)
			}
		}
		c.sent = append(c.sent, row...)
		before += len(row)
		if err := c.wait(ctx, c.Net.more, func() (bool, string) {
			came, _, _ := c.Net.counts()
			return came >= before, fmt.Sprintf("%d of %d packets came to the media network", came-before+len(row), len(row))
		}); err != nil {
			return err
		}
		select {
		case <-time.After(rowGap): // a sender has a clock of its own
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// arrive waits until the receiver has what was passed on.
func (c *Call) arrive(ctx context.Context) error {
	return c.wait(ctx, c.out.more, func() (bool, string) {
		missing, of := c.missing()
		return missing == 0, fmt.Sprintf("%d of %d packets did not arrive at the receiver", missing, of)
	})
}

func (c *Call) missing() (n, of int) {
	c.Net.mu.Lock()
	defer c.Net.mu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for id := range c.Net.passed {
		if _, ok := c.out.got[id]; !ok {
			n++
		}
	}
	return n, len(c.Net.passed)
}

// wait waits until something is so, of which more tells; it gives up when a gateway ends,
// and after a while.
func (c *Call) wait(ctx context.Context, more <-chan struct{}, so func() (bool, string)) error {
	late := time.NewTimer(giveUp)
	defer late.Stop()
	for {
		ok, what := so()
		if ok {
			return nil
		}
		select {
		case <-more:
		case <-c.seal.done:
			return errors.Join(errors.New(what), c.seal.failed())
		case <-c.open.done:
			return errors.Join(errors.New(what), c.open.failed())
		case <-late.C:
			return c.stuck(what)
		case <-ctx.Done():
			return c.stuck(what + ": " + context.Cause(ctx).Error())
		}
	}
}

// stuck says what the gateways said last, which tells a person what to do.
func (c *Call) stuck(what string) error {
	return fmt.Errorf("%s; the sender's gateway says: %s; the receiver's: %s", what, lastLines(c.seal.Said(), 4), lastLines(c.open.Said(), 3))
}

func lastLines(s string, n int) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(s)), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte(" / ")))
}

// Rotated sends the clip again and again until packets are sealed in another epoch, and
// once more. It returns how many passes that were.
func (c *Call) Rotated(ctx context.Context) (passes int, err error) {
	before := c.Net.epoch()
	return c.Until(ctx, func(now uint64) bool { return now != before })
}

// Until sends the clip again and again until an epoch is in use with low bits that are
// good, and once more.
func (c *Call) Until(ctx context.Context, good func(low uint64) bool) (passes int, err error) {
	for again := true; again; passes++ {
		again = !good(c.Net.epoch())
		if err := c.Pass(ctx); err != nil {
			return passes, err
		}
		if passes == 500 {
			return passes, errors.New("the sender's gateway does not take the new epoch into use")
		}
	}
	return passes, nil
}
