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

// UseActiveSecret shows the secret of a channel's active epoch to use.
func UseActiveSecret(ctx context.Context, c *Channel, use func([]byte)) error {
	st, _, err := c.load(ctx)
	if err != nil {
		return err
	}
	defer st.wipe()
	use(st.active().secret.key[:])
	return nil
}

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

// Body opens the body of a bundle, and returns what a part of it holds.
func Body(u *Bundle, id *Identity) (part, body []byte, err error) {
	for _, p := range u.parts {
		if part, err = id.open(partInfo(u.issuer, u.id), p.sealed); err == nil {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	aead, err := bodyCipher(part[:contentKey])
	if err != nil {
		return nil, nil, err
	}
	body, err = aead.Open(nil, make([]byte, aead.NonceSize()), u.body, u.head)
	return part[contentKey:], body, err
}

// AcceptBody takes in what an issuer who may write anything could have sealed: sender
// ranges, and the body of a bundle.
func AcceptBody(ctx context.Context, r *Ring, ranges, body []byte) error {
	key := make([]byte, contentKey)
	aead, err := bodyCipher(key)
	if err != nil {
		return err
	}
	u := &Bundle{issuer: make([]byte, ed25519.PublicKeySize), body: aead.Seal(nil, make([]byte, aead.NonceSize()), body, nil)}
	name, a, err := u.openBody(append(key, ranges...))
	if err != nil {
		return err
	}
	defer a.wipe()
	_, err = r.Accept(ctx, name, a)
	return err
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
