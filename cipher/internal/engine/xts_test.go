package engine

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"golang.org/x/crypto/xts"
)

// plainXTS is XTS as IEEE 1619-2007 words it, in bytes and one block at a time:
// the reference for lengths that x/crypto/xts does not take, itself checked
// against it and against the standard's vectors below.
func plainXTS(t testing.TB, k1, k2, src []byte, hi uint32, lo uint64, encrypt bool) []byte {
	t.Helper()
	data, err := aes.NewCipher(k1)
	if err != nil {
		t.Fatal(err)
	}
	tweak, err := aes.NewCipher(k2)
	if err != nil {
		t.Fatal(err)
	}
	var first [16]byte
	putNonce((*[12]byte)(first[:]), hi, lo)
	dst := bytes.Clone(src)
	if len(src) < 16 {
		first[15] = 1
		tweak.Encrypt(first[:], first[:])
		for i := range dst {
			dst[i] ^= first[i]
		}
		return dst
	}
	// T_j = E_K2(nonce) times x^j, section 5.2
	m := len(src) / 16
	tweaks := make([][16]byte, m+1)
	tweak.Encrypt(first[:], first[:])
	for j := range tweaks {
		tweaks[j] = first
		carry := byte(0)
		for i, b := range first {
			first[i], carry = b<<1|carry, b>>7
		}
		if carry != 0 {
			first[0] ^= 0x87
		}
	}
	one := func(b []byte, j int) {
		for i := range 16 {
			b[i] ^= tweaks[j][i]
		}
		if encrypt {
			data.Encrypt(b[:16], b[:16])
		} else {
			data.Decrypt(b[:16], b[:16])
		}
		for i := range 16 {
			b[i] ^= tweaks[j][i]
		}
	}
	rest := len(src) % 16
	for j := range m - 1 {
		one(dst[16*j:], j)
	}
	last := dst[16*(m-1):]
	switch {
	case rest == 0:
		one(last, m-1)
	case encrypt:
		one(last, m-1)
	default:
		one(last, m)
	}
	if rest != 0 {
		for i := range rest {
			last[i], last[16+i] = last[16+i], last[i]
		}
		if encrypt {
			one(last, m)
		} else {
			one(last, m-1)
		}
	}
	return dst
}

func TestXTSReference(t *testing.T) {
	r := source(30)
	for _, size := range []int{16, 32} {
		keys := fill(r, 2*size)
		c, err := xts.NewCipher(aes.NewCipher, keys)
		if err != nil {
			t.Fatal(err)
		}
		for n := 16; n <= 2048; n += 16 {
			src, sector := fill(r, n), r.Uint64()
			var le [8]byte
			binary.LittleEndian.PutUint64(le[:], sector)
			hi, lo := binary.BigEndian.Uint32(le[:]), uint64(binary.BigEndian.Uint32(le[4:]))<<32
			want := make([]byte, n)
			c.Encrypt(want, src, sector)
			if got := plainXTS(t, keys[:size], keys[size:], src, hi, lo, true); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: the reference differs from x/crypto/xts", n)
			}
			if got := plainXTS(t, keys[:size], keys[size:], want, hi, lo, false); !bytes.Equal(got, src) {
				t.Fatalf("%d bytes: the reference does not decrypt", n)
			}
		}
	}
}

// TestXTSStandard has vectors of IEEE 1619-2007, annex B: 1, 2, 15 to 18 (the
// last four with ciphertext stealing).
func TestXTSStandard(t *testing.T) {
	const k15, k15b, n15 = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0", "bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0", "9a7856341200000000000000"
	cases := []struct{ name, k1, k2, nonce, text, want string }{
		{"1", "00000000000000000000000000000000", "00000000000000000000000000000000", "000000000000000000000000",
			"0000000000000000000000000000000000000000000000000000000000000000", "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"},
		{"2", "11111111111111111111111111111111", "22222222222222222222222222222222", "333333333300000000000000",
			"4444444444444444444444444444444444444444444444444444444444444444", "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0"},
		{"15", k15, k15b, n15, "000102030405060708090a0b0c0d0e0f10", "6c1625db4671522d3d7599601de7ca09ed"},
		{"16", k15, k15b, n15, "000102030405060708090a0b0c0d0e0f1011", "d069444b7a7e0cab09e24447d24deb1fedbf"},
		{"17", k15, k15b, n15, "000102030405060708090a0b0c0d0e0f101112", "e5df1351c0544ba1350b3363cd8ef4beedbf9d"},
		{"18", k15, k15b, n15, "000102030405060708090a0b0c0d0e0f10111213", "9d84c813f719aa2c7be3f66171c7c5c2edbf9dac"},
	}
	eachTier(t, func(t *testing.T, tr tier) {
		for _, c := range cases {
			var x XTS
			if err := x.init(unhex(t, c.k1), unhex(t, c.k2), tr); err != nil {
				t.Fatal(err)
			}
			text := unhex(t, c.text)
			hi, lo := splitNonce(unhex(t, c.nonce))
			got := make([]byte, len(text))
			x.Encrypt(got, text, hi, lo)
			if hex.EncodeToString(got) != c.want {
				t.Errorf("vector %s: %x", c.name, got)
			}
			x.Decrypt(got, got, hi, lo)
			if !bytes.Equal(got, text) {
				t.Errorf("vector %s does not decrypt", c.name)
			}
		}
	})
}
