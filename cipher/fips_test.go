package cipher_test

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// skipUnavailable skips the test if the suite cannot be used in the present mode, and
// fails it if the mode gives no reason for that.
func skipUnavailable(t testing.TB, s *cipher.Suite) {
	t.Helper()
	if _, err := s.NewOpenKey(0, make([]byte, 32)); err != nil {
		if !fips140.Enforced() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// TestFIPSOnly runs this package's tests again under GODEBUG=fips140=only.
func TestFIPSOnly(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("already there")
	}
	cmd := exec.Command(os.Args[0], "-test.short", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "incompatible with the purego build tag") {
		t.Skip("the standard library has no FIPS mode in a build with -tags purego")
	}
	if err != nil {
		t.Errorf("under fips140=only: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestFIPSSuites ") {
		t.Errorf("under fips140=only TestFIPSSuites did not run")
	}
}

// TestFIPSSuites: under fips140=only suites 1 to 3 and 6 to 8 work, and the errors of
// the others say so.
func TestFIPSSuites(t *testing.T) {
	if !fips140.Enforced() {
		t.Skip("not under fips140=only")
	}
	working := map[cipher.SuiteID]bool{1: true, 2: true, 3: true, 6: true, 7: true, 8: true}
	for _, s := range cipher.Suites() {
		_, sealErr := s.NewSealKey(1, make([]byte, 32), cipher.FreshKey)
		_, openErr := s.NewOpenKey(1, make([]byte, 32))
		if working[s.ID()] {
			if sealErr != nil || openErr != nil {
				t.Errorf("%s: %v, %v", s, sealErr, openErr)
			}
			if _, err := s.NewOpenKey(1, make([]byte, 15)); err == nil || !strings.Contains(err.Error(), "at least 16") {
				t.Errorf("%s with a base key of 15 bytes: %v", s, err)
			}
			if _, err := s.NewOpenKey(1, make([]byte, 16)); err != nil {
				t.Errorf("%s with a base key of 16 bytes: %v", s, err)
			}
			continue
		}
		for _, err := range []error{sealErr, openErr} {
			if err == nil || !strings.Contains(err.Error(), s.Name()) || !strings.Contains(err.Error(), "suites 1 to 3 or 6 to 8") {
				t.Errorf("%s: error %v, want one that says which suites work", s, err)
			}
		}
	}
}
