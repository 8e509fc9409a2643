package cipher

import (
	"fmt"
	"strings"
)

// aliases are other names of built-in suites: the vendor's mode names and their
// numbers (not the SFrame registry's), and the registry's own spelling.
var aliases = map[string]SuiteID{
	"aes-128-gcm2": 0x0004, "aes-128-gcm-2": 0x0004, "5": 0x0004, "7": 0x0004,
	"aes-256-gcm2": 0x0005, "aes-256-gcm-2": 0x0005, "6": 0x0005, "8": 0x0005,
	"aes-128-xts": 0xF002, "1": 0xF002,
	"aes-256-xts": 0xF003, "3": 0xF003,

	"aes-128-gcm-sha256-128": 0x0004,
	"aes-256-gcm-sha512-128": 0x0005,
}

// refused are modes that exist elsewhere and that this package will not do.
var refused = map[string]string{
	"aes-128-ecb": "ECB shows which blocks of a frame are equal and authenticates nothing; use aes-128-gcm",
	"sm4-128-ecb": "ECB shows which blocks of a frame are equal and authenticates nothing; use aes-128-gcm, or plug in an SM4 AEAD with NewSuite",
	"2":           "mode 2 is aes-128-ecb: ECB shows which blocks of a frame are equal and authenticates nothing; use aes-128-gcm",
	"4":           "mode 4 is sm4-128-ecb: ECB shows which blocks of a frame are equal and authenticates nothing; use aes-128-gcm",
}

// Lookup returns the built-in suite with this name. Case does not matter, nor whether
// words are divided by hyphens or underscores. Besides the names of [Suites] it takes
// those of the SFrame registry (AES_128_GCM_SHA256_128), the vendor's mode names
// (aes-128-gcm2, aes-256-xts, …) and the vendor's mode numbers 1 to 8, which are not
// the registry's. Every mode authenticates; those that could not are refused with the
// reason and a replacement.
func Lookup(name string) (*Suite, error) {
	key := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")
	for _, s := range builtin {
		if s.name == key {
			return s, nil
		}
	}
	if id, ok := aliases[key]; ok {
		return ByID(id)
	}
	if why, ok := refused[key]; ok {
		return nil, fmt.Errorf("cipher: suite %q refused: %s", name, why)
	}
	names := make([]string, len(builtin))
	for i, s := range builtin {
		names[i] = s.name
	}
	return nil, fmt.Errorf("cipher: unknown suite %q, known are %s", name, strings.Join(names, ", "))
}
