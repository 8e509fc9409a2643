package cipher

import (
	"crypto/hkdf"
	"encoding/binary"
	"fmt"
	"hash"
)

// maxBaseKey bounds base keys in bytes; RFC 9605 names no bound, and nothing that
// derives keys makes longer ones.
const maxBaseKey = 1024

func checkBaseKey(baseKey []byte) error {
	if len(baseKey) == 0 || len(baseKey) > maxBaseKey {
		return fmt.Errorf("cipher: base key of %d bytes, want 1 to %d", len(baseKey), maxBaseKey)
	}
	return nil
}

// deriveKeys is the key schedule of RFC 9605, Section 4.4.2. The caller wipes both.
func (s *Suite) deriveKeys(kid KeyID, baseKey []byte) (key, salt []byte, err error) {
	if err := checkBaseKey(baseKey); err != nil {
		return nil, nil, err
	}
	if err := s.allowed(baseKey); err != nil {
		return nil, nil, err
	}
	secret, err := hkdf.Extract(s.hash, baseKey, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("cipher: deriving the frame secret: %w", err)
	}
	defer clear(secret)
	var suffix [10]byte
	binary.BigEndian.PutUint64(suffix[:], uint64(kid))
	binary.BigEndian.PutUint16(suffix[8:], uint16(s.id))
	key, err = hkdf.Expand(s.hash, secret, "SFrame 1.0 Secret key "+string(suffix[:]), s.keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("cipher: deriving the frame key: %w", err)
	}
	if s.nonceSize == 0 { // a Hook has nonces of its own
		return key, nil, nil
	}
	salt, err = hkdf.Expand(s.hash, secret, "SFrame 1.0 Secret salt "+string(suffix[:]), s.nonceSize)
	if err != nil {
		clear(key)
		return nil, nil, fmt.Errorf("cipher: deriving the frame salt: %w", err)
	}
	return key, salt, nil
}

// RatchetStep is one step of the ratchet of RFC 9605, Section 5.1: the next base
// key, from which the last cannot be computed. hash is the suite's ([Suite.Hash]).
// The step is exactly the RFC's: the label is "SFrame 1.0 Ratchet", and it is HKDF's
// info, not its salt.
func RatchetStep(s *Suite, baseKey []byte) ([]byte, error) {
	if err := checkBaseKey(baseKey); err != nil {
		return nil, err
	}
	secret, err := hkdf.Extract(s.hash, baseKey, nil)
	if err != nil {
		return nil, fmt.Errorf("cipher: ratchet: %w", err)
	}
	defer clear(secret)
	next, err := hkdf.Expand(s.hash, secret, "SFrame 1.0 Ratchet", s.hash().Size())
	if err != nil {
		return nil, fmt.Errorf("cipher: ratchet: %w", err)
	}
	return next, nil
}

// RatchetKID is the KID of a ratcheted sender key (RFC 9605, Section 5.1): the key
// generation, then the low bits of the ratchet step. bits is R of that section, at
// most 63.
func RatchetKID(generation, step uint64, bits int) (KeyID, error) {
	if bits < 0 || bits > 63 || generation > 1<<(64-bits)-1 && bits > 0 {
		return 0, fmt.Errorf("cipher: key generation %d does not fit beside %d ratchet bits", generation, bits)
	}
	return KeyID(generation<<bits | step&(1<<bits-1)), nil
}

// StreamBaseKey is the base key of one RTP stream, by its SSRC
// (draft-ietf-avtcore-rtp-sframe, Section 7). Both sides must have agreed on it:
// nothing on the wire shows that it is in use.
func StreamBaseKey(s *Suite, baseKey []byte, ssrc uint32) ([]byte, error) {
	if err := checkBaseKey(baseKey); err != nil {
		return nil, err
	}
	var salt [4]byte
	binary.BigEndian.PutUint32(salt[:], ssrc)
	secret, err := hkdf.Extract(s.hash, baseKey, salt[:])
	if err != nil {
		return nil, fmt.Errorf("cipher: stream base key: %w", err)
	}
	defer clear(secret)
	key, err := hkdf.Expand(s.hash, secret, "SFrame 1.0 RTP Stream", s.hash().Size())
	if err != nil {
		return nil, fmt.Errorf("cipher: stream base key: %w", err)
	}
	return key, nil
}

// MLSLayout is how an MLS group divides a KID (RFC 9605, Section 5.2):
// context ‖ sender index (SenderBits) ‖ epoch mod 2^EpochBits.
type MLSLayout struct {
	EpochBits  int // E
	SenderBits int // S
}

// KID puts the three numbers together. The epoch is cut to its low bits, as the
// section asks; a sender index or context that does not fit is an error.
func (l MLSLayout) KID(epoch, sender, context uint64) (KeyID, error) {
	if l.EpochBits < 0 || l.SenderBits < 0 || l.EpochBits > 64 || l.SenderBits > 64-l.EpochBits {
		return 0, fmt.Errorf("cipher: MLS layout of %d epoch and %d sender bits does not fit into 64", l.EpochBits, l.SenderBits)
	}
	if !fits(sender, l.SenderBits) {
		return 0, fmt.Errorf("cipher: sender index %d does not fit into %d bits", sender, l.SenderBits)
	}
	if !fits(context, 64-l.EpochBits-l.SenderBits) {
		return 0, fmt.Errorf("cipher: context %d does not fit into %d bits", context, 64-l.EpochBits-l.SenderBits)
	}
	// Shifts of 64 give 0 in Go, which is what an empty field needs.
	return KeyID(context<<(l.SenderBits+l.EpochBits) | sender<<l.EpochBits | epoch&(1<<l.EpochBits-1)), nil
}

func fits(v uint64, bits int) bool { return bits >= 64 || v>>bits == 0 }

// Exporter is the exporter of a group key agreement, such as MLS (RFC 9420,
// Section 8.5).
type Exporter func(label string, context []byte, length int) ([]byte, error)

// MLSBaseKey asks an MLS exporter for the epoch's base key (RFC 9605, Section 5.2).
func MLSBaseKey(s *Suite, export Exporter) ([]byte, error) {
	key, err := export("SFrame 1.0 Base Key", nil, s.keySize)
	if err != nil {
		return nil, fmt.Errorf("cipher: MLS exporter: %w", err)
	}
	if len(key) != s.keySize {
		clear(key)
		return nil, fmt.Errorf("cipher: MLS exporter returned %d bytes, want %d", len(key), s.keySize)
	}
	return key, nil
}

// Hash makes the hash of the suite's key schedule.
func (s *Suite) Hash() hash.Hash { return s.hash() }
