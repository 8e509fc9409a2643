package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api/admin"
)

// KeeperOptions of Keeper. All but Logger are needed.
type KeeperOptions struct {
	// Server is the administration's address, Token the one of an operator, and Client
	// connects to it, with the operator's certificate.
	Server string
	Token  string
	Client *http.Client
	// Ring has the channel's secrets, Channel is its name.
	Ring    *keyring.Ring
	Channel string
	Logger  *slog.Logger
}

// Keeper keeps a blind channel: it follows who is inside, has the ring make an epoch when
// somebody went, and gives the server bundles, one for each of those who are there: all
// anew when the epochs change, and those who came one besides.
type Keeper struct {
	o      KeeperOptions
	ch     *keyring.Channel
	inside map[string]admin.Member // nil before the first list
	has    map[string]epochs       // what each was given last, by their opaque ID
	known  bool                    // the server has the channel
	whole  bool                    // the server wants all bundles anew
}

// epochs are what a bundle held of them: when each begins, and whom it bars.
type epochs map[uint64]string

// change is news of who is inside.
type change struct {
	whole bool // all who are inside, rather than who came
	admin.Members
}

// Keep runs a keeper until ctx ends, or the server refuses for good.
func Keep(ctx context.Context, o KeeperOptions) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ch, err := o.Ring.Channel(ctx, o.Channel)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	feed, err := ch.Feed(ctx)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer feed.Close()
	k := &Keeper{o: o, ch: ch, has: map[string]epochs{}}
	news := make(chan change)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- k.follow(ctx, news) }()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			<-ended
			return nil
		case err := <-ended:
			return err
		case c := <-news:
			err = k.members(ctx, &c)
		case <-feed.Changed():
			err = k.give(ctx)
		case <-retry.C:
			err = k.give(ctx)
		}
		if err != nil && ctx.Err() == nil {
			if final(err) {
				return err
			}
			o.Logger.Warn("client: the channel cannot be kept yet, trying again", "error", err)
			retry.Reset(firstWait*10/2 + rand.N(firstWait*10))
		}
	}
}

// members takes news in. Whoever went may know the epochs that live.
func (k *Keeper) members(ctx context.Context, c *change) error {
	now := maps.Clone(k.inside)
	if c.whole || now == nil {
		now = map[string]admin.Member{}
	}
	for _, id := range c.Gone {
		delete(now, id)
	}
	for _, m := range c.Members.Members {
		if now[m.Member] != m {
			now[m.Member] = m
			if k.inside[m.Member] != m { // who came, or came back with another key
				delete(k.has, m.Member)
			}
		}
	}
	var gone []uint16
	for id, m := range k.inside {
		if _, stays := now[id]; !stays {
			gone = append(gone, m.Sender)
		}
	}
	if k.inside == nil || len(gone) > 0 { // at first nobody knows who went before
		if _, err := k.ch.PutOut(ctx, gone...); err != nil {
			return err
		}
	}
	for id := range k.has {
		if _, stays := now[id]; !stays {
			delete(k.has, id)
		}
	}
	k.inside = now
	return k.give(ctx)
}

// current is what a bundle holds now.
func (k *Keeper) current(ctx context.Context) (epochs, error) {
	info, err := k.ch.Show(ctx)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	now := epochs{}
	for _, e := range info.Epochs {
		at := e.ActivateAt
		switch e.State {
		case keyring.Active, keyring.Retiring:
			at = e.Activated
		case keyring.Staged:
		default:
			continue
		}
		now[e.Number] = fmt.Sprint(at.UnixNano(), e.Barred)
	}
	return now, nil
}

// holds reports whether who was given had has all that there is now.
func (had epochs) holds(now epochs) bool {
	for n, what := range now {
		if had[n] != what {
			return false
		}
	}
	return true
}

const (
	keepAtOnce = 512     // bundles that are made at once
	maxPut     = 3 << 20 // bytes of a request with bundles
)

// give exports what the members are to have, and have not.
func (k *Keeper) give(ctx context.Context) error {
	if k.inside == nil {
		return nil
	}
	now, err := k.current(ctx)
	if err != nil {
		return err
	}
	var need []admin.Member
	for id, m := range k.inside {
		if k.whole || !k.has[id].holds(now) {
			need = append(need, m)
		}
	}
	whole := k.whole || len(need) == len(k.inside)
	to, ids := k.grants(need)
	if len(to) == 0 {
		if k.known {
			return nil
		}
		// A bundle for nobody, so that the server has the channel and members can come.
		nobody, err := keyring.NewIdentity("x25519")
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		to, ids, whole = []keyring.Grant{{To: nobody.Recipient()}}, []string{""}, true
	}
	method := http.MethodPost
	if whole {
		method = http.MethodPut
	}
	var body []byte
	var sent []string
	put := func() error {
		if len(body) == 0 {
			return nil
		}
		err := k.put(ctx, method, body)
		if Reason(err) == "replace-due" && !k.whole {
			k.whole = true
			return fmt.Errorf("client: %w", errWhole)
		} else if err != nil {
			return err
		}
		for _, id := range sent {
			if _, stays := k.inside[id]; stays {
				k.has[id] = now
			}
		}
		method, body, sent = http.MethodPost, body[:0], sent[:0]
		k.known = true
		return nil
	}
	for len(to) > 0 {
		n := min(len(to), keepAtOnce)
		bundles, err := k.ch.ExportEach(ctx, keyring.ExportOptions{To: to[:n], NotAfter: time.Now().Add(24 * time.Hour)})
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		for i, b := range bundles {
			if len(body)+len(b) > maxPut {
				if err := put(); err != nil {
					return err
				}
			}
			body, sent = append(body, b...), append(sent, ids[i])
		}
		to, ids = to[n:], ids[n:]
	}
	if err := put(); err != nil {
		return err
	}
	k.whole = false
	return nil
}

var errWhole = errors.New("the server wants all bundles anew")

// grants are for members, and their opaque IDs.
func (k *Keeper) grants(members []admin.Member) (to []keyring.Grant, ids []string) {
	seen := map[string]bool{}
	for _, m := range members {
		r, err := keyring.ParseRecipient(m.Recipient)
		if err != nil || seen[m.Recipient] {
			k.o.Logger.Warn("client: a member whose recipient is none, or another's, is given nothing", "member", m.Member)
			k.has[m.Member] = nil
			continue
		}
		seen[m.Recipient] = true
		to = append(to, keyring.Grant{To: r, Senders: []keyring.SenderRange{{First: m.Sender, Last: m.Sender}}})
		ids = append(ids, m.Member)
	}
	return to, ids
}

func (k *Keeper) address() string {
	return k.o.Server + "/v1/admin/blind/" + url.PathEscape(k.o.Channel)
}

func (k *Keeper) put(ctx context.Context, method string, bundles []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, k.address(), bytes.NewReader(bundles))
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Authorization", "Bearer "+k.o.Token)
	resp, err := k.o.Client.Do(req)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer resp.Body.Close()
	return refusal(resp)
}

// follow streams news of members until ctx ends or the server refuses for good.
func (k *Keeper) follow(ctx context.Context, news chan<- change) error {
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		began := time.Now()
		err := k.stream(ctx, news)
		if ctx.Err() != nil {
			return nil
		}
		if final(err) {
			return err
		}
		k.o.Logger.Info("client: no list of members from the key server", "error", err)
		if time.Since(began) > longWait {
			wait = firstWait
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

func (k *Keeper) stream(ctx context.Context, news chan<- change) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.address()+"/members", nil)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+k.o.Token)
	dead := time.AfterFunc(silence, func() { cancel(errors.New("client: nothing is heard from the server")) })
	defer dead.Stop()
	resp, err := k.o.Client.Do(req)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer resp.Body.Close()
	if err := refusal(resp); err != nil {
		return err
	}
	var c change // in pieces
	return readEvents(ctx, resp.Body, dead, func(name, _ string, data []byte) error {
		if name != "members" && name != "changed" {
			return nil
		}
		var piece admin.Members
		if err := json.Unmarshal(data, &piece); err != nil {
			return fmt.Errorf("client: an event cannot be read: %w", err)
		}
		if name == "members" {
			c = change{whole: true}
		}
		c.Members.Members = append(c.Members.Members, piece.Members...)
		c.Gone = append(c.Gone, piece.Gone...)
		if piece.More {
			return nil
		}
		full := c
		c = change{}
		select {
		case news <- full:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}
