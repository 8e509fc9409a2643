package onecall

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
	"github.com/chanseal/chanseal/rtpseal"
)

// Cost is what a call costs, measured on its own packets.
type Cost struct {
	Seal, Open, Proxy time.Duration // of CPU, a packet
	Rate              float64       // packets a second, of the clip in its own time
	Bytes             float64       // more, a packet
	Plain             float64       // bytes of a packet
}

// Share is what part of a core something costs that takes so long for each packet.
func (c *Cost) Share(each time.Duration) float64 { return each.Seconds() * c.Rate }

// measureFor is how long sealing and opening are measured, together.
const measureFor = 100 * time.Millisecond

// measure seals and opens the clip's packets as gateways do, without sockets.
func (c *Cost) measure(ctx context.Context, ringDir, channelName string, custom []*cipher.Suite, clip *Clip) error {
	packets, err := clip.Packets(1)
	if err != nil {
		return err
	}
	ring, err := boltstore.OpenRing(ctx, ringDir, boltstore.RingOptions{Suites: custom})
	if err != nil {
		return err
	}
	defer ring.Close()
	ch, err := ring.Channel(ctx, channelName)
	if err != nil {
		return err
	}
	s, err := ch.Sender(ctx, 1, keyring.SenderOptions{Compact: true})
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := ch.Receiver(ctx, keyring.ReceiverOptions{Window: cipher.MaxWindow})
	if err != nil {
		return err
	}
	defer r.Close()
	sealing, err := rtpseal.NewSealing(rtpseal.SealingOptions{Sealer: rtpseal.SharedSealer(s)})
	if err != nil {
		return err
	}
	opening, err := rtpseal.NewOpening(rtpseal.OpeningOptions{Opener: rtpseal.Shared(r)})
	if err != nil {
		return err
	}
	defer opening.Close()
	var sealed, opened rtpseal.Packets
	var seal, open []time.Duration // of each pass
	for until := time.Now().Add(measureFor); time.Now().Before(until) || len(seal) < 3; {
		sealed.Reset()
		opened.Reset()
		begun := time.Now()
		for _, p := range packets {
			if err := sealing.Push(p.Data, &sealed); err != nil {
				return err
			}
		}
		between := time.Now()
		for i := range sealed.Len() {
			if err := opening.Push(sealed.At(i), between, &opened); err != nil {
				return err
			}
		}
		seal, open = append(seal, between.Sub(begun)), append(open, time.Since(between))
		if opened.Len() != len(packets) {
			return errors.New("not all packets that were sealed for the measurement open")
		}
	}
	// Medians: somebody else had the core in some passes.
	slices.Sort(seal)
	slices.Sort(open)
	n := time.Duration(len(packets))
	c.Seal, c.Open = seal[len(seal)/2]/n, open[len(open)/2]/n
	c.Rate = float64(len(packets)) / clip.Length.Seconds()
	return nil
}

func (a *act) cost(ctx context.Context) error {
	c := &a.r.Cost
	if err := c.measure(ctx, a.path("server"), channel, a.o.Custom, a.o.Clip); err != nil {
		return err
	}
	c.Plain = float64(a.r.PlainBytes) / float64(a.r.Packets)
	c.Bytes = float64(a.r.SealedBytes-a.r.PlainBytes) / float64(a.r.Packets)
	return nil
}
