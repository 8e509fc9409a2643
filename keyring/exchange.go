package keyring

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The ring's own shelf: its signing key, the issuers it pinned, and the number of each
// channel's last bundle.
const (
	bundleShelf  = "bundle"
	signingKey   = "signing-key"
	pinPrefix    = "issuer/"
	serialPrefix = "serial/"
)

// IssuerFingerprint names an issuer, who is the Keeper of the channels that come in its
// bundles: the first 16 bytes of SHA-256("chanseal 1 issuer" ‖ public key).
func IssuerFingerprint(pub []byte) string {
	sum := sha256.Sum256(append([]byte("chanseal 1 issuer"), pub...))
	h := hex.EncodeToString(sum[:16])
	groups := make([]string, 0, 8)
	for ; h != ""; h = h[4:] {
		groups = append(groups, h[:4])
	}
	return strings.Join(groups, "-")
}

// SameFingerprint compares fingerprints as people write them.
func SameFingerprint(a, b string) bool {
	clean := func(s string) []byte {
		return []byte(strings.ToLower(strings.NewReplacer("-", "", " ", "", ":", "").Replace(s)))
	}
	x, y := clean(a), clean(b)
	return len(x) == 32 && subtle.ConstantTimeCompare(x, y) == 1
}

// signer returns the key that the ring signs bundles with; the first call makes it. The
// caller wipes it.
func (r *Ring) signer(ctx context.Context) (ed25519.PrivateKey, error) {
	shelf, err := r.Shelf(bundleShelf)
	if err != nil {
		return nil, err
	}
	for {
		e, err := shelf.Get(ctx, signingKey)
		switch {
		case err == nil && len(e.Value) == ed25519.SeedSize:
			defer clear(e.Value)
			return ed25519.NewKeyFromSeed(e.Value), nil
		case err == nil:
			return nil, fmt.Errorf("keyring: the ring's signing key: %w", ErrDamaged)
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		_, err = shelf.CAS(ctx, signingKey, seed, 0)
		clear(seed)
		if err != nil && !errors.Is(err, ErrConflict) {
			return nil, err
		}
	}
}

// Fingerprint names the ring as an issuer of bundles: who imports them compares it.
func (r *Ring) Fingerprint(ctx context.Context) (string, error) {
	key, err := r.signer(ctx)
	if err != nil {
		return "", err
	}
	defer clear(key)
	return IssuerFingerprint(key.Public().(ed25519.PublicKey)), nil
}

// ExportOptions of [Channel.Export].
type ExportOptions struct {
	To []Grant
	// NotBefore and NotAfter bound when the bundle can be imported; zero for now, and
	// for a week later. What was imported stays.
	NotBefore, NotAfter time.Time
	// Archive adds archived epochs, for old files and recordings.
	Archive bool
}

const defaultValidity = 7 * 24 * time.Hour

// Export seals the channel's epochs that live into a bundle for recipients, signed by
// the ring. Whoever is not among them gets nothing by it; take care to [Channel.Revoke]
// before, if somebody is to be excluded.
func (c *Channel) Export(ctx context.Context, o ExportOptions) ([]byte, error) {
	var b []byte
	err := c.export(ctx, o, func(key ed25519.PrivateKey, body []byte, created, notBefore, notAfter time.Time) (err error) {
		b, err = sealBundle(key, body, o.To, created, notBefore, notAfter)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keyring: export the channel %q: %w", c.name, err)
	}
	return b, nil
}

// ExportEach seals the same as Export into a bundle for each recipient, so that each can be
// passed on alone.
func (c *Channel) ExportEach(ctx context.Context, o ExportOptions) ([][]byte, error) {
	all := make([][]byte, len(o.To))
	err := c.export(ctx, o, func(key ed25519.PrivateKey, body []byte, created, notBefore, notAfter time.Time) error {
		return onAllCores(len(o.To), func(i int) (err error) {
			all[i], err = sealBundle(key, body, o.To[i:i+1], created, notBefore, notAfter)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("keyring: export the channel %q: %w", c.name, err)
	}
	return all, nil
}

// export makes the body of bundles and has it sealed.
func (c *Channel) export(ctx context.Context, o ExportOptions, seal func(key ed25519.PrivateKey, body []byte, created, notBefore, notAfter time.Time) error) error {
	if len(o.To) == 0 || len(o.To) > MaxRecipients {
		return fmt.Errorf("%d recipients, want 1 to %d", len(o.To), MaxRecipients)
	}
	seen := map[[8]byte]int{}
	for i, g := range o.To {
		if g.To == nil {
			return fmt.Errorf("recipient %d is missing", i+1)
		}
		d := decoder{b: appendRanges(nil, g.Senders)}
		if d.ranges(); !d.done() || len(g.Senders) > maxRanges {
			return fmt.Errorf("recipient %d: ranges of sender numbers must be ascending, at most %d, and not touch", i+1, maxRanges)
		}
		if j, twice := seen[g.To.Hint()]; twice {
			return fmt.Errorf("recipients %d and %d are the same", j+1, i+1)
		}
		seen[g.To.Hint()] = i
	}
	now := c.ring.now()
	if o.NotBefore.IsZero() {
		o.NotBefore = now
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = o.NotBefore.Add(defaultValidity)
	}
	if !o.NotAfter.After(o.NotBefore) {
		return errors.New("it would end before it begins")
	}
	key, err := c.ring.signer(ctx)
	if err != nil {
		return err
	}
	defer clear(key)
	st, _, err := c.load(ctx)
	if err != nil {
		return err
	}
	defer st.wipe()
	if err := st.mayMake(); err != nil {
		return err
	}
	if st.active() == nil {
		return ErrForgotten
	}
	var epochs []*epoch
	for i := range st.epochs {
		e := &st.epochs[i]
		switch s := e.at(now); {
		case s == Forgotten, s == Archived && !o.Archive:
			continue
		case s == Archived:
			e.state = Archived
		}
		epochs = append(epochs, e)
	}
	serial, err := c.ring.nextSerial(ctx, c.name, uint64(now.UnixNano()))
	if err != nil {
		return err
	}
	body := encodeBody(st, serial, epochs)
	defer clear(body)
	return seal(key, body, now, o.NotBefore, o.NotAfter)
}

// nextSerial numbers the bundles of a channel: by the clock, and never back with it. It
// is not the record's revision, as a second bundle of one revision may give more to who
// had the first.
func (r *Ring) nextSerial(ctx context.Context, channel string, least uint64) (uint64, error) {
	shelf, err := r.Shelf(bundleShelf)
	if err != nil {
		return 0, err
	}
	name, err := shelf.Name(serialPrefix, channel)
	if err != nil {
		return 0, err
	}
	for {
		e, err := shelf.Get(ctx, serialPrefix+name)
		switch {
		case err == nil && len(e.Value) == 8:
			least = max(least, binary.BigEndian.Uint64(e.Value)+1)
		case err == nil:
			return 0, fmt.Errorf("the number of the last bundle: %w", ErrDamaged)
		case !errors.Is(err, ErrNotFound):
			return 0, err
		}
		if _, err = shelf.CAS(ctx, serialPrefix+name, binary.BigEndian.AppendUint64(nil, least), e.Rev); err == nil {
			return least, nil
		} else if !errors.Is(err, ErrConflict) {
			return 0, err
		}
	}
}

// ImportOptions of [Ring.Import].
type ImportOptions struct {
	Identities []*Identity
	// From is the issuer's fingerprint, as [Ring.Fingerprint] gives it there, and got on
	// a way that nobody else can change. It is pinned; without it the issuer must have
	// been pinned before.
	From string
	// Skew is how far this clock may be off; 0 for 1 minute.
	Skew time.Duration
}

// Import takes a channel from a bundle. Only an issuer that is named or pinned is
// believed, and for a channel that is known only who gave it first: see [Ring.Accept].
func (r *Ring) Import(ctx context.Context, bundle []byte, o ImportOptions) (Info, error) {
	u, err := ParseBundle(bundle)
	if err != nil {
		return Info{}, err
	}
	shelf, err := r.Shelf(bundleShelf)
	if err != nil {
		return Info{}, err
	}
	pin, err := shelf.Name(pinPrefix, string(u.issuer))
	if err != nil {
		return Info{}, err
	}
	pin = pinPrefix + pin
	if o.From != "" {
		if !SameFingerprint(o.From, u.Issuer()) {
			return Info{}, ErrBundleIssuer
		}
	} else if _, err := shelf.Get(ctx, pin); errors.Is(err, ErrNotFound) {
		return Info{}, ErrBundleIssuer
	} else if err != nil {
		return Info{}, err
	}
	if !u.verify() {
		return Info{}, ErrBundleAltered
	}
	now, skew := r.now(), o.Skew
	if skew == 0 {
		skew = time.Minute
	}
	switch {
	case now.Add(skew).Before(u.NotBefore):
		return Info{}, ErrBundleEarly
	case now.Add(-skew).After(u.NotAfter):
		return Info{}, ErrBundleExpired
	}
	name, a, err := u.open(o.Identities)
	if err != nil {
		return Info{}, err
	}
	defer a.wipe()
	if err := r.replayed(ctx, name, &a); err != nil {
		return Info{}, err
	}
	info, err := r.Accept(ctx, name, a)
	if err != nil {
		return Info{}, err
	}
	if o.From != "" {
		if _, err := shelf.CAS(ctx, pin, u.issuer, 0); err != nil && !errors.Is(err, ErrConflict) {
			return Info{}, err
		}
	}
	return info, nil
}

// replayed says that a bundle of this serial, or a later one, was imported before.
// Accept itself takes one serial again and again.
func (r *Ring) replayed(ctx context.Context, name string, a *Acceptance) error {
	id, err := r.channelID(name)
	if err != nil {
		return err
	}
	st, _, err := r.load(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	defer st.wipe()
	if k := st.keeper(); k != nil && subtle.ConstantTimeCompare(k.id, a.Keeper) == 1 && a.Serial <= k.serial {
		return ErrBundleReplayed
	}
	return nil
}
