package channelkey

import (
	"crypto/fips140"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain runs only the tests of this file under GODEBUG=fips140=only: the others
// mint dk4, which rests on SHA-1.
func TestMain(m *testing.M) {
	flag.Parse()
	if fips140.Enforced() {
		fmt.Fprintln(os.Stderr, "channelkey: FIPS 140-only mode, running TestFIPS")
		flag.Set("test.run", "^TestFIPS$")
	}
	os.Exit(m.Run())
}

// TestFIPS: where SHA-1 and MD5 are forbidden, keys that rest on them are refused
// with a reason instead of a panic; 006 and 007 work, vectors included.
func TestFIPS(t *testing.T) {
	if !fips140.Enforced() {
		t.Skip("runs under GODEBUG=fips140=only")
	}
	issuer, v := newIssuer(t, testApp(), Legacy{}), newVerifier(t, testApp(), Policy{})
	for _, s := range samples() {
		f := s.card.Format
		token, err := issuer.Mint(s.card)
		if f >= V006 {
			if err == nil {
				_, err = v.Verify(token, s.claim)
			}
			if err != nil {
				t.Errorf("%s: %v", f, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "FIPS") {
			t.Errorf("%s: minted: %v", f, err)
		}
	}

	var file struct {
		Kind    string            `json:"kind"`
		Vectors []json.RawMessage `json:"vectors"`
	}
	if err := json.Unmarshal(vectorFile(t, "channelkey.json"), &file); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, raw := range file.Vectors {
		var e vector
		if err := e.decode(raw); err != nil {
			t.Fatal(err)
		}
		if e.format >= V006 {
			continue
		}
		if len(e.AppID) != idLen {
			continue
		}
		w := newVerifier(t, e.app, Policy{IgnoreTime: true})
		if _, err := w.Verify(*e.Token, Claims{Channel: e.Channel, User: e.user, Service: e.service}); !errors.Is(err, FormatForbidden) {
			t.Errorf("%s: %v", e.ID, err)
		}
		refused++
	}
	report, err := RunVectors(vectorFile(t, "channelkey.json"))
	if err != nil || report.Failed() != 0 || report.Passed() < 90 || report.Arrays[0].Skipped < 150 || refused < 150 {
		t.Errorf("%v, %d passed, %d failed, %d refused", err, report.Passed(), report.Failed(), refused)
		report.Write(t.Output())
	}
}
