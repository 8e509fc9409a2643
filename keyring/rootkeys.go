package keyring

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/minio/sio"
)

// A ring's root key can be renewed. What the new one carries over stands in the
// header, sealed as a record of kind "carry" under the header's key:
//
//	key of the channels' names (32 bytes) ‖ BE64(generation) ‖ number of root keys (1 byte, 0 or 1) ‖ the root key before (32 bytes)
//	‖ number of ancestors (1 byte, up to 8) ‖ for each, the newest first: HKDF-SHA-256(root key, ring ID, "chanseal 1 ring ancestor", 32)
//
// The key of the names stays, so that records keep their place; a root key before
// is there while records are left that are sealed under it. A ring that is open
// follows to a header of a later generation only if its own root key is among the
// ancestors: who wrote it knew that key. (A KEK alone does not tell: what an age
// recipient is, others may know.)
type carried struct {
	names      secret // empty in a ring whose root key is its first
	generation uint64 // how often the root key was renewed
	old        secret // empty once all is resealed
	ancestors  []secret
}

const (
	kindCarry    = "carry"
	maxAncestors = 8
)

func (c *carried) wipe() {
	c.names.wipe()
	c.old.wipe()
	for _, a := range c.ancestors {
		a.wipe()
	}
}

// ancestor stands for a root key in the headers of those after it.
func ancestor(root secret, ringID []byte) secret {
	k := root.derive(ringID, "chanseal 1 ring ancestor", secretSize)
	defer clear(k)
	return secretFrom(k)
}

func same(a, b secret) bool {
	return a.key != nil && b.key != nil && subtle.ConstantTimeCompare(a.key[:], b.key[:]) == 1
}

// seal seals it for a header under root.
func (c *carried) seal(root secret) ([]byte, error) {
	payload := make([]byte, 0, 2*secretSize+8+2+maxAncestors*secretSize) // large enough never to grow
	defer func() { clear(payload[:cap(payload)]) }()
	payload = append(payload, c.names.key[:]...)
	payload = binary.BigEndian.AppendUint64(payload, c.generation)
	if c.old.key == nil {
		payload = append(payload, 0)
	} else {
		payload = append(append(payload, 1), c.old.key[:]...)
	}
	payload = append(payload, byte(len(c.ancestors)))
	for _, a := range c.ancestors {
		payload = append(payload, a.key[:]...)
	}
	return sealRecord(root, kindCarry, headerKey, 1, payload)
}

// carried opens what a header carries. The caller wipes it.
func (h *header) carried(root secret) (*carried, error) {
	c := &carried{}
	if h.carry == nil {
		return c, nil
	}
	payload, _, err := openRecord(root, kindCarry, headerKey, h.carry)
	if err != nil {
		return nil, err
	}
	defer clear(payload)
	d := decoder{b: payload}
	key := func() (s secret) {
		if b := d.next(secretSize); b != nil {
			s = secretFrom(b)
		}
		return s
	}
	c.names, c.generation = key(), d.u64()
	switch d.u8() {
	case 0:
	case 1:
		c.old = key()
	default:
		d.bad = true
	}
	n := d.u8()
	for range min(n, maxAncestors) {
		c.ancestors = append(c.ancestors, key())
	}
	if !d.done() || n > maxAncestors || c.generation == 0 {
		c.wipe()
		return nil, fmt.Errorf("keyring: what the ring's header carries is not well formed: %w", ErrDamaged)
	}
	return c, nil
}

// nameKey returns a copy of the key that names are hashed under.
func (r *Ring) nameKey() (secret, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.root.key == nil && r.names.key == nil:
		return secret{}, ErrClosed
	case r.names.key != nil:
		return r.names.clone(), nil
	}
	return firstNameKey(r.root, r.ringID), nil
}

// firstNameKey is that of a ring whose root key is its first.
func firstNameKey(root secret, ringID []byte) secret {
	k := root.derive(ringID, "chanseal 1 channel names", secretSize)
	defer clear(k)
	return secretFrom(k)
}

// keyOf returns a copy of the root key that a record is sealed under: where there are
// two, the older one if it opens the record.
func (r *Ring) keyOf(kind string, e Entry) (secret, error) {
	r.mu.Lock()
	old := r.old.clone()
	r.mu.Unlock()
	if old.key != nil {
		if plain, err := unseal(old, kind, e); err == nil {
			clear(plain)
			return old, nil
		}
		old.wipe()
	}
	return r.key()
}

// keysOf returns the header's revision that the ring's keys are of.
func (r *Ring) keysOf() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fence
}

// renew looks whether the header was changed, by another process, and takes over the
// keys that it has now. It reports whether they are others than those of a revision.
// ErrLocked says that none of the KEKs that the ring was opened with opens it any more.
func (r *Ring) renew(ctx context.Context, since uint64) (bool, error) {
	r.fresh.Lock()
	defer r.fresh.Unlock()
	e, err := r.store.Get(ctx, headerKey)
	if errors.Is(err, ErrNotFound) {
		return false, fmt.Errorf("keyring: the ring's header is gone: %w", ErrRollback)
	} else if err != nil {
		return false, err
	}
	r.mu.Lock()
	same, closed := e.Rev == r.fence, r.root.key == nil
	root, keks := r.root.clone(), r.keks
	r.mu.Unlock()
	if closed {
		return false, ErrClosed
	}
	defer func() { root.wipe() }()
	if same {
		return e.Rev != since, nil
	}
	h, err := decodeHeader(e.Value)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(h.ringID, r.ringID) {
		return false, fmt.Errorf("keyring: another ring has taken this one's place: %w", ErrRollback)
	}
	if body := e.Value[:len(e.Value)-macSize]; !hmac.Equal(headerMAC(root, h.ringID, body), e.Value[len(body):]) {
		root.wipe()
		if h, root, err = openHeader(e.Value, keks); err != nil {
			return false, err
		}
	}
	return e.Rev != since, r.adopt(h, root, e.Rev)
}

// adopt makes the keys of a header the ring's, unless they are not those that follow.
// It copies root.
func (r *Ring) adopt(h *header, root secret, rev uint64) error {
	c, err := h.carried(root)
	if err != nil {
		return err
	}
	defer c.wipe()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root.key == nil {
		return ErrClosed
	}
	if !c.follows(r, root) {
		return fmt.Errorf("keyring: the ring's header is not one that follows on the one that was opened: %w", ErrRollback)
	}
	for _, k := range []secret{r.root, r.old, r.names} {
		k.wipe()
	}
	r.root, r.old, r.names, r.generation, r.fence = root.clone(), c.old.clone(), c.names.clone(), c.generation, rev
	return nil
}

// follows reports whether a header with this root key comes after what a ring has. r.mu is
// held.
func (c *carried) follows(r *Ring, root secret) bool {
	if c.generation == r.generation { // what was resealed to the end stays so
		return same(root, r.root) && (c.old.key == nil || r.old.key != nil)
	}
	mine := ancestor(r.root, r.ringID)
	defer mine.wipe()
	return c.generation > r.generation && slices.ContainsFunc(c.ancestors, func(a secret) bool { return same(a, mine) })
}

// write writes a record that seal seals, if it has revision rev in the store. It does
// so under the root key that is the ring's at that moment: where the store can fence
// a write, one under a root key that was renewed meanwhile is not done.
func (r *Ring) write(ctx context.Context, key string, rev uint64, seal func(root secret) ([]byte, error)) (uint64, error) {
	fencer, fenced := r.store.(Fencer)
	for {
		r.mu.Lock()
		root, fence := r.root.clone(), r.fence
		r.mu.Unlock()
		if root.key == nil {
			return 0, ErrClosed
		}
		sealed, err := seal(root)
		root.wipe()
		if err != nil {
			return 0, err
		}
		if !fenced {
			return r.store.CAS(ctx, key, sealed, rev)
		}
		next, err := fencer.CASFenced(ctx, key, sealed, rev, headerKey, fence)
		if !errors.Is(err, ErrFenced) {
			return next, err
		}
		if renewed, err := r.renew(ctx, fence); err != nil {
			return 0, err
		} else if !renewed {
			return 0, fmt.Errorf("keyring: the store went back behind the ring's header: %w", ErrRollback)
		}
	}
}

// unseal opens a record whatever its format: format and payload together. The caller
// wipes it.
func unseal(root secret, kind string, e Entry) ([]byte, error) {
	if len(e.Value) > MaxValue || len(e.Value) < recordHead {
		return nil, fmt.Errorf("keyring: %s record of %d bytes: %w", kind, len(e.Value), ErrDamaged)
	}
	if e.Value[0] != recordVersion {
		return nil, fmt.Errorf("keyring: %s record of version %d: %w", kind, e.Value[0], ErrVersion)
	}
	key := recordKey(root, kind, e.Key, revisionOf(e), e.Value[9:recordHead])
	defer clear(key)
	var plain bytes.Buffer
	plain.Grow(len(e.Value)) // so that no copy is left behind by growing
	if _, err := sio.Decrypt(&plain, bytes.NewReader(e.Value[recordHead:]), dare(key)); err != nil {
		clear(plain.Bytes())
		return nil, fmt.Errorf("keyring: %s record does not authenticate: %w", kind, ErrDamaged)
	}
	return plain.Bytes(), nil
}

// reseal seals what unseal gave, for the same place.
func reseal(root secret, kind, id string, revision uint64, plain []byte) ([]byte, error) {
	out := bytes.NewBuffer(binary.BigEndian.AppendUint64([]byte{recordVersion}, revision))
	salt := make([]byte, recordSalt)
	rand.Read(salt)
	out.Write(salt)
	key := recordKey(root, kind, id, revision, salt)
	defer clear(key)
	if _, err := sio.Encrypt(out, bytes.NewReader(plain), dare(key)); err != nil {
		return nil, fmt.Errorf("keyring: seal the %s record: %w", kind, err)
	}
	return out.Bytes(), nil
}

// revisionOf is the revision of a sealed record.
func revisionOf(e Entry) uint64 { return binary.BigEndian.Uint64(e.Value[1:]) }
