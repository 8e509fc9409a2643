package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func record(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := l.Append(Entry{Event: "enter", Actor: l.ID("u", fmt.Sprint(i)), Channel: l.ID("c", "stage"), Epoch: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordGrows(t *testing.T) {
	path := record(t, 3)
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrBusy) {
		t.Errorf("a second writer: %v", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := l.Append(Entry{Event: "hand-out"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	head := l.Head()
	l.Close()
	if err := l.Append(Entry{Event: "late"}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	n := uint64(0)
	res, err := VerifyFile(path, func(e Entry) error {
		if n++; e.Seq != n || e.Time.IsZero() {
			t.Errorf("entry %d is %+v", n, e)
		}
		return nil
	}, head)
	if err != nil || res.Head != head || n != 53 || res.Torn != 0 {
		t.Errorf("%+v, %v; %d entries, head %v", res, err, n, head)
	}
	if again, err := ParseHead(head.String()); err != nil || again != head {
		t.Errorf("%v, %v", again, err)
	}
}

// TestDamageIsLocated: whichever byte changes, the line with it is named.
func TestDamageIsLocated(t *testing.T) {
	path := record(t, 4)
	good := read(t, path)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		line := uint64(bytes.Count(good[:i], []byte("\n")) + 1)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := VerifyFile(path, nil)
		var d *DamageError
		if !errors.As(err, &d) || !errors.Is(err, ErrDamaged) || d.Line != line {
			t.Fatalf("byte %d of line %d: %v", i, line, err)
		}
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	for name, c := range map[string]struct {
		keep []int
		line uint64
	}{
		"first gone": {[]int{1, 2, 3}, 1}, "middle gone": {[]int{0, 1, 3}, 3}, "last gone": {[]int{0, 1, 2}, 4},
		"swapped": {[]int{0, 2, 1, 3}, 2}, "twice": {[]int{0, 0, 1, 2, 3}, 2}, "empty": {nil, 1},
	} {
		var bad []byte
		for _, k := range c.keep {
			bad = append(bad, lines[k]...)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var d *DamageError
		if _, err := VerifyFile(path, nil); !errors.As(err, &d) || d.Line != c.line {
			t.Errorf("%s: %v", name, err)
		}
		if l, err := Open(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: opened for writing: %v", name, err)
			if err == nil {
				l.Close()
			}
		}
	}
	for cut := range len(good) {
		if _, err := Verify(bytes.NewReader(good[:cut]), nil, mustHead(t, path)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	// The negative control: without the head, a record cut between two lines looks whole.
	if _, err := Verify(bytes.NewReader(bytes.Join(lines[:2], nil)), nil); err != nil {
		t.Error(err)
	}
}

func mustHead(t *testing.T, path string) Head {
	h, err := readHead(path + headSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestRewritten: a record that was written anew to its end, head file included, differs
// from a head that was noted elsewhere.
func TestRewritten(t *testing.T) {
	noted := mustHead(t, record(t, 4))
	other := record(t, 4) // other IDs, other times
	if _, err := VerifyFile(other, nil); err != nil {
		t.Fatal(err)
	}
	var d *DamageError
	if _, err := VerifyFile(other, nil, noted); !errors.As(err, &d) || d.Line != 4 {
		t.Error(err)
	}
}

func TestHeadFile(t *testing.T) {
	path := record(t, 4)
	good := read(t, path+headSuffix)
	for i := range slotSize { // the older slot, entry 4's: then entry 3's counts
		bad := bytes.Clone(good)
		bad[i] ^= 1
		os.WriteFile(path+headSuffix, bad, 0o600)
		if h, err := readHead(path + headSuffix); err != nil || h.Seq != 3 {
			t.Fatalf("byte %d: %v, %v", i, h, err)
		}
	}
	for _, bad := range [][]byte{nil, good[:100], make([]byte, 256)} {
		os.WriteFile(path+headSuffix, bad, 0o600)
		if _, err := VerifyFile(path, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	os.Remove(path + headSuffix)
	if _, err := Open(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("no head: %v", err)
	}
}

func TestTornEntry(t *testing.T) {
	path := record(t, 2)
	f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	io.WriteString(f, `{"seq":3,"time":"2026-`)
	f.Close()
	if res, err := VerifyFile(path, nil); err != nil || res.Torn != 22 || res.Head.Seq != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var last Entry
	if _, err := VerifyFile(path, func(e Entry) error { last = e; return nil }); err != nil || last.Seq != 3 || last.Event != "recovered" {
		t.Errorf("%+v, %v", last, err)
	}
}

func TestIDs(t *testing.T) {
	path := record(t, 1)
	a, err := FileID(path, "c", "stage")
	if err != nil || !bytes.Contains(read(t, path), []byte(a)) {
		t.Errorf("%s, %v", a, err)
	}
	if bytes.Contains(read(t, path), []byte("stage")) {
		t.Error("the record tells a channel's name")
	}
	if b, _ := FileID(path, "u", "stage"); b[2:] == a[2:] {
		t.Error("a user and a channel of one name have one ID")
	}
	if b, _ := FileID(record(t, 1), "c", "stage"); b == a {
		t.Error("two records name a channel alike")
	}
}

// broken fails from the nth call on.
type broken struct {
	file
	writes, syncs int
}

func (b *broken) Write(p []byte) (int, error) {
	if b.writes--; b.writes < 0 {
		return 0, errors.New("disk full")
	}
	return b.file.Write(p)
}

func (b *broken) Sync() error {
	if b.syncs--; b.syncs < 0 {
		return errors.New("no sync")
	}
	return b.file.Sync()
}

// TestFailsForGood: after an error nothing counts as recorded any more.
func TestFailsForGood(t *testing.T) {
	for _, b := range []broken{{writes: 1, syncs: 9}, {writes: 9, syncs: 1}} {
		l, err := Open(filepath.Join(t.TempDir(), "audit.log"))
		if err != nil {
			t.Fatal(err)
		}
		b.file, l.file = l.file, &b
		if err := l.Append(Entry{Event: "enter"}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := l.Append(Entry{Event: "enter"}); err == nil {
				t.Error("an entry counts that is not on stable storage")
			}
		}
		l.Close()
	}
}

// TestKilled: SIGKILL while entries are written loses none that Append acknowledged.
func TestKilled(t *testing.T) {
	if path := os.Getenv("CHANSEAL_AUDIT_CHILD"); path != "" {
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for {
			if err := l.Append(Entry{Event: "enter"}); err != nil {
				t.Fatal(err)
			}
			fmt.Println("acknowledged", l.Head())
		}
	}
	rounds := 5
	if os.Getenv("CHANSEAL_LONG") == "1" {
		rounds = 200
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	for round := range rounds {
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), "CHANSEAL_AUDIT_CHILD="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096+round*97)
		n, _ := io.ReadAtLeast(out, buf, 300+round*97)
		child.Process.Kill()
		rest, _ := io.ReadAll(out)
		child.Wait()
		var last Head
		text := string(buf[:n]) + string(rest)
		for line := range strings.Lines(text) {
			if s, ok := strings.CutPrefix(line, "acknowledged "); ok && strings.HasSuffix(s, "\n") {
				if last, err = ParseHead(strings.TrimSpace(s)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if last.Seq == 0 {
			t.Fatalf("nothing was acknowledged: %q", text)
		}
		if res, err := VerifyFile(path, nil, last); err != nil {
			t.Fatalf("round %d: %+v, %v", round, res, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	var b []byte
	var h Head
	for i := range 3 {
		b, h, _ = appendLine(b, Entry{Seq: uint64(i + 1), Event: "enter"}, h)
	}
	f.Add(b)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := Verify(bytes.NewReader(data), nil)
		if err == nil && res.Bytes+res.Torn != int64(len(data)) {
			t.Errorf("%+v of %d bytes", res, len(data))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "audit.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Append(Entry{Event: "hand-out", Actor: "u-0123456789abcdef", Channel: "c-0123456789abcdef", Epoch: 7}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
