package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyserver/client"
)

// maxCard bounds a card's file in bytes.
const maxCard = 64 << 10

func (p *program) channelJoin() *cobra.Command {
	var o client.Options
	var cardFile, ca string
	var once bool
	c := &cobra.Command{
		Use:   "join NAME --server URL --uid UID --card-file FILE",
		Short: "be a member at a key server: keep the channel in the ring current",
		Long: `Enter a channel at a key server (serve) with a channel key, put its epochs into the
ring, and follow every rotation until interrupted. Other commands use the ring meanwhile:
gateway, seal, open. On interruption the membership ends; what is in the ring stays.

The card is read again whenever one is needed: keep the file current, and the membership
goes on. If the server is lost, another one of the list is tried, and the next epoch is in
the ring already. --once ends as soon as the present epochs are there.

Any flag can be set in the environment: CHANSEAL_JOIN_SERVER for --server.`,
		Example: `  chanseal channel join stage --server https://keys.example.com:8443 --uid 123 --card-file card
  chanseal channel join stage --server https://127.0.0.1:8443 --pin sha256//… --uid 123 --card-file card`,
		Args:    exactArgs("NAME"),
		PreRunE: func(c *cobra.Command, _ []string) error { return fromEnvironment(c, "CHANSEAL_JOIN_") },
		RunE: func(c *cobra.Command, args []string) error {
			if len(o.Servers) == 0 || o.UID == "" || cardFile == "" {
				return usagef(c, "%s: --server URL, --uid UID and --card-file FILE are needed", c.CommandPath())
			}
			conf, err := clientTLS(ca, "")
			if err != nil {
				return err
			}
			o.Channel, o.TLS = args[0], conf
			o.Card = func(context.Context) (string, error) { return readCard(cardFile) }
			return p.join(c.Context(), o, once)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.Servers, "server", nil, "`URLS` of key servers that share their state (required)")
	f.StringVar(&o.UID, "uid", "", "the `UID` or account that the card is for (required)")
	f.StringVar(&cardFile, "card-file", "", "`FILE` with the channel key (required)")
	f.StringVar(&o.Pin, "pin", "", "check the server's certificate by its `FINGERPRINT`, sha256//…, instead of an authority")
	f.StringVar(&ca, "ca", "", "check it by the authorities in `FILE`, PEM")
	f.StringVar(&o.Issuer, "issuer", "", "the channel is blind, and kept by who has this `FINGERPRINT` (channel export prints it)")
	f.BoolVar(&o.Plain, "plain", false, "have secrets sent as they are inside TLS, not wrapped to a key of this member")
	f.BoolVar(&once, "once", false, "end when the present epochs are in the ring")
	return c
}

func readCard(name string) (string, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxCard {
		return "", &named{name, "is too long for a channel key", nil}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fileError(name, err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (p *program) join(ctx context.Context, o client.Options, once bool) error {
	ring, err := p.openOrCreateRing(ctx, o.Channel, false)
	if err != nil {
		return err
	}
	defer ring.Close()
	o.Ring = ring
	o.Logger = slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: p.logLevel()}))
	m, err := client.Join(ctx, o)
	if err != nil {
		return joinError(err)
	}
	p.notef("joined %q: the ring has its epochs; seal under sender number %d", o.Channel, m.Sender())
	if !once {
		p.notef("running; ctrl-c ends it")
		select {
		case <-ctx.Done():
		case <-m.Done():
		}
	}
	if err := m.Err(); err != nil {
		m.Close()
		return joinError(err)
	}
	if err := m.Close(); err != nil && client.Reason(err) == "" {
		p.notef("the server was not told: %s", message(err))
	}
	return nil
}

// joinError says what to do about what a key server refuses.
func joinError(err error) error {
	var r *client.Refused
	if !errors.As(err, &r) {
		return reachError(err)
	}
	return serverRefuses(r, fmt.Sprint(r.Status))
}
