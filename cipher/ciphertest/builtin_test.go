package ciphertest_test

import (
	"bytes"
	"crypto/fips140"
	"testing"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/cipher/ciphertest"
)

// TestBuiltin examines every built-in suite that can be used in the present mode.
func TestBuiltin(t *testing.T) {
	examined := 0
	for _, s := range cipher.Suites() {
		t.Run(s.Name(), func(t *testing.T) {
			if _, err := s.NewOpenKey(0, bytes.Repeat([]byte{1}, 32)); err != nil && fips140.Enforced() {
				t.Skip(err)
			}
			examined++
			var exempt ciphertest.Exempt
			if s.Name() == "chacha20-poly1305" {
				exempt = chacha
			}
			ciphertest.TestSuite(t, s, exempt)
		})
	}
	if want := 6; examined < want || !fips140.Enforced() && examined != len(cipher.Suites()) {
		t.Errorf("%d suites were examined", examined)
	}
}
