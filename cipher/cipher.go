// Package cipher seals and opens single media frames: SFrame (RFC 9605) on the
// wire, with the suites of its registry, some more of ours, and the application's own.
//
// A [Suite] is a row of a table: which cipher, how long its keys, which number on
// the wire. From a suite, a key ID (KID) and a base key come a [SealKey] and an
// [OpenKey], the two halves of one sender's stream:
//
//	sealed, err := sealKey.Seal(nil, frame, nil)
//	frame, err := openKey.Open(nil, sealed, nil)
//
// The package owns every nonce. A SealKey counts its frames and never seals two
// under one counter (CTR); an OpenKey accepts each counter once. Both are safe for
// concurrent use and allocate nothing per frame when dst has room.
//
// There is no I/O here, no clock, no logging and no global that changes.
package cipher

import (
	"crypto/cipher"
	"errors"
)

// AEAD is the plug for an algorithm of one's own: the standard library's interface,
// unchanged. See [NewSuite] for what is asked of it.
type AEAD = cipher.AEAD

// Sealer seals frames. It is safe for concurrent use.
type Sealer interface {
	// Overhead is the most bytes by which Seal makes a frame longer.
	Overhead() int
	// Seal appends the sealed frame to dst and returns the longer slice. The
	// additional data is authenticated but not sent. The spare room of dst that
	// is written may overlap neither frame nor aad. On an error it returns dst
	// at its old length.
	Seal(dst, frame, aad []byte) ([]byte, error)
}

// Opener opens frames. It is safe for concurrent use.
type Opener interface {
	// Open appends the frame inside sealed to dst and returns the longer slice.
	// aad must equal what the sealer was given. The spare room of dst that is
	// written may overlap neither sealed nor aad. On an error it returns dst at
	// its old length, and nothing of the frame is left behind it.
	Open(dst, sealed, aad []byte) ([]byte, error)
}

// SuiteID is a cipher suite's number in the SFrame registry (RFC 9605, Section 8.1).
// 0xF000 to 0xFFFF are for private use: up to [MaxBuiltinID] this package's own,
// from [MinCustomID] on the application's.
type SuiteID uint16

// The private part of the registry, divided.
const (
	MaxBuiltinID SuiteID = 0xF0FF // the last number this package gives out itself
	MinCustomID  SuiteID = 0xF100 // the first number an application may use
)

// KeyID is the KID of RFC 9605, Section 4.3: it tells a receiver which key sealed
// a frame, and is visible to everybody.
type KeyID uint64

// What a caller branches on. None of them says why a frame failed to authenticate,
// and none is ever formatted or wrapped on the way of a frame.
var (
	// ErrMalformed: not an SFrame ciphertext: a KID or CTR is not in its
	// shortest form (RFC 9605, Section 4.3).
	ErrMalformed = errors.New("cipher: malformed SFrame header")
	// ErrShort: the input ends before the header or the tag does, or a buffer
	// has no room for them.
	ErrShort = errors.New("cipher: too short for header and tag")
	// ErrAuth: the frame was not sealed under this key, or it was changed, or
	// the additional data differs.
	ErrAuth = errors.New("cipher: frame authentication failed")
	// ErrReplayed: a frame with this counter was opened before, or the counter
	// lies behind the replay window.
	ErrReplayed = errors.New("cipher: frame replayed or older than the replay window")
	// ErrExhausted: the key has reached the end of its life: rotate.
	ErrExhausted = errors.New("cipher: key exhausted, rotate to a new one")
	// ErrUnknownKey: the frame names another key than this one, or the key was
	// retired.
	ErrUnknownKey = errors.New("cipher: unknown key")
	// ErrHook: a custom cipher failed, panicked, or broke its contract while
	// sealing. Nothing was sealed.
	ErrHook = errors.New("cipher: custom cipher broke its contract")
)

// Frame is one element of a batch. Dst is appended to, as in Seal and Open; Err is
// the frame's own result.
type Frame struct {
	Dst, Src, AAD []byte
	Err           error
}
