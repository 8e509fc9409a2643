package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Lines returns the lines of a record whose entries have numbers after one, with their
// newlines, as they stand there: up to a size in bytes, and at least one if there is any.
// It does not verify them; whoever gets them can.
func Lines(r io.Reader, after uint64, size int) (lines [][]byte, err error) {
	br := bufio.NewReaderSize(r, MaxLine)
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, io.EOF) { // what is not finished is no line
			return lines, nil
		} else if err != nil {
			return nil, fmt.Errorf("audit: read: %w", err)
		}
		var e struct {
			Seq uint64 `json:"seq"`
		}
		if json.Unmarshal(line, &e) == nil && e.Seq <= after {
			continue
		}
		if size -= len(line); size < 0 && len(lines) > 0 {
			return lines, nil
		}
		lines = append(lines, bytes.Clone(line))
	}
}
