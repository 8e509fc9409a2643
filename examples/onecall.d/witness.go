package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/client"
)

// witness is a member who writes down the secret of every epoch that it is given, so that
// the search at the end knows what to look for. Nobody else does this.
func witness(ctx context.Context, f *flag.FlagSet, args []string) error {
	var o client.Options
	server, ca, card := f.String("server", "", ""), f.String("ca", "", ""), f.String("card", "", "")
	name := f.String("o", "", "")
	f.StringVar(&o.Channel, "channel", "", "")
	f.StringVar(&o.UID, "uid", "", "")
	f.Parse(args)
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New(*ca + " holds no certificate")
	}
	out, err := os.OpenFile(*name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	o.Servers, o.TLS = strings.Split(*server, ","), &tls.Config{RootCAs: roots}
	o.Card = func(context.Context) (string, error) {
		b, err := os.ReadFile(*card)
		return strings.TrimSpace(string(b)), err
	}
	o.Keep = func(_ context.Context, k *api.Keys, _ uint16) error {
		for _, e := range k.Epochs {
			if len(e.Secret) > 0 {
				fmt.Fprintf(out, "secret of epoch %d of %s\t%s\n", e.Epoch, k.Channel, hex.EncodeToString(e.Secret))
			}
		}
		return nil
	}
	m, err := client.Join(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "running")
	select {
	case <-ctx.Done():
	case <-m.Done():
	}
	if err := m.Err(); err != nil {
		return err
	}
	return m.Close()
}
