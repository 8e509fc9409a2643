package media

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// clone copies an item out of its Reader's buffers.
func clone(i *Item) Item {
	c := *i
	c.Data, c.References = bytes.Clone(i.Data), slices.Clone(i.References)
	return c
}

// readAll reads a recording to its end.
func readAll(r io.Reader) (*Info, []Item, error) {
	m, err := NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	var items []Item
	for {
		var i Item
		err := m.Next(&i)
		if err == io.EOF {
			if again := m.Next(&i); again != io.EOF {
				return nil, nil, fmt.Errorf("after the end: %v", again)
			}
			return m.Info(), items, nil
		}
		if err != nil {
			return m.Info(), items, err
		}
		items = append(items, clone(&i))
	}
}

func writeAll(w io.Writer, info *Info, items []Item, opt Options) error {
	m, err := NewWriter(w, info, opt)
	if err != nil {
		return err
	}
	for n := range items {
		if err := m.Write(&items[n]); err != nil {
			return fmt.Errorf("item %d: %w", n, err)
		}
	}
	return m.Close()
}

// sameItem returns what differs between two items, "" if nothing does.
func sameItem(a, b *Item) string {
	switch {
	case a.Kind != b.Kind || a.Track != b.Track || a.Timestamp != b.Timestamp || a.Duration != b.Duration ||
		a.Flags != b.Flags || a.DiscardPadding != b.DiscardPadding || !slices.Equal(a.References, b.References):
		x, y := *a, *b
		x.Data, y.Data = nil, nil
		return fmt.Sprintf("%+v and %+v", x, y)
	case !bytes.Equal(a.Data, b.Data):
		return fmt.Sprintf("data of %d and %d bytes", len(a.Data), len(b.Data))
	}
	return ""
}

type testingT interface {
	Helper()
	Fatalf(string, ...any)
}

func sameItems(t testingT, got, want []Item) {
	t.Helper()
	for n := range min(len(got), len(want)) {
		if diff := sameItem(&got[n], &want[n]); diff != "" {
			t.Fatalf("item %d: %s", n, diff)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d items, want %d", len(got), len(want))
	}
}

// clips returns the paths of the real recordings whose names match any pattern:
// those of testdata, and those of the folder that CHANSEAL_CLIPS names, if it is set.
func clips(t *testing.T, patterns ...string) []string {
	t.Helper()
	var all []string
	for _, p := range patterns {
		for _, dir := range []string{filepath.Join("..", "testdata", "media"), os.Getenv("CHANSEAL_CLIPS")} {
			if dir == "" {
				continue
			}
			m, err := filepath.Glob(filepath.Join(dir, p))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m...)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no clips match %v", patterns)
	}
	return all
}

// tool runs a media program and returns its output, or skips the test where the
// program is not installed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, exit.Stderr)
		}
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// packets returns ffprobe's packet listing with a checksum of every packet's data,
// without what depends on the place in the file.
func packets(t *testing.T, path string) string {
	t.Helper()
	return tool(t, "ffprobe", "-v", "error", "-show_data_hash", "md5", "-show_packets", "-show_entries",
		"packet=stream_index,pts,dts,duration,size,flags,data_hash:packet_side_data", "-of", "compact", path)
}

func writeFile(t *testing.T, path string, info *Info, items []Item, opt Options) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeAll(f, info, items, opt); err != nil {
		t.Fatal(err)
	}
}

// firstDifference returns the first line that is not the same in both texts.
func firstDifference(got, want string) string {
	g, w := bytes.Split([]byte(got), []byte("\n")), bytes.Split([]byte(want), []byte("\n"))
	for n := range min(len(g), len(w)) {
		if !bytes.Equal(g[n], w[n]) {
			return fmt.Sprintf("line %d\n got %s\nwant %s", n+1, g[n], w[n])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

func openClip(t *testing.T, name string) (io.Reader, error) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "media", name))
	return bytes.NewReader(b), err
}
