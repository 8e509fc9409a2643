package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Shelf is a place in a ring's store for the records of a service that works on the
// ring: which members are inside of what, for example. Several processes on the same
// store share it. Records are sealed, each bound to its key; keys stand in the store as
// they are, so that names belong into [Shelf.Name].
type Shelf struct {
	ring   *Ring
	prefix string
}

// kindShelf is the kind of record that a Shelf keeps. Its id is the whole key, so that a
// record cannot be moved; its revision is always 0, as the store's is what counts.
const kindShelf = "shelf"

// Shelf returns the shelf of a service, named by 1 to 32 letters.
func (r *Ring) Shelf(service string) (*Shelf, error) {
	if service == "" || len(service) > 32 || slices.ContainsFunc([]byte(service), func(b byte) bool { return b < 'a' || b > 'z' }) {
		return nil, fmt.Errorf("keyring: a service is named by 1 to 32 small letters, not %q", service)
	}
	return &Shelf{ring: r, prefix: "x/" + service + "/"}, nil
}

// Name turns names into a part of a key that tells nothing of them: 32 hexadecimal
// digits of a keyed hash.
func (s *Shelf) Name(names ...string) (string, error) {
	from, err := s.ring.nameKey()
	if err != nil {
		return "", err
	}
	defer from.wipe()
	k := from.derive(s.ring.ringID, "chanseal 1 shelf names", 32)
	defer clear(k)
	m := hmac.New(sha256.New, k)
	var b []byte
	for _, n := range append([]string{s.prefix}, names...) {
		b = str(b, n)
	}
	m.Write(b)
	return hex.EncodeToString(m.Sum(nil)[:16]), nil
}

// Get returns a record; ErrNotFound if there is none.
func (s *Shelf) Get(ctx context.Context, key string) (Entry, error) {
	e, err := s.ring.store.Get(ctx, s.prefix+key)
	if err != nil {
		return Entry{}, fmt.Errorf("keyring: read a record of a service: %w", err)
	}
	return s.open(ctx, e)
}

// open opens a record. One that does not open may be sealed under a root key that is
// newer than the ring's.
func (s *Shelf) open(ctx context.Context, e Entry) (Entry, error) {
	for {
		keys := s.ring.keysOf()
		out, err := s.openNow(e)
		if !errors.Is(err, ErrDamaged) {
			return out, err
		}
		if renewed, rerr := s.ring.renew(ctx, keys); rerr != nil {
			return Entry{}, rerr
		} else if !renewed {
			return out, err
		}
		if e, err = s.ring.store.Get(ctx, e.Key); err != nil {
			return Entry{}, fmt.Errorf("keyring: read a record of a service: %w", err)
		}
	}
}

func (s *Shelf) openNow(e Entry) (Entry, error) {
	root, err := s.ring.keyOf(kindShelf, e)
	if err != nil {
		return Entry{}, err
	}
	defer root.wipe()
	value, _, err := openRecord(root, kindShelf, e.Key, e.Value)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Key: e.Key[len(s.prefix):], Value: value, Rev: e.Rev}, nil
}

// CAS writes a record; see [Store].
func (s *Shelf) CAS(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	rev, err := s.ring.write(ctx, s.prefix+key, rev, func(root secret) ([]byte, error) {
		return sealRecord(root, kindShelf, s.prefix+key, 0, value)
	})
	if err != nil {
		return 0, fmt.Errorf("keyring: write a record of a service: %w", err)
	}
	return rev, nil
}

// Delete removes a record; see [Store].
func (s *Shelf) Delete(ctx context.Context, key string, rev uint64) error {
	if err := s.ring.store.Delete(ctx, s.prefix+key, rev); err != nil {
		return fmt.Errorf("keyring: remove a record of a service: %w", err)
	}
	return nil
}

// List returns the records whose keys begin with prefix, in the order of their keys.
func (s *Shelf) List(ctx context.Context, prefix string) ([]Entry, uint64, error) {
	all, rev, err := s.ring.store.List(ctx, s.prefix+prefix)
	if err != nil {
		return nil, 0, fmt.Errorf("keyring: list the records of a service: %w", err)
	}
	for i, e := range all {
		if all[i], err = s.open(ctx, e); err != nil {
			return nil, 0, err
		}
	}
	return all, rev, nil
}

// Watch yields what changes; see [Store].
func (s *Shelf) Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for ev, err := range s.ring.store.Watch(ctx, s.prefix+prefix, after) {
			if err == nil {
				ev.Key = ev.Key[len(s.prefix):]
			} else if !errors.Is(err, ErrCompacted) {
				err = fmt.Errorf("keyring: watch the records of a service: %w", err)
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}
