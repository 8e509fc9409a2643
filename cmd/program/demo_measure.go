package program

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

// measureFor is how long each suite is measured.
const measureFor = 300 * time.Millisecond

// measure seals and opens the recording's frames in memory, on one core, as a program
// does that has frames in flight: through a channel's Sender and Receiver.
func (d *demo) measure() error {
	ring, err := boltstore.OpenRing(d.ctx, d.path("ring"), boltstore.RingOptions{Suites: d.p.custom})
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := ring.Channel(d.ctx, "stage")
	if err != nil {
		return err
	}
	size := 0
	for _, f := range d.clip.frames {
		size += len(f)
	}
	d.sayf("%d frames of %d bytes on average, one core of %s/%s (%s):",
		len(d.clip.frames), size/len(d.clip.frames), runtime.GOOS, runtime.GOARCH, strings.Join(cpuFeatures(), " "))
	var table bytes.Buffer
	t := tabwriter.NewWriter(&table, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "suite\tseal ns/frame\topen ns/frame\tseal MB/s\topen MB/s\tbytes/frame\t")
	suites := append([]*cipher.Suite{cipher.AES128GCM(), cipher.AES256GCM(), cipher.ChaCha20Poly1305(), cipher.AES128XTSHMAC()}, d.p.custom...)
	for _, s := range suites {
		c, err := d.cost(ch, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
		n := float64(c.frames)
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f\t\n", s.Name(), float64(c.seal.Nanoseconds())/n, float64(c.open.Nanoseconds())/n,
			float64(c.bytes)/1e6/c.seal.Seconds(), float64(c.bytes)/1e6/c.open.Seconds(), float64(c.overhead)/n)
	}
	t.Flush()
	for line := range strings.Lines(table.String()) {
		fmt.Fprintf(d.out, "   %s", line)
	}
	return nil
}

// cost is what sealing and opening took.
type cost struct {
	frames, bytes, overhead uint64
	seal, open              time.Duration
}

func (d *demo) cost(ch *keyring.Channel, suite *cipher.Suite) (c cost, err error) {
	sender, err := ch.Sender(d.ctx, 1, keyring.SenderOptions{Suite: suite})
	if err != nil {
		return c, err
	}
	defer sender.Close()
	receiver, err := ch.Receiver(d.ctx, keyring.ReceiverOptions{Suites: []*cipher.Suite{suite}})
	if err != nil {
		return c, err
	}
	defer receiver.Close()

	sealed, opened := make([][]byte, len(d.clip.frames)), make([][]byte, len(d.clip.frames))
	for c.seal+c.open < measureFor {
		begun := time.Now()
		for i, f := range d.clip.frames {
			if sealed[i], err = sender.Seal(sealed[i][:0], f, nil); err != nil {
				return c, err
			}
		}
		between := time.Now()
		for i, s := range sealed {
			if opened[i], err = receiver.Open(opened[i][:0], s, nil); err != nil {
				return c, err
			}
		}
		c.seal += between.Sub(begun)
		c.open += time.Since(between)
		for i, f := range d.clip.frames {
			if !bytes.Equal(opened[i], f) {
				return c, errors.New("a frame that was opened differs from what was sealed")
			}
			c.frames++
			c.bytes += uint64(len(f))
			c.overhead += uint64(len(sealed[i]) - len(f))
		}
	}
	return c, nil
}
