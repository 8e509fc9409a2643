package channelkey

import (
	"os"
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
