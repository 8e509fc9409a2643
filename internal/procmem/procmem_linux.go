package procmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	pieceSize = 1 << 20
	// A page's entry in pagemap (Documentation/admin-guide/mm/pagemap.rst) has a bit if the
	// page is in memory, and one if it was swapped out. Others were never touched.
	inMemory, swapped = 1 << 63, 1 << 62
	entrySize         = 8
)

// Pieces calls f with every page of a process's writable memory that was touched, several
// in one piece where one follows another; f must not keep it. Pieces that follow one another
// share overlap bytes: what is no longer than one byte more stands whole in one of them.
// Pieces returns how many bytes were read, of which none is counted twice. It needs the
// right to trace the process (ptrace(2)): to be root, or the same user.
func Pieces(pid, overlap int, f func(piece []byte)) (read int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, refused(pid, err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return 0, refused(pid, err)
	}
	defer mem.Close()
	pages, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return 0, refused(pid, err)
	}
	defer pages.Close()
	r := reader{mem: mem, overlap: overlap, f: f, buf: make([]byte, overlap+pieceSize)}
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		// What cannot be written holds the program.
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || !strings.HasPrefix(mode, "rw") {
			continue
		}
		if err := touched(pages, from, to, r.read); err != nil {
			return r.total, fmt.Errorf("memory of process %d: %w", pid, err)
		}
	}
	if r.total == 0 {
		return 0, fmt.Errorf("memory of process %d: nothing can be read: did it end?", pid)
	}
	return r.total, nil
}

func refused(pid int, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("memory of process %d: %w: this takes root, or its user where kernel.yama.ptrace_scope is 0", pid, err)
	}
	return fmt.Errorf("memory of process %d: %w", pid, err)
}

// touched calls each with the stretches of a mapping that the process has touched.
func touched(pages io.ReaderAt, from, to int64, each func(from, to int64) error) error {
	page := int64(os.Getpagesize())
	entries := make([]byte, 1<<16)
	began, at := int64(-1), from
	for at < to {
		n, err := pages.ReadAt(entries[:min(int64(len(entries)), (to-at)/page*entrySize)], at/page*entrySize)
		if n < entrySize {
			return fmt.Errorf("which pages it has touched: %w", err)
		}
		for e := entries[:n]; len(e) >= entrySize; e, at = e[entrySize:], at+page {
			is := binary.NativeEndian.Uint64(e)&(inMemory|swapped) != 0
			if is && began < 0 {
				began = at
			}
			if !is && began >= 0 {
				if err := each(began, at); err != nil {
					return err
				}
				began = -1
			}
		}
	}
	if began < 0 {
		return nil
	}
	return each(began, to)
}

// reader makes pieces of stretches.
type reader struct {
	mem     io.ReaderAt
	f       func([]byte)
	overlap int
	buf     []byte
	kept    int   // bytes at the beginning of buf, shared with the piece before,
	end     int64 // which ended here
	total   int64
}

func (r *reader) read(from, to int64) error {
	if from != r.end {
		r.kept = 0
	}
	for from < to {
		n, err := r.mem.ReadAt(r.buf[r.kept:r.kept+int(min(pieceSize, to-from))], from)
		if n > 0 {
			piece := r.buf[:r.kept+n]
			r.f(piece)
			r.kept = copy(r.buf, piece[max(0, len(piece)-r.overlap):])
			from, r.end, r.total = from+int64(n), from+int64(n), r.total+int64(n)
			continue
		}
		if errors.Is(err, io.EOF) {
			return errors.New("it ended meanwhile")
		}
		// A page that it gave back meanwhile, or a device's.
		r.kept, from = 0, from+int64(os.Getpagesize())
	}
	return nil
}
