package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
// somebody went, and gives the server bundles for those who are there.
type Keeper struct {
	o      KeeperOptions
	ch     *keyring.Channel
	inside map[string]admin.Member // nil before the first list
	given  bool                    // a bundle for all of them
	known  bool                    // the server has the channel
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
	k := &Keeper{o: o, ch: ch}
	lists := make(chan []admin.Member)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- k.follow(ctx, lists) }()
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
		case list := <-lists:
			err = k.members(ctx, list)
		case <-feed.Changed():
			k.given = false
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

// members takes a list in. Whoever is not in it any more may know the epochs that live.
func (k *Keeper) members(ctx context.Context, list []admin.Member) error {
	now := map[string]admin.Member{}
	for _, m := range list {
		now[m.Member] = m
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
	k.inside, k.given = now, false
	return k.give(ctx)
}

// give exports what the members are to have, unless they have it.
func (k *Keeper) give(ctx context.Context) error {
	if k.inside == nil || k.given || len(k.inside) == 0 && k.known {
		return nil
	}
	var to []keyring.Grant
	seen := map[string]bool{}
	for _, m := range k.inside {
		r, err := keyring.ParseRecipient(m.Recipient)
		if err != nil || seen[m.Recipient] {
			k.o.Logger.Warn("client: a member whose recipient is none, or another's, is given nothing", "member", m.Member)
			continue
		}
		seen[m.Recipient] = true
		to = append(to, keyring.Grant{To: r, Senders: []keyring.SenderRange{{First: m.Sender, Last: m.Sender}}})
	}
	if len(to) == 0 {
		if k.known {
			return nil
		}
		// A bundle for nobody, so that the server has the channel and members can come.
		nobody, err := keyring.NewIdentity("x25519")
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		to = []keyring.Grant{{To: nobody.Recipient()}}
	}
	bundle, err := k.ch.Export(ctx, keyring.ExportOptions{To: to, NotAfter: time.Now().Add(24 * time.Hour)})
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if err := k.put(ctx, bundle); err != nil {
		return err
	}
	k.given, k.known = true, true
	return nil
}

func (k *Keeper) address() string {
	return k.o.Server + "/v1/admin/blind/" + url.PathEscape(k.o.Channel)
}

func (k *Keeper) put(ctx context.Context, bundle []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, k.address(), bytes.NewReader(bundle))
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

// follow streams lists of members until ctx ends or the server refuses for good.
func (k *Keeper) follow(ctx context.Context, lists chan<- []admin.Member) error {
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		began := time.Now()
		err := k.stream(ctx, lists)
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

func (k *Keeper) stream(ctx context.Context, lists chan<- []admin.Member) error {
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
	return readEvents(ctx, resp.Body, dead, func(name, _ string, data []byte) error {
		if name != "members" {
			return nil
		}
		var m admin.Members
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("client: an event cannot be read: %w", err)
		}
		select {
		case lists <- m.Members:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}
