package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/proxy/client"
)

// cloudFlags send what a command sends through the cloud proxy.
type cloudFlags struct {
	mode     string
	kind     int
	server   string
	fallback string
	card     string
	channel  string
	uid      string
	ca       string
	insecure bool
}

func (f *cloudFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.mode, "cloud-proxy", "off", "send through the cloud proxy: `MODE` off, auto, udp or tcp")
	flags.Lookup("cloud-proxy").NoOptDefVal = "auto"
	flags.IntVar(&f.kind, "proxy-type", int(client.Domain), "what --proxy-server is, `N`: 0 a SOCKS5 server, 1 the proxy's name, 2 its addresses")
	flags.StringVar(&f.server, "proxy-server", "", "`SERVER`: domain:port, ip:port, or ip1,ip2,…:port; port 0 is the default")
	flags.StringVar(&f.fallback, "proxy-fallback", "", "`ADDRESSES` as of type 2, for when the name does not resolve")
	flags.StringVar(&f.card, "proxy-card-file", "", "`FILE` with the channel key for the proxy")
	flags.StringVar(&f.channel, "proxy-channel", "", "the channel `NAME` in that key")
	flags.StringVar(&f.uid, "proxy-uid", "", "the `UID` in that key")
	flags.StringVar(&f.ca, "proxy-ca", "", "trust the certificates in the PEM `FILE`")
	flags.BoolVar(&f.insecure, "proxy-insecure", false, "do not check the proxy's TLS certificate")
}

// dialer returns what connects through the proxy; nil if it is off.
func (f *cloudFlags) dialer(p *program, c *cobra.Command) (*client.Dialer, error) {
	mode, err := client.ParseMode(f.mode)
	if err != nil {
		return nil, usagef(c, "%s: --cloud-proxy: %s", c.CommandPath(), message(err))
	}
	if mode == client.Off {
		return nil, nil
	}
	cfg := client.Config{Mode: mode, Type: client.Type(f.kind), Server: f.server, Fallback: f.fallback, Channel: f.channel, UID: f.uid,
		TLS: &tls.Config{InsecureSkipVerify: f.insecure},
		OnEvent: func(e client.Event) {
			p.notef("cloud proxy: %s, %s, after %s", e.Kind, e.Transport, e.Elapsed.Round(time.Millisecond))
		}}
	if p.wall != nil {
		cfg.Dial, cfg.Listen = p.wall.Dial, p.wall.Listen
	}
	if f.card != "" {
		key, err := os.ReadFile(f.card)
		if err != nil {
			return nil, fileError(f.card, err)
		}
		cfg.Card = strings.TrimSpace(string(key))
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fileError(f.ca, err)
		}
		cfg.TLS.RootCAs = x509.NewCertPool()
		if !cfg.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &named{f.ca, "has no certificate in PEM", nil}
		}
	}
	d, err := client.New(cfg)
	if err != nil {
		return nil, usagef(c, "%s: %s", c.CommandPath(), message(err))
	}
	if cfg.Card == "" && cfg.Type != client.OwnSOCKS5 {
		return nil, usagef(c, "%s: --proxy-card-file FILE is missing: the proxy wants a channel key", c.CommandPath())
	}
	return d, nil
}

// cloudError says what to do where the proxy cannot be reached.
func cloudError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return hinted(fmt.Errorf("the cloud proxy: %w", err), "chanseal proxy check --server HOST says what the firewall lets through")
}
