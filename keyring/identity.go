package keyring

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// The KEMs of recipients (RFC 9180, and draft-ietf-hpke-pq for the hybrid one), by the
// names they have in text.
var kems = []struct {
	name string
	kem  hpke.KEM
}{
	{"mlkem768-x25519", hpke.MLKEM768X25519()},
	{"x25519", hpke.DHKEM(ecdh.X25519())},
	{"p256", hpke.DHKEM(ecdh.P256())},
}

// DefaultKEM is what a new [Identity] has unless something else is asked for: a hybrid
// of ML-KEM-768 and X25519, so that what is recorded today stays shut to a quantum
// computer.
const DefaultKEM = "mlkem768-x25519"

func kemByName(name string) (hpke.KEM, error) {
	names := make([]string, len(kems))
	for i, k := range kems {
		if k.name == name {
			return k.kem, nil
		}
		names[i] = k.name
	}
	return nil, fmt.Errorf("keyring: no KEM %q: known are %s", name, strings.Join(names, ", "))
}

func kemName(id uint16) string {
	for _, k := range kems {
		if k.kem.ID() == id {
			return k.name
		}
	}
	return fmt.Sprintf("%#04x", id)
}

const (
	recipientPrefix = "hpke:"
	secretPrefix    = "hpke-secret:"
	maxIdentityFile = 64 << 10
	maxRecipient    = 16 << 10 // bytes of text
)

// Recipient is whom secrets are sealed to: a public key for HPKE (RFC 9180), or an age
// recipient.
type Recipient struct {
	text string
	hpke hpke.PublicKey
	age  age.Recipient
}

// ParseRecipient reads the text of a recipient: "hpke:KEM:" and the public key in
// base64url, as written by [Identity.Recipient], or age's "age1…".
func ParseRecipient(text string) (*Recipient, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxRecipient {
		return nil, fmt.Errorf("keyring: a recipient of %d bytes: %w", len(text), ErrTooLarge)
	}
	rest, ok := strings.CutPrefix(text, recipientPrefix)
	if !ok {
		r, err := parseAgeRecipient(text)
		if err != nil {
			return nil, err
		}
		return &Recipient{text: r.(fmt.Stringer).String(), age: r}, nil // one text for each recipient
	}
	name, key, _ := strings.Cut(rest, ":")
	kem, err := kemByName(name)
	if err != nil {
		return nil, err
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(key)
	if err != nil {
		return nil, errors.New("keyring: a recipient's key is not base64url: was the text cut?")
	}
	pub, err := kem.NewPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("keyring: a recipient's key is none of %s: was the text cut?", name)
	}
	return &Recipient{text: text, hpke: pub}, nil
}

func parseAgeRecipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "age1") {
		if r, err := parseRecipient(text); err == nil {
			if _, ok := r.(fmt.Stringer); ok {
				return r, nil
			}
		}
	}
	return nil, errors.New(`keyring: a recipient is "hpke:KEM:…", as keygen prints it, or "age1…" of age-keygen`)
}

// String returns the text that ParseRecipient reads.
func (r *Recipient) String() string { return r.text }

// Hint lets a member find their part in a bundle: the first 8 bytes of
// SHA-256("chanseal 1 recipient" ‖ text).
func (r *Recipient) Hint() (h [8]byte) {
	sum := sha256.Sum256([]byte("chanseal 1 recipient" + r.text))
	copy(h[:], sum[:])
	return h
}

// kemID is the recipient's KEM, 0 for age.
func (r *Recipient) kemID() uint16 {
	if r.hpke == nil {
		return 0
	}
	return r.hpke.KEM().ID()
}

// seal seals plain to the recipient: enc ‖ ciphertext under HKDF-SHA-256 and
// AES-256-GCM, or an age file of info ‖ plain.
func (r *Recipient) seal(info, plain []byte) ([]byte, error) {
	if r.hpke != nil {
		return hpke.Seal(r.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plain)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, r.age)
	if err != nil {
		return nil, err
	}
	for _, b := range [][]byte{info, plain} {
		if _, err := w.Write(b); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Identity is the secret side of a [Recipient].
type Identity struct {
	recipient *Recipient
	hpke      hpke.PrivateKey
	age       age.Identity
}

// NewIdentity draws an identity; an empty kem is [DefaultKEM].
func NewIdentity(kem string) (*Identity, error) {
	if kem == "" {
		kem = DefaultKEM
	}
	k, err := kemByName(kem)
	if err != nil {
		return nil, err
	}
	priv, err := k.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("keyring: make an identity: %w", err)
	}
	return hpkeIdentity(priv), nil
}

func hpkeIdentity(priv hpke.PrivateKey) *Identity {
	pub := priv.PublicKey()
	text := recipientPrefix + kemName(pub.KEM().ID()) + ":" + base64.RawURLEncoding.EncodeToString(pub.Bytes())
	return &Identity{recipient: &Recipient{text: text, hpke: pub}, hpke: priv}
}

// Recipient is what others seal to.
func (id *Identity) Recipient() *Recipient { return id.recipient }

// Format prints nothing of it.
func (*Identity) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

// Secret returns the text that [ParseIdentities] reads: "hpke-secret:KEM:" and the
// private key in base64url, or age's own. Keep it to yourself.
func (id *Identity) Secret() (string, error) {
	if id.hpke == nil {
		return "", errors.New("keyring: an age identity is written by age itself")
	}
	b, err := id.hpke.Bytes()
	if err != nil {
		return "", fmt.Errorf("keyring: write an identity: %w", err)
	}
	defer clear(b)
	return secretPrefix + kemName(id.hpke.KEM().ID()) + ":" + base64.RawURLEncoding.EncodeToString(b), nil
}

// ParseIdentities reads identities, one a line: [Identity.Secret]'s, or age's
// "AGE-SECRET-KEY-…". Empty lines and those that begin with # are left out. Errors tell
// the line, and nothing of what stands in it.
func ParseIdentities(r io.Reader) (out []*Identity, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxIdentityFile+1))
	lines.Buffer(nil, maxIdentityFile)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id := parseIdentity(line)
		if id == nil {
			return nil, fmt.Errorf("keyring: line %d is no identity: want hpke-secret:KEM:… or AGE-SECRET-KEY-…", n)
		}
		out = append(out, id)
	}
	if lines.Err() != nil {
		return nil, fmt.Errorf("keyring: an identity file of more than %d bytes: %w", maxIdentityFile, ErrTooLarge)
	}
	if len(out) == 0 {
		return nil, errors.New("keyring: the file holds no identity")
	}
	return out, nil
}

func parseIdentity(line string) *Identity {
	if rest, ok := strings.CutPrefix(line, secretPrefix); ok {
		name, key, _ := strings.Cut(rest, ":")
		kem, err := kemByName(name)
		if err != nil {
			return nil
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(key)
		defer clear(b)
		if err != nil {
			return nil
		}
		priv, err := kem.NewPrivateKey(b)
		if err != nil {
			return nil
		}
		return hpkeIdentity(priv)
	}
	ids, err := age.ParseIdentities(strings.NewReader(line))
	if err != nil || len(ids) != 1 {
		return nil
	}
	switch id := ids[0].(type) {
	case *age.HybridIdentity:
		return &Identity{recipient: &Recipient{text: id.Recipient().String(), age: id.Recipient()}, age: id}
	case *age.X25519Identity:
		return &Identity{recipient: &Recipient{text: id.Recipient().String(), age: id.Recipient()}, age: id}
	}
	return nil
}

// open opens what [Recipient.seal] sealed. The caller wipes the result.
func (id *Identity) open(info, sealed []byte) ([]byte, error) {
	if id.hpke != nil {
		return hpke.Open(id.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), id.age)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(sealed)) // never grows: no copy of the key is left behind
	n, err := io.ReadFull(r, plain)
	if err != io.ErrUnexpectedEOF || !bytes.HasPrefix(plain[:n], info) { // the end was authenticated, and age adds to every file
		clear(plain)
		return nil, errNotThis
	}
	return plain[len(info):n], nil
}

var errNotThis = errors.New("keyring: not sealed for this")
