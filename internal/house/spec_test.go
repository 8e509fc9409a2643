package house

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var testName = regexp.MustCompile(`\b([a-z]+)\.(Test[A-Za-z0-9_]+)`)

// statements are the paragraphs and list items of a document outside code blocks.
func statements(text string) []string {
	var out []string
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		begins := strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "|") || strings.TrimSpace(line) == ""
		switch {
		case code:
		case begins || len(out) == 0:
			out = append(out, line)
		default:
			out[len(out)-1] += line
		}
	}
	return out
}

// unheld returns the statements that oblige somebody and name no test.
func unheld(text string) (bad []string) {
	for _, s := range statements(text) {
		if strings.Contains(s, "MUST") && !strings.Contains(s, "RFC 2119") && !testName.MatchString(s) {
			bad = append(bad, strings.TrimSpace(s))
		}
	}
	return bad
}

// TestSpec: every MUST of SPEC.md names a test, and the test exists.
func TestSpec(t *testing.T) {
	text, err := os.ReadFile("../../SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range unheld(string(text)) {
		t.Errorf("no test named: %s", s)
	}
	named := testName.FindAllStringSubmatch(string(text), -1)
	if len(named) < 20 {
		t.Fatalf("only %d tests named", len(named))
	}
	dirs := make(map[string][]string) // packages may have the same last name
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}\t{{.Dir}}", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		name := path[strings.LastIndex(path, "/")+1:]
		dirs[name] = append(dirs[name], dir)
	}
	sources := make(map[string]string)
	for _, m := range named {
		pkg, test := m[1], m[2]
		if _, ok := sources[pkg]; !ok {
			for _, dir := range dirs[pkg] {
				sources[pkg] += testSource(t, dir)
			}
		}
		if !strings.Contains(sources[pkg], "func "+test+"(t *testing.T)") {
			t.Errorf("%s.%s does not exist", pkg, test)
		}
	}
}

func testSource(t *testing.T, dir string) string {
	if dir == "" {
		return ""
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") {
			b, err := os.ReadFile(dir + "/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
	}
	return all.String()
}

// TestSpecBites: a MUST without a test is found.
func TestSpecBites(t *testing.T) {
	text := "A MUST with one. [cipher.TestVectors]\n\n- A MUST\n  without one.\n- Nothing here.\n"
	if bad := unheld(text); len(bad) != 1 || !strings.Contains(bad[0], "without") {
		t.Errorf("found %q", bad)
	}
}
