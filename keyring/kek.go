package keyring

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// KEK is a key-encryption key: something that wraps a ring's root key. Any one
// of a ring's KEKs opens it. [KeyFile] and [Passphrase] are KEKs.
type KEK interface {
	// Kind names the way of wrapping, in 1 to 32 bytes of ASCII. It stands in
	// the clear in the ring's header and decides which KEKs try a wrapping.
	Kind() string
	// Wrap encrypts root, 32 bytes, for the ring with this ID. It must keep
	// the ID inseparable from what it returns, at most 64 KiB.
	Wrap(root, ringID []byte) ([]byte, error)
	// Unwrap decrypts what Wrap made. It returns an error that is
	// ErrLocked when the key is not the right one, and otherwise says what is
	// wrong. What it is given comes from outside.
	Unwrap(wrapped, ringID []byte) ([]byte, error)
}

// The ring's header, the only record that is not sealed under the root key:
//
//	"chanseal ring" ‖ version (1 byte, 1 or 2) ‖ ring ID (16 bytes) ‖ number of wrappings (BE16, 1 to 32) ‖
//	for each: str(kind) ‖ BE16(length) ‖ wrapped root key
//	‖ in version 2: BE16(length) ‖ what is carried over from the root keys before this one, sealed (see carried)
//	‖ HMAC-SHA-256(HKDF-SHA-256(root key, ring ID, "chanseal 1 ring header", 32), all before)
const (
	headerKey     = "ring" // its key in the store
	headerMagic   = "chanseal ring"
	headerVersion = 1
	headerCarries = 2 // the version of a ring whose root key was renewed
	ringIDSize    = 16
	maxWrappings  = 32
	maxKind       = 32
	macSize       = sha256.Size
)

type wrapping struct {
	kind string
	body []byte
}

type header struct {
	ringID    []byte
	wrappings []wrapping
	carry     []byte // sealed; nil if the root key is the ring's first
}

func (h *header) wrap(root secret, keks []KEK) error {
	if len(keks) == 0 || len(keks) > maxWrappings {
		return fmt.Errorf("keyring: %d key-encryption keys: a ring needs 1 to %d", len(keks), maxWrappings)
	}
	h.wrappings = nil
	for _, k := range keks {
		if n := len(k.Kind()); n == 0 || n > maxKind {
			return fmt.Errorf("keyring: a key-encryption key's kind has %d bytes: make it 1 to %d", n, maxKind)
		}
		body, err := k.Wrap(root.key[:], h.ringID)
		if err != nil {
			return fmt.Errorf("keyring: wrap the ring's root key (%s): %w", k.Kind(), err)
		}
		if len(body) > 0xFFFF {
			return fmt.Errorf("keyring: wrap the ring's root key (%s): %d bytes: %w", k.Kind(), len(body), ErrTooLarge)
		}
		h.wrappings = append(h.wrappings, wrapping{k.Kind(), body})
	}
	return nil
}

func headerMAC(root secret, ringID, body []byte) []byte {
	key := root.derive(ringID, "chanseal 1 ring header", macSize)
	defer clear(key)
	m := hmac.New(sha256.New, key)
	m.Write(body)
	return m.Sum(nil)
}

func (h *header) encode(root secret) []byte {
	b := append([]byte(headerMagic), headerVersion)
	if h.carry != nil {
		b[len(b)-1] = headerCarries
	}
	b = append(b, h.ringID...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.wrappings)))
	for _, w := range h.wrappings {
		b = str(b, w.kind)
		b = binary.BigEndian.AppendUint16(b, uint16(len(w.body)))
		b = append(b, w.body...)
	}
	if h.carry != nil {
		b = binary.BigEndian.AppendUint16(b, uint16(len(h.carry)))
		b = append(b, h.carry...)
	}
	return append(b, headerMAC(root, h.ringID, b)...)
}

// decodeHeader parses without any key; only openHeader tells whether it is true.
func decodeHeader(b []byte) (*header, error) {
	d := decoder{b: b}
	if string(d.next(len(headerMagic))) != headerMagic {
		return nil, fmt.Errorf("keyring: this is no ring's header: %w", ErrDamaged)
	}
	v := d.u8()
	if !d.bad && v != headerVersion && v != headerCarries {
		return nil, fmt.Errorf("keyring: ring of version %d: %w", v, ErrVersion)
	}
	h := &header{ringID: d.next(ringIDSize)}
	n := int(d.u16())
	if n > maxWrappings {
		return nil, fmt.Errorf("keyring: ring header with %d wrapped keys: %w", n, ErrDamaged)
	}
	for range n {
		h.wrappings = append(h.wrappings, wrapping{d.str(), d.bytes()})
	}
	if v == headerCarries {
		h.carry = d.bytes()
	}
	d.next(macSize)
	if !d.done() || n == 0 {
		return nil, fmt.Errorf("keyring: ring header of %d bytes is cut or too long: %w", len(b), ErrDamaged)
	}
	return h, nil
}

// openHeader finds the KEK that opens the ring, and returns its root key.
func openHeader(b []byte, keks []KEK) (*header, secret, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return nil, secret{}, err
	}
	tried := false
	var why error
	for _, w := range h.wrappings {
		for _, k := range keks {
			if k.Kind() != w.kind {
				continue
			}
			tried = true
			key, err := k.Unwrap(w.body, h.ringID)
			if err != nil {
				if !errors.Is(err, ErrLocked) && !errors.Is(err, ErrDamaged) {
					why = err
				}
				continue
			}
			if len(key) != secretSize {
				clear(key)
				continue
			}
			root := secretFrom(key)
			clear(key)
			if body := b[:len(b)-macSize]; !hmac.Equal(headerMAC(root, h.ringID, body), b[len(body):]) {
				root.wipe()
				return nil, secret{}, fmt.Errorf("keyring: the ring's header does not authenticate: %w", ErrDamaged)
			}
			return h, root, nil
		}
	}
	return nil, secret{}, &LockedError{Kinds: h.kinds(), Tried: tried, Why: why}
}

// kinds lists the ways the root key is wrapped, once each.
func (h *header) kinds() []string {
	var out []string
	for _, w := range h.wrappings {
		if !slices.Contains(out, w.kind) {
			out = append(out, w.kind)
		}
	}
	return out
}

func newHeader() *header {
	h := &header{ringID: make([]byte, ringIDSize)}
	rand.Read(h.ringID)
	return h
}
