package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chanseal/chanseal/proxy"
)

// Status is what a check found out about a line of the allow-list.
type Status string

// The statuses.
const (
	Reachable   Status = "reachable"
	Partly      Status = "partly reachable"
	Blocked     Status = "blocked"
	Intercepted Status = "TLS intercepted" // somebody else answers with a certificate that is not the proxy's
	Lossy       Status = "UDP lossy"
)

// CheckedRow is a line of the allow-list with what was found.
type CheckedRow struct {
	proxy.Row
	Status  Status        `json:"status"`
	Blocked []proxy.Ports `json:"blocked,omitempty"`
	Loss    float64       `json:"loss"`             // UDP: 0 to 1
	RTT     float64       `json:"rtt_ms,omitempty"` // median, milliseconds
	MTU     int           `json:"mtu,omitempty"`    // UDP: the largest IP packet that came through, at most 1500
	Detail  string        `json:"detail,omitempty"`
}

// Report is what a check found.
type Report struct {
	Server string       `json:"server"`
	Rows   []CheckedRow `json:"rows"`
	// Modes are the modes in which a call will work: auto, udp, tcp, tls, socks5.
	Modes []string `json:"modes"`
	// Ask is what to ask the firewall's owner for.
	Ask []string `json:"ask"`
	// Notes are what else the lines tell.
	Notes []string `json:"notes,omitempty"`
}

// Works reports whether a call will work in some mode.
func (r *Report) Works() bool { return len(r.Modes) > 0 }

// lossyAt is the loss from which on UDP is called lossy.
const lossyAt = 0.02

// probes is how many datagrams measure a line.
const probes = 50

// CheckConfig says what to try.
type CheckConfig struct {
	Server string      // HOST or HOST:PORT
	TLS    *tls.Config // nil for the system's roots
	// Rows is the allow-list; nil: it is asked for at the server, at its control port
	// or at 443, and if it cannot be reached the default ports of that host are tried.
	Rows []proxy.Row
	// Timeout is how long a port may take to answer; 0 for 4 seconds.
	Timeout time.Duration
}

// Check tries every line of an allow-list from this machine.
func Check(ctx context.Context, cfg CheckConfig) (*Report, error) {
	server, conf, rows := cfg.Server, cfg.TLS, cfg.Rows
	if cfg.Timeout <= 0 {
		cfg.Timeout = 4 * time.Second
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		host, port = strings.Trim(server, "[]"), strconv.Itoa(DefaultControlPort)
	}
	r := &Report{Server: net.JoinHostPort(host, port), Modes: []string{}, Ask: []string{}}
	if rows == nil {
		rows, err = fetchRows(ctx, host, port, conf)
		if err != nil {
			addrs, lookup := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			if lookup != nil {
				return nil, fmt.Errorf("proxy/client: %s does not resolve, give its addresses in place of the name: %w", host, lookup)
			}
			l := proxy.DefaultPorts()
			if n, err := proxy.ParsePorts(port); err == nil {
				l.Control = []proxy.Ports{n}
			}
			rows = proxy.AllowList([]proxy.Node{{Address: addrs[0].Unmap()}}, l)
		}
	}
	if conf == nil {
		conf = &tls.Config{}
	}
	if conf.ServerName == "" {
		conf = conf.Clone()
		conf.ServerName = host
	}
	r.Rows = make([]CheckedRow, len(rows))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 8)
	for i, row := range rows {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			r.Rows[i] = checkRow(ctx, row, conf, cfg.Timeout)
		})
	}
	wg.Wait()
	r.conclude()
	return r, ctx.Err()
}

// fetchRows asks for the allow-list.
func fetchRows(ctx context.Context, host, port string, conf *tls.Config) ([]proxy.Row, error) {
	c := &tls.Config{}
	if conf != nil {
		c = conf.Clone()
	}
	c.InsecureSkipVerify = true // whoever answers: every line is tried, and certificates are looked at there
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
	var errs []error
	for _, p := range slices.Compact([]string{port, "443"}) {
		req, err := http.NewRequestWithContext(ctx, "GET", "https://"+net.JoinHostPort(host, p)+"/v1/allowlist", nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var list struct {
			Rows []proxy.Row `json:"rows"`
		}
		err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&list)
		resp.Body.Close()
		if err == nil && len(list.Rows) > 0 {
			return list.Rows, nil
		}
		errs = append(errs, errors.New("no allow-list"))
	}
	return nil, errors.Join(errs...)
}

// conclude says which modes work and what to ask for.
func (r *Report) conclude() {
	works := map[string]bool{}
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Status == Blocked || row.Status == Intercepted {
			continue
		}
		open := func(p uint16) bool {
			return !slices.ContainsFunc(row.Blocked, func(b proxy.Ports) bool { return b.Contains(p) })
		}
		switch {
		case row.Purpose == "messages":
			works["discovery"] = true
		case strings.Contains(row.Purpose, "TLS"):
			works["discovery"], works["tls"] = true, true
		case row.Purpose == "media exchange":
			works["udp"] = true
		default:
			for _, p := range row.Ports {
				for port := int(p.First); port <= int(p.Last); port++ {
					switch {
					case !open(uint16(port)):
					case port == DefaultSOCKSPort || len(row.Ports) > 1 && p == row.Ports[0]:
						works["socks5 "+row.Protocol] = true
					default:
						works[strings.ToLower(row.Protocol)] = true
					}
				}
			}
		}
	}
	if works["discovery"] {
		for _, m := range []string{"udp", "tcp", "tls"} {
			if works[m] {
				r.Modes = append(r.Modes, m)
			}
		}
		if len(r.Modes) > 0 {
			r.Modes = append([]string{"auto"}, r.Modes...)
		}
	}
	if works["socks5 TCP"] && works["socks5 UDP"] {
		r.Modes = append(r.Modes, "socks5")
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		ports := row.Ports
		if row.Status == Partly {
			ports = row.Blocked
		}
		var list []string
		for _, p := range ports {
			list = append(list, p.String())
		}
		word := "ports"
		if len(ports) == 1 && ports[0].First == ports[0].Last {
			word = "port"
		}
		what := fmt.Sprintf("%s to %s %s %s (%s)", row.Protocol, row.Destination, word, strings.Join(list, ", "), row.Purpose)
		switch row.Status {
		case Blocked, Partly:
			r.Ask = append(r.Ask, "let out "+what)
		case Intercepted:
			r.Ask = append(r.Ask, "do not intercept TLS: "+what)
		case Lossy:
			r.Ask = append(r.Ask, fmt.Sprintf("look at what loses %.0f %% of %s", 100*row.Loss, what))
		}
	}
	r.note()
}

// What a line's Detail may be.
const (
	detailRefused  = "connection refused"
	detailNoAnswer = "no answer"
	detailDraining = "the proxy takes nobody new, it is about to stop"
)

// note says what the lines tell together.
func (r *Report) note() {
	all := func(f func(*CheckedRow) bool) bool {
		return !slices.ContainsFunc(r.Rows, func(row CheckedRow) bool { return !f(&row) })
	}
	some := func(f func(*CheckedRow) bool) bool {
		return slices.ContainsFunc(r.Rows, func(row CheckedRow) bool { return f(&row) })
	}
	blocked := all(func(row *CheckedRow) bool { return row.Status == Blocked })
	switch {
	case blocked && all(func(row *CheckedRow) bool { return row.Protocol == "UDP" || row.Detail == detailRefused }):
		r.Notes = append(r.Notes, "every connection is refused, not lost: perhaps nothing is wrong with the firewall and the proxy does not run; ask its operator first")
	case blocked && all(func(row *CheckedRow) bool { return row.Detail == detailNoAnswer }):
		r.Notes = append(r.Notes, "nothing answers at all: see that "+r.Server+" is the proxy and that it runs, before you ask for anything")
	}
	if some(func(row *CheckedRow) bool { return row.Status == Intercepted }) {
		r.Notes = append(r.Notes, "if the certificate that is not trusted is the proxy's own, give it: --ca FILE")
	}
	if some(func(row *CheckedRow) bool { return row.Detail == detailDraining }) {
		r.Notes = append(r.Notes, "the proxy takes nobody new at the moment, whatever the firewall does: try again later, or at another")
	}
}
