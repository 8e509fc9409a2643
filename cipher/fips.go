package cipher

import (
	"crypto/fips140"
	"fmt"
)

// fipsMinBaseKey is the shortest base key, in bytes, under GODEBUG=fips140=only.
const fipsMinBaseKey = 16

// allowed says whether the suite and this base key may be used in the present mode.
// Under GODEBUG=fips140=only the standard library refuses GCM with nonces that it
// does not draw itself, so that only the CTR-HMAC suites work. No validation is
// claimed.
func (s *Suite) allowed(baseKey []byte) error {
	if !fips140.Enforced() {
		return nil
	}
	if !s.fips {
		return fmt.Errorf("cipher: suite %s is not available under fips140=only, use suites 1 to 3 or 6 to 8 (such as %s)", s.name, AES128CTRHMAC80().name)
	}
	if len(baseKey) < fipsMinBaseKey {
		return fmt.Errorf("cipher: base key of %d bytes, under fips140=only it takes at least %d", len(baseKey), fipsMinBaseKey)
	}
	return nil
}
