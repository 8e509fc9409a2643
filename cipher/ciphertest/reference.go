package ciphertest

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
)

// This file is SFrame a second time: RFC 9605 written down as it reads, with nothing
// of package cipher in it, slow and without any care for memory. Vectors and the
// package are both held against it.

// row is a cipher suite of RFC 9605, Section 4.5, as the registry has it.
type row struct {
	hash         func() hash.Hash
	nka, nk, tag int // bytes; nka is 0 for GCM
}

var rows = map[uint64]row{
	1: {sha256.New, 16, 48, 10},
	2: {sha256.New, 16, 48, 8},
	3: {sha256.New, 16, 48, 4},
	4: {sha256.New, 0, 16, 16},
	5: {sha512.New, 0, 32, 16},
	6: {sha512.New, 32, 96, 10},
	7: {sha512.New, 32, 96, 8},
	8: {sha512.New, 32, 96, 4},
}

const saltSize = 12 // Nn of every row

// hkdfExtract and hkdfExpand are RFC 5869. The salt is filled up with zeros to the
// hash's length, as HMAC does itself: under FIPS it would refuse a shorter one.
func hkdfExtract(h func() hash.Hash, salt, ikm []byte) []byte {
	key := make([]byte, max(len(salt), h().Size()))
	copy(key, salt)
	mac := hmac.New(h, key)
	mac.Write(ikm)
	return mac.Sum(nil)
}

func hkdfExpand(h func() hash.Hash, prk []byte, info string, n int) []byte {
	var out, t []byte
	for i := byte(1); len(out) < n; i++ {
		mac := hmac.New(h, prk)
		mac.Write(t)
		mac.Write([]byte(info))
		mac.Write([]byte{i})
		t = mac.Sum(nil)
		out = append(out, t...)
	}
	return out[:n]
}

// keys are the intermediate values of RFC 9605, Section 4.4.2.
type keys struct {
	keyLabel, saltLabel string
	secret, key, salt   []byte
}

func deriveKeys(r row, suite, kid uint64, baseKey []byte) keys {
	tail := binary.BigEndian.AppendUint64(nil, kid)
	tail = binary.BigEndian.AppendUint16(tail, uint16(suite))
	k := keys{
		keyLabel:  "SFrame 1.0 Secret key " + string(tail),
		saltLabel: "SFrame 1.0 Secret salt " + string(tail),
	}
	k.secret = hkdfExtract(r.hash, nil, baseKey)
	k.key = hkdfExpand(r.hash, k.secret, k.keyLabel, r.nk)
	k.salt = hkdfExpand(r.hash, k.secret, k.saltLabel, saltSize)
	return k
}

func nonceOf(salt []byte, ctr uint64) []byte {
	nonce := make([]byte, len(salt))
	binary.BigEndian.PutUint64(nonce[len(nonce)-8:], ctr)
	for i := range nonce {
		nonce[i] ^= salt[i]
	}
	return nonce
}

// encodeHeader is RFC 9605, Section 4.3.
func encodeHeader(kid, ctr uint64) []byte {
	shortest := func(v uint64) []byte {
		b := binary.BigEndian.AppendUint64(nil, v)
		for len(b) > 1 && b[0] == 0 {
			b = b[1:]
		}
		return b
	}
	header := []byte{0}
	if kid < 8 {
		header[0] |= byte(kid) << 4
	} else {
		b := shortest(kid)
		header[0] |= 0x80 | byte(len(b)-1)<<4
		header = append(header, b...)
	}
	if ctr < 8 {
		header[0] |= byte(ctr)
	} else {
		b := shortest(ctr)
		header[0] |= 0x08 | byte(len(b)-1)
		header = append(header, b...)
	}
	return header
}

// shortestForm reports whether the header at the front of sealed is whole and in the
// shortest form. It reads the header as a lenient parser would.
func shortestForm(sealed []byte) bool {
	if len(sealed) == 0 {
		return false
	}
	rest := sealed[1:]
	field := func(extended bool, v uint64) (uint64, bool) {
		if !extended {
			return v, true
		}
		n := int(v) + 1
		if len(rest) < n {
			return 0, false
		}
		v = 0
		for _, b := range rest[:n] {
			v = v<<8 | uint64(b)
		}
		rest = rest[n:]
		return v, true
	}
	kid, ok1 := field(sealed[0]&0x80 != 0, uint64(sealed[0]>>4&7))
	ctr, ok2 := field(sealed[0]&0x08 != 0, uint64(sealed[0]&7))
	return ok1 && ok2 && string(encodeHeader(kid, ctr)) == string(sealed[:len(sealed)-len(rest)])
}

var errReference = errors.New("the reference does not authenticate it")

// sealRaw is the row's AEAD (RFC 9605, Sections 4.4.1 and 4.5.1) by itself.
func (r row) sealRaw(key, nonce, aad, pt []byte) ([]byte, error) {
	if r.nka == 0 {
		aead, err := r.gcm(key)
		if err != nil {
			return nil, err
		}
		return aead.Seal(nil, nonce, pt, aad), nil
	}
	ct, err := r.ctr(key, nonce, pt)
	if err != nil {
		return nil, err
	}
	return append(ct, r.mac(key, nonce, aad, ct)...), nil
}

func (r row) openRaw(key, nonce, aad, ct []byte) ([]byte, error) {
	if len(ct) < r.tag {
		return nil, errReference
	}
	if r.nka == 0 {
		aead, err := r.gcm(key)
		if err != nil {
			return nil, err
		}
		return aead.Open(nil, nonce, ct, aad)
	}
	body, tag := ct[:len(ct)-r.tag], ct[len(ct)-r.tag:]
	if !hmac.Equal(tag, r.mac(key, nonce, aad, body)) {
		return nil, errReference
	}
	return r.ctr(key, nonce, body)
}

func (r row) gcm(key []byte) (stdcipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return stdcipher.NewGCM(block)
}

func (r row) ctr(key, nonce, in []byte) ([]byte, error) {
	block, err := aes.NewCipher(key[:r.nka])
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(in))
	stdcipher.NewCTR(block, append(slices.Clone(nonce), 0, 0, 0, 0)).XORKeyStream(out, in)
	return out, nil
}

func (r row) mac(key, nonce, aad, ct []byte) []byte {
	mac := hmac.New(r.hash, key[r.nka:])
	for _, n := range []int{len(aad), len(ct), r.tag} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	mac.Write(nonce)
	mac.Write(aad)
	mac.Write(ct)
	return mac.Sum(nil)[:r.tag]
}

// seal and open are whole frames (RFC 9605, Section 4.4.3 and 4.4.4).
func (r row) seal(k keys, kid, ctr uint64, metadata, pt []byte) ([]byte, error) {
	header := encodeHeader(kid, ctr)
	ct, err := r.sealRaw(k.key, nonceOf(k.salt, ctr), slices.Concat(header, metadata), pt)
	if err != nil {
		return nil, fmt.Errorf("the reference: %w", err)
	}
	return append(header, ct...), nil
}

func (r row) open(k keys, kid, ctr uint64, metadata, sealed []byte) ([]byte, error) {
	header := encodeHeader(kid, ctr)
	if len(sealed) < len(header) || string(sealed[:len(header)]) != string(header) {
		return nil, errReference
	}
	return r.openRaw(k.key, nonceOf(k.salt, ctr), slices.Concat(header, metadata), sealed[len(header):])
}
