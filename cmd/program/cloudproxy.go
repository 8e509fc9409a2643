package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/proxy"
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
	name     string
	region   string
	insecure bool

	ended func(error) // is told when the proxy refuses the card; set before the dialer is used
}

func (f *cloudFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.mode, "cloud-proxy", "off", "go through the cloud proxy: `MODE` off, auto, udp or tcp")
	flags.Lookup("cloud-proxy").NoOptDefVal = "auto"
	flags.IntVar(&f.kind, "proxy-type", int(client.Domain), "what --proxy-server is, `N`: 0 a SOCKS5 server, 1 the proxy's name, 2 its addresses")
	flags.StringVar(&f.server, "proxy-server", "", "`SERVER`: domain:port, ip:port, or ip1,ip2,…:port; port 0 is the default")
	flags.StringVar(&f.fallback, "proxy-fallback", "", "`ADDRESSES` as of type 2, for when the name does not resolve")
	flags.StringVar(&f.card, "proxy-card-file", "", "`FILE` with the channel key for the proxy, read for each new relay")
	flags.StringVar(&f.channel, "proxy-channel", "", "the channel `NAME` in that key")
	flags.StringVar(&f.uid, "proxy-uid", "", "the `UID` in that key")
	flags.StringVar(&f.region, "proxy-region", "", "prefer relays of this `REGION`")
	flags.StringVar(&f.ca, "proxy-ca", "", "trust the certificates in the PEM `FILE`")
	flags.StringVar(&f.name, "proxy-name", "", "the `NAME` in the proxy's certificate, if --proxy-server is addresses")
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
	cfg := client.Config{Mode: mode, Type: client.Type(f.kind), Server: f.server, Fallback: f.fallback, Channel: f.channel, UID: f.uid, Region: f.region,
		TLS: &tls.Config{InsecureSkipVerify: f.insecure, ServerName: f.name},
		OnEvent: func(e client.Event) {
			p.notef("cloud proxy: %s", eventText(e))
			var refused *proxy.APIError
			if e.Kind == client.Lost && errors.As(e.Err, &refused) && f.ended != nil {
				f.ended(e.Err)
			}
		}}
	if p.wall != nil {
		cfg.Dial, cfg.Listen = p.wall.Dial, p.wall.Listen
	}
	if f.card != "" {
		cfg.Renew = func() (string, error) {
			key, err := os.ReadFile(f.card)
			if err != nil {
				return "", fileError(f.card, err)
			}
			return strings.TrimSpace(string(key)), nil
		}
		if cfg.Card, err = cfg.Renew(); err != nil {
			return nil, err
		}
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

// eventText says what happened.
func eventText(e client.Event) string {
	over := map[client.Transport]string{client.Direct: "directly, without a relay", client.SOCKS5: "by SOCKS5"}[e.Transport]
	if over == "" {
		over = "over " + string(e.Transport)
	}
	switch e.Kind {
	case client.Connected:
		return fmt.Sprintf("connected %s, after %s", over, e.Elapsed.Round(time.Millisecond))
	case client.FallingBack:
		return fmt.Sprintf("no answer yet after %s, trying %s", e.Elapsed.Round(time.Millisecond), over)
	}
	why := "it is gone"
	if e.Err != nil {
		why = message(e.Err)
	}
	var refused *proxy.APIError
	switch {
	case errors.As(e.Err, &refused) && refused.Status == http.StatusForbidden:
		return fmt.Sprintf("lost %s: %s; it is not tried again: start anew with a newer key in --proxy-card-file", over, why)
	case e.Elapsed == 0:
		return fmt.Sprintf("lost %s: %s; another way is looked for, and nothing passes meanwhile", over, why)
	}
	return fmt.Sprintf("still lost after %s: %s; it is tried again; is the proxy running, and does the firewall let it through? ask chanseal proxy check --server HOST",
		e.Elapsed.Round(time.Second/10), why)
}

// addPeers adds the flag for who may send, of those that receive.
func (f *cloudFlags) addPeers(c *cobra.Command, from *string) {
	c.Flags().StringVar(from, "from", "", "let these `HOSTS` send through the cloud proxy (default: who comes by its relays)")
}

// receive opens a socket at a relay, which peers are told by a line on stdout: its address
// and the name of what it is for.
func (p *program) receive(ctx context.Context, d *client.Dialer, from, what string) (net.PacketConn, error) {
	o := client.Options{Receive: true, OnAddress: func(a net.Addr) {
		fmt.Fprintf(p.stdout, "%s %s\n", a, printable(what))
	}}
	for host := range strings.SplitSeq(from, ",") {
		if host = strings.TrimSpace(host); host == "" {
			continue
		}
		list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", strings.Trim(host, "[]"))
		if err != nil {
			return nil, &failure{err: fmt.Errorf("--from %s: %w", host, err), code: exitUsage}
		}
		o.Peers = append(o.Peers, list...)
	}
	c, err := d.Listen(ctx, o)
	if err != nil {
		return nil, cloudError(ctx, err)
	}
	return c, nil
}

// cloudError says what to do where the proxy cannot be reached.
func cloudError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var refused *proxy.APIError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	wrapped := fmt.Errorf("the cloud proxy: %w", err)
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusForbidden:
		return cardRefused(wrapped, refused.Code)
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &name):
		return hinted(wrapped, "if the proxy's certificate signs itself or is of a private authority: --proxy-ca FILE",
			"if it is not, somebody else answers in its place: chanseal proxy check --server HOST")
	case strings.Contains(err.Error(), "passes nothing"):
		return hinted(wrapped, "the proxy reaches only networks that its operator lists: chanseal proxy --media")
	}
	return hinted(wrapped, "is the proxy running, and does the firewall let it through? ask chanseal proxy check --server HOST")
}

// cardRefused says what to do about a channel key that the proxy refuses for a reason.
func cardRefused(err error, reason string) error {
	f := &failure{err: err, code: exitAuth}
	for _, r := range channelkey.Reasons() {
		if r.String() != reason {
			continue
		}
		f.hints = append(f.hints, r.Hint())
		if r == channelkey.EntryOver || r == channelkey.NotYetValid {
			f.hints = append(f.hints, "if the key of --proxy-card-file was fetched just now, a clock is wrong: the issuer's, the proxy's or this one; here it is "+time.Now().UTC().Format(time.RFC3339))
			return f
		}
	}
	f.hints = append(f.hints, "chanseal token inspect FILE says for whom, for what channel and until when the key is; --proxy-channel and --proxy-uid must fit it")
	return f
}
