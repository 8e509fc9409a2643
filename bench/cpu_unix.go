//go:build unix

package bench

import (
	"syscall"
	"time"
)

// cpuTime is the CPU time that the process has used, of all its threads.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

const hasCPUTime = true
