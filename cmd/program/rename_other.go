//go:build !linux

package program

import "errors"

// renameExclusive is a rename that replaces nothing, which only Linux has for all
// programs.
func renameExclusive(from, to string) error { return errors.ErrUnsupported }
