package channelkey

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"testing"
)

func vectorFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("../testdata/vectors/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestVectors(t *testing.T) {
	for _, f := range []struct {
		name   string
		passed int
	}{{"channelkey.json", 296}, {"channelkey_negative.json", 37}} {
		t.Run(f.name, func(t *testing.T) {
			report, err := RunVectors(vectorFile(t, f.name))
			if err != nil {
				t.Fatal(err)
			}
			report.Write(t.Output())
			if report.Failed() != 0 || report.Passed() != f.passed {
				t.Errorf("%d passed, %d failed, want %d passed", report.Passed(), report.Failed(), f.passed)
			}
		})
	}
}

// TestVectorsCanFail changes every entry in one thing: the runner must notice.
func TestVectorsCanFail(t *testing.T) {
	type entry = map[string]any
	var file struct {
		Kind    string
		Vectors []entry
	}
	run := func(kind string, e entry) bool {
		data, err := json.Marshal(map[string]any{"kind": kind, "vectors": []entry{e}})
		if err != nil {
			t.Fatal(err)
		}
		report, err := RunVectors(data)
		if err != nil {
			t.Fatal(err)
		}
		return report.Failed() == 0 && report.Passed() == 1
	}
	with := func(e entry, key string, value any) entry {
		e = maps.Clone(e)
		e[key] = value
		return e
	}
	if err := json.Unmarshal(vectorFile(t, "channelkey.json"), &file); err != nil {
		t.Fatal(err)
	}
	for n, e := range file.Vectors {
		if n%5 != 0 && testing.Short() {
			continue
		}
		changes := []entry{with(e, "app_certificate", otherCert), with(e, "app_id", "ffff"+e["app_id"].(string)[2:])}
		for _, key := range []string{"unix_ts", "expired_ts", "random_int", "salt", "ts", "issue_ts", "expire"} {
			if v, ok := e[key].(float64); ok {
				changes = append(changes, with(e, key, float64(uint32(v)^1)))
			}
		}
		for _, key := range []string{"channel", "account"} {
			if v, ok := e[key].(string); ok {
				changes = append(changes, with(e, key, v+"x"))
			}
		}
		switch v := e["uid"].(type) {
		case float64:
			changes = append(changes, with(e, "uid", float64(uint32(v)^1)))
		case string:
			changes = append(changes, with(e, "uid", v+"1"))
		}
		if s, ok := e["services"].([]any); ok && len(s) > 0 {
			changes = append(changes, with(e, "services", s[1:]))
		}
		if s, ok := e["services"].([]any); ok && len(s) > 1 {
			changes = append(changes, with(e, "services", s[:len(s)-1]))
		}
		token := e["token"].(string)
		changes = append(changes, with(e, "token", token[:len(token)-1]), with(e, "token", ""), with(e, "format", "008"))
		for _, c := range changes {
			if run(file.Kind, c) {
				for k := range c {
					if !reflect.DeepEqual(c[k], e[k]) {
						t.Errorf("%s passes with another %s", e["id"], k)
					}
				}
			}
		}
	}
	if err := json.Unmarshal(vectorFile(t, "channelkey_negative.json"), &file); err != nil {
		t.Fatal(err)
	}
	for _, e := range file.Vectors {
		for _, expect := range []string{"accept", "reject", "perhaps"} {
			if run(file.Kind, with(e, "expect", expect)) != (expect == e["expect"]) {
				t.Errorf("%s expecting %s: the verdict is wrong", e["id"], expect)
			}
		}
	}
}

func TestVectorFileForm(t *testing.T) {
	for _, data := range []string{
		``, `[]`, `{}`, `{"kind":"sframe","vectors":[]}`, `{"kind":1}`,
		`{"kind":"channelkey"}`,
		`{"kind":"channelkey","vectors":[]}`,
		`{"kind":"channelkey","vectors":{}}`,
		`{"kind":"channelkey-negative","vectors":[{"format":"dk4","token":"","expect":"reject"}],"extra":[]}`,
	} {
		if _, err := RunVectors([]byte(data)); err == nil {
			t.Errorf("%s is taken", data)
		}
	}
	for _, data := range []string{
		`{"kind":"channelkey","vectors":[1]}`,
		`{"kind":"channelkey","vectors":[{"format":"dk4"}]}`,
	} {
		report, err := RunVectors([]byte(data))
		if err != nil || report.Failed() == 0 {
			t.Errorf("%s: %v, %d failed", data, err, report.Failed())
		}
	}
}
