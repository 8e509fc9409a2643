package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/proxy"
	"github.com/chanseal/chanseal/proxy/client"
)

func (p *program) proxyCheckCommand() *cobra.Command {
	var (
		f        = &proxyFlags{}
		server   string
		ca       string
		insecure bool
		asJSON   bool
		timeout  = durationValue{4 * time.Second}
	)
	c := &cobra.Command{
		Use:   "check --server HOST[:PORT]",
		Short: "say from inside a company what its firewall lets through",
		Long: `Try every line of the proxy's allow-list from this machine: is it reachable, blocked, is
TLS intercepted, does UDP lose packets (with the loss, the round trip and the largest IP
packet that comes through). Say which modes will work, and what to ask the owner of the
firewall for. The list is asked for at the server (port 4000, or 443); with --config it
comes from a file.

The exit status is 0 if a call will work in some mode and 1 if in none.`,
		Example: `  chanseal proxy check --server proxy.example.com
  chanseal proxy check --server 203.0.113.9:4000 --ca proxy-ca.pem --json
  chanseal proxy check --server proxy.example.com --config allowlist.json`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			if server == "" {
				return usagef(c, "%s: --server HOST is missing", c.CommandPath())
			}
			conf := &tls.Config{InsecureSkipVerify: insecure}
			if ca != "" {
				pem, err := os.ReadFile(ca)
				if err != nil {
					return fileError(ca, err)
				}
				conf.RootCAs = x509.NewCertPool()
				if !conf.RootCAs.AppendCertsFromPEM(pem) {
					return &named{ca, "has no certificate in PEM", nil}
				}
			}
			var rows []proxy.Row
			if f.file != "" || len(f.public) > 0 {
				cfg, err := f.read(c)
				if err != nil {
					return err
				}
				if rows, err = cfg.AllowList(false); err != nil {
					return &failure{err: err, code: exitUsage}
				}
			}
			ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
			defer cancel()
			report, err := client.Check(ctx, client.CheckConfig{Server: server, TLS: conf, Rows: rows, Timeout: timeout.d})
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(p.stdout, report)
			} else {
				err = p.printCheck(report)
			}
			if err == nil && !report.Works() {
				return &failure{err: fmt.Errorf("no mode works from here"), code: exitFailed, hints: []string{"chanseal proxy allowlist --help says how to print the list for the firewall's owner, or in the firewall's own language"}}
			}
			return err
		},
	}
	f.add(c)
	flags := c.Flags()
	flags.StringVar(&server, "server", "", "the proxy's `HOST` and port (required; default port 4000)")
	flags.StringVar(&ca, "ca", "", "trust the certificates in the PEM `FILE`")
	flags.BoolVar(&insecure, "insecure", false, "do not check TLS certificates; interception is not noticed then")
	flags.Var(&timeout, "timeout", "how long a port may take to answer")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *program) printCheck(r *client.Report) error {
	t := tabwriter.NewWriter(p.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "PROTOCOL\tDESTINATION\tPORTS\tPURPOSE\tRESULT")
	for _, row := range r.Rows {
		var ports []string
		for _, x := range row.Ports {
			ports = append(ports, x.String())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", row.Protocol, row.Destination, strings.Join(ports, ", "), row.Purpose, checkText(&row))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(r.Server)
	use := map[string]string{
		"auto": "--cloud-proxy", "udp": "--cloud-proxy udp", "tcp": "--cloud-proxy tcp", "tls": "--cloud-proxy tcp, which takes TLS",
		"socks5": "--cloud-proxy --proxy-type 0 --proxy-server " + net.JoinHostPort(host, strconv.Itoa(client.DefaultSOCKSPort)) + ", or any program that knows SOCKS5",
	}
	var b strings.Builder
	if r.Works() {
		b.WriteString("\nworks:\n")
		for _, m := range r.Modes {
			fmt.Fprintf(&b, "  %-7s %s\n", m, use[m])
		}
	} else {
		b.WriteString("\nworks: no mode\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", printable(n))
	}
	switch {
	case len(r.Ask) == 0:
		b.WriteString("nothing to ask the firewall's owner for\n")
	case r.Works():
		b.WriteString("a call works; for the rest, ask the firewall's owner:\n")
	default:
		b.WriteString("ask the firewall's owner:\n")
	}
	for _, a := range r.Ask {
		fmt.Fprintf(&b, "  %s\n", printable(a))
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

func checkText(row *client.CheckedRow) string {
	text := string(row.Status)
	if len(row.Blocked) > 0 && row.Status == client.Partly {
		var ports []string
		for _, b := range row.Blocked {
			ports = append(ports, b.String())
		}
		text += ", not " + strings.Join(ports, ", ")
	}
	if row.RTT > 0 {
		text += fmt.Sprintf(", %.1f ms", row.RTT)
	}
	if row.Protocol == "UDP" && row.Status != client.Blocked {
		text += fmt.Sprintf(", %.0f %% lost, MTU %d", 100*row.Loss, row.MTU)
	}
	if row.Detail != "" {
		text += ": " + printable(row.Detail)
	}
	return text
}
