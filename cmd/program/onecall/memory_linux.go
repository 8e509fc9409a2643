package onecall

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// memory reads what a process of ours has written to its memory, a piece at a time.
func memory(pid int, piece func([]byte)) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer mem.Close()
	buf := make([]byte, 0)
	read := 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		// What is larger is room that was set aside (the race detector's, for example).
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || !strings.HasPrefix(mode, "rw") || to-from > 256<<20 {
			continue
		}
		if int64(cap(buf)) < to-from {
			buf = make([]byte, to-from)
		}
		n, _ := io.ReadFull(io.NewSectionReader(mem, from, to-from), buf[:to-from])
		piece(buf[:n])
		read += n
	}
	if read == 0 {
		return fmt.Errorf("nothing could be read of the memory of process %d", pid)
	}
	return nil
}

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
