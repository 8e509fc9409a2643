package rtpseal_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// TestVectorsPerSSRC opens the frames of the vectors, and shows that with the other
// derivation, SSRC or key ID none opens.
func TestVectorsPerSSRC(t *testing.T) {
	data, err := os.ReadFile("../testdata/vectors/sframe.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Extra struct {
			Streams []struct {
				Suite   cipher.SuiteID `json:"cipher_suite"`
				BaseKey string         `json:"base_key"`
				SSRC    uint32         `json:"ssrc"`
				KID     cipher.KeyID   `json:"kid"`
				Frames  []struct {
					PT string `json:"pt"`
					CT string `json:"ct"`
				} `json:"frames"`
			} `json:"rtp_per_ssrc"`
		} `json:"extra"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range file.Extra.Streams {
		suite, err := cipher.ByID(v.Suite)
		if err != nil {
			t.Fatal(err)
		}
		base, _ := hex.DecodeString(v.BaseKey)
		per, _ := rtpseal.NewKeys(suite, rtpseal.PerSSRC)
		shared, _ := rtpseal.NewKeys(suite, rtpseal.SharedKey)
		for _, k := range []*rtpseal.Keys{per, shared} {
			if err := k.Add(v.KID, base); err != nil {
				t.Fatal(err)
			}
		}
		for i, f := range v.Frames {
			pt, _ := hex.DecodeString(f.PT)
			ct, _ := hex.DecodeString(f.CT)
			for what, try := range map[string]func() ([]byte, error){
				"without derivation": func() ([]byte, error) { return shared.OpenStream(v.SSRC, nil, ct) },
				"another SSRC":       func() ([]byte, error) { return per.OpenStream(v.SSRC+1, nil, ct) },
			} {
				if out, err := try(); !errors.Is(err, cipher.ErrAuth) || len(out) > 0 {
					t.Errorf("suite %d, frame %d, %s: %v", v.Suite, i, what, err)
				}
			}
			if out, err := per.OpenStream(v.SSRC, nil, ct); err != nil || !bytes.Equal(out, pt) {
				t.Errorf("suite %d, frame %d: %x, %v", v.Suite, i, out, err)
			}
			if _, err := per.OpenStream(v.SSRC, nil, ct); err != cipher.ErrReplayed {
				t.Errorf("suite %d, frame %d again: %v", v.Suite, i, err)
			}
			n++
		}
	}
	if n != 32 {
		t.Errorf("%d frames of vectors", n)
	}
}

// TestStrangeStreams: forged units of streams that nobody heard of are tried at a bounded
// rate; streams that are known open all the while, and new ones soon.
func TestStrangeStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := bytes.Repeat([]byte{5}, 32)
		seal, err := rtpseal.HomeKit().NewSealKeys(true, 7, base, cipher.FreshKey)
		if err != nil {
			t.Fatal(err)
		}
		keys, _ := rtpseal.HomeKit().NewKeys(true)
		if err := keys.Add(7, base); err != nil {
			t.Fatal(err)
		}
		opens := func(ssrc uint32, want error) {
			t.Helper()
			sealed, err := seal.SealStream(ssrc, nil, []byte("frame"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := keys.OpenStream(ssrc, nil, sealed); err != want {
				t.Fatalf("stream %d: %v, want %v", ssrc, err, want)
			}
		}
		opens(1, nil)
		time.Sleep(2 * time.Second)
		forged, tried := append([]byte{0x70}, make([]byte, 30)...), 0 // key ID 7, counter 0
		for second := range 10 {
			for i := range uint32(1000) {
				switch _, err := keys.OpenStream(1000+i, nil, forged); err {
				case cipher.ErrAuth:
					tried++
				case cipher.ErrUnknownKey:
				default:
					t.Fatal(err)
				}
			}
			opens(1, nil)
			opens(2+uint32(second), cipher.ErrUnknownKey)
			time.Sleep(time.Second)
		}
		if tried > 11*64 || tried < 9*64 {
			t.Errorf("%d forged units were tried in 10 s", tried)
		}
		opens(100, nil)
	})
}

// TestHomeKit: the profile's suites, sizes and key IDs.
func TestHomeKit(t *testing.T) {
	p := rtpseal.HomeKit()
	base := bytes.Repeat([]byte{5}, 32)
	if _, err := p.NewSealKeys(true, 0x100, base[:16], cipher.FreshKey); err == nil {
		t.Error("a base key of 16 bytes passes")
	}
	for audio, tag := range map[bool]int{true: 4, false: 10} {
		seal, err := p.NewSealKeys(audio, 0x100, base, cipher.FreshKey)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := p.NewKeys(audio)
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Add(0x100, base); err != nil {
			t.Fatal(err)
		}
		if keys.Add(0x100, base) == nil {
			t.Error("a second key for one key ID passes")
		}
		var first [2][]byte
		for i, ssrc := range []uint32{1, 0xFFFFFFFF} {
			sealed, err := seal.SealStream(ssrc, nil, []byte("frame"))
			if err != nil {
				t.Fatal(err)
			}
			first[i] = sealed
			if h, _, _ := cipher.ParseHeader(sealed); h.KID != 0x100 || h.CTR != 0 {
				t.Errorf("key ID %#x, counter %d", h.KID, h.CTR)
			}
			if len(sealed) != 3+5+tag {
				t.Errorf("audio %v: a frame of 5 bytes takes %d", audio, len(sealed))
			}
			if out, err := keys.OpenStream(ssrc, nil, sealed); err != nil || string(out) != "frame" {
				t.Errorf("%q, %v", out, err)
			}
		}
		if bytes.Equal(first[0], first[1]) {
			t.Error("two streams sealed alike")
		}
		keys.Remove(0x100)
		sealed, _ := seal.SealStream(1, nil, []byte("frame"))
		if _, err := keys.OpenStream(1, nil, sealed); err != cipher.ErrUnknownKey {
			t.Errorf("after Remove: %v", err)
		}
		seal.Close()
		if _, err := seal.SealStream(9, nil, []byte("frame")); err == nil {
			t.Error("seals after Close")
		}
	}
	if _, err := rtpseal.NewKeys(cipher.AES128GCM(), 0); err == nil {
		t.Error("the derivation can be left open")
	}
}
