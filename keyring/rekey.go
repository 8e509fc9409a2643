package keyring

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A record's kind follows from its place in the store. A new kind of record has to
// stand here: Reseal and Backup refuse a ring with records that they do not know.
var recordKinds = map[string]string{channelPrefix: kindChannel, "x/": kindShelf}

// kindOf returns the kind of the record under a key; "" if it is not known.
func kindOf(key string) string {
	prefix, _, _ := strings.Cut(key, "/")
	return recordKinds[prefix+"/"]
}

// Wrapping describes one of the wrapped copies of a ring's root key.
type Wrapping struct {
	ID    string // 16 hexadecimal digits, of SHA-256 of its content
	Kind  string // of the KEK: "age", "argon2id"
	Opens bool   // one of the KEKs that this Ring was opened with unwraps it
}

func (w *wrapping) id() string {
	sum := sha256.Sum256(append(str(nil, w.kind), w.body...))
	return hex.EncodeToString(sum[:8])
}

// header reads the header as it is in the store, authenticated, with the revision
// that it has there.
func (r *Ring) header(ctx context.Context) (*header, uint64, error) {
	for {
		if _, err := r.renew(ctx, 0); err != nil {
			return nil, 0, err
		}
		e, err := r.store.Get(ctx, headerKey)
		if err != nil {
			return nil, 0, err
		}
		r.mu.Lock()
		same := e.Rev == r.fence
		r.mu.Unlock()
		if same {
			h, err := decodeHeader(e.Value)
			return h, e.Rev, err
		}
	}
}

// Wrappings lists the wrapped copies of the root key. Each KEK the Ring was opened
// with is tried on those of its kind.
func (r *Ring) Wrappings(ctx context.Context) ([]Wrapping, error) {
	h, _, err := r.header(ctx)
	if err != nil {
		return nil, fmt.Errorf("keyring: list what opens the ring: %w", err)
	}
	r.mu.Lock()
	keks := r.keks
	r.mu.Unlock()
	var out []Wrapping
	for _, w := range h.wrappings {
		opens := slices.ContainsFunc(keks, func(k KEK) bool {
			if k.Kind() != w.kind {
				return false
			}
			root, err := k.Unwrap(w.body, h.ringID)
			clear(root)
			return err == nil
		})
		out = append(out, Wrapping{ID: w.id(), Kind: w.kind, Opens: opens})
	}
	return out, nil
}

// Rekey wraps the ring's root key anew, by these KEKs and no other. It does not
// change the root key: who could open the ring before and kept a copy of its
// header still can. See [Ring.Reseal].
func (r *Ring) Rekey(ctx context.Context, keks ...KEK) error {
	return r.rewrap(ctx, keks, func(*header) error { return nil })
}

// Rewrap adds wrappings by further KEKs, and takes out those with the IDs in remove.
// The others stay as they are: what opens them need not be at hand. Like Rekey, it
// does not change the root key.
func (r *Ring) Rewrap(ctx context.Context, add []KEK, remove []string) error {
	return r.rewrap(ctx, add, func(h *header) error {
		was, err := decodedWrappings(ctx, r)
		if err != nil {
			return err
		}
		for _, id := range remove {
			n := len(was)
			if was = slices.DeleteFunc(was, func(w wrapping) bool { return w.id() == id }); len(was) == n {
				return fmt.Errorf("keyring: nothing that opens the ring has the ID %q: %w", id, ErrNotFound)
			}
		}
		h.wrappings = append(was, h.wrappings...)
		if n := len(h.wrappings); n == 0 || n > maxWrappings {
			return fmt.Errorf("keyring: %d key-encryption keys would be left: a ring needs 1 to %d", n, maxWrappings)
		}
		return nil
	})
}

func decodedWrappings(ctx context.Context, r *Ring) ([]wrapping, error) {
	h, _, err := r.header(ctx)
	if err != nil {
		return nil, err
	}
	return h.wrappings, nil
}

// rewrap writes a header with wrappings by keks, as change completes it.
func (r *Ring) rewrap(ctx context.Context, keks []KEK, change func(*header) error) error {
	for {
		now, rev, err := r.header(ctx)
		if err != nil {
			return fmt.Errorf("keyring: wrap the ring anew: %w", err)
		}
		root, err := r.key()
		if err != nil {
			return err
		}
		err = func() error {
			defer root.wipe()
			h := &header{ringID: now.ringID, carry: now.carry}
			if len(keks) > 0 {
				if err := wrapChecked(h, root, keks); err != nil {
					return err
				}
			}
			if err := change(h); err != nil {
				return err
			}
			if len(h.wrappings) == 0 {
				return fmt.Errorf("keyring: 0 key-encryption keys: a ring needs 1 to %d", maxWrappings)
			}
			return r.replaceHeader(ctx, h, root, rev, keks)
		}()
		if errors.Is(err, ErrConflict) {
			continue
		}
		return err
	}
}

// wrapChecked wraps, and makes sure that what a KEK wrapped it unwraps again, if it
// can unwrap at all.
func wrapChecked(h *header, root secret, keks []KEK) error {
	if err := h.wrap(root, keks); err != nil {
		return err
	}
	for i, k := range keks {
		again, err := k.Unwrap(h.wrappings[i].body, h.ringID)
		if _, sealsOnly := k.(*recipient); sealsOnly {
			continue
		}
		if err != nil || subtle.ConstantTimeCompare(again, root.key[:]) != 1 {
			clear(again)
			return fmt.Errorf("keyring: a key-encryption key (%s) does not unwrap what it wrapped: nothing was changed", k.Kind())
		}
		clear(again)
	}
	return nil
}

// replaceHeader writes a header over the one with revision rev, and adopts its keys.
func (r *Ring) replaceHeader(ctx context.Context, h *header, root secret, rev uint64, keks []KEK) error {
	r.mu.Lock()
	r.keks = append(slices.Clone(r.keks), keks...) // before it is written: the answer may be lost
	r.mu.Unlock()
	next, err := r.store.CAS(ctx, headerKey, h.encode(root), rev)
	if err != nil {
		return fmt.Errorf("keyring: write the ring's header: %w", err)
	}
	return r.adopt(h, root, next)
}

// ErrResealing says that a ring's records are being resealed: that has to be finished
// first, by [Ring.FinishReseal].
var ErrResealing = errors.New("keyring: the ring is not resealed to the end yet")

// Resealing reports whether a Reseal was begun and not finished.
func (r *Ring) Resealing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.old.key != nil
}

// Reseal draws a new root key, wraps it by these KEKs and no other, and seals every
// record anew under it: who could open the ring before, and kept copies of its header
// and of its old root key, opens no record that is written from now on, nor the ones
// that are there. It does not renew the secrets of epochs: whoever read them has them;
// rotate the channels. The key that channels' names are hashed under stays, so that a
// record keeps its place. Until it is finished, somebody who has the old root key, and can
// write to the store, can still put records there.
//
// Programs that have the ring open go on if one of the KEKs they opened it with is
// among these; the others get ErrLocked. If it is interrupted, at any point, the ring
// opens with the new KEKs, and FinishReseal does what is left. The store has to be a
// [Fencer]. progress, if not nil, is told how many records were looked at.
func (r *Ring) Reseal(ctx context.Context, keks []KEK, progress func(done int)) error {
	if _, ok := r.store.(Fencer); !ok {
		return errors.New("keyring: this store cannot keep others from writing under the old root key: no Reseal")
	}
	if err := r.knowsAll(ctx); err != nil {
		return err
	}
	for begun := false; !begun; {
		now, rev, err := r.header(ctx)
		if err != nil {
			return fmt.Errorf("keyring: reseal: %w", err)
		}
		if r.Resealing() {
			if err := r.FinishReseal(ctx, progress); err != nil {
				return err
			}
			continue
		}
		old, err := r.key()
		if err != nil {
			return err
		}
		err = r.begin(ctx, now, old, rev, keks)
		old.wipe()
		if err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
		begun = err == nil
	}
	return r.FinishReseal(ctx, progress)
}

// begin writes the header with a new root key, over the one with revision rev, whose
// root key is old.
func (r *Ring) begin(ctx context.Context, now *header, old secret, rev uint64, keks []KEK) error {
	c, err := now.carried(old)
	if err != nil {
		return err
	}
	defer c.wipe()
	if c.names.key == nil {
		c.names = firstNameKey(old, now.ringID)
	}
	c.generation++
	c.old = old.clone()
	c.ancestors = append([]secret{ancestor(old, now.ringID)}, c.ancestors...)
	c.ancestors = c.ancestors[:min(len(c.ancestors), maxAncestors)]
	root := newSecret()
	defer root.wipe()
	h := &header{ringID: now.ringID}
	if h.carry, err = c.seal(root); err != nil {
		return err
	}
	if err := wrapChecked(h, root, keks); err != nil {
		return err
	}
	return r.replaceHeader(ctx, h, root, rev, keks)
}

// knowsAll makes sure that every record can be resealed, before anything is changed.
func (r *Ring) knowsAll(ctx context.Context) error {
	return each(ctx, r.store, "", func(e Entry) error {
		if e.Key != headerKey && kindOf(e.Key) == "" {
			return fmt.Errorf("keyring: the ring holds a record of a kind that this version does not know: %w", ErrVersion)
		}
		return nil
	})
}

// resealers is how many records are resealed at once.
const resealers = 8

// FinishReseal completes a Reseal that was interrupted. There is nothing to do if none
// was.
func (r *Ring) FinishReseal(ctx context.Context, progress func(done int)) error {
	for {
		if _, err := r.renew(ctx, 0); err != nil {
			return fmt.Errorf("keyring: reseal: %w", err)
		}
		r.mu.Lock()
		old := r.old.clone()
		r.mu.Unlock()
		if old.key == nil {
			return nil
		}
		err := r.resealAll(ctx, progress)
		if err == nil {
			err = r.dropOld(ctx, old)
		}
		old.wipe()
		if err != nil {
			return err
		}
	}
}

// resealAll looks at every record once.
func (r *Ring) resealAll(ctx context.Context, progress func(done int)) error {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
		slots  = make(chan struct{}, resealers)
		done   int
	)
	err := each(ctx, r.store, "", func(e Entry) error {
		if e.Key == headerKey {
			return nil
		}
		slots <- struct{}{}
		mu.Lock()
		err := failed
		if done++; progress != nil {
			progress(done)
		}
		mu.Unlock()
		if err != nil {
			<-slots
			return err
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.resealRecord(ctx, e); err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
		return nil
	})
	wg.Wait()
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("keyring: reseal: %w", err)
	}
	return nil
}

// resealRecord seals a record under the new root key, unless it is.
func (r *Ring) resealRecord(ctx context.Context, e Entry) error {
	kind := kindOf(e.Key)
	if kind == "" {
		return fmt.Errorf("keyring: the ring holds a record of a kind that this version does not know: %w", ErrVersion)
	}
	for {
		keys := r.keysOf()
		plain, isOld, err := r.unsealEither(kind, e)
		switch {
		case err == nil && !isOld:
			clear(plain)
			return nil
		case err == nil:
			next := revisionOf(e)
			if kind == kindChannel { // which counts its versions
				next++
			}
			_, err = r.write(ctx, e.Key, e.Rev, func(root secret) ([]byte, error) { return reseal(root, kind, e.Key, next, plain) })
			clear(plain)
			if !errors.Is(err, ErrConflict) {
				return err
			}
		}
		// Others changed it, or the ring was resealed again since it was read.
		renewed, rerr := r.renew(ctx, keys)
		if rerr != nil {
			return rerr
		}
		now, gerr := r.store.Get(ctx, e.Key)
		switch {
		case errors.Is(gerr, ErrNotFound):
			return nil
		case gerr != nil:
			return gerr
		case !renewed && now.Rev == e.Rev:
			return err
		}
		e = now
	}
}

// unsealEither opens a record under the root key that is being replaced, or else under
// the one that replaces it.
func (r *Ring) unsealEither(kind string, e Entry) (plain []byte, old bool, err error) {
	r.mu.Lock()
	before, root := r.old.clone(), r.root.clone()
	r.mu.Unlock()
	defer before.wipe()
	defer root.wipe()
	if root.key == nil {
		return nil, false, ErrClosed
	}
	if before.key != nil {
		if plain, err = unseal(before, kind, e); err == nil {
			return plain, true, nil
		}
	}
	plain, err = unseal(root, kind, e)
	return plain, false, err
}

// dropOld takes the root key old out of the header, once nothing is sealed under it;
// not another one, if others finished this Reseal and began the next. What the store
// keeps of the header before is overwritten, if it can do that.
func (r *Ring) dropOld(ctx context.Context, old secret) error {
	for {
		now, rev, err := r.header(ctx)
		if err != nil {
			return fmt.Errorf("keyring: reseal: %w", err)
		}
		r.mu.Lock()
		root, still := r.root.clone(), same(r.old, old)
		r.mu.Unlock()
		if !still {
			root.wipe()
			return nil
		}
		err = func() error {
			defer root.wipe()
			c, err := now.carried(root)
			if err != nil {
				return err
			}
			defer c.wipe()
			c.old.wipe()
			c.old = secret{}
			h := &header{ringID: now.ringID, wrappings: now.wrappings}
			if h.carry, err = c.seal(root); err != nil {
				return err
			}
			return r.replaceHeader(ctx, h, root, rev, nil)
		}()
		if err == nil {
			break
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	if s, ok := r.store.(Scrubber); ok {
		if err := s.Scrub(ctx); err != nil {
			return fmt.Errorf("keyring: the ring is resealed, but the store was not overwritten: %w", err)
		}
	}
	return nil
}

// Opened returns the KEKs that this Ring was opened with, or wrapped with since.
func (r *Ring) Opened() []KEK {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keks)
}
