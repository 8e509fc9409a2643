package keyring

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/minio/sio"
)

// A ring's root key can be renewed. What the new one carries over stands in the
// header, sealed as a record of kind "carry" under the header's key:
//
//	key of the channels' names (32 bytes) ‖ number of root keys (1 byte, 0 or 1) ‖ the root key before (32 bytes)
//
// The key of the names stays, so that records keep their place; a root key before
// is there while records are left that are sealed under it.
const kindCarry = "carry"

// carry seals what a new root key carries over.
func carry(root, names, old secret) ([]byte, error) {
	payload := append([]byte(nil), names.key[:]...)
	if old.key == nil {
		payload = append(payload, 0)
	} else {
		payload = append(append(payload, 1), old.key[:]...)
	}
	defer clear(payload)
	return sealRecord(root, kindCarry, headerKey, 1, payload)
}

// carried opens it. Both are empty in a ring whose root key is its first.
func (h *header) carried(root secret) (names, old secret, err error) {
	if h.carry == nil {
		return secret{}, secret{}, nil
	}
	payload, _, err := openRecord(root, kindCarry, headerKey, h.carry)
	if err != nil {
		return secret{}, secret{}, err
	}
	defer clear(payload)
	switch n := len(payload); {
	case n == secretSize+1 && payload[secretSize] == 0:
	case n == 2*secretSize+1 && payload[secretSize] == 1:
		old = secretFrom(payload[secretSize+1:])
	default:
		return secret{}, secret{}, fmt.Errorf("keyring: the ring's header carries %d bytes: %w", n, ErrDamaged)
	}
	return secretFrom(payload), old, nil
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

// adopt makes the keys of a header the ring's. It copies root.
func (r *Ring) adopt(h *header, root secret, rev uint64) error {
	names, old, err := h.carried(root)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root.key == nil {
		names.wipe()
		old.wipe()
		return ErrClosed
	}
	for _, k := range []secret{r.root, r.old, r.names} {
		k.wipe()
	}
	r.root, r.old, r.names, r.fence = root.clone(), old, names, rev
	return nil
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
