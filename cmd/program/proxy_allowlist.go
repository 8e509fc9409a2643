package program

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/proxy"
)

func (p *program) proxyAllowListCommand() *cobra.Command {
	var (
		f        = &proxyFlags{}
		format   string
		source   string
		server   string
		set      string
		insecure bool
	)
	c := &cobra.Command{
		Use:   "allowlist [--format FORMAT]",
		Short: "print what a company's firewall must let through",
		Long: `Print what a company's firewall must let through for its clients to use the proxy: from
the configuration that opens the ports (--config and flags), or from a running proxy
(--server). Formats: ` + strings.Join(proxy.AllowListFormats, ", ") + `.

The relay addresses face the media network; they are not in the list.`,
		Example: `  chanseal proxy allowlist --config proxy.json
  chanseal proxy allowlist --config proxy.json --set test --format markdown
  chanseal proxy allowlist --public 203.0.113.9 --source 10.2.0.0/16 --format nftables
  chanseal proxy allowlist --server proxy.example.com:4000 --format csv`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(proxy.AllowListFormats, format) {
				return usagef(c, "%s: --format: no format %q, there are %s", c.CommandPath(), format, strings.Join(proxy.AllowListFormats, ", "))
			}
			if set != "production" && set != "test" {
				return usagef(c, "%s: --set is production or test", c.CommandPath())
			}
			var from netip.Prefix
			if source != "" {
				n, err := proxy.ParseNetwork(source)
				if err != nil || n.Ports != proxy.AllPorts {
					return usagef(c, "%s: --source: %q is no network, give one as 10.2.0.0/16", c.CommandPath(), source)
				}
				from = n.Prefix
			}
			var rows []proxy.Row
			if server != "" {
				var err error
				if rows, err = fetchAllowList(c, server, set, insecure); err != nil {
					return err
				}
			} else {
				cfg, err := f.read(c)
				if err != nil {
					return err
				}
				if rows, err = cfg.AllowList(set == "test"); err != nil {
					return &failure{err: err, code: exitUsage}
				}
			}
			return proxy.WriteAllowList(p.stdout, format, rows, from)
		},
	}
	f.add(c)
	flags := c.Flags()
	flags.StringVar(&format, "format", "table", "`FORMAT` of the list")
	flags.StringVar(&source, "source", "", "the clients' network, as `CIDR`")
	flags.StringVar(&server, "server", "", "ask the proxy at `HOST:PORT`")
	flags.StringVar(&set, "set", "production", "the `SET` of addresses: production or test")
	flags.BoolVar(&insecure, "insecure", false, "do not check the proxy's TLS certificate")
	return c
}

// fetchAllowList asks a running proxy. What it answers is read into addresses and
// numbers, so that nothing of it can become a command in a firewall's file.
func fetchAllowList(c *cobra.Command, server, set string, insecure bool) ([]proxy.Row, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}}}
	req, err := http.NewRequestWithContext(c.Context(), "GET", "https://"+server+"/v1/allowlist?set="+set, nil)
	if err != nil {
		return nil, usagef(c, "%s: --server: %v", c.CommandPath(), err)
	}
	resp, err := client.Do(req)
	if err != nil {
		if strings.Contains(err.Error(), "certificate") {
			return nil, hinted(fmt.Errorf("%s: %w", server, err), "if the proxy's certificate signs itself: --insecure")
		}
		return nil, reachError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var e proxy.APIError
		json.Unmarshal(body, &e)
		return nil, fmt.Errorf("%s: %s %s", server, resp.Status, e.Text)
	}
	var list struct {
		Rows []proxy.Row `json:"rows"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%s: not an allow-list: %w", server, err)
	}
	for i := range list.Rows {
		r := &list.Rows[i]
		if r.Protocol != "TCP" && r.Protocol != "UDP" || !r.Destination.IsValid() || r.Destination.Zone() != "" || len(r.Ports) == 0 ||
			strings.ContainsFunc(r.Purpose, func(x rune) bool { return (x < 'a' || x > 'z') && (x < 'A' || x > 'Z') && x != ' ' }) {
			return nil, fmt.Errorf("%s: row %d of the allow-list is not one", server, i+1)
		}
	}
	return list.Rows, nil
}
