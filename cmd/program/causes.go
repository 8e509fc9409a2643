package program

import (
	"errors"
	"io/fs"
	"syscall"
)

// causes are what the system refuses, whatever was asked of it, and what to do then.
var causes = []struct {
	err  error
	hint string
}{
	{syscall.EADDRINUSE, "another process has this port: end it (on Linux ss -tulpn names it), or give another port"},
	{syscall.EADDRNOTAVAIL, "this machine has no such address: give one of its own (on Linux ip address lists them), or none before the colon"},
	{syscall.ENOSPC, "the disk is full: make room there, or write to another one"},
	{syscall.EDQUOT, "the quota is used up: make room there, or write elsewhere"},
	{syscall.EROFS, "nothing can be written there: name a place where it can"},
	{syscall.EMFILE, "raise the number of files that a process may open: ulimit -n, or LimitNOFILE of its unit"},
	{fs.ErrPermission, "run it as a user who may do this, or name a place where this one may"},
}

// causeHint is the hint for what the system says, or "".
func causeHint(err error) string {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.hint
		}
	}
	return ""
}
