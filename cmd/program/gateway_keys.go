package program

import (
	"context"
	"fmt"
	"net"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/rtpseal"
)

// gatewayKeys are the Senders and Receivers of all streams: those of one channel and
// sender share one.
type gatewayKeys struct {
	p        *program
	ring     *keyring.Ring
	o        *gatewayOptions
	channels map[string]*keyring.Channel
	sealers  map[sealerID]*keyring.Sender
	openers  map[string]*keyring.Receiver
	barred   map[string]*barred // of the channels that are opened
	shown    map[string]string  // what fingerprint said of each channel

	streams   int // of the configuration
	exchanges map[bool]*rtpseal.Exchange
}

// manyStreams is from how many on streams share the sockets they send from.
const manyStreams = 64

// exchange returns the shared socket for IPv4 or IPv6.
func (k *gatewayKeys) exchange(v4 bool, leave func() (net.PacketConn, error)) (*rtpseal.Exchange, error) {
	if e := k.exchanges[v4]; e != nil {
		return e, nil
	}
	c, err := leave()
	if err != nil {
		return nil, err
	}
	e := rtpseal.NewExchange(c)
	k.exchanges[v4] = e
	return e, nil
}

// keeps is how many bytes a stream may keep that wait: who floods all of them fills the
// memory with so much less each.
func (k *gatewayKeys) keeps() int { return min(16<<20, max(1<<20, 512<<20/max(1, k.streams))) }

type sealerID struct {
	channel, suite string
	sender         uint16
}

func (k *gatewayKeys) channel(ctx context.Context, name string) (*keyring.Channel, error) {
	ch := k.channels[name]
	if ch == nil {
		var err error
		if ch, err = k.p.openChannel(ctx, k.ring, name); err != nil {
			return nil, err
		}
		k.channels[name] = ch
	}
	return ch, nil
}

// fingerprint names the key that a channel has when the gateway starts.
func (k *gatewayKeys) fingerprint(ctx context.Context, channel string) string {
	text, ok := k.shown[channel]
	if !ok {
		if ch := k.channels[channel]; ch != nil {
			if info, err := ch.Show(ctx); err == nil && info.Epoch != 0 {
				text = fmt.Sprintf(", epoch %d, fingerprint %s", info.Epoch, info.Fingerprint)
			}
		}
		k.shown[channel] = text
	}
	return text
}

func (k *gatewayKeys) suite(name string) (*cipher.Suite, error) {
	if name == "" {
		return nil, nil
	}
	v := &suiteValue{custom: k.p.custom}
	if err := v.Set(name); err != nil {
		return nil, &failure{err: err, code: exitUsage}
	}
	return v.suite, nil
}

func (k *gatewayKeys) sealer(ctx context.Context, s *gatewayStream) (*keyring.Sender, error) {
	id := sealerID{s.Channel, s.Suite, *s.Sender}
	if got := k.sealers[id]; got != nil {
		return got, nil
	}
	ch, err := k.channel(ctx, s.Channel)
	if err != nil {
		return nil, err
	}
	suite, err := k.suite(s.Suite)
	if err != nil {
		return nil, err
	}
	sender, err := ch.Sender(ctx, *s.Sender, keyring.SenderOptions{Suite: suite, Compact: !k.o.fullKID})
	if err != nil {
		return nil, senderError(s.Channel, err)
	}
	k.sealers[id] = sender
	return sender, nil
}

func (k *gatewayKeys) opener(ctx context.Context, s *gatewayStream) (*keyring.Receiver, error) {
	if got := k.openers[s.Channel]; got != nil {
		return got, nil
	}
	ch, err := k.channel(ctx, s.Channel)
	if err != nil {
		return nil, err
	}
	ro := keyring.ReceiverOptions{Window: cipher.MaxWindow}
	suite, err := k.suite(s.Suite)
	if err != nil {
		return nil, err
	}
	if suite != nil {
		ro.Suites = []*cipher.Suite{suite}
	}
	r, err := ch.Receiver(ctx, ro)
	if err != nil {
		return nil, senderError(s.Channel, err)
	}
	k.openers[s.Channel] = r
	return r, nil
}
