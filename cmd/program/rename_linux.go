package program

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameExclusive is a rename that replaces nothing; errors.ErrUnsupported where the
// file system has none.
func renameExclusive(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return errors.ErrUnsupported
	}
	return err
}
