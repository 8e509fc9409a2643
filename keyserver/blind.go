package keyserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api"
	"github.com/chanseal/chanseal/keyserver/api/admin"
)

// A blind channel is kept by somebody elsewhere, whose ring alone has its secrets: they
// export bundles, signed, and sealed to the members. The server lets members in and out
// as with any channel, stores the newest bundle and forwards it, and cannot open it.
// Who keeps the channel follows the list of members: when it changes they make an epoch,
// if somebody went, and give another bundle.
//
// The bundle lies on the shelf under b/NAME.
type blindRecord struct {
	Channel  string
	Revision uint64
	Issuer   string // who signs, by their fingerprint: the first one keeps the channel
	Bundle   []byte
}

// maxBundle bounds a bundle in bytes: a record has to hold it, in base64.
const maxBundle = 768 << 10

func (s *Server) blindShelf() (*keyring.Shelf, error) { return s.cfg.Ring.Shelf(shelfName) }

func blindKey(shelf *keyring.Shelf, channel string) (string, error) {
	name, err := shelf.Name("blind", channel)
	return "b/" + name, err
}

// blindSource forwards what a keeper gives.
type blindSource struct {
	s     *Server
	shelf *keyring.Shelf
	key   string
	name  string
	wake  chan struct{}
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
	if _, _, err = b.read(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *blindSource) read(ctx context.Context) (r blindRecord, rev uint64, err error) {
	e, err := b.shelf.Get(ctx, b.key)
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
	r, _, err := b.read(ctx)
	if errors.Is(err, keyring.ErrNoChannel) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	n := &snapshot{refs: 1, keys: api.Keys{Channel: b.name, Keeper: r.Issuer, Revision: r.Revision, Epochs: []api.Epoch{}, Bundle: r.Bundle}}
	if n.plain, err = json.Marshal(&n.keys); err != nil {
		return nil, fmt.Errorf("keyserver: %w", err)
	}
	return n, nil
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

// putBundle stores a bundle and forwards it.
func (s *Server) putBundle(ctx context.Context, channel string, bundle []byte) (revision uint64, err error) {
	parsed, err := keyring.ParseBundle(bundle)
	if err != nil {
		return 0, refuse("bad-bundle")
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
	b := &blindSource{s: s, shelf: shelf, name: channel}
	if b.key, err = blindKey(shelf, channel); err != nil {
		return 0, err
	}
	for {
		r, rev, err := b.read(ctx)
		if err != nil && !errors.Is(err, keyring.ErrNoChannel) {
			return 0, err
		}
		if rev != 0 && r.Issuer != parsed.Issuer() {
			return 0, errOtherIssuer
		}
		value, err := json.Marshal(&blindRecord{Channel: channel, Revision: r.Revision + 1, Issuer: parsed.Issuer(), Bundle: bundle})
		if err != nil {
			return 0, fmt.Errorf("keyserver: %w", err)
		}
		_, err = shelf.CAS(ctx, b.key, value, rev)
		if err == nil {
			s.blindChanged(b.key)
			return r.Revision + 1, nil
		}
		if !errors.Is(err, keyring.ErrConflict) {
			return 0, err
		}
	}
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
