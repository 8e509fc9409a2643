package keyring

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
)

// secretSize is the size of root keys and epoch secrets in bytes.
const secretSize = 32

// secret is a root key or an epoch's secret. It lies behind a pointer, so that
// not even a print of a struct round it shows it.
type secret struct{ key *[secretSize]byte }

const redacted = "REDACTED"

func (secret) String() string               { return redacted }
func (secret) GoString() string             { return redacted }
func (secret) Format(s fmt.State, _ rune)   { io.WriteString(s, redacted) }
func (secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// newSecret draws a secret. crypto/rand never fails (Go 1.24).
func newSecret() secret {
	s := secret{new([secretSize]byte)}
	rand.Read(s.key[:])
	return s
}

// secretFrom copies b, which must hold secretSize bytes.
func secretFrom(b []byte) secret {
	return secret{(*[secretSize]byte)(append([]byte(nil), b[:secretSize]...))}
}

func (s secret) clone() secret {
	if s.key == nil {
		return secret{}
	}
	k := *s.key
	return secret{&k}
}

func (s secret) wipe() {
	if s.key != nil {
		clear(s.key[:])
	}
}

// derive is HKDF-SHA-256 (RFC 5869) with the secret as input keying material.
func (s secret) derive(salt []byte, info string, size int) []byte {
	key, err := hkdf.Key(sha256.New, s.key[:], salt, info, size)
	if err != nil { // sizes are constants here
		panic("keyring: " + err.Error())
	}
	return key
}

// str is BE16(length) ‖ x, as in every formula of this package.
func str(b []byte, x string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(x))), x...)
}

// step is the ratchet of RFC 9605, Section 5.1, by SHA-256 whatever the channel's
// suite is, as the secret has 32 bytes: HKDF-Expand(HKDF-Extract("", secret),
// "SFrame 1.0 Ratchet", 32).
func (s secret) step() secret {
	next := s.derive(nil, "SFrame 1.0 Ratchet", secretSize)
	defer clear(next)
	return secretFrom(next)
}
