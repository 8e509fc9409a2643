package keyserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/api/admin"
)

// A blind channel is kept by somebody elsewhere, whose ring alone has its secrets: they
// export bundles, signed, and sealed to the members. The server lets members in and out
// as with any channel, stores bundles and forwards to each member the one that is for
// them, and cannot open any. Who keeps the channel follows the list of members: when
// somebody went they make an epoch and give bundles anew; who comes is given one.
//
// Bundles lie on the shelf, one after another in pages, under b/NAME/PAGE. Which pages
// count says the record b/NAME, which is written last.
type blindRecord struct {
	Channel  string
	Revision uint64 // grows with every page, and every exchange of all
	Issuer   string // who signs, by their fingerprint: the first one keeps the channel
	Pages    []blindPage
}

type blindPage struct {
	ID       string
	Revision uint64 // of the channel, when it came
	Size     int
	Rev      uint64 // of the record in the store
}

const (
	maxBundles  = 4 << 20   // bytes of one request with bundles
	maxBundle   = 512 << 10 // bytes of one bundle, and of a page
	maxPages    = 512
	maxBlind    = 128 << 20 // bytes of all bundles of a channel
	blindPrefix = "b/"
)

func (s *Server) blindShelf() (*keyring.Shelf, error) { return s.cfg.Ring.Shelf(shelfName) }

func blindKey(shelf *keyring.Shelf, channel string) (string, error) {
	name, err := shelf.Name("blind", channel)
	return blindPrefix + name, err
}

// blindSource forwards what a keeper gives.
type blindSource struct {
	s     *Server
	shelf *keyring.Shelf
	key   string
	name  string
	wake  chan struct{}

	mu    sync.Mutex
	head  blindRecord
	pages map[string]bool         // of head, that were read
	of    map[[8]byte]blindBundle // by the recipient's hint
}

// blindBundle is the newest one for a recipient.
type blindBundle struct {
	revision uint64 // of its page; 0: there is none
	bytes    []byte
}

// openBlind begins to follow a blind channel; keyring.ErrNoChannel if there is none.
func (s *Server) openBlind(ctx context.Context, name string) (source, error) {
	shelf, err := s.blindShelf()
	if err != nil {
		return nil, err
	}
	b := &blindSource{s: s, shelf: shelf, name: name, wake: make(chan struct{}, 1)}
	if b.key, err = blindKey(shelf, name); err != nil {
		return nil, err
	}
	if _, _, err = readBlind(ctx, shelf, b.key); err != nil {
		return nil, err
	}
	return b, nil
}

func readBlind(ctx context.Context, shelf *keyring.Shelf, key string) (r blindRecord, rev uint64, err error) {
	e, err := shelf.Get(ctx, key)
	if errors.Is(err, keyring.ErrNotFound) {
		return r, 0, keyring.ErrNoChannel
	} else if err != nil {
		return r, 0, err
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return r, 0, fmt.Errorf("keyserver: a blind channel's record cannot be read: %w", err)
	}
	return r, e.Rev, nil
}

func (b *blindSource) snapshot() (*snapshot, error) {
	ctx, cancel := context.WithTimeout(b.s.ctx, stateTimeout)
	defer cancel()
	var err error
	for range 5 { // a page may be gone because others took the place of all
		if err = b.read(ctx); !errors.Is(err, keyring.ErrNotFound) {
			break
		}
	}
	if errors.Is(err, keyring.ErrNoChannel) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return &snapshot{refs: 1, blind: b, keys: api.Keys{Channel: b.name, Keeper: b.head.Issuer, Revision: b.head.Revision, Epochs: []api.Epoch{}, Blind: true}}, nil
}

// read reads the pages that are new.
func (b *blindSource) read(ctx context.Context) error {
	head, _, err := readBlind(ctx, b.shelf, b.key)
	if err != nil {
		return err
	}
	b.mu.Lock()
	pages, of := maps.Clone(b.pages), b.of
	b.mu.Unlock()
	now := map[string]bool{}
	for _, p := range head.Pages {
		now[p.ID] = true
	}
	for id := range pages {
		if !now[id] { // all were exchanged
			pages, of = nil, nil
			break
		}
	}
	more := map[[8]byte]blindBundle{}
	for _, p := range head.Pages {
		if pages[p.ID] {
			continue
		}
		e, err := b.shelf.Get(ctx, b.key+"/"+p.ID)
		if err != nil {
			return err
		}
		for rest := e.Value; len(rest) > 0; {
			var u *keyring.Bundle
			if u, rest, err = keyring.NextBundle(rest); err != nil {
				return fmt.Errorf("keyserver: a page of bundles cannot be read: %w", err)
			}
			for _, hint := range u.Hints() {
				if old, ok := more[hint]; !ok || old.revision <= p.Revision {
					more[hint] = blindBundle{p.Revision, u.Bytes()}
				}
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if of == nil {
		of = make(map[[8]byte]blindBundle, len(more))
	}
	maps.Copy(of, more)
	b.head, b.pages, b.of = head, now, of
	return nil
}

// bundleOf returns the bundle that is for a member.
func (b *blindSource) bundleOf(m *member) blindBundle {
	hint := m.blindHint()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[hint]
}

func (b *blindSource) changed() <-chan struct{} { return b.wake }

// told wakes who waits for the record.
func (b *blindSource) told() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Who keeps the channel is told by the list of members: there is nothing else to do.
func (*blindSource) joined(context.Context) (uint64, error)  { return 0, nil }
func (*blindSource) left(context.Context, ...uint16) error   { return nil }
func (*blindSource) putOut(context.Context, ...uint16) error { return nil }
func (*blindSource) stage(context.Context) error             { return nil }
func (*blindSource) close()                                  {}

// blindChanged has the channel's hub look at its record again.
func (s *Server) blindChanged(key string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, h := range s.hubs {
		if b, ok := h.from.(*blindSource); ok && b.key == key {
			b.told()
		}
	}
}

var errOtherIssuer = errors.New("keyserver: the channel is kept by another issuer")

// putBundles stores bundles that stand one after another, beside those that there are or in
// place of them, and forwards them.
func (s *Server) putBundles(ctx context.Context, channel string, body []byte, replace bool) (revision uint64, err error) {
	pages, issuer, err := splitBundles(body)
	if err != nil {
		return 0, err
	}
	if _, err := s.cfg.Ring.Channel(ctx, channel); !errors.Is(err, keyring.ErrNoChannel) {
		if err == nil {
			err = keyring.ErrChannelExists // the ring has its secrets: it is not blind
		}
		return 0, err
	}
	shelf, err := s.blindShelf()
	if err != nil {
		return 0, err
	}
	key, err := blindKey(shelf, channel)
	if err != nil {
		return 0, err
	}
	for {
		old, rev, err := readBlind(ctx, shelf, key)
		if err != nil && !errors.Is(err, keyring.ErrNoChannel) {
			return 0, err
		}
		if rev != 0 && old.Issuer != issuer {
			return 0, errOtherIssuer
		}
		next := blindRecord{Channel: channel, Revision: old.Revision + 1, Issuer: issuer}
		if !replace {
			next.Pages = old.Pages
		}
		size := 0
		for _, p := range next.Pages {
			size += p.Size
		}
		if !replace && (len(next.Pages)+len(pages) > maxPages || size+len(body) > maxBlind) {
			return 0, refuse("replace-due")
		}
		mine := make([]blindPage, 0, len(pages))
		forget := func(all []blindPage) {
			for _, p := range all {
				_ = shelf.Delete(ctx, key+"/"+p.ID, p.Rev) // what stays takes room until all are exchanged
			}
		}
		for _, page := range pages {
			p := blindPage{ID: newID(""), Revision: next.Revision, Size: len(page)}
			if p.Rev, err = shelf.CAS(ctx, key+"/"+p.ID, page, 0); err != nil {
				forget(mine)
				return 0, err
			}
			mine = append(mine, p)
		}
		next.Pages = append(slices.Clip(next.Pages), mine...)
		value, err := json.Marshal(&next)
		if err != nil {
			return 0, fmt.Errorf("keyserver: %w", err)
		}
		_, err = shelf.CAS(ctx, key, value, rev)
		switch {
		case err == nil:
			s.blindChanged(key)
			if replace {
				forget(old.Pages)
			}
			return next.Revision, nil
		case !errors.Is(err, keyring.ErrConflict):
			return 0, err
		}
		forget(mine)
	}
}

// splitBundles checks the form of bundles, and puts them together in pages.
func splitBundles(body []byte) (pages [][]byte, issuer string, err error) {
	var page []byte
	for rest := body; len(rest) > 0; {
		var u *keyring.Bundle
		if u, rest, err = keyring.NextBundle(rest); err != nil {
			return nil, "", refuse("bad-bundle")
		}
		b := u.Bytes()
		if issuer == "" {
			issuer = u.Issuer()
		}
		switch {
		case u.Issuer() != issuer:
			return nil, "", errOtherIssuer
		case len(b) > maxBundle:
			return nil, "", refuse("too-large")
		case len(page)+len(b) > maxBundle:
			pages, page = append(pages, page), nil
		}
		page = append(page, b...)
	}
	if len(page) == 0 {
		return nil, "", refuse("bad-bundle")
	}
	return append(pages, page), issuer, nil
}

// present lists the members of a channel, at all servers: whom a bundle is to be for.
func (s *Server) present(ctx context.Context, channel string) ([]admin.Member, error) {
	all := []admin.Member{}
	if s.state == nil {
		s.mu.RLock()
		h := s.hubs[channel]
		s.mu.RUnlock()
		if h != nil {
			h.mu.Lock()
			for m := range h.members {
				all = append(all, admin.Member{Member: m.id, Sender: m.sender, Recipient: m.blindTo()})
			}
			h.mu.Unlock()
		}
	} else {
		seats, _, err := s.state.shelf.List(ctx, "s/")
		if err != nil {
			return nil, err
		}
		for _, e := range seats {
			var x seat
			if json.Unmarshal(e.Value, &x) == nil && x.Gate.Channel == channel && !x.Gone {
				all = append(all, admin.Member{Member: x.Member, Sender: x.Sender, Recipient: x.Recipient})
			}
		}
	}
	slices.SortFunc(all, func(a, b admin.Member) int { return strings.Compare(a.Member, b.Member) })
	return all, nil
}

// blindHint names the member in bundles.
func (m *member) blindHint() [8]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hint
}

// blindTo is the recipient that bundles for the member are sealed to.
func (m *member) blindTo() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recipient
}

// watchers are those who follow lists of members.
type watchers map[chan struct{}]struct{}

// membersChanged wakes them.
func (s *Server) membersChanged() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for w := range s.watching {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// watchMembers returns a channel that has a value when members came or went.
func (s *Server) watchMembers() (wake chan struct{}, stop func()) {
	wake = make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching == nil {
		s.watching = watchers{}
	}
	s.watching[wake] = struct{}{}
	return wake, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watching, wake)
	}
}
