package keyserver

import (
	"context"
	"errors"

	"github.com/chanseal/chanseal/keyring"
)

// source is where a channel's epochs come from: the ring, or, for a blind channel,
// somebody who keeps it elsewhere.
type source interface {
	// snapshot returns what members are given now; nil if there is nothing.
	snapshot() (*snapshot, error)
	changed() <-chan struct{}
	// joined tells of a member, and returns the first epoch they may be given.
	joined(ctx context.Context) (first uint64, err error)
	// left and putOut tell of members who went; putOut is for those who must not stay.
	left(ctx context.Context, senders ...uint16) error
	putOut(ctx context.Context, senders ...uint16) error
	// stage makes the next epoch, so that members hold it before it is needed.
	stage(ctx context.Context) error
	close()
}

// ringSource is a channel of the ring.
type ringSource struct {
	ch     *keyring.Channel
	feed   *keyring.Feed
	keeper string
}

// openRing begins to follow a channel. If nobody knows who was inside of it before, it
// gets a fresh epoch.
func (s *Server) openRing(ctx context.Context, name string) (source, error) {
	ch, err := s.cfg.Ring.Channel(ctx, name)
	if err != nil {
		return nil, err
	}
	if s.state == nil {
		if _, err := ch.Revoke(ctx, "opened"); err != nil {
			return nil, err
		}
	}
	r := &ringSource{ch: ch, keeper: s.cfg.Ring.ID()}
	if err := r.stage(ctx); err != nil {
		return nil, err
	}
	r.feed, err = ch.Feed(ctx)
	return r, err
}

func (r *ringSource) snapshot() (*snapshot, error) {
	handout, err := r.feed.Current()
	if err != nil {
		return nil, err
	}
	defer handout.Wipe()
	if len(handout.Keys) == 0 {
		return nil, nil
	}
	return newSnapshot(&handout, r.keeper)
}

func (r *ringSource) changed() <-chan struct{} { return r.feed.Changed() }

func (r *ringSource) joined(ctx context.Context) (uint64, error) {
	first, _, err := r.ch.Joined(ctx)
	return first, err
}

func (r *ringSource) left(ctx context.Context, senders ...uint16) error {
	_, err := r.ch.Left(ctx, senders...)
	return err
}

func (r *ringSource) putOut(ctx context.Context, senders ...uint16) error {
	_, err := r.ch.PutOut(ctx, senders...)
	return err
}

func (r *ringSource) stage(ctx context.Context) error {
	_, err := r.ch.Stage(ctx, "next")
	if errors.Is(err, keyring.ErrStaged) {
		return nil
	}
	return err
}

func (r *ringSource) close() { r.feed.Close() }
