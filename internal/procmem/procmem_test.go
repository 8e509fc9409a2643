package procmem

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// childVariable makes this test the process that is looked into.
const childVariable = "CHANSEAL_PROCMEM_CHILD"

const seedSize, patternSize = 16, sha512.Size

// pattern is a pattern that only who has the seed can make; it begins with that.
func pattern(seed []byte, i int) (p [patternSize]byte) {
	p = sha512.Sum512(binary.BigEndian.AppendUint32(bytes.Clone(seed), uint32(i)))
	copy(p[:], seed)
	return p
}

const childPages, childPage = 2000, 4096 // of which there are several pieces

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// child has a pattern across every border of its pages, and one far inside of room that it
// does not use, and waits until its input ends.
func child() {
	in := bufio.NewReader(os.Stdin)
	line, _ := in.ReadString('\n')
	seed, _ := hex.DecodeString(strings.TrimSpace(line))
	room := make([]byte, (childPages+2)*childPage)
	for i := range childPages {
		p := pattern(seed, i)
		copy(room[(i+1)*childPage-patternSize/2:], p[:])
	}
	far := farAway(pattern(seed, childPages))
	fmt.Println("there")
	io.Copy(io.Discard, in)
	runtime.KeepAlive(room)
	runtime.KeepAlive(far)
}

// startChild starts it with a seed, and returns its process's number.
func startChild(t *testing.T, seed []byte) (pid int, end func()) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childVariable+"=1")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { in.Close(); c.Wait() }
	t.Cleanup(end)
	fmt.Fprintln(in, hex.EncodeToString(seed))
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "there\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return c.Process.Pid, end
}

// look counts which of the patterns of a seed are in a process.
func look(t *testing.T, pid, overlap int, seed []byte) (found int, far bool) {
	t.Helper()
	where := map[[patternSize]byte]int{}
	seen := map[int]bool{}
	for i := range childPages + 1 {
		where[pattern(seed, i)] = i
	}
	var sum int64
	read, err := Pieces(pid, overlap, func(piece []byte) {
		sum += int64(len(piece))
		for {
			_, rest, _ := bytes.Cut(piece, seed)
			if len(rest) < patternSize-seedSize {
				return
			}
			if i, ok := where[[patternSize]byte(piece[len(piece)-len(rest)-seedSize:])]; ok {
				seen[i] = true
			}
			piece = rest
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < childPages*childPage || read > sum {
		t.Errorf("%d bytes read, in pieces of %d together", read, sum)
	}
	far = seen[childPages]
	delete(seen, childPages)
	return len(seen), far
}

// TestPieces: what another process has is found, wherever it stands, across borders of
// pieces, too; what it does not have is not; without overlap something is missed, so that
// this test would notice.
func TestPieces(t *testing.T) {
	if runtime.GOOS != "linux" {
		if _, err := Pieces(os.Getpid(), 0, nil); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "on Linux") {
			t.Error(err)
		}
		return
	}
	seed, other := make([]byte, seedSize), make([]byte, seedSize)
	rand.Read(seed)
	rand.Read(other)
	pid, end := startChild(t, seed)
	if n, far := look(t, pid, patternSize-1, seed); n != childPages || !far {
		t.Errorf("%d of %d patterns were found; the one far inside: %v", n, childPages, far)
	}
	if n, far := look(t, pid, patternSize-1, other); n != 0 || far {
		t.Errorf("%d patterns were found that are not there", n)
	}
	if n, _ := look(t, pid, 0, seed); n == childPages || n == 0 {
		t.Errorf("without overlap %d of %d patterns were found: the borders show nothing", n, childPages)
	}
	end()
	if n, err := Pieces(pid, 0, func([]byte) {}); err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", pid)) {
		t.Errorf("%d bytes of a process that has ended: %v", n, err)
	}
}
