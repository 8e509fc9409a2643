package program

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestDemoClip(t *testing.T) {
	want, err := os.ReadFile(clipPath("demo.webm"))
	if err != nil {
		t.Fatal(err)
	}
	if demoClip != string(want) {
		t.Error("demo/talk.webm is not testdata/media/demo.webm: copy it")
	}
}

func testDemo(t *testing.T) *demo {
	return &demo{p: &program{}, ctx: t.Context(), out: io.Discard, dir: t.TempDir()}
}

// The demo has to fail if what it shows is not so.
func TestDemoNotices(t *testing.T) {
	steps := demoSteps()
	write := func(name string, data func() []byte) demoStep {
		return demoStep{"spoil", func(d *demo) error { return os.WriteFile(d.path(name), data(), 0o600) }}
	}
	for _, test := range []struct {
		name  string
		after int // steps that go well
		spoil func(d *demo) demoStep
		want  string
	}{
		{"the sealed file shows a frame", 2, func(d *demo) demoStep {
			return write("talk.sealed.mkv", func() []byte {
				sealed, _ := os.ReadFile(d.path("talk.sealed.mkv"))
				return append(sealed, d.clip.secrets()[9]...)
			})
		}, "1 of the clear recording's strings"},
		{"another recording opens", 3, func(d *demo) demoStep {
			return demoStep{"spoil", func(d *demo) error {
				d.clip.frames[7][5] ^= 1
				d.clip.digest[0] ^= 1
				return nil
			}}
		}, "differs from what was sealed"},
		{"the other channel opens it", 1, func(d *demo) demoStep {
			return demoStep{"spoil", func(d *demo) error {
				if err := os.WriteFile(d.path("talk.webm"), []byte(demoClip), 0o600); err != nil {
					return err
				}
				code, _, _ := d.command("seal", "--channel", "backstage", "./talk.webm")
				return errors.Join(wantExit(code, exitDone), d.tryOtherChannel())
			}}
		}, "exit status 0, want 3"},
		{"nothing is refused", 2, func(d *demo) demoStep {
			return demoStep{"spoil", func(d *demo) error {
				return d.show(exitAuth, "open", "--channel", "stage", "-o", "./x.webm", "./talk.sealed.mkv")
			}}
		}, "exit status 0, want 3"},
		{"a project's file is overwritten", 8, func(d *demo) demoStep {
			return write("app.json", func() []byte { return nil })
		}, "exit status 1, want 0"},
		{"something was written", 1, func(d *demo) demoStep {
			return demoStep{"spoil", func(d *demo) error { return d.absent("ring") }}
		}, "was written"},
	} {
		d := testDemo(t)
		all := append(steps[:test.after:test.after], test.spoil(d))
		all = append(all, steps[test.after:]...)
		if err := d.runAll(all); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
	}
}
