package cipher

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// Suite is one cipher with all its parameters: a row of the table below, or one made
// by [NewSuite] or [NewHook]. It is immutable and safe for concurrent use.
type Suite struct {
	id        SuiteID
	name      string
	keySize   int // Nk, bytes
	nonceSize int // Nn, bytes; 0: the cipher has nonces of its own
	overhead  int // Nt, bytes; for a Hook the most it may add
	hash      func() hash.Hash
	fips      bool // works under GODEBUG=fips140=only
	custom    bool
	variable  bool // a Hook: the overhead may be less than stated
	inside    *Suite
	new       func(s *Suite, kid KeyID, key, salt []byte) (core, error)
}

// The built-in rows: 1 to 8 are the SFrame registry's (RFC 9605, Section 4.5, Table 1,
// and the AES-256 additions of the registry), the others private. Nk is 2 or 3 keys
// long where there is more than one: Nka + Nh for CTR-HMAC, K1 + K2 + Nh for XTS-HMAC.
var builtin = []*Suite{
	{id: 0x0001, name: "aes-128-ctr-hmac-sha256-80", keySize: 16 + 32, nonceSize: 12, overhead: 10, hash: sha256.New, fips: true, new: newCTRHMAC},
	{id: 0x0002, name: "aes-128-ctr-hmac-sha256-64", keySize: 16 + 32, nonceSize: 12, overhead: 8, hash: sha256.New, fips: true, new: newCTRHMAC},
	{id: 0x0003, name: "aes-128-ctr-hmac-sha256-32", keySize: 16 + 32, nonceSize: 12, overhead: 4, hash: sha256.New, fips: true, new: newCTRHMAC},
	{id: 0x0004, name: "aes-128-gcm", keySize: 16, nonceSize: 12, overhead: 16, hash: sha256.New, new: newGCM},
	{id: 0x0005, name: "aes-256-gcm", keySize: 32, nonceSize: 12, overhead: 16, hash: sha512.New, new: newGCM},
	{id: 0x0006, name: "aes-256-ctr-hmac-sha512-80", keySize: 32 + 64, nonceSize: 12, overhead: 10, hash: sha512.New, fips: true, new: newCTRHMAC},
	{id: 0x0007, name: "aes-256-ctr-hmac-sha512-64", keySize: 32 + 64, nonceSize: 12, overhead: 8, hash: sha512.New, fips: true, new: newCTRHMAC},
	{id: 0x0008, name: "aes-256-ctr-hmac-sha512-32", keySize: 32 + 64, nonceSize: 12, overhead: 4, hash: sha512.New, fips: true, new: newCTRHMAC},
	{id: 0xF001, name: "chacha20-poly1305", keySize: 32, nonceSize: 12, overhead: 16, hash: sha512.New, new: newChaCha},
	{id: 0xF002, name: "aes-128-xts-hmac-sha256", keySize: 16 + 16 + 32, nonceSize: 12, overhead: 16, hash: sha256.New, new: newXTSHMAC},
	{id: 0xF003, name: "aes-256-xts-hmac-sha512", keySize: 32 + 32 + 64, nonceSize: 12, overhead: 16, hash: sha512.New, new: newXTSHMAC},
}

// AES128CTRHMAC80 is suite 1: AES-128-CTR and HMAC-SHA256 with a tag of 80 bits.
func AES128CTRHMAC80() *Suite { return builtin[0] }

// AES128CTRHMAC64 is suite 2: the same with a tag of 64 bits.
func AES128CTRHMAC64() *Suite { return builtin[1] }

// AES128CTRHMAC32 is suite 3: the same with a tag of 32 bits, for audio only. One in
// 2^32 forgeries passes: heed [OpenKey.Condition].
func AES128CTRHMAC32() *Suite { return builtin[2] }

// AES128GCM is suite 4, the default: AES-128-GCM with a tag of 128 bits.
func AES128GCM() *Suite { return builtin[3] }

// AES256GCM is suite 5: AES-256-GCM with a tag of 128 bits.
func AES256GCM() *Suite { return builtin[4] }

// AES256CTRHMAC80 is suite 6: AES-256-CTR and HMAC-SHA512 with a tag of 80 bits.
func AES256CTRHMAC80() *Suite { return builtin[5] }

// AES256CTRHMAC64 is suite 7: the same with a tag of 64 bits.
func AES256CTRHMAC64() *Suite { return builtin[6] }

// AES256CTRHMAC32 is suite 8: the same with a tag of 32 bits, for audio only. See
// [AES128CTRHMAC32].
func AES256CTRHMAC32() *Suite { return builtin[7] }

// ChaCha20Poly1305 is the private suite 0xF001: ChaCha20-Poly1305 (RFC 8439).
func ChaCha20Poly1305() *Suite { return builtin[8] }

// AES128XTSHMAC is the private suite 0xF002: AES-128-XTS, authenticated by
// HMAC-SHA256 with a tag of 128 bits.
func AES128XTSHMAC() *Suite { return builtin[9] }

// AES256XTSHMAC is the private suite 0xF003: AES-256-XTS, authenticated by
// HMAC-SHA512 with a tag of 128 bits.
func AES256XTSHMAC() *Suite { return builtin[10] }

// Suites returns the built-in suites in the order of their numbers.
func Suites() []*Suite { return append([]*Suite(nil), builtin...) }

// ByID returns the built-in suite with this number.
func ByID(id SuiteID) (*Suite, error) {
	for _, s := range builtin {
		if s.id == id {
			return s, nil
		}
	}
	return nil, fmt.Errorf("cipher: no built-in suite has the number %#04x", uint16(id))
}

// Name is the suite's name, as [Lookup] takes it.
func (s *Suite) Name() string { return s.name }

// ID is the suite's number.
func (s *Suite) ID() SuiteID { return s.id }

// Overhead is how many bytes the tag takes (for a Hook: the most its output may be
// longer than the frame). The header comes on top: see [SealKey.Overhead].
func (s *Suite) Overhead() int { return s.overhead }

// KeySize is Nk, the length in bytes of the key that the key schedule makes.
func (s *Suite) KeySize() int { return s.keySize }

// BaseKeySize is Nh, the length in bytes that a derived base key should have.
func (s *Suite) BaseKeySize() int { return s.hash().Size() }

// Authentication says, for reports, what authenticates the suite's frames: the suite
// itself, or nothing that this package can vouch for.
func (s *Suite) Authentication() string {
	switch {
	case s.inside != nil:
		return s.inside.name
	case s.variable:
		return "the hook's own"
	}
	return s.name
}

// Custom reports whether the suite came from [NewSuite] or [NewHook].
func (s *Suite) Custom() bool { return s.custom }

// String returns the name.
func (s *Suite) String() string { return s.name }
