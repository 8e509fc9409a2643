package program

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chanseal/chanseal/channelkey"
)

// Every line of stdin gets one line of JSON, whatever it holds and however it ends, in
// bounded memory.
func TestTokenLines(t *testing.T) {
	const good = "004d0ec5ee3179c964fe7c0485c045541de6bff332b970ca35de60c44645bbae8a215061b3314464554720383bbf51446455471"
	long := strings.Repeat("0", 3*channelkey.MaxTokenLen)
	var out bytes.Buffer
	p := &program{stdin: strings.NewReader(good + "\r\n\n" + long + "\n" + good + "\n\x00\xff\n007" + long[:channelkey.MaxTokenLen-3] + "\n" + good),
		stdout: &out, stderr: &bytes.Buffer{}}
	if code := p.run(t.Context(), []string{"token", "inspect", "-"}); code != exitUsage {
		t.Errorf("exit status %d, want %d", code, exitUsage)
	}
	type line struct {
		Line           int
		Format, Reason string
	}
	want := []line{{1, "dk4", ""}, {3, "", "unknown-format"}, {4, "dk4", ""}, {5, "", "unknown-format"}, {6, "007", "malformed"}, {7, "dk4", ""}}
	for text := range strings.Lines(out.String()) {
		var got line
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 || got != want[0] {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Errorf("no line for %+v", want)
	}
}

// No certificate is ever printed, whatever the command says.
func TestTokenSecrets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.json")
	run := func(stdin string, args ...string) string {
		var out bytes.Buffer
		p := &program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &out}
		p.run(t.Context(), append([]string{"token"}, args...))
		return out.String()
	}
	all := run("", "app", "create", "--json", "-o", path)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	app, err := channelkey.ParseAppFile(file)
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(run("", "mint", "--app-certificate-file", path, "--channel", "room", "--uid", "7"))
	all += token + run(token, "inspect", "-") + run("", "inspect", token) + run(token, "verify", "--app-certificate-file", path, "--channel", "room", "--uid", "8", "-") +
		run("", "verify", "--app-certificate-file", path, "--channel", "room", "--uid", "7", token) +
		run("", "mint", "--app-certificate-file", path, "--channel", "room/", "--uid", "7") +
		run("", "mint", "--app-certificate-file", path, "--json", "--channel", "room", "--uid", "7")
	second := filepath.Join(dir, "wrong.txt")
	for _, c := range []channelkey.Certificate{app.Primary, app.Secondary} {
		cert := string(c.Reveal())
		if err := os.WriteFile(second, []byte(cert+"0"), 0o600); err != nil {
			t.Fatal(err)
		}
		all += run("", "mint", "--app-id", app.ID, "--app-certificate-file", second, "--channel", "room", "--uid", "7")
		if len(cert) != 32 || strings.Contains(all, cert) {
			t.Errorf("a certificate was printed")
		}
	}
	if !strings.Contains(all, app.ID) || !strings.Contains(all, `"accepted":false`) || !strings.Contains(all, "good: a 007") {
		t.Errorf("the commands did not do what they should: %s", all)
	}
}

func TestMoments(t *testing.T) {
	base := time.Unix(1_000_000, 0)
	for text, want := range map[string]uint32{
		"now": 1_000_000, "0": 0, "1446455472": 1446455472, "4294967295": 4294967295, "2015-11-02T09:11:12Z": 1446455472,
		"2015-11-02T10:11:12+01:00": 1446455472, "90s": 1_000_090, "+90s": 1_000_090, "-90s": 999_910, "1d": 1_086_400, "2w": 2_209_600, "1h30m": 1_005_400,
	} {
		m, err := parseMoment(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := m.when(base); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", "+", "tomorrow", "4294967296", "1446455472000", "--5s", "2015-11-02", "2300-01-01T00:00:00Z", "1960-01-01T00:00:00Z", "5"} {
		if m, err := parseMoment(text); err == nil && text != "5" {
			t.Errorf("%q is taken for %v", text, m)
		}
	}
	if m, err := parseMoment("-300h"); err != nil {
		t.Error(err)
	} else if at, err := m.when(base); err == nil {
		t.Errorf("a moment before 1970 is %d", at)
	}
}

func TestClock(t *testing.T) {
	now := clock{time.Unix(1446455472, 0)}
	for unix, want := range map[int64]string{
		1446455472: "now", 1446455473: "in 1 second", 1446455462: "10 seconds ago", 1446455472 + 61: "in 1 minute 1 second",
		1446455472 + 7200: "in 2 hours", 1446455472 - 90000: "1 day 1 hour ago", 1446455472 + 400*86400: "in 1 year 35 days",
	} {
		if got := now.show(unix); !strings.HasSuffix(got, ", "+want) || !strings.Contains(got, " UTC (") {
			t.Errorf("%d: %q, want %q", unix, got, want)
		}
	}
}
