//go:build !linux

package procmem

import (
	"errors"
	"fmt"
	"runtime"
)

// Pieces reads memory on Linux only.
func Pieces(pid, overlap int, f func(piece []byte)) (read int64, err error) {
	return 0, fmt.Errorf("memory of process %d: on %s it cannot be read, on Linux it can: %w", pid, runtime.GOOS, errors.ErrUnsupported)
}
