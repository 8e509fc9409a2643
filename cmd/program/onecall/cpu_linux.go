package onecall

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpuOf returns how long the threads of a process have run.
func cpuOf(pid int) (total time.Duration) {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range threads {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, t.Name()))
		first, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		total += time.Duration(n)
	}
	return total
}
