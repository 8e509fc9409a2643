package chanseal_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chanseal/chanseal/cipher"
)

// The README's Go is the example that runs, and its table of suites is the program's.
func TestReadme(t *testing.T) {
	readme := string(must(os.ReadFile("README.md")))
	_, code, _ := strings.Cut(string(must(os.ReadFile("example_test.go"))), "// begin\n")
	code, _, _ = strings.Cut(code, "\t// end\n")
	if code == "" || !strings.Contains(readme, "```go\n"+strings.ReplaceAll(strings.TrimPrefix(code, "\t"), "\n\t", "\n")) {
		t.Error("README.md does not show the lines of Example")
	}
	rows := 0
	for _, line := range strings.Split(readme, "\n") {
		if strings.HasPrefix(line, "| `") {
			rows++
		}
	}
	for _, s := range cipher.Suites() {
		if row := fmt.Sprintf("| `%s` | %#04x | %d |", s.Name(), uint16(s.ID()), 8*s.Overhead()); !strings.Contains(readme, row) {
			t.Errorf("README.md lacks the row %s", row)
		}
	}
	if want := len(cipher.Suites()); rows != want {
		t.Errorf("README.md has %d rows of suites, want %d", rows, want)
	}
}
