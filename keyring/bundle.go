package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	sframe "github.com/chanseal/chanseal/cipher"
)

// A bundle hands the epochs of a channel to recipients:
//
//	"chanseal bundle" ‖ version (1 byte, 1) ‖ issuer (32 bytes, an Ed25519 public key) ‖ ID (16 random bytes) ‖
//	created ‖ not before ‖ not after ‖
//	BE16(number of parts) ‖ for each: hint (8 bytes) ‖ BE16(KEM; 0 for age) ‖ BE32(length) ‖ part ‖
//	BE32(length) ‖ body ‖
//	signature (64 bytes, Ed25519): over "chanseal 1 bundle signature" ‖ all before
//
//	part = content key (32 bytes) ‖ sender ranges, sealed to the recipient by HPKE (base mode, HKDF-SHA-256,
//	       AES-256-GCM, empty additional data) with info = "chanseal 1 bundle part" ‖ issuer ‖ ID: enc ‖ ciphertext;
//	       or an age file of info ‖ content key ‖ sender ranges
//	body = AES-256-GCM under the content key, which seals nothing else, with a nonce of zeros and as additional
//	       data everything before the number of parts, of:
//	       str(channel) ‖ BE64(serial) ‖ BE64(grace) ‖ BE16(number of epochs) ‖ for each: BE64(number) ‖ kind ‖
//	       state ‖ BE16(suite) ‖ created ‖ activate_at ‖ activated ‖ until ‖ BE16(number of barred senders) ‖
//	       BE16 each ‖ secret (32 bytes)
//
// Moments and ranges are as in a channel's record. So a bundle for 1,000 members holds
// every secret once, and one content key for each of them. Who only passes it on learns
// the issuer, the time, sizes, and, if they have somebody's public key, whether it is for
// them; not even the channel's name.
const (
	bundleMagic   = "chanseal bundle"
	bundleVersion = 1
	bundleID      = 16
	bundleHead    = len(bundleMagic) + 1 + ed25519.PublicKeySize + bundleID + 3*8

	contentKey = 32
	maxPart    = 16 << 10 // bytes, sealed
	// MaxRecipients bounds a bundle's recipients, MaxBundle its bytes.
	MaxRecipients = 10_000
	MaxBundle     = 32 << 20
)

// What [Ring.Import] and [OpenBundle] refuse. Each is an ErrBundle, too.
var (
	// ErrBundle says that a bundle is refused.
	ErrBundle = errors.New("keyring: the bundle is refused")
	// ErrBundleForm says that it is none, or of a newer version.
	ErrBundleForm error = &frameError{"keyring: this is no bundle that this version can read", ErrBundle}
	// ErrBundleIssuer says that its issuer is neither named nor pinned.
	ErrBundleIssuer error = &frameError{"keyring: the bundle's issuer is not one that this ring trusts", ErrBundle}
	// ErrBundleAltered says that its signature is wrong: it was changed, or put together.
	ErrBundleAltered error = &frameError{"keyring: the bundle was altered", ErrBundle}
	// ErrBundleRecipient says that no part of it is for the identities given.
	ErrBundleRecipient error = &frameError{"keyring: the bundle is not for these identities", ErrBundle}
	// ErrBundleEarly and ErrBundleExpired say that it is not valid yet, or no more.
	ErrBundleEarly   error = &frameError{"keyring: the bundle is not valid yet", ErrBundle}
	ErrBundleExpired error = &frameError{"keyring: the bundle has expired", ErrBundle}
	// ErrBundleReplayed says that this one, or a newer one, was imported before.
	ErrBundleReplayed error = &frameError{"keyring: the bundle, or a newer one, was imported before", ErrBundle}
)

// Bundle is a bundle that was parsed. Until it was opened, nothing in it is proved.
type Bundle struct {
	issuer    ed25519.PublicKey
	id        []byte
	Created   time.Time
	NotBefore time.Time
	NotAfter  time.Time
	parts     []part
	body      []byte
	head      []byte // everything before the number of parts
	signed    []byte
	signature []byte
	raw       []byte
}

type part struct {
	hint   [8]byte
	kem    uint16
	sealed []byte
}

// ParseBundle reads a bundle. It needs no key, and proves nothing.
func ParseBundle(b []byte) (*Bundle, error) {
	if len(b) > MaxBundle {
		return nil, ErrBundleForm
	}
	u, rest, err := NextBundle(b)
	if err == nil && len(rest) > 0 {
		return nil, ErrBundleForm
	}
	return u, err
}

// NextBundle reads the first of several bundles that stand one after another, and returns
// what is behind it.
func NextBundle(b []byte) (u *Bundle, rest []byte, err error) {
	d := decoder{b: b}
	if u, err = parseBundle(&d); err != nil {
		return nil, nil, err
	}
	u.raw = b[:len(b)-len(d.b)]
	return u, d.b, nil
}

func parseBundle(d *decoder) (*Bundle, error) {
	b := d.b
	if string(d.next(len(bundleMagic))) != bundleMagic || d.u8() != bundleVersion {
		return nil, ErrBundleForm
	}
	u := &Bundle{issuer: d.next(ed25519.PublicKeySize), id: d.next(bundleID), Created: d.time(), NotBefore: d.time(), NotAfter: d.time()}
	n := int(d.u16())
	if d.bad || n == 0 || n > MaxRecipients {
		return nil, ErrBundleForm
	}
	u.head = b[:bundleHead]
	for range n {
		p := part{hint: [8]byte(append(d.next(8), make([]byte, 8)...)[:8]), kem: d.u16()}
		p.sealed = d.long(maxPart)
		if d.bad {
			return nil, ErrBundleForm
		}
		u.parts = append(u.parts, p)
	}
	u.body = d.long(MaxBundle)
	u.signed = b[:len(b)-len(d.b)]
	u.signature = d.next(ed25519.SignatureSize)
	if d.bad {
		return nil, ErrBundleForm
	}
	return u, nil
}

// long reads BE32(length) ‖ bytes, of which there are at most most.
func (d *decoder) long(most int) []byte {
	n := d.u32()
	if uint64(n) > uint64(most) {
		d.bad = true
		return nil
	}
	return d.next(int(n))
}

// Issuer is the fingerprint of who claims to have signed the bundle.
func (u *Bundle) Issuer() string { return IssuerFingerprint(u.issuer) }

// Recipients is the number of its recipients.
func (u *Bundle) Recipients() int { return len(u.parts) }

// Hints tell whom it is for: [Recipient.Hint] of each.
func (u *Bundle) Hints() [][8]byte {
	all := make([][8]byte, len(u.parts))
	for i, p := range u.parts {
		all[i] = p.hint
	}
	return all
}

// Bytes is the bundle itself, as it was parsed.
func (u *Bundle) Bytes() []byte { return u.raw }

const signContext = "chanseal 1 bundle signature"

func (u *Bundle) verify() bool {
	return ed25519.Verify(u.issuer, append([]byte(signContext), u.signed...), u.signature)
}

func partInfo(issuer, id []byte) []byte {
	b := append([]byte("chanseal 1 bundle part"), issuer...)
	return append(b, id...)
}

func bodyCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// open finds the part of one of the identities and opens it, and the body. The caller
// wipes the secrets of what is returned.
func (u *Bundle) open(identities []*Identity) (name string, a Acceptance, err error) {
	info := partInfo(u.issuer, u.id)
	for _, id := range identities {
		hint := id.recipient.Hint()
		for i := range u.parts {
			p := &u.parts[i]
			if p.hint != hint || p.kem != id.recipient.kemID() {
				continue
			}
			plain, err := id.open(info, p.sealed)
			if err != nil {
				continue
			}
			name, a, err = u.openBody(plain)
			clear(plain)
			return name, a, err
		}
	}
	return "", a, ErrBundleRecipient
}

func (u *Bundle) openBody(plain []byte) (name string, a Acceptance, err error) {
	d := decoder{b: plain}
	key := d.next(contentKey)
	a.Senders = d.ranges()
	if !d.done() {
		return "", a, ErrBundleForm
	}
	aead, err := bodyCipher(key)
	if err != nil {
		return "", a, err
	}
	body, err := aead.Open(nil, make([]byte, aead.NonceSize()), u.body, u.head)
	if err != nil {
		return "", a, ErrBundleAltered
	}
	defer clear(body)
	a.Keeper = u.issuer
	d = decoder{b: body}
	name, a.Serial, a.Grace = d.str(), d.u64(), time.Duration(d.u64())
	n := int(d.u16())
	if n > MaxEpochs || d.bad {
		return "", a, ErrBundleForm
	}
	for i := 0; i < n && !d.bad; i++ {
		g := Given{Number: d.u64(), Kind: Kind(d.u8()), State: State(d.u8()), Suite: sframe.SuiteID(d.u16()),
			Created: d.time(), ActivateAt: d.time(), Activated: d.time(), Until: d.time(), Barred: []uint16{}}
		barred := int(d.u16())
		if barred > MaxBarred {
			d.bad = true
		}
		for k := 0; k < barred && !d.bad; k++ {
			g.Barred = append(g.Barred, d.u16())
		}
		if s := d.next(secretSize); s != nil {
			g.Secret = append([]byte(nil), s...)
		}
		a.Epochs = append(a.Epochs, g)
	}
	if !d.done() {
		a.wipe()
		return "", a, ErrBundleForm
	}
	return name, a, nil
}

// wipe destroys the secrets.
func (a *Acceptance) wipe() {
	for i := range a.Epochs {
		clear(a.Epochs[i].Secret)
	}
}

// Grant says what a recipient of a bundle may do: open, and seal under the numbers
// given. Numbers that no two recipients share keep their keys apart for certain; with
// shared ones that rests on random instances.
type Grant struct {
	To      *Recipient
	Senders []SenderRange // ascending; none: open only
}

// encodeBody writes the body of a bundle for epochs of st. The caller wipes it.
func encodeBody(st *state, serial uint64, epochs []*epoch) []byte {
	size := 64 + len(st.name)
	for _, e := range epochs {
		size += 96 + 2*len(e.barred)
	}
	b := make([]byte, 0, size) // never grows: no copy of a secret is left behind
	b = str(b, st.name)
	b = binary.BigEndian.AppendUint64(b, serial)
	b = binary.BigEndian.AppendUint64(b, uint64(st.policy.Grace))
	b = binary.BigEndian.AppendUint16(b, uint16(len(epochs)))
	for _, e := range epochs {
		b = binary.BigEndian.AppendUint64(b, e.number)
		b = append(b, byte(e.kind), byte(e.state))
		b = binary.BigEndian.AppendUint16(b, uint16(e.suite))
		for _, t := range [...]time.Time{e.created, e.activateAt, e.activated, e.until} {
			b = appendTime(b, t)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.barred)))
		for _, n := range e.barred {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		b = append(b, e.secret.key[:]...)
	}
	return b
}

// seal makes a bundle of a body.
func sealBundle(key ed25519.PrivateKey, body []byte, grants []Grant, created, notBefore, notAfter time.Time) ([]byte, error) {
	issuer := key.Public().(ed25519.PublicKey)
	out := append([]byte(bundleMagic), bundleVersion)
	out = append(out, issuer...)
	id := make([]byte, bundleID)
	rand.Read(id)
	out = append(out, id...)
	for _, t := range [...]time.Time{created, notBefore, notAfter} {
		out = appendTime(out, t)
	}
	content := make([]byte, contentKey)
	rand.Read(content)
	defer clear(content)
	aead, err := bodyCipher(content)
	if err != nil {
		return nil, err
	}
	sealed := aead.Seal(nil, make([]byte, aead.NonceSize()), body, out)
	parts, err := sealParts(grants, content, partInfo(issuer, id))
	if err != nil {
		return nil, err
	}
	out = binary.BigEndian.AppendUint16(out, uint16(len(parts)))
	for i, p := range parts {
		hint := grants[i].To.Hint()
		out = append(out, hint[:]...)
		out = binary.BigEndian.AppendUint16(out, grants[i].To.kemID())
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(sealed)))
	out = append(out, sealed...)
	out = append(out, ed25519.Sign(key, append([]byte(signContext), out...))...)
	if len(out) > MaxBundle {
		return nil, fmt.Errorf("a bundle of %d bytes: %w", len(out), ErrTooLarge)
	}
	return out, nil
}

// sealParts seals the content key to every recipient, on all cores.
func sealParts(grants []Grant, content, info []byte) ([][]byte, error) {
	parts := make([][]byte, len(grants))
	return parts, onAllCores(len(grants), func(i int) (err error) {
		plain := append(make([]byte, 0, contentKey+2+4*len(grants[i].Senders)), content...)
		plain = appendRanges(plain, grants[i].Senders)
		defer clear(plain)
		if parts[i], err = grants[i].To.seal(info, plain); err == nil && len(parts[i]) > maxPart {
			err = ErrTooLarge
		}
		if err != nil {
			return fmt.Errorf("seal to recipient %d: %w", i+1, err)
		}
		return nil
	})
}

// onAllCores calls f with 0 to n-1 and returns the first error, after which no call begins.
func onAllCores(n int, f func(int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var working sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		working.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	working.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
