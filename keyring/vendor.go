package keyring

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// VendorKey is what the media vendor's SDK is configured with: an encryption mode, a
// key string and, for two of the modes, a salt. [Ring.ImportVendor] makes a channel's
// secret of it: whoever is configured alike has the same channel.
//
// The vendor's own key derivation and frame format are not published: frames that its
// SDK encrypted do not open here.
type VendorKey struct {
	// Mode is the vendor's name or number of the mode; see [cipher.Lookup].
	Mode string
	// Key is the key string, 1 to 1024 bytes. ImportVendor keeps no reference to it.
	Key []byte
	// Hex says what a key string of hexadecimal digits is.
	Hex HexReading
	// Salt is the salt in base64 (RFC 4648, Section 4), of 32 bytes that are not all
	// zero: for aes-128-gcm2 and aes-256-gcm2 (modes 7 and 8), and for them only.
	Salt string
}

// HexReading is how a key string of hexadecimal digits is read. The vendor's native
// SDKs take the digits themselves as the key; its Web SDK is given the bytes that they
// stand for. The two are different keys, and nothing but a call that stays silent tells.
type HexReading uint8

// The readings.
const (
	HexUnsaid  HexReading = 0 // refused with ErrHexReading if the key string can be read both ways
	HexAsText  HexReading = 1 // the digits are the key, as in the native SDKs
	HexAsBytes HexReading = 2 // the bytes that they stand for are, as with the Web SDK's hex2ascii
)

// ErrHexReading says that a key string can be read as text or as hexadecimal bytes, and
// that nobody said which.
var ErrHexReading = errors.New("keyring: the key string is hexadecimal digits: say whether they are the key (text) or the bytes they stand for (bytes)")

// vendorModes are the vendor's modes that have a suite, with whether they take a salt.
var vendorModes = []struct {
	name, number string
	also         string
	salted       bool
}{
	{"aes-128-xts", "1", "", false},
	{"aes-256-xts", "3", "", false},
	{"aes-128-gcm", "5", "", false},
	{"aes-256-gcm", "6", "", false},
	{"aes-128-gcm2", "7", "aes-128-gcm-2", true},
	{"aes-256-gcm2", "8", "aes-256-gcm-2", true},
}

const (
	vendorRounds = 600_000 // of PBKDF2: what key strings need that somebody thought up
	vendorSalt   = 32
	maxVendorKey = 1024
	// leastHex is from how many digits on a key string may be the hexadecimal form of a
	// key: 16 bytes. Shorter ones are text.
	leastHex = 32
)

// mode returns the canonical name of the mode, its suite and whether it takes a salt.
func (k *VendorKey) mode() (name string, suite *cipher.Suite, salted bool, err error) {
	suite, err = cipher.Lookup(k.Mode)
	if err != nil {
		return "", nil, false, fmt.Errorf("keyring: import a vendor's key: %w", err)
	}
	want := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(k.Mode)), "_", "-")
	for _, m := range vendorModes {
		if want == m.name || want == m.number || want == m.also {
			return m.name, suite, m.salted, nil
		}
	}
	return "", nil, false, fmt.Errorf("keyring: import a vendor's key: %q is no mode of the vendor's", k.Mode)
}

// bytes returns the key's bytes, which the caller wipes.
func (k *VendorKey) bytes() ([]byte, error) {
	if len(k.Key) == 0 || len(k.Key) > maxVendorKey {
		return nil, fmt.Errorf("keyring: import a vendor's key: a key string of %d bytes: it has 1 to %d", len(k.Key), maxVendorKey)
	}
	raw := make([]byte, hex.DecodedLen(len(k.Key)))
	_, err := hex.Decode(raw, k.Key)
	switch {
	case k.Hex == HexAsBytes && err != nil:
		clear(raw)
		return nil, errors.New("keyring: import a vendor's key: the key string is to be read as hexadecimal bytes, and is not an even number of hexadecimal digits")
	case k.Hex == HexAsBytes:
		return raw, nil
	case k.Hex == HexUnsaid && err == nil && len(k.Key) >= leastHex:
		err = ErrHexReading
	case k.Hex > HexAsBytes:
		err = fmt.Errorf("keyring: import a vendor's key: a reading of %d", k.Hex)
	default:
		err = nil
	}
	clear(raw)
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), k.Key...), nil
}

func (k *VendorKey) salt(mode string, salted bool) ([]byte, error) {
	if !salted {
		if k.Salt != "" {
			return nil, fmt.Errorf("keyring: import a vendor's key: mode %s takes no salt: with one, say aes-128-gcm2 or aes-256-gcm2", mode)
		}
		return nil, nil
	}
	salt, err := base64.StdEncoding.Strict().DecodeString(k.Salt)
	switch {
	case err != nil:
		return nil, fmt.Errorf("keyring: import a vendor's key: the salt is not base64: mode %s takes one of %d bytes, as openssl rand -base64 %d makes it", mode, vendorSalt, vendorSalt)
	case len(salt) != vendorSalt:
		return nil, fmt.Errorf("keyring: import a vendor's key: a salt of %d bytes: mode %s takes one of %d", len(salt), mode, vendorSalt)
	case subtle.ConstantTimeCompare(salt, make([]byte, vendorSalt)) == 1:
		return nil, errors.New("keyring: import a vendor's key: the salt is all zero")
	}
	return salt, nil
}

// secret derives the epoch secret:
//
//	PBKDF2-HMAC-SHA-256(key, "chanseal 1 vendor key" ‖ str(channel) ‖ str(mode) ‖ BE16(length) ‖ salt, 600,000 rounds, 32 bytes)
//
// with the mode's canonical name (aes-128-gcm2, not 7).
func (k *VendorKey) secret(channel string) (secret, *cipher.Suite, error) {
	mode, suite, salted, err := k.mode()
	if err != nil {
		return secret{}, nil, err
	}
	salt, err := k.salt(mode, salted)
	if err != nil {
		return secret{}, nil, err
	}
	key, err := k.bytes()
	if err != nil {
		return secret{}, nil, err
	}
	defer clear(key)
	s := str(str(str([]byte("chanseal 1 vendor key"), channel), mode), string(salt))
	out, err := pbkdf2.Key(sha256.New, string(key), s, vendorRounds, secretSize)
	if err != nil {
		return secret{}, nil, fmt.Errorf("keyring: import a vendor's key: %w", err)
	}
	defer clear(out)
	return secretFrom(out), suite, nil
}

// Format prints no key.
func (k VendorKey) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "keyring.VendorKey(%q, %s)", k.Mode, redacted)
}

// ImportVendor makes a channel of a vendor's key, or, if there is one of that name, its
// next epoch. To import what the active epoch was made of changes nothing. Both ends
// have to name the channel alike and to be at the same epoch: the fingerprints of
// [Channel.Show] tell.
//
// The policy of such a channel makes no epoch by frames or age: the other end would not
// have it.
func (r *Ring) ImportVendor(ctx context.Context, name string, k VendorKey, p Policy) (*Channel, Info, error) {
	if err := checkName(name); err != nil {
		return nil, Info{}, err
	}
	sec, suite, err := k.secret(name)
	if err != nil {
		return nil, Info{}, err
	}
	defer sec.wipe()
	ch, err := r.create(ctx, name, ChannelOptions{Suite: suite, Policy: p}, Vendor, sec)
	switch {
	case err == nil:
		info, err := ch.Show(ctx)
		return ch, info, err
	case !errors.Is(err, ErrChannelExists):
		return nil, Info{}, err
	}
	if ch, err = r.Channel(ctx, name); err != nil {
		return nil, Info{}, err
	}
	info, err := ch.own(ctx, func(st *state, now time.Time) error {
		active := st.active()
		if active == nil {
			return ErrForgotten
		}
		if active.suite == suite.ID() && active.kind == Vendor && subtle.ConstantTimeCompare(active.secret.key[:], sec.key[:]) == 1 {
			return errSame
		}
		if st.staged() != nil {
			return ErrStaged
		}
		st.suite = suite.ID()
		if _, err := st.append(now, "import", Vendor, sec.clone()); err != nil {
			return err
		}
		st.pending = pending{}
		return st.activate(now)
	})
	return ch, info, err
}
