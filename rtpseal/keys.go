package rtpseal

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chanseal/chanseal/cipher"
)

// Derivation says whether every stream has a key of its own, derived from the base key
// and its SSRC (draft-ietf-avtcore-rtp-sframe, Section 7). Nothing on the wire shows it,
// and with the wrong one nothing authenticates: so it has no default.
type Derivation uint8

const (
	SharedKey Derivation = 1 // all streams use the base key as it is
	PerSSRC   Derivation = 2 // HKDF with the SSRC as salt
)

// MaxStreams bounds the streams for which [Keys] are derived at a time.
const MaxStreams = 4096

// maxStrange is how many units of streams that were not heard before may fail a second.
// Each costs a derivation, and those of short tags a chance, of which a key that is thrown
// away again keeps no count: at this rate one of 2^32 takes two years.
const maxStrange = 64

// Keys are base keys that were given from outside, by key ID, for opening; those for
// sealing are [SealKeys]. They are safe for concurrent use.
type Keys struct {
	suite *cipher.Suite
	how   Derivation

	mu      sync.RWMutex
	base    map[cipher.KeyID][]byte
	streams map[streamKID]*cipher.OpenKey
	strange int       // units of unheard streams that failed
	since   time.Time // the first of them did
}

type streamKID struct {
	ssrc uint32
	kid  cipher.KeyID
}

var errDerivation = errors.New("rtpseal: state whether keys are shared by all streams or derived for each SSRC: SharedKey or PerSSRC")

// NewKeys makes an empty set of keys.
func NewKeys(s *cipher.Suite, how Derivation) (*Keys, error) {
	if how != SharedKey && how != PerSSRC {
		return nil, errDerivation
	}
	if s == nil {
		return nil, errors.New("rtpseal: keys need a suite")
	}
	return &Keys{suite: s, how: how, base: map[cipher.KeyID][]byte{}, streams: map[streamKID]*cipher.OpenKey{}}, nil
}

// Add takes in the base key of a key ID. Another key for an ID that is there is refused:
// with it the memory of what was played would go.
func (k *Keys) Add(kid cipher.KeyID, baseKey []byte) error {
	if _, err := k.suite.NewOpenKey(kid, baseKey); err != nil { // sizes, FIPS
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.base[kid]; ok {
		return fmt.Errorf("rtpseal: key ID %#x has a key already: remove it first", uint64(kid))
	}
	k.base[kid] = append([]byte(nil), baseKey...)
	return nil
}

// Remove ends a key ID: nothing opens under it any more.
func (k *Keys) Remove(kid cipher.KeyID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.base[kid])
	delete(k.base, kid)
	for id, key := range k.streams {
		if id.kid == kid {
			key.Retire()
			delete(k.streams, id)
		}
	}
}

// OpenStream opens a unit of a stream. A stream's key is kept only after a unit
// authenticated under it; while many fail of streams that were not heard before, others
// like them get cipher.ErrUnknownKey, and wait.
func (k *Keys) OpenStream(ssrc uint32, dst, sealed []byte) ([]byte, error) {
	h, _, err := cipher.ParseHeader(sealed)
	if err != nil {
		return dst, err
	}
	id := streamKID{ssrc, h.KID}
	if k.how == SharedKey {
		id.ssrc = 0
	}
	k.mu.RLock()
	key := k.streams[id]
	k.mu.RUnlock()
	if key != nil {
		return key.Open(dst, sealed, nil)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if key = k.streams[id]; key != nil {
		return key.Open(dst, sealed, nil)
	}
	base, ok := k.base[h.KID]
	if !ok || len(k.streams) >= MaxStreams || !k.mayTry() {
		return dst, cipher.ErrUnknownKey
	}
	if key, err = k.derive(id, base); err != nil {
		return dst, err
	}
	out, err := key.Open(dst, sealed, nil)
	if err != nil {
		if k.strange++; k.strange == 1 {
			k.since = time.Now()
		}
		key.Retire()
		return dst, err
	}
	k.streams[id] = key
	return out, nil
}

// mayTry says whether another unheard stream may be tried; mu is held.
func (k *Keys) mayTry() bool {
	if k.strange < maxStrange {
		return true
	}
	if time.Since(k.since) < time.Second {
		return false
	}
	k.strange = 0
	return true
}

func (k *Keys) derive(id streamKID, base []byte) (*cipher.OpenKey, error) {
	if k.how == PerSSRC {
		own, err := cipher.StreamBaseKey(k.suite, base, id.ssrc)
		if err != nil {
			return nil, err
		}
		defer clear(own)
		base = own
	}
	return k.suite.NewOpenKeyWindow(id.kid, base, cipher.PacketWindow)
}

// SealKeys seal streams under one base key that was given from outside. They are safe
// for concurrent use.
type SealKeys struct {
	suite    *cipher.Suite
	how      Derivation
	kid      cipher.KeyID
	counting cipher.Counting

	mu      sync.RWMutex
	base    []byte
	streams map[uint32]*cipher.SealKey
}

// NewSealKeys makes the sealing half. fresh is the caller's promise that nothing was
// ever sealed before under this key and key ID: with PerSSRC, each stream counts from 0.
func NewSealKeys(s *cipher.Suite, how Derivation, kid cipher.KeyID, baseKey []byte, fresh cipher.Counting) (*SealKeys, error) {
	if how != SharedKey && how != PerSSRC {
		return nil, errDerivation
	}
	if s == nil {
		return nil, errors.New("rtpseal: keys need a suite")
	}
	k := &SealKeys{suite: s, how: how, kid: kid, counting: fresh, streams: map[uint32]*cipher.SealKey{}}
	if _, err := s.NewSealKey(kid, baseKey, fresh); err != nil {
		return nil, err
	}
	k.base = append([]byte(nil), baseKey...)
	return k, nil
}

// SealStream seals a unit of a stream.
func (k *SealKeys) SealStream(ssrc uint32, dst, unit []byte) ([]byte, error) {
	if k.how == SharedKey {
		ssrc = 0
	}
	k.mu.RLock()
	key := k.streams[ssrc]
	k.mu.RUnlock()
	if key == nil {
		var err error
		if key, err = k.make(ssrc); err != nil {
			return dst, err
		}
	}
	return key.Seal(dst, unit, nil)
}

func (k *SealKeys) make(ssrc uint32) (*cipher.SealKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.streams[ssrc]; key != nil {
		return key, nil
	}
	if k.base == nil {
		return nil, cipher.ErrUnknownKey
	}
	if len(k.streams) >= MaxStreams {
		return nil, cipher.ErrExhausted
	}
	base := k.base
	if k.how == PerSSRC {
		own, err := cipher.StreamBaseKey(k.suite, k.base, ssrc)
		if err != nil {
			return nil, err
		}
		defer clear(own)
		base = own
	}
	key, err := k.suite.NewSealKey(k.kid, base, k.counting)
	if err != nil {
		return nil, err
	}
	k.streams[ssrc] = key // and never taken out: a stream that comes again counts on
	return key, nil
}

// Overhead is the most bytes by which a unit grows.
func (k *SealKeys) Overhead() int { return cipher.MaxHeader + k.suite.Overhead() }

// Close wipes the keys.
func (k *SealKeys) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.base)
	k.base = nil
	for ssrc, key := range k.streams {
		key.Retire()
		delete(k.streams, ssrc)
	}
}

// Profile is a named configuration that two sides agree on by its name.
type Profile struct {
	Name         string
	Video, Audio *cipher.Suite
	Derivation   Derivation
	Kind         Descriptor // what is sealed: 0 for frames, PerPacket for packets
	KeySize      int        // bytes of a base key
}

// HomeKit is what home cameras use: suite 6 for video and 8 for audio, keys for each
// SSRC, whole frames, base keys of 32 bytes with a key ID, no metadata.
func HomeKit() Profile {
	return Profile{
		Name: "homekit", Video: cipher.AES256CTRHMAC80(), Audio: cipher.AES256CTRHMAC32(),
		Derivation: PerSSRC, KeySize: 32,
	}
}

// NewSealKeys makes the sealing half for a stream of audio or video.
func (p Profile) NewSealKeys(audio bool, kid cipher.KeyID, baseKey []byte, fresh cipher.Counting) (*SealKeys, error) {
	if len(baseKey) != p.KeySize {
		return nil, fmt.Errorf("rtpseal: %s: a base key of %d bytes, want %d", p.Name, len(baseKey), p.KeySize)
	}
	return NewSealKeys(p.suite(audio), p.Derivation, kid, baseKey, fresh)
}

// NewKeys makes the opening half, without any key yet.
func (p Profile) NewKeys(audio bool) (*Keys, error) { return NewKeys(p.suite(audio), p.Derivation) }

func (p Profile) suite(audio bool) *cipher.Suite {
	if audio {
		return p.Audio
	}
	return p.Video
}
