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

// ForgeHeader returns a header of the ring as somebody makes it who knows what its KEKs
// encrypt to, but none of its keys: of a later generation, or of the same.
func ForgeHeader(r *Ring, kek KEK, later bool) []byte {
	root := newSecret()
	h := &header{ringID: r.ringID}
	if err := h.wrap(root, []KEK{kek}); err != nil {
		panic(err)
	}
	if later {
		c := carried{names: newSecret(), generation: 1 << 40, ancestors: []secret{newSecret()}}
		var err error
		if h.carry, err = c.seal(root); err != nil {
			panic(err)
		}
	}
	return h.encode(root)
}
