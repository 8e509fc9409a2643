package bench

import (
	"bytes"
	"context"
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/xts"

	"github.com/chanseal/chanseal/cipher"
)

// The verdicts of the kit.
const (
	checkPassed = "passed"
	checkFailed = "failed"
)

// vouch decides which pairs may be timed, and says of each who opened its frames first:
// another implementation, the conformance kit, or for what is there for comparison
// the pair itself.
func (r *Report) vouch(ctx context.Context, o *Options) (fit []*Pair) {
	for i := range o.Pairs {
		p := &o.Pairs[i]
		if ctx.Err() != nil {
			return nil
		}
		if p.reason != "" {
			r.Skipped = append(r.Skipped, Skipped{Suite: p.Name, Reason: p.reason})
			continue
		}
		m := Mode{Suite: p.Name, Promises: p.Promises}
		var err error
		switch {
		case p.Window != nil:
			m.Verified = "by its own program"
		case p.Plain:
			m.Verified, err = "by itself, there and back", thereAndBack(p, o.Sizes)
		case !p.custom():
			m.Verified, err = verifySuite(p.suite, o.Sizes)
		}
		if err != nil {
			m.Verified = ""
			m.Check, m.Failures = checkFailed, []string{err.Error()}
		}
		if err == nil && (p.custom() || o.Check && p.Window == nil && !p.Plain) {
			if o.Progress != nil {
				o.Progress(0, 0, "checking "+p.Name)
			}
			if m.Failures = examine(p); len(m.Failures) == 0 {
				m.Check = checkPassed
				if m.Verified == "" {
					m.Verified = "the conformance kit"
				}
			} else {
				m.Check = checkFailed
			}
		}
		r.Modes = append(r.Modes, m)
		if m.Check == checkFailed && (err != nil || !o.Check) {
			r.Skipped = append(r.Skipped, Skipped{Suite: p.Name, Reason: "failed the check: " + m.Failures[0]})
			continue
		}
		fit = append(fit, p)
	}
	return fit
}

// thereAndBack seals and opens a frame of each size.
func thereAndBack(p *Pair, sizes []int) error {
	seal, open, err := p.Fresh()
	if err != nil {
		return err
	}
	for _, n := range sizes {
		if n%max(p.Multiple, 1) != 0 {
			continue
		}
		frame, aad := random(n), random(aadSize)
		sealed, err := seal.Seal(nil, frame, aad)
		if err != nil {
			return err
		}
		out, err := open.Open(nil, sealed, aad)
		if err != nil {
			return err
		}
		if !bytes.Equal(out, frame) {
			return errWrong
		}
	}
	return nil
}

// independent opens frames of the built-in suites with the standard library and
// golang.org/x/crypto, by RFC 9605 and SPEC.md as they read, with nothing of package
// cipher in it.
type independent struct {
	hash         func() hash.Hash
	enc, mac, nt int // bytes: encryption key, HMAC key (0: an AEAD), tag
	by           string
	aead         func(key []byte) (stdcipher.AEAD, error)
	xts          bool
}

func newGCM(key []byte) (stdcipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return stdcipher.NewGCM(block)
}

const (
	byStd     = "crypto/cipher"
	byXCrypto = "golang.org/x/crypto"
)

var independents = map[cipher.SuiteID]independent{
	1: {hash: sha256.New, enc: 16, mac: 32, nt: 10, by: byStd}, 2: {hash: sha256.New, enc: 16, mac: 32, nt: 8, by: byStd}, 3: {hash: sha256.New, enc: 16, mac: 32, nt: 4, by: byStd},
	4: {hash: sha256.New, enc: 16, nt: 16, by: byStd, aead: newGCM}, 5: {hash: sha512.New, enc: 32, nt: 16, by: byStd, aead: newGCM},
	6: {hash: sha512.New, enc: 32, mac: 64, nt: 10, by: byStd}, 7: {hash: sha512.New, enc: 32, mac: 64, nt: 8, by: byStd}, 8: {hash: sha512.New, enc: 32, mac: 64, nt: 4, by: byStd},
	0xF001: {hash: sha512.New, enc: 32, nt: 16, by: byXCrypto, aead: chacha20poly1305.New},
	0xF002: {hash: sha256.New, enc: 32, mac: 32, nt: 16, by: byXCrypto, xts: true}, 0xF003: {hash: sha512.New, enc: 64, mac: 64, nt: 16, by: byXCrypto, xts: true},
}

// derive is RFC 9605, Section 4.4.2.
func (x *independent) derive(id cipher.SuiteID, kid cipher.KeyID, base []byte) (key, salt []byte, err error) {
	tail := binary.BigEndian.AppendUint64(nil, uint64(kid))
	tail = binary.BigEndian.AppendUint16(tail, uint16(id))
	secret, err := hkdf.Extract(x.hash, base, nil)
	if err != nil {
		return nil, nil, err
	}
	if key, err = hkdf.Expand(x.hash, secret, "SFrame 1.0 Secret key "+string(tail), x.enc+x.mac); err != nil {
		return nil, nil, err
	}
	salt, err = hkdf.Expand(x.hash, secret, "SFrame 1.0 Secret salt "+string(tail), 12)
	return key, salt, err
}

var errForeign = errors.New("another implementation does not open its frames")

// open opens a frame whose counter is known.
func (x *independent) open(key, salt []byte, ctr uint64, sealed, aad []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0]&0x80 != 0 {
		return nil, errForeign
	}
	size := 1
	if sealed[0]&0x08 != 0 {
		size += int(sealed[0]&7) + 1
	}
	if len(sealed) < size+x.nt {
		return nil, errForeign
	}
	header, body := sealed[:size], sealed[size:]
	nonce := slices.Clone(salt)
	for i := range 8 {
		nonce[4+i] ^= byte(ctr >> (56 - 8*i))
	}
	full := slices.Concat(header, aad)
	if x.aead != nil {
		a, err := x.aead(key)
		if err != nil {
			return nil, err
		}
		return a.Open(nil, nonce, body, full)
	}
	ct, tag := body[:len(body)-x.nt], body[len(body)-x.nt:]
	mac := hmac.New(x.hash, key[x.enc:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(full))))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(ct))))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(x.nt)))
	mac.Write(nonce)
	mac.Write(full)
	mac.Write(ct)
	if !hmac.Equal(mac.Sum(nil)[:x.nt], tag) {
		return nil, errForeign
	}
	out := make([]byte, len(ct))
	if x.xts {
		c, err := xts.NewCipher(aes.NewCipher, key[:x.enc])
		if err != nil {
			return nil, err
		}
		c.Decrypt(out, ct, binary.LittleEndian.Uint64(nonce))
		return out, nil
	}
	block, err := aes.NewCipher(key[:x.enc])
	if err != nil {
		return nil, err
	}
	stdcipher.NewCTR(block, append(nonce, 0, 0, 0, 0)).XORKeyStream(out, ct)
	return out, nil
}

// verifySuite has frames of a built-in suite opened by another implementation: those
// of the sizes that are measured and a few round blocks, one by one, in place and in
// a batch.
func verifySuite(s *cipher.Suite, sizes []int) (by string, err error) {
	x, ok := independents[s.ID()]
	if !ok {
		return "", fmt.Errorf("nobody else can open frames of suite %s", s.Name())
	}
	base := random(s.BaseKeySize())
	key, salt, err := x.derive(s.ID(), benchKID, base)
	if err != nil {
		return "", err
	}
	first := uint64(0)
	if x.xts {
		// golang.org/x/crypto/xts numbers sectors with 64 bits and fills the tweak up
		// with zeros: with this counter the last 4 bytes of the nonce are zero, too.
		first = uint64(binary.BigEndian.Uint32(salt[8:]))
	}
	for _, n := range append([]int{16, 64, 128, 512, 4096}, sizes...) {
		if x.xts {
			n = max(n/16*16, 16)
		}
		for how, sealOne := range map[string]func(*cipher.SealKey, []byte, []byte) ([]byte, error){
			"Seal": func(k *cipher.SealKey, f, aad []byte) ([]byte, error) { return k.Seal(nil, f, aad) },
			"SealInPlace": func(k *cipher.SealKey, f, aad []byte) ([]byte, error) {
				buf := make([]byte, cipher.MaxHeader+len(f)+s.Overhead())
				copy(buf[cipher.MaxHeader:], f)
				return k.SealInPlace(buf, cipher.MaxHeader, len(f), aad)
			},
			"SealBatch": func(k *cipher.SealKey, f, aad []byte) ([]byte, error) {
				b := []cipher.Frame{{Src: f, AAD: aad}, {Src: f, AAD: aad}}
				k.SealBatch(b)
				return b[0].Dst, b[0].Err
			},
		} {
			seal, err := s.NewSealKey(benchKID, base, cipher.Reserve(func(uint64) (uint64, error) { return first, nil }))
			if err != nil {
				return "", err
			}
			frame, aad := random(n), random(aadSize)
			sealed, err := sealOne(seal, frame, aad)
			if err != nil {
				return "", fmt.Errorf("%s of %d bytes: %w", how, n, err)
			}
			got, err := x.open(key, salt, first, sealed, aad)
			if err != nil || !bytes.Equal(got, frame) {
				return "", fmt.Errorf("%s of %d bytes: %w", how, n, errForeign)
			}
		}
	}
	// What was sealed is opened by ourselves as well: opening is timed, too.
	p := Suite(s)
	return x.by, thereAndBack(&p, sizes)
}
