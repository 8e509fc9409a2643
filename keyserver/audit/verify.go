package audit

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Result is what Verify found.
type Result struct {
	Head  Head
	Bytes int64 // of whole entries
	// Torn counts the bytes of an entry behind them that was not written to its end,
	// and never counted: its writer was killed, or is writing it now.
	Torn int64
}

// Verify reads a record and checks every line. Each entry goes to show, if that is not
// nil, once its line is checked. noted are heads that were noted before: the record must
// hold them. A *DamageError locates the first line that is wrong or missing.
func Verify(r io.Reader, show func(Entry) error, noted ...Head) (Result, error) {
	var res Result
	br := bufio.NewReaderSize(r, MaxLine)
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			res.Torn = int64(len(line))
			break
		}
		damage := func(what string) error { return &DamageError{res.Head.Seq + 1, res.Bytes, what} }
		if errors.Is(err, bufio.ErrBufferFull) {
			return res, damage("is too long for an entry")
		} else if err != nil {
			return res, fmt.Errorf("audit: read: %w", err)
		}
		e, next, what := parseLine(line[:len(line)-1], res.Head)
		if what != "" {
			return res, damage(what)
		}
		for _, h := range noted {
			if h.Seq == next.Seq && h.Hash != next.Hash {
				return res, damage("is not the entry that was noted: it, or one before it, was rewritten")
			}
		}
		if show != nil {
			if err := show(e); err != nil {
				return res, err
			}
		}
		res.Head, res.Bytes = next, res.Bytes+int64(len(line))
	}
	for _, h := range noted {
		if h.Seq > res.Head.Seq {
			return res, &DamageError{res.Head.Seq + 1, res.Bytes, fmt.Sprintf("is missing: the record was cut, it held %d entries", h.Seq)}
		}
	}
	return res, nil
}

// VerifyFile verifies the record in a file against its head file and the noted heads.
func VerifyFile(path string, show func(Entry) error, noted ...Head) (Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return Result{}, fmt.Errorf("audit: %w", err)
	}
	defer f.Close()
	head, err := readHead(path + headSuffix) // before the record, which may be growing
	if errors.Is(err, fs.ErrNotExist) {
		return Result{}, fmt.Errorf("audit: %s is missing: without it a record that was cut at its end looks whole: %w", path+headSuffix, ErrDamaged)
	} else if err != nil {
		return Result{}, err
	}
	return Verify(f, show, append([]Head{head}, noted...)...)
}

// The head file is two slots of one line each, written in turn, so that one that is torn
// leaves the other: number, hash, check of both.
const (
	headSuffix = ".head"
	slotSize   = 128
)

func slot(h Head) []byte {
	text := fmt.Sprintf("%020d %x", h.Seq, h.Hash)
	check := sha256.Sum256([]byte(text))
	return fmt.Appendf(nil, "%-*s\n", slotSize-1, fmt.Sprintf("%s %x", text, check[:8]))
}

func readHead(path string) (newest Head, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return newest, fmt.Errorf("audit: %w", err)
	}
	found := false
	for ; len(b) >= slotSize; b = b[slotSize:] {
		var h Head
		var hash []byte
		if _, err := fmt.Sscanf(string(b[:slotSize]), "%d %x", &h.Seq, &hash); err != nil || copy(h.Hash[:], hash) != len(h.Hash) || string(slot(h)) != string(b[:slotSize]) {
			continue
		}
		if !found || h.Seq > newest.Seq {
			newest, found = h, true
		}
	}
	if !found {
		return newest, fmt.Errorf("audit: %s does not hold a head: %w", path, ErrDamaged)
	}
	return newest, nil
}
