package program

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyserver"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/api/admin"
	"github.com/chanseal/chanseal/keyserver/client"
)

func (p *program) serveAdminCommand() *cobra.Command {
	r := &adminRemote{p: p}
	c := &cobra.Command{
		Use:   "admin",
		Short: "run a key server: persons, channels, revocations",
		Long: `Administer key servers. Those who do are persons, with one of three roles: an owner
appoints persons, grants them tokens and sets policies; an operator creates and rotates
channels, revokes and puts out, issues channel keys; an auditor reads the audit record.

"serve admin person" works on the ring itself, where the servers run: it appoints the
first owner, and stands in a server's audit record as well. Everything else is asked of a server (serve --admin-listen), which wants
the person's client certificate and a token that ends after 8 hours, or 24 at most, and
records every call, refused ones too.`,
		Example: `  chanseal serve admin person add olga --role owner --certificate olga.pem
  chanseal serve admin person token olga -o olga.token
  chanseal serve admin appoint oscar --role operator --certificate oscar.pem --server https://keys:8444 …
  chanseal serve admin revoke --uid 123 --for 1h --server https://keys:8444 --token-file oscar.token \
      --tls-certificate oscar.pem --tls-key oscar.key`,
		Args: cobra.ArbitraryArgs,
		RunE: needCommand,
	}
	c.AddCommand(p.adminPersonCommand())
	for _, sub := range []*cobra.Command{r.persons(), r.appoint(), r.dismiss(), r.grant(), r.channels(), r.create(), r.rotate(), r.revoke(), r.issue(), r.keep(), r.audit()} {
		r.flags(sub)
		c.AddCommand(sub)
	}
	return c
}

// adminPersonCommand works on the ring.
func (p *program) adminPersonCommand() *cobra.Command {
	c := &cobra.Command{Use: "person", Short: "on the ring itself: who may administer its servers", Args: cobra.ArbitraryArgs, RunE: needCommand}
	// What is done is on record at the servers of the ring.
	with := func(c *cobra.Command, op, name, reason string, do func(context.Context, *keyserver.Persons) error) error {
		ring, err := p.openRing(c.Context(), "")
		if err != nil {
			return err
		}
		defer ring.Close()
		people, err := keyserver.NewPersons(ring)
		if err != nil {
			return err
		}
		return people.OnRing(c.Context(), op, name, reason, func() error { return do(c.Context(), people) })
	}
	var role, certificate string
	add := &cobra.Command{Use: "add NAME --role ROLE", Short: "appoint a person, or change their role", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			pin, err := certificatePin(certificate)
			if err != nil {
				return err
			}
			return with(c, "appoint", args[0], known(role), func(ctx context.Context, people *keyserver.Persons) error {
				return people.Appoint(ctx, args[0], admin.Role(role), pin)
			})
		}}
	appointFlags(add, &role, &certificate)
	var life durationValue
	var out string
	token := &cobra.Command{Use: "token NAME", Short: "grant a person a token, in place of an earlier one", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c, "grant", args[0], "", func(ctx context.Context, people *keyserver.Persons) error {
				token, until, err := people.Grant(ctx, args[0], life.d)
				if err != nil {
					return err
				}
				p.notef("good until %s", until.Format(time.RFC3339))
				return p.writeSecret(out, token)
			})
		}}
	token.Flags().Var(&life, "for", "for how long, at most 24h (default 8h)")
	token.Flags().StringVarP(&out, "output", "o", "", "write it to `FILE`")
	list := &cobra.Command{Use: "list", Short: "list all persons", Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c, "persons", "", "", func(ctx context.Context, people *keyserver.Persons) error {
				all, err := people.List(ctx)
				if err != nil {
					return err
				}
				return json.NewEncoder(p.stdout).Encode(&admin.Persons{Persons: all})
			})
		}}
	remove := &cobra.Command{Use: "remove NAME", Short: "dismiss a person", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c, "dismiss", args[0], "", func(ctx context.Context, people *keyserver.Persons) error { return people.Dismiss(ctx, args[0]) })
		}}
	c.AddCommand(add, token, list, remove)
	return c
}

// known returns a role's name; "" if it is none.
func known(role string) string {
	if admin.Role(role).Valid() {
		return role
	}
	return ""
}

func appointFlags(c *cobra.Command, role, certificate *string) {
	c.Flags().StringVar(role, "role", "", "`ROLE`: owner, operator or auditor (required)")
	c.Flags().StringVar(certificate, "certificate", "", "their client certificate's `FILE`, PEM, or what it is known by: sha256//…")
}

// certificatePin is what a certificate is known by.
func certificatePin(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, "sha256//") {
		return name, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fileError(name, err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", &named{name, "holds no certificate in PEM", nil}
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fileError(name, err)
	}
	return keyserver.Pin(c), nil
}

// writeSecret writes a secret to a new file, or to stdout.
func (p *program) writeSecret(name, secret string) error {
	if name == "" {
		_, err := fmt.Fprintln(p.stdout, secret)
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fileError(name, err)
	}
	_, err = fmt.Fprintln(f, secret)
	return errors.Join(err, f.Chmod(0o600), f.Close())
}

// adminRemote asks a server.
type adminRemote struct {
	p                                     *program
	server, tokenFile, cert, key, pin, ca string
}

func (r *adminRemote) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.server, "server", "", "the administration's `URL` (required)")
	f.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the person's token (required)")
	f.StringVar(&r.cert, "tls-certificate", "", "`FILE` with the person's client certificate, PEM")
	f.StringVar(&r.key, "tls-key", "", "`FILE` with its key")
	f.StringVar(&r.pin, "pin", "", "check the server's certificate by its `FINGERPRINT`, sha256//…, instead of an authority")
	f.StringVar(&r.ca, "ca", "", "check it by the authorities in `FILE`, PEM")
	c.PreRunE = func(c *cobra.Command, _ []string) error { return fromEnvironment(c, "CHANSEAL_ADMIN_") }
}

// credentials reads what a person shows.
func (r *adminRemote) credentials() (token string, conf *tls.Config, err error) {
	data, err := os.ReadFile(r.tokenFile)
	if err != nil {
		return "", nil, fileError(r.tokenFile, err)
	}
	if conf, err = clientTLS(r.ca, r.pin); err != nil {
		return "", nil, err
	}
	if r.cert != "" || r.key != "" {
		cert, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return "", nil, fileError(r.cert, err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return strings.TrimSpace(string(data)), conf, nil
}

// call makes a request, and prints the answer if out is nil.
func (r *adminRemote) call(c *cobra.Command, method, path string, in, out any) error {
	if r.server == "" || r.tokenFile == "" {
		return usagef(c, "%s: --server URL and --token-file FILE are needed", c.CommandPath())
	}
	token, conf, err := r.credentials()
	if err != nil {
		return err
	}
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.Context(), method, strings.TrimSuffix(r.server, "/")+"/v1/admin/"+path, body)
	if err != nil || req.URL.Scheme != "https" {
		return usagef(c, "%s: --server: want https://HOST:PORT", c.CommandPath())
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, Timeout: 30 * time.Second}
	defer hc.CloseIdleConnections()
	resp, err := hc.Do(req)
	if err != nil {
		return reachError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		var problem api.Problem
		_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&problem) // what cannot be read stays empty
		return serverRefuses(&client.Refused{Problem: problem}, resp.Status)
	}
	if out != nil {
		return json.NewDecoder(resp.Body).Decode(out)
	}
	_, err = io.Copy(r.p.stdout, resp.Body)
	return err
}

// serverRefuses is the error for what a key server refused.
func serverRefuses(r *client.Refused, status string) error {
	if r.Problem.Reason == "" {
		return fmt.Errorf("the server answers %s", status)
	}
	reason := r.Problem.Reason
	if r.Code != 0 { // what the vendor's SDKs report
		reason += ", " + strconv.Itoa(r.Code)
	}
	f := &failure{err: fmt.Errorf("the server refuses: %s (%s)", r.Title, reason)}
	if r.Detail != "" {
		f.hints = []string{r.Detail}
	}
	if r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden {
		f.code = exitAuth
	}
	return f
}

// clientTLS returns the settings of a client of ours.
func clientTLS(ca, pin string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if ca != "" {
		data, err := os.ReadFile(ca)
		if err != nil {
			return nil, fileError(ca, err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(data) {
			return nil, &named{ca, "holds no certificate in PEM", nil}
		}
	}
	if pin != "" {
		if err := client.CheckPin(conf, pin); err != nil {
			return nil, err
		}
	}
	return conf, nil
}

func (r *adminRemote) persons() *cobra.Command {
	return &cobra.Command{Use: "persons", Short: "list all persons (owner)", Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error { return r.call(c, "GET", "persons", nil, nil) }}
}

func (r *adminRemote) appoint() *cobra.Command {
	var role, certificate string
	c := &cobra.Command{Use: "appoint NAME --role ROLE --certificate FILE", Short: "appoint a person, or change their role (owner)", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			pin, err := certificatePin(certificate)
			if err != nil {
				return err
			}
			return r.call(c, "PUT", "persons/"+url.PathEscape(args[0]), &admin.Appointment{Role: admin.Role(role), Pin: pin}, nil)
		}}
	appointFlags(c, &role, &certificate)
	return c
}

func (r *adminRemote) dismiss() *cobra.Command {
	return &cobra.Command{Use: "dismiss NAME", Short: "dismiss a person (owner)", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return r.call(c, "DELETE", "persons/"+url.PathEscape(args[0]), nil, nil)
		}}
}

func (r *adminRemote) grant() *cobra.Command {
	var life durationValue
	var out string
	c := &cobra.Command{Use: "grant NAME", Short: "grant a person a token, in place of an earlier one (owner)", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			var g admin.Grant
			if err := r.call(c, "POST", "persons/"+url.PathEscape(args[0])+"/token", &admin.GrantRequest{Seconds: int64(life.d / time.Second)}, &g); err != nil {
				return err
			}
			r.p.notef("good until %s", time.Unix(g.Until, 0).UTC().Format(time.RFC3339))
			return r.p.writeSecret(out, g.Token.Reveal())
		}}
	c.Flags().Var(&life, "for", "for how long, at most 24h (default 8h)")
	c.Flags().StringVarP(&out, "output", "o", "", "write it to `FILE`")
	return c
}

func (r *adminRemote) channels() *cobra.Command {
	return &cobra.Command{Use: "channels", Short: "list all channels (operator)", Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error { return r.call(c, "GET", "channels", nil, nil) }}
}

func (r *adminRemote) create() *cobra.Command {
	suite := &suiteValue{}
	c := &cobra.Command{Use: "create NAME", Short: "create a channel (operator)", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return r.call(c, "POST", "channels", &admin.CreateRequest{Channel: args[0], Suite: suite.String()}, nil)
		}}
	c.Flags().Var(suite, "suite", "its suite (default aes-128-gcm)")
	return c
}

func (r *adminRemote) rotate() *cobra.Command {
	return &cobra.Command{Use: "rotate NAME", Short: "have a fresh epoch made, by the channel's policy (operator)", Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return r.call(c, "POST", "channels/"+url.PathEscape(args[0])+"/rotate", nil, nil)
		}}
}

func (r *adminRemote) revoke() *cobra.Command {
	var req admin.Revocation
	life := durationValue{24 * time.Hour}
	c := &cobra.Command{Use: "revoke {--uid UID | --channel NAME | --card ID}", Short: "put out and bar (operator)", Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			req.Seconds = int64(life.d / time.Second)
			return r.call(c, "POST", "revocations", &req, nil)
		}}
	c.Flags().StringVar(&req.UID, "uid", "", "the user with this `UID`, in one channel or all")
	c.Flags().StringVar(&req.Channel, "channel", "", "in the channel `NAME`; without --uid, everybody in it")
	c.Flags().StringVar(&req.Card, "card", "", "the card with this `ID`, of token inspect")
	c.Flags().Var(&life, "for", "for how long; 0s lifts it")
	return c
}

func (r *adminRemote) issue() *cobra.Command {
	var req admin.CardRequest
	var life durationValue
	var out string
	c := &cobra.Command{Use: "card --channel NAME --uid UID", Short: "issue a channel key (operator)", Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			req.Seconds = int64(life.d / time.Second)
			var card admin.Card
			if err := r.call(c, "POST", "cards", &req, &card); err != nil {
				return err
			}
			return r.p.writeSecret(out, card.Card.Reveal())
		}}
	c.Flags().StringVar(&req.Channel, "channel", "", "the channel's `NAME` (required)")
	c.Flags().StringVar(&req.UID, "uid", "", "the user's `UID` or account (required)")
	c.Flags().Var(&life, "for", "until the end of service, at most 24h (default 1h)")
	c.Flags().StringVarP(&out, "output", "o", "", "write it to `FILE`")
	return c
}

func (r *adminRemote) audit() *cobra.Command {
	var after uint64
	c := &cobra.Command{Use: "audit", Short: "print the server's audit record (auditor)",
		Long: "Prints the lines as they stand in the record. From the first on, they can be checked with audit verify.", Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			return r.call(c, "GET", fmt.Sprintf("audit?after=%d", after), nil, nil)
		}}
	c.Flags().Uint64Var(&after, "after", 0, "leave out the entries up to `NUMBER`")
	return c
}

func (r *adminRemote) keep() *cobra.Command {
	return &cobra.Command{Use: "keep NAME", Short: "keep a blind channel, whose server cannot open it (operator)",
		Long: `Keep a channel of this ring at a key server that is to have none of its secrets. The
server lets members in and out; this command follows who is there, has the ring make an
epoch when somebody went, and gives the server a signed bundle for those who are there,
which it stores and forwards. Members join with --issuer and the fingerprint that this
prints; tell it them on another way than by the server.

It runs until it is interrupted. While it does not run nobody is excluded, and who joins
waits.`,
		Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if r.server == "" || r.tokenFile == "" {
				return usagef(c, "%s: --server URL and --token-file FILE are needed", c.CommandPath())
			}
			token, conf, err := r.credentials()
			if err != nil {
				return err
			}
			ring, err := r.p.openRing(ctx, args[0])
			if err != nil {
				return err
			}
			defer ring.Close()
			issuer, err := ring.Fingerprint(ctx)
			if err != nil {
				return err
			}
			r.p.notef("members join with --issuer %s", issuer)
			r.p.notef("running; ctrl-c ends it")
			tr := &http.Transport{TLSClientConfig: conf, ResponseHeaderTimeout: 30 * time.Second}
			defer tr.CloseIdleConnections()
			err = client.Keep(ctx, client.KeeperOptions{Server: strings.TrimSuffix(r.server, "/"), Token: token, Client: &http.Client{Transport: tr}, Ring: ring, Channel: args[0],
				Logger: slog.New(slog.NewTextHandler(r.p.stderr, &slog.HandlerOptions{Level: r.p.logLevel()}))})
			if err != nil {
				return joinError(err)
			}
			return nil
		}}
}
