package keyring

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"maps"
	"slices"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// SetDraw replaces how a ring draws instance numbers.
func SetDraw(r *Ring, draw func() uint64) { r.draw = draw }

// SetClock replaces a ring's clock.
func SetClock(r *Ring, now func() time.Time) { r.now = now }

// EvictedKIDs returns the KIDs that had to leave a Receiver's table.
func EvictedKIDs(r *Receiver) []cipher.KeyID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.gone))
}

// Resign has another ring sign a bundle as its own.
func Resign(bundle []byte, thief *Ring) ([]byte, error) {
	key, err := thief.signer(context.Background())
	if err != nil {
		return nil, err
	}
	b := bytes.Clone(bundle[:len(bundle)-ed25519.SignatureSize])
	copy(b[len(bundleMagic)+1:], key.Public().(ed25519.PublicKey))
	return append(b, ed25519.Sign(key, append([]byte(signContext), b...))...), nil
}

// Parts returns what a bundle's recipients get, and what it is bound to.
func Parts(u *Bundle) (sealed [][]byte, info []byte) {
	for _, p := range u.parts {
		sealed = append(sealed, p.sealed)
	}
	return sealed, partInfo(u.issuer, u.id)
}
