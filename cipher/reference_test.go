package cipher_test

import (
	"bytes"
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/xts"

	"github.com/chanseal/chanseal/cipher"
)

// reference is a suite a second time: straight from RFC 9605 and SPEC, frame by frame
// from the base key on, and with none of the package's code.
type reference struct {
	id   uint16
	hash func() hash.Hash
	nk   int // bytes of derived key
	seal func(key, nonce, aad, pt []byte) []byte
	open func(key, nonce, aad, ct []byte) ([]byte, bool)
}

var references = map[string]reference{
	"aes-128-ctr-hmac-sha256-80": ctrHMAC(1, sha256.New, 16, 10),
	"aes-128-ctr-hmac-sha256-64": ctrHMAC(2, sha256.New, 16, 8),
	"aes-128-ctr-hmac-sha256-32": ctrHMAC(3, sha256.New, 16, 4),
	"aes-128-gcm":                anAEAD(4, sha256.New, 16, gcm),
	"aes-256-gcm":                anAEAD(5, sha512.New, 32, gcm),
	"aes-256-ctr-hmac-sha512-80": ctrHMAC(6, sha512.New, 32, 10),
	"aes-256-ctr-hmac-sha512-64": ctrHMAC(7, sha512.New, 32, 8),
	"aes-256-ctr-hmac-sha512-32": ctrHMAC(8, sha512.New, 32, 4),
	"chacha20-poly1305":          anAEAD(0xF001, sha512.New, 32, chacha20poly1305.New),
	"aes-128-xts-hmac-sha256":    xtsHMAC(0xF002, sha256.New, 16),
	"aes-256-xts-hmac-sha512":    xtsHMAC(0xF003, sha512.New, 32),
}

func gcm(key []byte) (stdcipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return stdcipher.NewGCM(block)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func anAEAD(id uint16, h func() hash.Hash, nk int, make func([]byte) (stdcipher.AEAD, error)) reference {
	return reference{id, h, nk,
		func(key, nonce, aad, pt []byte) []byte { return must(make(key)).Seal(nil, nonce, pt, aad) },
		func(key, nonce, aad, ct []byte) ([]byte, bool) {
			pt, err := must(make(key)).Open(nil, nonce, ct, aad)
			return pt, err == nil
		}}
}

// withHMAC is RFC 9605, Section 4.4.1, round any cipher without a tag.
func withHMAC(id uint16, h func() hash.Hash, nke, nt int, crypt func(key, nonce, in []byte, encrypt bool) []byte) reference {
	tag := func(key, nonce, aad, ct []byte) []byte {
		mac := hmac.New(h, key[nke:])
		binary.Write(mac, binary.BigEndian, []uint64{uint64(len(aad)), uint64(len(ct)), uint64(nt)})
		mac.Write(slices.Concat(nonce, aad, ct))
		return mac.Sum(nil)[:nt]
	}
	return reference{id, h, nke + h().Size(),
		func(key, nonce, aad, pt []byte) []byte {
			ct := crypt(key[:nke], nonce, pt, true)
			return slices.Concat(ct, tag(key, nonce, aad, ct))
		},
		func(key, nonce, aad, ct []byte) ([]byte, bool) {
			n := len(ct) - nt
			if n < 0 || !hmac.Equal(tag(key, nonce, aad, ct[:n]), ct[n:]) {
				return nil, false
			}
			return crypt(key[:nke], nonce, ct[:n], false), true
		}}
}

func ctrHMAC(id uint16, h func() hash.Hash, nka, nt int) reference {
	return withHMAC(id, h, nka, nt, func(key, nonce, in []byte, _ bool) []byte {
		out := make([]byte, len(in))
		stdcipher.NewCTR(must(aes.NewCipher(key)), append(slices.Clone(nonce), 0, 0, 0, 0)).XORKeyStream(out, in)
		return out
	})
}

func xtsHMAC(id uint16, h func() hash.Hash, nk int) reference {
	return withHMAC(id, h, 2*nk, 16, func(key, nonce, in []byte, encrypt bool) []byte {
		if len(in) < 16 {
			pad := append(slices.Clone(nonce), 0, 0, 0, 1)
			must(aes.NewCipher(key[nk:])).Encrypt(pad, pad)
			return xor(in, pad)
		}
		return xtsUnit(key, append(slices.Clone(nonce), 0, 0, 0, 0), in, encrypt)
	})
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}

// xtsUnit is one data unit of IEEE Std 1619, Section 5, with the tweak multiplied bit
// by bit and a new slice for every step.
func xtsUnit(key, unit, in []byte, encrypt bool) []byte {
	half := len(key) / 2
	data, t := must(aes.NewCipher(key[:half])), make([]byte, 16)
	must(aes.NewCipher(key[half:])).Encrypt(t, unit)
	block := func(in, t []byte) []byte {
		x := xor(in, t)
		if encrypt {
			data.Encrypt(x, x)
		} else {
			data.Decrypt(x, x)
		}
		return xor(x, t)
	}
	next := func(t []byte) []byte {
		out, carry := make([]byte, 16), byte(0)
		for i, b := range t {
			out[i] = b<<1 | carry
			carry = b >> 7
		}
		if carry == 1 {
			out[0] ^= 0x87
		}
		return out
	}
	var out []byte
	for len(in) >= 32 || len(in) == 16 {
		out = append(out, block(in[:16], t)...)
		in, t = in[16:], next(t)
	}
	if len(in) == 0 {
		return out
	}
	// One block and a part of another are left.
	t1, t2 := t, next(t)
	if !encrypt {
		t1, t2 = t2, t1
	}
	whole := block(in[:16], t1)
	last := block(slices.Concat(in[16:], whole[len(in)-16:]), t2)
	return slices.Concat(out, last, whole[:len(in)-16])
}

func (r reference) keys(kid uint64, base []byte) (key, salt []byte) {
	mac := func(key []byte, data ...[]byte) []byte {
		padded := make([]byte, max(len(key), r.hash().Size())) // FIPS refuses shorter keys
		copy(padded, key)
		m := hmac.New(r.hash, padded)
		m.Write(slices.Concat(data...))
		return m.Sum(nil)
	}
	secret := mac(nil, base)
	expand := func(label string, n int) (out []byte) {
		info := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64([]byte(label), kid), r.id)
		var t []byte
		for i := byte(1); len(out) < n; i++ {
			t = mac(secret, t, info, []byte{i})
			out = append(out, t...)
		}
		return out[:n]
	}
	return expand("SFrame 1.0 Secret key ", r.nk), expand("SFrame 1.0 Secret salt ", 12)
}

// header spells (kid, ctr) with fmt, not with shifts.
func header(kid, ctr uint64) []byte {
	field := func(v uint64) (code byte, tail []byte) {
		if v < 8 {
			return byte(v), nil
		}
		hex := fmt.Sprintf("%x", v)
		if len(hex)%2 == 1 {
			hex = "0" + hex
		}
		fmt.Sscanf(hex, "%x", &tail)
		return 8 + byte(len(tail)-1), tail
	}
	k, kt := field(kid)
	c, ct := field(ctr)
	return slices.Concat([]byte{k<<4 | c}, kt, ct)
}

func (r reference) sealFrame(base []byte, kid, ctr uint64, aad, pt []byte) []byte {
	key, salt := r.keys(kid, base)
	h := header(kid, ctr)
	nonce := xor(salt, binary.BigEndian.AppendUint64(make([]byte, 4), ctr))
	return slices.Concat(h, r.seal(key, nonce, slices.Concat(h, aad), pt))
}

func (r reference) openFrame(base []byte, kid, ctr uint64, aad, sealed []byte) ([]byte, bool) {
	key, salt := r.keys(kid, base)
	h := header(kid, ctr)
	if !bytes.HasPrefix(sealed, h) {
		return nil, false
	}
	nonce := xor(salt, binary.BigEndian.AppendUint64(make([]byte, 4), ctr))
	return r.open(key, nonce, slices.Concat(h, aad), sealed[len(h):])
}

// random gives n bytes, the same for the same seed.
func random(seed, n int) []byte {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], uint64(seed))
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// startAt makes a SealKey count from ctr on.
func startAt(ctr uint64) cipher.Counting {
	return cipher.Reserve(func(uint64) (uint64, error) { return ctr, nil })
}

// eachSuite runs f for every built-in suite that works in the present mode.
func eachSuite(t *testing.T, f func(t *testing.T, s *cipher.Suite, r reference)) {
	t.Helper()
	for _, s := range cipher.Suites() {
		t.Run(s.Name(), func(t *testing.T) {
			r, ok := references[s.Name()]
			if !ok || r.id != uint16(s.ID()) {
				t.Fatalf("no reference for suite %#04x", s.ID())
			}
			skipUnavailable(t, s)
			f(t, s, r)
		})
	}
}

// TestReference seals with each side and opens with the other, at the sizes where the
// engines change gear, 0 to 33 among them.
func TestReference(t *testing.T) {
	sizes := []int{191, 192, 193, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1200, 4095, 4096, 4097, 16385, 65537}
	for n := range 131 {
		sizes = append(sizes, n)
	}
	ctrs := []uint64{0, 7, 8, 255, 65535, 1 << 24, 1 << 32, 1<<48 + 3, 1<<63 + 9, 1<<64 - 1<<15}
	eachSuite(t, func(t *testing.T, s *cipher.Suite, r reference) {
		base := random(int(s.ID()), s.BaseKeySize())
		for i, n := range sizes {
			kid, ctr := uint64(i)<<(i%56), ctrs[i%len(ctrs)]
			pt, aad := random(n, n), random(i, i%50)
			want := r.sealFrame(base, kid, ctr, aad, pt)
			sealKey, err := s.NewSealKey(cipher.KeyID(kid), base, startAt(ctr))
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := sealKey.Seal(nil, pt, aad)
			if err != nil || !bytes.Equal(sealed, want) {
				t.Fatalf("%d bytes, KID %#x, counter %#x: sealed unlike the reference, error %v", n, kid, ctr, err)
			}
			if back, ok := r.openFrame(base, kid, ctr, aad, sealed); !ok || !bytes.Equal(back, pt) {
				t.Fatalf("%d bytes: the reference does not open it", n)
			}
			openKey, err := s.NewOpenKey(cipher.KeyID(kid), base)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := openKey.Open(nil, want, aad); err != nil || !bytes.Equal(back, pt) {
				t.Fatalf("%d bytes, KID %#x, counter %#x: opened unlike the reference, error %v", n, kid, ctr, err)
			}
		}
	})
}

// TestLastCounter: an OpenKey takes every 64-bit counter, the last one too.
func TestLastCounter(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *cipher.Suite, r reference) {
		base := random(1, 32)
		openKey, err := s.NewOpenKey(1<<64-1, base)
		if err != nil {
			t.Fatal(err)
		}
		for _, ctr := range []uint64{1<<64 - 1, 1<<64 - 2, 1<<64 - 1024} {
			sealed := r.sealFrame(base, 1<<64-1, ctr, nil, []byte("last"))
			if _, err := openKey.Open(nil, sealed, nil); err != nil {
				t.Errorf("counter %d: %v", ctr, err)
			}
			if _, err := openKey.Open(nil, sealed, nil); !errors.Is(err, cipher.ErrReplayed) {
				t.Errorf("counter %d again: %v", ctr, err)
			}
		}
		if _, err := openKey.Open(nil, r.sealFrame(base, 1<<64-1, 1<<64-1025, nil, nil), nil); !errors.Is(err, cipher.ErrReplayed) {
			t.Errorf("a counter just behind the window: %v", err)
		}
	})
}

// TestReferenceXTS holds the straight reference itself against x/crypto/xts, which
// does whole blocks only.
func TestReferenceXTS(t *testing.T) {
	for _, size := range []int{32, 64} {
		key := random(size, size)
		theirs := must(xts.NewCipher(aes.NewCipher, key))
		for n := 16; n <= 1024; n += 16 {
			const unit = 0x0123456789abcdef
			in, want := random(n, n), make([]byte, n)
			theirs.Encrypt(want, in, unit)
			tweak := binary.LittleEndian.AppendUint64(nil, unit)
			tweak = append(tweak, make([]byte, 8)...)
			if got := xtsUnit(key, tweak, in, true); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: not what x/crypto/xts encrypts", n)
			}
			if got := xtsUnit(key, tweak, want, false); !bytes.Equal(got, in) {
				t.Fatalf("%d bytes: not what x/crypto/xts decrypts", n)
			}
		}
		for n := 16; n < 100; n++ {
			in := random(n, n)
			if got := xtsUnit(key, make([]byte, 16), xtsUnit(key, make([]byte, 16), in, true), false); !bytes.Equal(got, in) {
				t.Fatalf("%d bytes do not come back", n)
			}
		}
	}
}
