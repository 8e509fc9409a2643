package cipher

import (
	"bytes"
	"crypto/fips140"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"testing"

	"github.com/c2sp/wycheproof"
)

// testCore makes the core of a suite for a key and, at counter ctr, a nonce of choice.
func testCore(t *testing.T, s *Suite, key, nonce []byte, ctr uint64) core {
	t.Helper()
	salt := bytes.Clone(nonce)
	low := salt[len(salt)-8:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^ctr)
	c, err := s.new(s, 0, bytes.Clone(key), salt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const someCTR = 0x0102030405060708

func sealCore(t *testing.T, c core, overhead int, aad, src []byte) []byte {
	t.Helper()
	s := getScratch(nil, aad)
	defer putScratch(s)
	dst := make([]byte, len(src)+overhead)
	n, err := c.seal(dst, src, someCTR, s)
	if err != nil {
		t.Fatal(err)
	}
	return dst[:n]
}

func openCore(c core, overhead int, aad, src []byte) ([]byte, bool) {
	if len(src) < overhead {
		return nil, false
	}
	s := getScratch(nil, aad)
	defer putScratch(s)
	dst := make([]byte, len(src)-overhead)
	n, ok := c.open(dst, src, someCTR, s)
	return dst[:n], ok
}

type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(data []byte) (err error) {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	*h, err = hex.DecodeString(s)
	return err
}

// TestWycheproof runs Project Wycheproof's vectors through the cores of the suites, as
// far as their nonces and tags are the suites'. Others are no input that can come to
// a core.
func TestWycheproof(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("neither algorithm is available under fips140=only")
	}
	for _, c := range []struct {
		file  string
		suite map[int]*Suite // by key size in bits
		want  int            // tests that must fit
	}{
		{"aes_gcm_test.json", map[int]*Suite{128: AES128GCM(), 256: AES256GCM()}, 133},
		{"chacha20_poly1305_test.json", map[int]*Suite{256: ChaCha20Poly1305()}, 316},
	} {
		data, err := fs.ReadFile(wycheproof.TestVectors, c.file)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			TestGroups []struct {
				IVSize, KeySize, TagSize int
				Tests                    []struct {
					TcID                       int
					Key, IV, AAD, Msg, CT, Tag hexBytes
					Result                     string
				}
			}
		}
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		ran := 0
		for _, g := range file.TestGroups {
			suite := c.suite[g.KeySize]
			if suite == nil || g.IVSize != 96 || g.TagSize != 128 {
				continue
			}
			for _, v := range g.Tests {
				ran++
				core := testCore(t, suite, v.Key, v.IV, someCTR)
				sealed := append(bytes.Clone(v.CT), v.Tag...)
				got, ok := openCore(core, 16, v.AAD, sealed)
				if want := v.Result == "valid"; ok != want || ok && !bytes.Equal(got, v.Msg) {
					t.Errorf("%s %d: opened %v, want %v", c.file, v.TcID, ok, want)
				}
				if v.Result == "valid" && !bytes.Equal(sealCore(t, core, 16, v.AAD, v.Msg), sealed) {
					t.Errorf("%s %d: sealed to something else", c.file, v.TcID)
				}
			}
		}
		if ran < c.want {
			t.Errorf("%s: %d tests ran, want at least %d", c.file, ran, c.want)
		}
	}
}

// TestIEEE1619 runs the standard's vectors through the XTS cores.
func TestIEEE1619(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("XTS is not available under fips140=only")
	}
	data, err := os.ReadFile("testdata/ieee1619.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Source  string
		Vectors []struct {
			Vector      int
			Unit        uint64
			Key, PT, CT hexBytes
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 10 {
		t.Fatalf("%d vectors, want 10", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		suite := AES128XTSHMAC()
		if len(v.Key) == 64 {
			suite = AES256XTSHMAC()
		}
		key := append(bytes.Clone(v.Key), make([]byte, suite.BaseKeySize())...)
		unit := append(binary.LittleEndian.AppendUint64(nil, v.Unit), 0, 0, 0, 0)
		core := testCore(t, suite, key, unit, someCTR)
		sealed := sealCore(t, core, 16, []byte("aad"), v.PT)
		if !bytes.Equal(sealed[:len(v.PT)], v.CT) {
			t.Errorf("vector %d: the ciphertext is %x, want %x", v.Vector, sealed[:len(v.PT)], v.CT)
		}
		if got, ok := openCore(core, 16, []byte("aad"), sealed); !ok || !bytes.Equal(got, v.PT) {
			t.Errorf("vector %d: opened %v to %x", v.Vector, ok, got)
		}
	}
}

// TestRawVectors runs the vectors of the CTR-HMAC AEADs by themselves through the
// cores: ciphertest can only hold its reference against them.
func TestRawVectors(t *testing.T) {
	data, err := os.ReadFile("../testdata/vectors/sframe.json")
	if err != nil {
		t.Fatal(err)
	}
	type vector struct {
		CipherSuite SuiteID `json:"cipher_suite"`
		Key, Nonce  hexBytes
		AAD, PT, CT hexBytes
	}
	var file struct {
		AES128 []vector `json:"aes_ctr_hmac"`
		AES256 []vector `json:"aes_256_ctr_hmac"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	vectors := append(file.AES128, file.AES256...)
	if len(vectors) != 6 {
		t.Fatalf("%d vectors, want 6", len(vectors))
	}
	for _, v := range vectors {
		suite, err := ByID(v.CipherSuite)
		if err != nil {
			t.Fatal(err)
		}
		core := testCore(t, suite, v.Key, v.Nonce, someCTR)
		if got := sealCore(t, core, suite.overhead, v.AAD, v.PT); !bytes.Equal(got, v.CT) {
			t.Errorf("suite %d: sealed to %x, want %x", v.CipherSuite, got, v.CT)
		}
		if got, ok := openCore(core, suite.overhead, v.AAD, v.CT); !ok || !bytes.Equal(got, v.PT) {
			t.Errorf("suite %d: opened %v to %x", v.CipherSuite, ok, got)
		}
	}
}
