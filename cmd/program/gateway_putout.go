package program

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/rtpseal"
)

// barred are the sender numbers of a channel that were put out.
type barred struct {
	numbers atomic.Pointer[map[uint16]bool]
}

func (b *barred) has(kid cipher.KeyID) bool {
	m := b.numbers.Load()
	return m != nil && (*m)[keyring.SenderOf(kid)]
}

func (k *gatewayKeys) barredOf(channel string) *barred {
	if k.barred == nil {
		k.barred = map[string]*barred{}
	}
	b := k.barred[channel]
	if b == nil {
		b = new(barred)
		k.barred[channel] = b
	}
	return b
}

// waits says of a channel's packets that failed for want of a key whether one may still
// come.
func (k *gatewayKeys) waits(channel string) func(cipher.KeyID, error) bool {
	b := k.barredOf(channel)
	return func(kid cipher.KeyID, err error) bool {
		for _, never := range []error{keyring.ErrBarred, keyring.ErrArchived, keyring.ErrForgotten, keyring.ErrEvicted} {
			if errors.Is(err, never) {
				return false
			}
		}
		return !b.has(kid)
	}
}

// watch drops what is held of senders as they are put out.
func (k *gatewayKeys) watch(ctx context.Context, channel string, feed *keyring.Feed, flows []*rtpseal.Gateway) {
	b := k.barredOf(channel)
	for {
		if info, err := k.channels[channel].Show(ctx); err == nil {
			numbers := map[uint16]bool{}
			for _, e := range info.Epochs {
				for _, n := range e.Barred {
					numbers[n] = true
				}
			}
			b.numbers.Store(&numbers)
			for _, g := range flows {
				g.PutOut(b.has)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-feed.Changed():
		}
	}
}
