package program

import (
	"bytes"
	"context"
	"crypto/aes"
	stdcipher "crypto/cipher"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// leaky is an AEAD with a planted fault: it forgets the additional data.
type leaky struct{ cipher.AEAD }

func (l leaky) Seal(dst, nonce, frame, _ []byte) []byte {
	return l.AEAD.Seal(dst, nonce, frame, nil)
}

func (l leaky) Open(dst, nonce, sealed, _ []byte) ([]byte, error) {
	return l.AEAD.Open(dst, nonce, sealed, nil)
}

// A custom cipher that fails the conformance kit is refused, or with --check measured
// and shown as failed; either way the program exits with 1.
func TestBenchFaultyCipher(t *testing.T) {
	suite, err := cipher.NewSuite(cipher.Spec{ID: 0xF123, Name: "leaky", KeySize: 16, Overhead: 16, New: func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		a, err := stdcipher.NewGCM(block)
		return leaky{a}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []bool{false, true} {
		var out, errs bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, custom: []*cipher.Suite{suite}}
		args := []string{"bench", "--suite", "leaky", "--size", "1200", "--op", "seal", "--profile", "none", "--time", "100ms", "--rounds", "1"}
		if check {
			args = append(args, "--check")
		}
		if code := p.run(context.Background(), args); code != exitFailed {
			t.Errorf("check %v: exit status %d", check, code)
		}
		if !strings.Contains(errs.String(), "failed the conformance check: leaky") || !strings.Contains(out.String(), "FAILED: ") {
			t.Errorf("check %v: %s\n%s", check, errs.String(), out.String())
		}
		if measured := strings.Contains(out.String(), "leaky (FAILED)"); measured != check {
			t.Errorf("check %v: measured %v:\n%s", check, measured, out.String())
		}
	}
}
