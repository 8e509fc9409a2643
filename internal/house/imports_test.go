// Package house holds the tests of the module's own structure.
package house

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/chanseal/chanseal"

// rule says what a top-level package, with everything beneath it, may import.
type rule struct {
	ours []string // top-level packages of this module
	// theirs lists modules outside the standard library; nil means any. What a
	// subpackage is named for is its own business: only the package itself is held
	// to it.
	theirs []string
}

// rules is who may import whom. A package that is not here fails the test: decide
// first where it stands.
var rules = map[string]rule{
	"cipher":     {theirs: []string{"golang.org/x/crypto", "golang.org/x/sys"}},
	"media":      {theirs: []string{}},
	"channelkey": {ours: []string{"internal"}, theirs: []string{}}, // internal/clock: what time it is
	"keyring":    {ours: []string{"cipher", "internal"}, theirs: []string{"golang.org/x/crypto", "golang.org/x/sys", "golang.org/x/term", "github.com/minio/sio", "filippo.io/age", "filippo.io/hpke"}},
	"sealedfile": {ours: []string{"cipher", "media"}, theirs: []string{"golang.org/x/crypto", "golang.org/x/sys"}},
	"interop":    {ours: []string{"cipher", "media"}},
	"rtpseal":    {ours: []string{"cipher", "media"}},
	"bench": {ours: []string{"cipher", "media", "internal"}, // internal/raceflag by way of cipher/ciphertest
		theirs: []string{"golang.org/x", "github.com/minio/sio", "github.com/HdrHistogram/hdrhistogram-go", "github.com/aclements/go-moremath", "gonum.org/v1",
			"codeberg.org/go-fonts", "codeberg.org/go-latex", "codeberg.org/go-pdf", "git.sr.ht/~sbinet", "github.com/ajstarks/svgo", "github.com/golang/freetype"}}, // what gonum/plot draws with
	"recording": {ours: []string{}},                                              // keeps RTP that is sealed as it is, and needs no key
	"keyserver": {ours: []string{"keyring", "channelkey", "cipher", "internal"}}, // cipher by way of keyring
	"proxy":     {ours: []string{"channelkey", "internal"}},                      // never cipher or keyring: a relay must be unable to open a frame
	"cmd":       {ours: []string{"*"}},
	"examples":  {ours: []string{"*"}},
	"internal":  {},
	"":          {}, // the module's root: documentation and examples only
}

// pkg is a line of go list.
type pkg struct {
	path string
	deps []string // everything it imports, directly or not
}

func list(t *testing.T, patterns ...string) []pkg {
	t.Helper()
	args := append([]string{"list", "-f", "{{.ImportPath}}\t{{join .Deps \" \"}}"}, patterns...)
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	var pkgs []pkg
	for line := range strings.Lines(string(out)) {
		path, deps, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		pkgs = append(pkgs, pkg{path: path, deps: strings.Fields(deps)})
	}
	return pkgs
}

// top is the first element of one of our import paths below the module.
func top(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, module), "/"), "/")
	return first
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// violations returns what p imports and may not.
func violations(p pkg, rules map[string]rule) (bad []string) {
	r, known := rules[top(p.path)]
	if !known {
		return []string{"no rule for " + p.path}
	}
	itself := p.path == module+"/"+top(p.path)
	for _, dep := range p.deps {
		host, _, _ := strings.Cut(dep, "/")
		switch {
		case dep == module+"/internal/raceflag" && !itself: // a constant, for the examiners
		case ours(dep):
			if top(dep) != top(p.path) && !slices.Contains(r.ours, top(dep)) && !slices.Contains(r.ours, "*") {
				bad = append(bad, dep)
			}
		case !strings.Contains(host, ".") || strings.HasPrefix(dep, "vendor/"): // the standard library
		case itself && r.theirs != nil && !slices.ContainsFunc(r.theirs, func(m string) bool {
			return dep == m || strings.HasPrefix(dep, m+"/")
		}):
			bad = append(bad, dep)
		}
	}
	return bad
}

// servers returns what p imports of etcd's server, which only tests may have.
func servers(p pkg) string {
	if strings.HasSuffix(p.path, "/etcdtest") {
		return ""
	}
	for _, dep := range p.deps {
		if strings.HasPrefix(dep, "go.etcd.io/etcd/server/") || strings.HasSuffix(dep, "/etcdtest") {
			return dep
		}
	}
	return ""
}

func TestImports(t *testing.T) {
	pkgs := list(t, module+"/...")
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	for _, p := range pkgs {
		for _, dep := range violations(p, rules) {
			t.Errorf("%s must not import %s", p.path, dep)
		}
		if dep := servers(p); dep != "" {
			t.Errorf("%s must not import %s: it is for tests", p.path, dep)
		}
	}
}

// TestRulesBite: the check fails for what it is there to catch.
func TestRulesBite(t *testing.T) {
	for _, p := range []pkg{
		{module + "/cipher", []string{"fmt", module + "/media"}},
		{module + "/cipher", []string{"github.com/somebody/aead"}},
		{module + "/cipher/internal/engine", []string{module + "/keyring"}},
		{module + "/media", []string{"github.com/at-wat/ebml-go"}},
		{module + "/proxy", []string{module + "/cipher"}},
		{module + "/proxy/client", []string{module + "/channelkey", module + "/keyring"}},
		{module + "/sealedfile", []string{module + "/keyring"}},
		{module + "/util", nil},
	} {
		if len(violations(p, rules)) != 1 {
			t.Errorf("%s importing %v passes", p.path, p.deps)
		}
	}
	if servers(pkg{module + "/cmd/chanseal", []string{module + "/keyring/etcdstore", "go.etcd.io/etcd/server/v3/embed"}}) == "" {
		t.Error("the program may hold etcd's server")
	}
	if bad := violations(pkg{module + "/keyring/etcdstore", []string{"go.etcd.io/etcd/client/v3", module + "/keyring", module + "/cipher"}}, rules); bad != nil {
		t.Errorf("etcdstore may not import %v", bad)
	}
	if bad := violations(pkg{module + "/keyring/boltstore", []string{"go.etcd.io/bbolt", module + "/keyring", module + "/cipher", "os"}}, rules); bad != nil {
		t.Errorf("boltstore may not import %v", bad)
	}
}
