package bench

import (
	"bytes"
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"

	"github.com/minio/sio"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/xts"

	"github.com/chanseal/chanseal/cipher"
)

// Reference is the name of the row that all others are compared with.
const Reference = "std-aes-128-gcm"

// Defaults are what is measured when nothing else is asked for: the built-in suites,
// and what users know. Custom suites are put behind.
func Defaults(custom ...*cipher.Suite) []Pair {
	pairs := []Pair{Noop(), StdGCM()}
	for _, s := range append(cipher.Suites(), custom...) {
		pairs = append(pairs, Suite(s))
	}
	return append(pairs, XChaCha(), XXTS(), DARE())
}

func suiteKeys(s *cipher.Suite) (*cipher.SealKey, *cipher.OpenKey, error) {
	base := random(s.BaseKeySize())
	seal, err := s.NewSealKey(benchKID, base, cipher.FreshKey)
	if err != nil {
		return nil, nil, err
	}
	open, err := s.NewOpenKey(benchKID, base)
	return seal, open, err
}

// benchKID fits into the header's first byte, as the KIDs of a small call do.
const benchKID cipher.KeyID = 1

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// Noop copies the frame and nothing else: what remains is the harness's own cost.
func Noop() Pair {
	return Pair{Name: "noop", Plain: true, Fresh: func() (cipher.Sealer, cipher.Opener, error) {
		return noop{}, noop{}, nil
	}}
}

type noop struct{}

func (noop) Overhead() int                              { return 0 }
func (noop) Seal(dst, frame, _ []byte) ([]byte, error)  { return append(dst, frame...), nil }
func (noop) Open(dst, sealed, _ []byte) ([]byte, error) { return append(dst, sealed...), nil }

// StdGCM is the standard library's AES-128-GCM and nothing round it: no header, no
// replay window. It is the 1.00 that everything is compared with.
func StdGCM() Pair {
	return AEAD(Reference, func() (cipher.AEAD, error) {
		block, err := aes.NewCipher(random(16))
		if err != nil {
			return nil, err
		}
		return stdcipher.NewGCM(block)
	})
}

// XChaCha is the bare ChaCha20-Poly1305 of golang.org/x/crypto.
func XChaCha() Pair {
	return AEAD("xcrypto-chacha20-poly1305", func() (cipher.AEAD, error) {
		return chacha20poly1305.New(random(chacha20poly1305.KeySize))
	})
}

// AEAD is a bare AEAD as a pair for comparison: both sides count the nonces, and
// nothing but ciphertext and tag is sent.
func AEAD(name string, fresh func() (cipher.AEAD, error)) Pair {
	p := Pair{Name: name, Plain: true, Promises: Promises{Authenticates: true, Additional: true}}
	p.Fresh = func() (cipher.Sealer, cipher.Opener, error) {
		a, err := fresh()
		if err != nil {
			return nil, nil, err
		}
		return &bareAEAD{aead: a, nonce: make([]byte, a.NonceSize())}, &bareAEAD{aead: a, nonce: make([]byte, a.NonceSize())}, nil
	}
	if a, err := fresh(); err != nil {
		p.reason = err.Error()
	} else {
		p.Promises.Overhead = a.Overhead()
	}
	return p
}

type bareAEAD struct {
	aead  cipher.AEAD
	nonce []byte
	ctr   uint64
}

func (b *bareAEAD) Overhead() int { return b.aead.Overhead() }

func (b *bareAEAD) next() []byte {
	binary.BigEndian.PutUint64(b.nonce[len(b.nonce)-8:], b.ctr)
	b.ctr++
	return b.nonce
}

func (b *bareAEAD) Seal(dst, frame, aad []byte) ([]byte, error) {
	return b.aead.Seal(dst, b.next(), frame, aad), nil
}

func (b *bareAEAD) Open(dst, sealed, aad []byte) ([]byte, error) {
	return b.aead.Open(dst, b.next(), sealed, aad)
}

// XXTS is the AES-128-XTS of golang.org/x/crypto. It authenticates nothing.
func XXTS() Pair {
	return Pair{Name: "xcrypto-aes-128-xts", Plain: true, Multiple: 16, Fresh: func() (cipher.Sealer, cipher.Opener, error) {
		c, err := xts.NewCipher(aes.NewCipher, random(32))
		if err != nil {
			return nil, nil, err
		}
		return &bareXTS{c: c}, &bareXTS{c: c}, nil
	}}
}

type bareXTS struct {
	c      *xts.Cipher
	sector uint64
}

func (*bareXTS) Overhead() int { return 0 }

func (x *bareXTS) Seal(dst, frame, _ []byte) ([]byte, error) {
	dst = append(dst, frame...)
	out := dst[len(dst)-len(frame):]
	x.c.Encrypt(out, out, x.sector)
	x.sector++
	return dst, nil
}

func (x *bareXTS) Open(dst, sealed, _ []byte) ([]byte, error) {
	dst = append(dst, sealed...)
	out := dst[len(dst)-len(sealed):]
	x.c.Decrypt(out, out, x.sector)
	x.sector++
	return dst, nil
}

// DARE is minio/sio: each frame a stream of its own in the format DARE 2.0, with
// AES-256-GCM.
func DARE() Pair {
	return Pair{
		Name: "sio-dare20-aes-256-gcm", Plain: true, Promises: Promises{Authenticates: true, Overhead: dareOverhead(100000)},
		Fresh: func() (cipher.Sealer, cipher.Opener, error) {
			d := dare{sio.Config{MinVersion: sio.Version20, MaxVersion: sio.Version20, Key: random(32), CipherSuites: []byte{sio.AES_256_GCM}}}
			return d, d, nil
		},
	}
}

func dareOverhead(size uint64) int {
	n, err := sio.EncryptedSize(size)
	if err != nil {
		return 0
	}
	return int(n - size)
}

type dare struct{ config sio.Config }

// Overhead is that of the longest frame that is measured.
func (dare) Overhead() int { return dareOverhead(8 << 20) }

// appender is an io.Writer onto a slice.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func (d dare) Seal(dst, frame, _ []byte) ([]byte, error) {
	out := appender(dst)
	if _, err := sio.Encrypt(&out, bytes.NewReader(frame), d.config); err != nil {
		return dst, err
	}
	return out, nil
}

func (d dare) Open(dst, sealed, _ []byte) ([]byte, error) {
	out := appender(dst)
	if _, err := sio.Decrypt(&out, bytes.NewReader(sealed), d.config); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return dst, err
	}
	return out, nil
}
