package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// bin is a hexadecimal JSON string.
type bin []byte

func (b *bin) UnmarshalJSON(p []byte) error {
	var s string
	if err := json.Unmarshal(p, &s); err != nil {
		return err
	}
	v, err := hex.DecodeString(s)
	*b = v
	return err
}

type vectorFile struct {
	TestGroups []struct {
		KeySize, IVSize, TagSize int
		Tests                    []struct {
			TcID                       int
			Key, IV, AAD, Msg, Ct, Tag bin
			Result                     string
		}
	}
}

func readVectors(t *testing.T, name string) (f vectorFile) {
	t.Helper()
	raw, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func splitNonce(b []byte) (hi uint32, lo uint64) {
	return binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])
}

func TestGCMWycheproof(t *testing.T) {
	needGCM(t)
	file := readVectors(t, "aes_gcm_test.json")
	eachTier(t, func(t *testing.T, tr tier) {
		ran := 0
		for _, group := range file.TestGroups {
			if group.IVSize != 96 || group.TagSize != 128 || group.KeySize == 192 {
				continue // not what the engine offers
			}
			for _, v := range group.Tests {
				ran++
				var g GCM
				if err := g.init(v.Key, tr); err != nil {
					t.Fatal(err)
				}
				hi, lo := splitNonce(v.IV)
				sealed := append(bytes.Clone(v.Ct), v.Tag...)
				out := make([]byte, len(v.Ct))
				if got := g.open(out, sealed, hi, lo, v.AAD); got != (v.Result == "valid") || got && !bytes.Equal(out, v.Msg) {
					t.Errorf("test %d (%s): opened %v", v.TcID, v.Result, got)
				}
				again := make([]byte, len(v.Msg)+TagSize)
				g.seal(again, v.Msg, hi, lo, v.AAD)
				if bytes.Equal(again, sealed) != (v.Result == "valid") {
					t.Errorf("test %d (%s): Seal gives %x", v.TcID, v.Result, again)
				}
			}
		}
		if ran < 130 {
			t.Errorf("only %d vectors ran", ran)
		}
	})
}

// TestGCMSpecification has the test cases with 12-byte nonces of the GCM
// submission to NIST (McGrew and Viega), appendix B.
func TestGCMSpecification(t *testing.T) {
	needGCM(t)
	const (
		key  = "feffe9928665731c6d6a8f9467308308"
		text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
		aad  = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
	)
	zeros := func(n int) string { return hex.EncodeToString(make([]byte, n)) }
	cases := []struct{ name, key, nonce, text, aad, sealed string }{
		{"1", zeros(16), zeros(12), "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
		{"2", zeros(16), zeros(12), zeros(16), "", "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
		{"3", key, "cafebabefacedbaddecaf888", text, "", "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f59854d5c2af327cd64a62cf35abd2ba6fab4"},
		{"4", key, "cafebabefacedbaddecaf888", text[:120], aad, "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47"},
		{"13", zeros(32), zeros(12), "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		{"14", zeros(32), zeros(12), zeros(16), "", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
		{"15", key + key, "cafebabefacedbaddecaf888", text, "", "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c"},
		{"16", key + key, "cafebabefacedbaddecaf888", text[:120], aad, "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
	}
	eachTier(t, func(t *testing.T, tr tier) {
		for _, c := range cases {
			var g GCM
			if err := g.init(unhex(t, c.key), tr); err != nil {
				t.Fatal(err)
			}
			hi, lo := splitNonce(unhex(t, c.nonce))
			text := unhex(t, c.text)
			got := make([]byte, len(text)+TagSize)
			g.seal(got, text, hi, lo, unhex(t, c.aad))
			if hex.EncodeToString(got) != c.sealed {
				t.Errorf("test case %s: %x", c.name, got)
			}
		}
	})
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestXTSWycheproof takes the vectors whose tweak fits a nonce and zeros.
func TestXTSWycheproof(t *testing.T) {
	file := readVectors(t, "aes_xts_test.json")
	eachTier(t, func(t *testing.T, tr tier) {
		ran := 0
		for _, group := range file.TestGroups {
			if group.IVSize > 96 || group.KeySize == 384 {
				continue
			}
			for _, v := range group.Tests {
				ran++
				var x XTS
				if err := x.init(v.Key[:len(v.Key)/2], v.Key[len(v.Key)/2:], tr); err != nil {
					t.Fatal(err)
				}
				hi, lo := splitNonce(append(v.IV, make([]byte, 12-len(v.IV))...))
				out := make([]byte, len(v.Msg))
				x.Encrypt(out, v.Msg, hi, lo)
				if !bytes.Equal(out, v.Ct) {
					t.Errorf("test %d: %x", v.TcID, out)
				}
				x.Decrypt(out, v.Ct, hi, lo)
				if !bytes.Equal(out, v.Msg) {
					t.Errorf("test %d does not decrypt", v.TcID)
				}
			}
		}
		if ran < 50 {
			t.Errorf("only %d vectors ran", ran)
		}
	})
}
