package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/chanseal/chanseal/proxy"
)

// askTime bounds one question to the discovery service.
const askTime = 5 * time.Second

// places are where the discovery service may be, in the order to ask: at the name or the
// addresses, at the addresses that stand for a name that does not resolve, and at the
// same hosts' port 443, which firewalls let through that know no other.
func (d *Dialer) places() (list []string) {
	add := func(hosts []string, port uint16) {
		for _, h := range hosts {
			if a := net.JoinHostPort(h, strconv.Itoa(int(port))); !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	all := []Servers{d.servers, d.fallback}
	for _, s := range all {
		add(s.Hosts, s.Port)
	}
	for _, s := range all {
		add(s.Hosts, defaultTLSPort)
	}
	return list
}

// defaultTLSPort is where a proxy has TURN and HTTPS side by side.
const defaultTLSPort = 443

// Discover asks the discovery service: at the name first, then at the list and at port
// 443, each 300 ms after the one before or as soon as that has failed; the first answer
// counts. The last answer is used again as long as it is good and nobody answers.
func (d *Dialer) Discover(ctx context.Context) (*proxy.Discovery, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		found *proxy.Discovery
		err   error
	}
	list := d.places()
	answers := make(chan answer, len(list))
	next, running := 0, 0
	start := func() {
		if next < len(list) {
			a := list[next]
			next++
			running++
			go func() {
				one, cancel := context.WithTimeout(ctx, askTime)
				defer cancel()
				found, err := d.ask(one, a)
				answers <- answer{found, err}
			}()
		}
	}
	start()
	tick := time.NewTicker(d.cfg.Step)
	defer tick.Stop()
	var errs []error
	for running > 0 {
		select {
		case <-tick.C:
			start()
		case a := <-answers:
			running--
			if a.err == nil {
				d.mu.Lock()
				d.found = a.found
				d.mu.Unlock()
				return a.found, nil
			}
			if refused(a.err) {
				return nil, a.err // another would refuse the same card
			}
			errs = append(errs, a.err)
			start()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found != nil && time.Now().Unix() < d.found.Expires {
		return d.found, nil
	}
	return nil, fmt.Errorf("proxy/client: the discovery service cannot be reached: %w", errors.Join(errs...))
}

// refused reports whether the proxy refused the card.
func refused(err error) bool {
	var e *proxy.APIError
	return errors.As(err, &e) && e.Status == http.StatusForbidden
}

func (d *Dialer) ask(ctx context.Context, address string) (*proxy.Discovery, error) {
	q := url.Values{"channel": {d.cfg.Channel}, "uid": {d.cfg.UID}}
	if d.cfg.Region != "" {
		q.Set("region", d.cfg.Region)
	}
	req, err := http.NewRequestWithContext(ctx, "GET", "https://"+address+"/v1/proxy?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	card := d.cfg.Card
	if d.cfg.Renew != nil {
		if card, err = d.cfg.Renew(); err != nil {
			return nil, err
		}
	}
	req.Header.Set("Authorization", "Bearer "+card)
	tr := &http.Transport{DialContext: d.cfg.Dial, TLSClientConfig: d.tls("http/1.1"), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		e := &proxy.APIError{Code: "failed", Text: resp.Status}
		json.Unmarshal(body, e)
		e.Status = resp.StatusCode
		return nil, e
	}
	var found proxy.Discovery
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, fmt.Errorf("proxy/client: %s is no discovery service: %w", address, err)
	}
	return &found, nil
}
