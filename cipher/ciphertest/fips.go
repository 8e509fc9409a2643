package ciphertest

import (
	"bytes"

	"github.com/chanseal/chanseal/cipher"
)

// available reports whether the suite can be used in the present mode: under
// GODEBUG=fips140=only some cannot.
func available(s *cipher.Suite) bool {
	_, err := s.NewOpenKey(0, bytes.Repeat([]byte{1}, 64))
	return err == nil
}
