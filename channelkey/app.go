package channelkey

import (
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// idLen is the length of an App ID and of a certificate, in characters.
const idLen = 32

// Certificate is an App certificate: the secret that signs a project's keys. It
// prints as REDACTED everywhere. Copies share the secret.
type Certificate struct{ text []byte }

// NewCertificate returns a certificate with a copy of the text: 32 hexadecimal
// digits, without line break. The form is checked where the certificate is used,
// since Legacy.LooseIDs relaxes it.
func NewCertificate(text []byte) Certificate {
	return Certificate{append([]byte(nil), text...)}
}

// IsZero reports whether there is no certificate.
func (c Certificate) IsZero() bool { return len(c.text) == 0 }

// Wipe overwrites the secret, in all copies. The states that crypto/hmac made of
// it inside a Verifier or Issuer are left to the garbage collector.
func (c Certificate) Wipe() { clear(c.text) }

// Reveal returns a copy of the secret, to be written to where secrets are kept.
func (c Certificate) Reveal() []byte { return append([]byte(nil), c.text...) }

const redacted = "REDACTED"

func (Certificate) String() string               { return redacted }
func (Certificate) GoString() string             { return redacted }
func (Certificate) Format(s fmt.State, _ rune)   { fmt.Fprint(s, redacted) }
func (Certificate) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Certificate) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// CertificateID names a certificate without telling it, for revocation and
// records: a hash of App ID and certificate.
type CertificateID [16]byte

// String returns the ID in hexadecimal.
func (id CertificateID) String() string { return hex.EncodeToString(id[:]) }

// App is a project: its public ID and the certificates that sign its keys. The
// secondary one is there for the time of a rotation and may be zero.
type App struct {
	ID        string
	Primary   Certificate
	Secondary Certificate
}

// NewApp makes a project with a random ID and two random certificates.
func NewApp() App {
	random := func() []byte {
		var b [idLen / 2]byte
		rand.Read(b[:]) // never fails: it ends the program instead
		return hex.AppendEncode(nil, b[:])
	}
	return App{string(random()), Certificate{random()}, Certificate{random()}}
}

// CertificateID returns the name of one of the project's certificates.
func (a App) CertificateID(c Certificate) CertificateID {
	h := sha256.New()
	h.Write([]byte("chanseal app certificate\x00"))
	h.Write([]byte(a.ID))
	h.Write([]byte{0})
	h.Write(c.text)
	return CertificateID(h.Sum(nil)[:16])
}

// minFIPSKey is the shortest key, in bytes, that crypto/hmac takes in FIPS 140-only
// mode (SP 800-131A: 112 bits).
const minFIPSKey = 14

// check refuses IDs and certificates of the wrong form.
func (a App) check(l Legacy) error {
	if err := checkAppID(a.ID, l); err != nil {
		return err
	}
	if a.Primary.IsZero() {
		return fmt.Errorf("channelkey: the app has no primary certificate, set App.Primary")
	}
	for _, c := range []Certificate{a.Primary, a.Secondary} {
		if !c.IsZero() && !isID(string(c.text)) && !(l.LooseIDs && len(c.text) <= 1024) {
			return fmt.Errorf("channelkey: an app certificate is 32 hexadecimal digits, this one has another form; look for a line break or a cut end")
		}
		if n := len(c.text); n > 0 && n < minFIPSKey && fips140.Enforced() {
			return fmt.Errorf("channelkey: an app certificate has %d bytes, FIPS 140-only mode forbids keys under %d", n, minFIPSKey)
		}
	}
	return nil
}

func checkAppID(id string, l Legacy) error {
	switch {
	case isID(id), l.LooseIDs && id != "" && len(id) <= 255:
		return nil
	case len(id) != idLen:
		return fmt.Errorf("channelkey: app ID has %d characters, give 32 hexadecimal digits", len(id))
	}
	return fmt.Errorf("channelkey: app ID %q is not hexadecimal, give 32 hexadecimal digits", id)
}

// isID reports whether s is 32 hexadecimal digits.
func isID(s string) bool {
	if len(s) != idLen {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
